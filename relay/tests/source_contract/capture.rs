//! An outbox beside captured tables under the contract: the initial snapshot comes first, and what follows it is as it always was.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use postrider_relay::pipeline::{Position, Progress, Source};
use postrider_relay::shape::change::options::CaptureOptions;
use postrider_relay::sources::capture::{Changes, ChangesOptions, SnapshotMode};
use postrider_relay::sources::snapshot::SnapshotOptions;
use postrider_relay::sources::wal::CaptureSource;
use postrider_relay::telemetry::Metrics;
use tokio::sync::Notify;

use crate::source_contract::Rig;
use crate::source_contract::wal::Outbox;

/// The publication of the captured tables.
const PUBLICATION: &str = "captured";

/// An outbox, a captured table without rows, and a slot.
pub(super) struct Beside {
    outbox: Outbox,
    /// What the snapshot's end was noted as: who was never told otherwise begins there.
    begun: Mutex<Option<Progress>>,
}

impl Beside {
    pub(super) fn new(test: &str) -> Self {
        let outbox = Outbox::before(
            &format!("beside_{test}"),
            &format!("create table users (id int primary key); create publication {PUBLICATION} for table users"),
        );
        Self { outbox, begun: Mutex::default() }
    }
}

impl Rig for Beside {
    type Source = Changes;

    async fn open(&self, progress: Option<Progress>) -> Changes {
        self.outbox.wait_until_free();
        let shape = CaptureOptions::usual("contract", "contract", "cdc.{table}");
        let publication = PUBLICATION.to_owned();
        let snapshot = SnapshotOptions {
            connect: self.outbox.options().connect,
            publication: publication.clone(),
            shape: shape.clone(),
            tables: Vec::new(),
            signals: None,
            workers: 2,
            chunk_rows: 10,
            rows_per_second: None,
        };
        let mut wal = self.outbox.options();
        wal.capture =
            Some(CaptureSource { publication, shape, signals: None, rereads_rewritten: false, reselects: false });
        let options = ChangesOptions {
            wal: Arc::new(wal),
            snapshot: Some((SnapshotMode::Initial, Arc::new(snapshot))),
            status: None,
            finished: Arc::new(Notify::new()),
        };
        let progress = progress.or_else(|| self.begun.lock().expect("a whole value").clone());
        let is_new = progress.is_none();
        let mut source = Changes::open(Arc::new(options), progress, Metrics::new()).await.expect("the source opens");
        // That nothing was there is delivered before anything else.
        let mut is_over = !is_new;
        while !is_over {
            let nothing = source.next().await.expect("the snapshot goes on");
            assert!(nothing.messages.is_empty());
            let noted = nothing.end.progress().expect("a progress record");
            is_over = String::from_utf8_lossy(&noted.value).contains(r#""done":true"#);
            *self.begun.lock().expect("a whole value") = Some(noted);
            source.acknowledge(nothing.end).await.expect("the source notes it");
        }
        source
    }

    async fn write(&self, numbers: Range<u64>) {
        self.outbox.write(numbers).await;
    }

    async fn write_together(&self, numbers: Range<u64>) {
        self.outbox.write_together(numbers).await;
    }

    async fn write_nothing(&self) {
        self.outbox.write_nothing().await;
    }

    async fn forgotten(&self) -> u64 {
        self.outbox.forgotten().await
    }

    async fn newest(&self) -> u64 {
        self.outbox.newest().await
    }
}
