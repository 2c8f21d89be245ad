//! A pipeline into a sink whose batches and notes become durable as one: what the pump gives it, and where the source goes on.

use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::*;
use crate::pipeline::message::Messages;
use crate::pipeline::sink::{Durable, Receipt};
use crate::pipeline::source::{Batch, Position};
use crate::pipeline::stop::StopHandle;

/// A position that is a number.
#[derive(Debug)]
struct Place(u64);

impl Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl Position for Place {
    fn progress(&self) -> Option<Progress> {
        Some(note(self.0))
    }
}

fn note(number: u64) -> Progress {
    Progress { key: Bytes::from_static(b"key"), value: Bytes::from(number.to_string()) }
}

/// What the ends share with the test.
struct Told {
    log: Mutex<Vec<String>>,
    /// The batch whose receipt fails although it is durable.
    unheard: u64,
    last: u64,
    stop: StopHandle,
}

impl Told {
    fn note(&self, what: String) {
        self.log.lock().expect("no test panics with it").push(what);
    }
}

/// Counts on from where it was opened.
struct Counting {
    told: Arc<Told>,
    next: u64,
}

impl Source for Counting {
    type Position = Place;

    async fn next(&mut self) -> Result<Batch<Place>, Error> {
        if self.next > self.told.last {
            self.told.stop.order();
            return std::future::pending().await;
        }
        self.next += 1;
        Ok(Batch { messages: Messages::default(), end: Place(self.next - 1) })
    }

    async fn acknowledge(&mut self, position: Place) -> Result<(), Error> {
        self.told.note(format!("acknowledged {position}"));
        Ok(())
    }

    async fn rewind(&mut self) -> Result<(), Error> {
        self.told.note("rewound".into());
        Ok(())
    }

    async fn close(self) -> Result<(), Error> {
        Ok(())
    }
}

/// Makes each batch durable with its note at once.
struct Atomic {
    told: Arc<Told>,
    cover: Option<Progress>,
    newest: Option<Progress>,
}

impl Sink for Atomic {
    async fn send(&mut self, messages: Messages) -> Result<Receipt, Error> {
        assert!(messages.is_empty());
        let covered = self.cover.take().expect("each batch is covered");
        self.told.note(format!("sent {}", String::from_utf8_lossy(&covered.value)));
        let unheard = covered == note(self.told.unheard);
        self.newest = Some(covered);
        let (sender, receipt) = Receipt::pending();
        sender.resolve(if unheard {
            Err(Error::new(End::Sink, Kind::Refused, "the answer was lost"))
        } else {
            Ok(Durable::default())
        });
        Ok(receipt)
    }

    fn is_atomic(&self) -> bool {
        true
    }

    fn cover(&mut self, note: Progress) {
        self.cover = Some(note);
    }

    fn newest(&self) -> Option<Progress> {
        self.newest.clone()
    }

    async fn record(&mut self, _: Progress) -> Result<Receipt, Error> {
        unreachable!("no note is recorded apart")
    }

    async fn reset(&mut self) -> Result<(), Error> {
        self.told.note("reset".into());
        Ok(())
    }

    async fn close(self, _: Duration) -> Result<(), Error> {
        Ok(())
    }
}

impl Ends for Arc<Told> {
    type Source = Counting;
    type Sink = Atomic;

    async fn open_sink(&self) -> Result<(Atomic, Option<Progress>), Error> {
        Ok((Atomic { told: Arc::clone(self), cover: None, newest: None }, None))
    }

    async fn open_source(&self, progress: Option<Progress>) -> Result<Counting, Error> {
        let at = progress.map_or(0, |note| String::from_utf8_lossy(&note.value).parse().expect("a number"));
        self.note(format!("opened at {at}"));
        Ok(Counting { told: Arc::clone(self), next: at + 1 })
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_durable_without_anybody_having_heard_of_it_is_not_sent_again() {
    let (handle, stop) = Stop::new();
    let told = Arc::new(Told { log: Mutex::default(), unheard: 2, last: 3, stop: handle });
    let (metrics, status) = (Metrics::new(), Status::new("source", "sink"));
    let with = Supervision {
        limits: Limits {
            in_flight_bytes_max: 1 << 20,
            // One at a time, so that what happens has one order.
            in_flight_batches_max: 1,
            progress_interval: Duration::from_millis(100),
            drain_deadline: Duration::from_secs(5),
        },
        retry: Bounds { initial: Duration::from_millis(100), max: Duration::from_secs(10) },
        breaker: None,
        stall_help: "",
        share: None,
        metrics: &metrics,
        traces: &Traces::off(),
        status: &status,
    };
    supervise(&told, with, stop).await.expect("it is told to stop");
    let log = told.log.lock().expect("no test panics with it").clone();
    assert_eq!(
        log,
        ["opened at 0", "sent 1", "acknowledged 1", "sent 2", "reset", "opened at 2", "sent 3", "acknowledged 3"]
    );
}
