//! The pump between ends that the test holds in its hands: what is acknowledged, when, and what never is.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::*;
use crate::pipeline::backoff::Bounds;
use crate::pipeline::message::{Cut, Message, Messages, Part};
use crate::pipeline::sink::{ReceiptSender, Refused, Split};
use crate::pipeline::stop::StopHandle;

/// A position that is just a number; one that keeps its own progress needs no note.
#[derive(Debug, Clone, Copy)]
struct Place {
    number: u64,
    keeps_own: bool,
}

impl Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.number)
    }
}

impl Position for Place {
    fn progress(&self) -> Option<Progress> {
        let value = Bytes::from(self.number.to_string());
        (!self.keeps_own).then(|| Progress { key: Bytes::from_static(b"key"), value })
    }
}

/// What happened, in order.
type Log = Arc<Mutex<Vec<String>>>;

struct TestSource {
    batches: VecDeque<Result<Batch<Place>, Error>>,
    log: Log,
}

impl Source for TestSource {
    type Position = Place;

    async fn next(&mut self) -> Result<Batch<Place>, Error> {
        match self.batches.pop_front() {
            Some(batch) => batch,
            None => std::future::pending().await,
        }
    }

    async fn acknowledge(&mut self, position: Place) -> Result<(), Error> {
        note(&self.log, format!("acknowledged {position}"));
        Ok(())
    }

    async fn rewind(&mut self) -> Result<(), Error> {
        Ok(())
    }

    async fn split(&mut self, position: Place, after: usize) -> Result<(), Error> {
        note(&self.log, format!("split {position} after {after}"));
        Ok(())
    }

    async fn close(self) -> Result<(), Error> {
        Ok(())
    }
}

/// Hands the receipts' senders to the test.
struct TestSink {
    receipts: UnboundedSender<(String, ReceiptSender)>,
    refuse: Option<u64>,
    sent: u64,
    log: Log,
}

impl TestSink {
    fn accept(&self, what: String) -> Receipt {
        let (sender, receipt) = Receipt::pending();
        note(&self.log, format!("sent {what}"));
        self.receipts.send((what, sender)).expect("the test listens");
        receipt
    }
}

impl Sink for TestSink {
    async fn send(&mut self, _messages: Messages) -> Result<Receipt, Error> {
        self.sent += 1;
        if self.refuse == Some(self.sent) {
            return Err(Error::new(End::Sink, Kind::Refused, "too large"));
        }
        Ok(self.accept(format!("batch {}", self.sent)))
    }

    async fn record(&mut self, progress: Progress) -> Result<Receipt, Error> {
        Ok(self.accept(format!("progress {}", String::from_utf8_lossy(&progress.value))))
    }

    async fn reset(&mut self) -> Result<(), Error> {
        note(&self.log, "reset".into());
        Ok(())
    }

    async fn close(self, _deadline: Duration) -> Result<(), Error> {
        Ok(())
    }
}

fn note(log: &Log, what: String) {
    log.lock().expect("no test panics with it").push(what);
}

fn batch(number: u64) -> Result<Batch<Place>, Error> {
    let mut messages = Messages::over(Bytes::new());
    messages.push(Message {
        topic: Arc::from("t"),
        key: None,
        value: None,
        headers: 0..0,
        timestamp_ms: 0,
        position: 0,
        route: 0,
    });
    Ok(Batch { messages, end: Place { number, keeps_own: false } })
}

/// The same as a part of a batch, of which so many messages came before.
fn part(number: u64, before: usize, more: bool) -> Result<Batch<Place>, Error> {
    let mut batch = batch(number)?;
    let part = Part { before, bytes_before: 0, more };
    batch.messages.set_cut(Cut { topic: Arc::from("t"), partition: 0, first: 0, last: 0, part });
    Ok(batch)
}

fn idle(number: u64) -> Result<Batch<Place>, Error> {
    Ok(Batch { messages: Messages::default(), end: Place { number, keeps_own: false } })
}

/// A running pump, and everything a test does to it.
struct Rig {
    log: Log,
    receipts: UnboundedReceiver<(String, ReceiptSender)>,
    stop: StopHandle,
    pump: tokio::task::JoinHandle<Result<(), Error>>,
}

impl Rig {
    fn start(batches: Vec<Result<Batch<Place>, Error>>, refuse: Option<u64>) -> Self {
        let log = Log::default();
        let (sender, receipts) = unbounded_channel();
        let (stop, mut ordered) = Stop::new();
        let mut source = TestSource { batches: batches.into(), log: Arc::clone(&log) };
        let mut sink = TestSink { receipts: sender, refuse, sent: 0, log: Arc::clone(&log) };
        let pump = tokio::spawn(async move {
            let (metrics, status) = (Metrics::new(), Status::new("source", "sink"));
            let limits = Limits {
                in_flight_bytes_max: 1 << 20,
                in_flight_batches_max: 3,
                progress_interval: Duration::from_millis(100),
                drain_deadline: Duration::from_secs(5),
            };
            let retry = Bounds { initial: Duration::ZERO, max: Duration::ZERO };
            let with = Supervision {
                limits,
                retry,
                breaker: None,
                stall_help: "",
                share: None,
                metrics: &metrics,
                traces: &Traces::off(),
                status: &status,
            };
            Pump::new(&mut source, &mut sink, with, &mut Reached::default()).run(&mut ordered).await
        });
        Self { log, receipts, stop, pump }
    }

    /// The receipt of what the sink was given next, which must be `what`.
    async fn receipt(&mut self, what: &str) -> ReceiptSender {
        let (given, sender) = self.receipts.recv().await.expect("the pump runs");
        assert_eq!(given, what);
        sender
    }

    async fn durable(&mut self, what: &str) {
        self.receipt(what).await.resolve(Ok(Durable::default()));
    }

    fn log(&self) -> Vec<String> {
        self.log.lock().expect("no test panics with it").clone()
    }

    fn acknowledged(&self) -> Vec<String> {
        self.log().into_iter().filter(|entry| entry.starts_with("acknowledged")).collect()
    }

    async fn end(self) -> (Vec<String>, Result<(), Error>) {
        let outcome = self.pump.await.expect("the pump does not panic");
        let log = self.log.lock().expect("no test panics with it").clone();
        (log, outcome)
    }
}

fn refused() -> Durable {
    Durable { refused: vec![Refused::new(0, "topic t takes no record")], split: None }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_acknowledged_before_its_progress_is_durable() {
    let mut rig = Rig::start(vec![batch(1)], None);
    rig.durable("batch 1").await;
    let progress = rig.receipt("progress 1").await;
    assert_eq!(rig.acknowledged(), [""; 0], "the note is sent, not durable");
    progress.resolve(Ok(Durable::default()));
    rig.stop.order();
    let (log, outcome) = rig.end().await;
    assert!(outcome.is_ok());
    assert_eq!(log, ["sent batch 1", "sent progress 1", "acknowledged 1"]);
}

#[tokio::test(start_paused = true)]
async fn receipts_out_of_order_are_acknowledged_in_order() {
    let mut rig = Rig::start(vec![batch(1), batch(2), batch(3)], None);
    let first = rig.receipt("batch 1").await;
    rig.durable("batch 2").await;
    rig.durable("batch 3").await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(rig.log(), ["sent batch 1", "sent batch 2", "sent batch 3"], "the first is not durable yet");
    first.resolve(Ok(Durable::default()));
    rig.stop.order();
    rig.durable("progress 3").await;
    let (log, _) = rig.end().await;
    assert_eq!(log[3..], ["sent progress 3", "acknowledged 1", "acknowledged 2", "acknowledged 3"]);
}

#[tokio::test(start_paused = true)]
async fn an_idle_advance_waits_for_the_batches_before_it() {
    let mut rig = Rig::start(vec![batch(1), idle(2)], None);
    let first = rig.receipt("batch 1").await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(rig.log(), ["sent batch 1"]);
    first.resolve(Ok(Durable::default()));
    rig.stop.order();
    rig.durable("progress 2").await;
    let (log, _) = rig.end().await;
    assert_eq!(log[1..], ["sent progress 2", "acknowledged 1", "acknowledged 2"]);
}

#[tokio::test(start_paused = true)]
async fn progress_is_coalesced_under_load() {
    let mut rig = Rig::start((1..=20).map(batch).collect(), None);
    let began = Instant::now();
    let mut notes = 0;
    while rig.acknowledged().len() < 20 {
        let (_, sender) = rig.receipts.recv().await.expect("the pump runs");
        notes += usize::from(rig.log().last().is_some_and(|entry| entry.starts_with("sent progress")));
        sender.resolve(Ok(Durable::default()));
        sleep(Duration::from_millis(10)).await;
    }
    let intervals = usize::try_from(began.elapsed().as_millis() / 100).expect("small") + 1;
    assert!(notes <= intervals, "{notes} notes in {intervals} intervals");
    rig.stop.order();
    rig.end().await.1.expect("drained");
}

#[tokio::test(start_paused = true)]
async fn only_so_many_batches_are_in_flight() {
    let mut rig = Rig::start((1..=5).map(batch).collect(), None);
    let held = [rig.receipt("batch 1").await, rig.receipt("batch 2").await, rig.receipt("batch 3").await];
    sleep(Duration::from_secs(1)).await;
    assert_eq!(rig.log().len(), 3, "the limit is three");
    for receipt in held {
        receipt.resolve(Ok(Durable::default()));
    }
    rig.durable("progress 3").await;
    rig.durable("batch 4").await;
}

#[tokio::test(start_paused = true)]
async fn what_the_broker_refused_is_not_acknowledged_nor_anything_behind_it() {
    let mut rig = Rig::start(vec![batch(1), batch(2), batch(3)], None);
    rig.durable("batch 1").await;
    let second = rig.receipt("batch 2").await;
    rig.durable("batch 3").await;
    rig.durable("progress 1").await;
    second.resolve(Ok(refused()));
    let (log, outcome) = rig.end().await;
    let error = outcome.expect_err("refused");
    assert_eq!((error.end(), error.kind()), (End::Sink, Kind::Refused));
    assert_eq!(log.last().map(String::as_str), Some("reset"));
    assert_eq!(log.iter().filter(|entry| entry.starts_with("acknowledged")).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_refused_as_a_whole_is_cut_shorter_by_its_source_and_tried_again_at_once() {
    let mut rig = Rig::start(vec![batch(1), batch(2)], None);
    rig.durable("batch 1").await;
    let second = rig.receipt("batch 2").await;
    rig.durable("progress 1").await;
    let split = Some(Split { after: 5, reason: "a constraint is violated".into() });
    second.resolve(Ok(Durable { refused: Vec::new(), split }));
    let (log, outcome) = rig.end().await;
    assert!(outcome.expect_err("refused").is_retried_at_once());
    assert_eq!(log[log.len() - 2..], ["split 2 after 5", "reset"]);
}

#[tokio::test(start_paused = true)]
async fn a_part_is_never_acknowledged_and_counts_as_no_progress() {
    let lost = Error::new(End::Source, Kind::Unavailable, "connection lost");
    let mut rig =
        Rig::start(vec![part(1, 0, true), part(2, 1, true), part(3, 2, false), part(4, 0, true), Err(lost)], None);
    for what in ["batch 1", "batch 2", "batch 3", "progress 3", "batch 4"] {
        rig.durable(what).await;
    }
    let (log, outcome) = rig.end().await;
    assert_eq!(outcome.expect_err("lost").to_string(), "connection lost");
    assert_eq!(log.iter().filter(|entry| entry.starts_with("acknowledged")).collect::<Vec<_>>(), ["acknowledged 3"]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_refused_before_it_entered_leaves_its_predecessors_alone() {
    let mut rig = Rig::start(vec![batch(1), batch(2)], Some(2));
    rig.durable("batch 1").await;
    rig.durable("progress 1").await;
    let (log, outcome) = rig.end().await;
    assert_eq!(outcome.expect_err("refused").kind(), Kind::Refused);
    assert_eq!(log, ["sent batch 1", "sent progress 1", "acknowledged 1"]);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_fails_does_not_spoil_what_is_in_flight() {
    let lost = Error::new(End::Source, Kind::Unavailable, "connection lost");
    let mut rig = Rig::start(vec![batch(1), Err(lost)], None);
    rig.durable("batch 1").await;
    rig.durable("progress 1").await;
    let (log, outcome) = rig.end().await;
    assert_eq!(outcome.expect_err("lost").to_string(), "connection lost");
    assert_eq!(log, ["sent batch 1", "sent progress 1", "acknowledged 1"]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_drains_and_a_deadline_ends_the_drain_without_acknowledging() {
    let mut rig = Rig::start(vec![batch(1)], None);
    let _held = rig.receipt("batch 1").await;
    rig.stop.order();
    let (log, outcome) = rig.end().await;
    let error = outcome.expect_err("the deadline passed");
    assert!(error.to_string().contains("1 batches were still in flight"), "{error}");
    assert_eq!(log, ["sent batch 1"]);
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_vanishes_is_an_error_and_acknowledges_nothing() {
    let mut rig = Rig::start(vec![batch(1)], None);
    drop(rig.receipt("batch 1").await);
    let (log, outcome) = rig.end().await;
    assert_eq!(outcome.expect_err("gone").kind(), Kind::Unavailable);
    assert_eq!(log, ["sent batch 1", "reset"]);
}

#[tokio::test(start_paused = true)]
async fn a_position_that_keeps_its_own_progress_is_acknowledged_without_a_note() {
    let own = Batch { messages: Messages::default(), end: Place { number: 1, keeps_own: true } };
    let mut rig = Rig::start(vec![Ok(own), batch(2)], None);
    rig.durable("batch 1").await;
    rig.durable("progress 2").await;
    rig.stop.order();
    let (log, _) = rig.end().await;
    assert!(log.contains(&"acknowledged 1".to_owned()), "{log:?}");
    assert!(!log.contains(&"sent progress 1".to_owned()), "{log:?}");
}
