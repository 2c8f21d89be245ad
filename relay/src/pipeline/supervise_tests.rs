//! The supervisor with ends that fail as told: what is opened again, where, and when it gives up.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::*;
use crate::pipeline::message::Messages;
use crate::pipeline::sink::Receipt;
use crate::pipeline::source::{Batch, Position};
use crate::pipeline::stop::StopHandle;

/// A position that is a number.
#[derive(Debug)]
struct Place(u64);

impl Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl Position for Place {
    fn progress(&self) -> Option<Progress> {
        Some(Progress { key: Bytes::from_static(b"key"), value: Bytes::from(self.0.to_string()) })
    }
}

/// What one opened end does, step by step; `None` orders the stop, and then it waits.
type Script = VecDeque<Result<u64, Option<Error>>>;

/// Everything the ends share with the test.
#[derive(Default)]
struct Told {
    log: Mutex<Vec<String>>,
    sinks: Mutex<VecDeque<Result<Option<Progress>, Error>>>,
    sources: Mutex<VecDeque<Script>>,
    /// What the next openings of the source fail with.
    gaps: Mutex<VecDeque<Error>>,
    stop: Mutex<Option<StopHandle>>,
    /// What the next probes of the sink say; then they succeed.
    probes: Mutex<VecDeque<Error>>,
    /// The present turn, where turns are taken.
    turn: Mutex<Option<Arc<Turn>>>,
}

/// In a script: the turn ends, and the source has nothing more.
const TURN_ENDS: u64 = u64::MAX;

impl Told {
    fn note(&self, what: impl Into<String>) {
        self.log.lock().expect("no test panics with it").push(what.into());
    }

    fn next<T>(&self, queue: &Mutex<VecDeque<T>>) -> T {
        queue.lock().expect("no test panics with it").pop_front().expect("the script goes this far")
    }
}

struct TestSource {
    told: Arc<Told>,
    script: Script,
}

impl Source for TestSource {
    type Position = Place;

    async fn next(&mut self) -> Result<Batch<Place>, Error> {
        match self.script.pop_front() {
            Some(Ok(TURN_ENDS)) => {
                if let Some(turn) = &*self.told.turn.lock().expect("no test panics with it") {
                    turn.end();
                }
                std::future::pending().await
            }
            Some(Ok(number)) => Ok(Batch { messages: Messages::default(), end: Place(number) }),
            Some(Err(Some(error))) => Err(error),
            Some(Err(None)) | None => {
                if let Some(stop) = &*self.told.stop.lock().expect("no test panics with it") {
                    stop.order();
                }
                std::future::pending().await
            }
        }
    }

    async fn acknowledge(&mut self, position: Place) -> Result<(), Error> {
        self.told.note(format!("acknowledged {position}"));
        Ok(())
    }

    async fn rewind(&mut self) -> Result<(), Error> {
        self.told.note("rewound");
        self.script = self.told.next(&self.told.sources);
        Ok(())
    }

    async fn pause(&mut self, paused: bool) -> Result<(), Error> {
        self.told.note(if paused { "paused" } else { "resumed" });
        Ok(())
    }

    async fn close(self) -> Result<(), Error> {
        self.told.note("source closed");
        Ok(())
    }
}

struct TestSink(Arc<Told>);

impl Sink for TestSink {
    async fn send(&mut self, _messages: Messages) -> Result<Receipt, Error> {
        Ok(Receipt::done())
    }

    async fn record(&mut self, _progress: Progress) -> Result<Receipt, Error> {
        Ok(Receipt::done())
    }

    async fn probe(&mut self) -> Result<(), Error> {
        self.0.note("probed");
        self.0.probes.lock().expect("no test panics with it").pop_front().map_or(Ok(()), Err)
    }

    async fn reset(&mut self) -> Result<(), Error> {
        Ok(())
    }

    async fn close(self, _deadline: Duration) -> Result<(), Error> {
        Ok(())
    }
}

impl Ends for Arc<Told> {
    type Source = TestSource;
    type Sink = TestSink;

    async fn open_sink(&self) -> Result<(TestSink, Option<Progress>), Error> {
        self.note("sink opened");
        Ok((TestSink(Arc::clone(self)), self.next(&self.sinks)?))
    }

    async fn open_source(&self, progress: Option<Progress>) -> Result<TestSource, Error> {
        let at = progress.map_or("the start".into(), |p| String::from_utf8_lossy(&p.value).into_owned());
        if let Some(gap) = self.gaps.lock().expect("no test panics with it").pop_front() {
            self.note(format!("gap after {at}"));
            return Err(gap);
        }
        self.note(format!("source opened at {at}"));
        Ok(TestSource { told: Arc::clone(self), script: self.next(&self.sources) })
    }
}

/// The same ends, which take turns.
struct TakingTurns(Arc<Told>);

impl Ends for TakingTurns {
    type Source = TestSource;
    type Sink = TestSink;

    async fn take_turn(&self) -> Result<Arc<Turn>, Error> {
        self.0.note("turn taken");
        let turn = Arc::new(Turn::unlimited());
        *self.0.turn.lock().expect("no test panics with it") = Some(Arc::clone(&turn));
        Ok(turn)
    }

    async fn pass_turn(&self) {
        self.0.note("turn passed");
    }

    async fn open_sink(&self) -> Result<(TestSink, Option<Progress>), Error> {
        self.0.open_sink().await
    }

    async fn open_source(&self, progress: Option<Progress>) -> Result<TestSource, Error> {
        self.0.open_source(progress).await
    }
}

fn error(end: End, kind: Kind) -> Error {
    Error::new(end, kind, format!("{kind:?} as told"))
}

fn progress(number: u64) -> Option<Progress> {
    Place(number).progress()
}

/// Runs the script to its end and returns what happened.
async fn run(
    sinks: Vec<Result<Option<Progress>, Error>>,
    sources: Vec<Vec<Result<u64, Option<Error>>>>,
) -> (Vec<String>, Result<(), Error>) {
    run_with_gaps(0, sinks, sources).await
}

/// The same, where the first `gaps` openings of the source find a gap.
async fn run_with_gaps(
    gaps: usize,
    sinks: Vec<Result<Option<Progress>, Error>>,
    sources: Vec<Vec<Result<u64, Option<Error>>>>,
) -> (Vec<String>, Result<(), Error>) {
    let (told, stop) = told(gaps, sinks, sources);
    let outcome = supervised(&told, stop).await;
    let log = told.log.lock().expect("no test panics with it").clone();
    (log, outcome)
}

/// What the ends are told.
fn told(
    gaps: usize,
    sinks: Vec<Result<Option<Progress>, Error>>,
    sources: Vec<Vec<Result<u64, Option<Error>>>>,
) -> (Arc<Told>, Stop) {
    let (handle, stop) = Stop::new();
    let told = Told {
        sinks: Mutex::new(sinks.into()),
        sources: Mutex::new(sources.into_iter().map(VecDeque::from).collect()),
        gaps: Mutex::new((0..gaps).map(|_| error(End::Source, Kind::Gap)).collect()),
        stop: Mutex::new(Some(handle)),
        ..Told::default()
    };
    (Arc::new(told), stop)
}

async fn supervised<E: Ends<Source = TestSource>>(ends: &E, stop: Stop) -> Result<(), Error> {
    let (metrics, status) = (Metrics::new(), Status::new("source", "sink"));
    let limits = Limits {
        in_flight_bytes_max: 1 << 20,
        in_flight_batches_max: 100,
        progress_interval: Duration::from_millis(100),
        drain_deadline: Duration::from_secs(5),
    };
    let retry = Bounds { initial: Duration::from_millis(100), max: Duration::from_secs(10) };
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
    let outcome = supervise(ends, with, stop).await;
    assert_eq!(status.snapshot().state, State::Stopped);
    outcome
}

#[tokio::test(start_paused = true)]
async fn when_the_turn_is_over_both_ends_are_let_go_of_and_opened_in_the_next_turn() {
    let (told, stop) = told(0, vec![Ok(None), Ok(progress(5))], vec![vec![Ok(1), Ok(TURN_ENDS)], vec![Err(None)]]);
    assert!(supervised(&TakingTurns(Arc::clone(&told)), stop).await.is_ok());
    assert_eq!(
        *told.log.lock().expect("no test panics with it"),
        [
            "turn taken",
            "sink opened",
            "source opened at the start",
            "acknowledged 1",
            "source closed",
            "turn taken",
            "sink opened",
            "source opened at 5",
            "source closed",
            "turn passed",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn the_source_opens_where_the_sink_says_delivery_ended() {
    let (log, outcome) = run(vec![Ok(progress(7))], vec![vec![Ok(8), Err(None)]]).await;
    assert!(outcome.is_ok());
    assert_eq!(log, ["sink opened", "source opened at 7", "acknowledged 8", "source closed"]);
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_is_away_is_opened_again_until_it_is_there() {
    let away = || Err(error(End::Sink, Kind::Unavailable));
    let (log, outcome) = run(vec![away(), away(), Ok(None)], vec![vec![Err(None)]]).await;
    assert!(outcome.is_ok());
    assert_eq!(log[..4], ["sink opened", "sink opened", "sink opened", "source opened at the start"]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_source_is_opened_anew_at_the_last_durable_progress() {
    let lost = Err(Some(error(End::Source, Kind::Unavailable)));
    let (log, _) = run(vec![Ok(None)], vec![vec![Ok(1), lost], vec![Err(None)]]).await;
    assert_eq!(
        log,
        ["sink opened", "source opened at the start", "acknowledged 1", "source opened at 1", "source closed"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_refused_record_rewinds_and_keeps_both_ends() {
    let refused = Err(Some(error(End::Source, Kind::Refused)));
    let (log, _) = run(vec![Ok(None)], vec![vec![Ok(1), refused], vec![Ok(2), Err(None)]]).await;
    assert_eq!(
        log,
        ["sink opened", "source opened at the start", "acknowledged 1", "rewound", "acknowledged 2", "source closed"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_gap_ends_the_pipeline_with_its_error() {
    let gap = Err(Some(error(End::Source, Kind::Gap)));
    let (log, outcome) = run(vec![Ok(None)], vec![vec![Ok(1), gap]]).await;
    assert_eq!(outcome.expect_err("a gap").kind(), Kind::Gap);
    assert_eq!(log.last().map(String::as_str), Some("source closed"));
}

#[tokio::test(start_paused = true)]
async fn a_gap_is_none_if_another_process_delivered_meanwhile() {
    let (log, outcome) = run_with_gaps(1, vec![Ok(progress(7)), Ok(progress(9))], vec![vec![Err(None)]]).await;
    assert!(outcome.is_ok());
    assert_eq!(log, ["sink opened", "gap after 7", "sink opened", "source opened at 9", "source closed"]);
}

#[tokio::test(start_paused = true)]
async fn a_gap_is_one_if_the_note_has_not_changed() {
    let (log, outcome) = run_with_gaps(1, vec![Ok(progress(7)), Ok(progress(7))], vec![]).await;
    assert_eq!(outcome.expect_err("a gap").kind(), Kind::Gap);
    assert_eq!(log, ["sink opened", "gap after 7", "sink opened"]);
}

#[tokio::test(start_paused = true)]
async fn an_order_to_stop_is_heard_while_waiting_to_retry() {
    let (handle, stop) = Stop::new();
    let told = Arc::new(Told { stop: Mutex::new(None), ..Told::default() });
    for _ in 0..100 {
        told.sinks.lock().expect("fresh").push_back(Err(error(End::Sink, Kind::Unavailable)));
    }
    let (metrics, status) = (Metrics::new(), Status::new("source", "sink"));
    let limits = Limits {
        in_flight_bytes_max: 1,
        in_flight_batches_max: 1,
        progress_interval: Duration::ZERO,
        drain_deadline: Duration::ZERO,
    };
    let retry = Bounds { initial: Duration::from_secs(3600), max: Duration::from_secs(3600) };
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
    let order = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(status.snapshot().state, State::Retrying);
        assert!(status.snapshot().reason.is_some_and(|reason| reason.contains("as told")));
        handle.order();
    };
    let (outcome, ()) = tokio::join!(supervise(&told, with, stop), order);
    assert!(outcome.is_ok());
    assert_eq!(*told.log.lock().expect("no test panics with it"), ["sink opened"]);
}

/// Outages that last.
#[path = "supervise_outage_tests.rs"]
mod outages;
