//! How a relay is brought to a failpoint: most are on everybody's way, some need a stop, a refusal or an event that is parked.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering};

use harness::{Ended, Launch, PATIENCE, Site, TopicReader, alter_topic, until};

use crate::crash::beside::crash_beside_the_stream;

/// What leads to a failpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Provocation {
    /// Events.
    Load,
    /// Events, with transactions.
    Transactions,
    /// The same, before the first event.
    Claim,
    /// A table is read beside the stream.
    Beside,
    /// SIGTERM, once events flow.
    Stop,
    /// The broker refuses what it would have taken before.
    Refuse,
    /// An event is larger than its topic takes.
    Park,
    /// The same, once it is parked and its topic takes it.
    Retry,
    /// A slot that has delivered nothing, of a table that has rows.
    Snapshot,
}

/// The greatest batch that a topic takes usually, in bytes.
const USUAL_BYTES: &str = "1000000";

impl Provocation {
    pub(crate) fn of(point: &str) -> Self {
        match point {
            "pump.drain" | "pump.drained" | "kafka.close" | "source.close" => Self::Stop,
            "kafka.reset" | "kafka.renewed" | "source.rewind" | "source.stopped" | "source.rewound" => Self::Refuse,
            "parking.sorted" | "parking.park" | "parking.parked" => Self::Park,
            "parking.due" | "parking.again" | "parking.concluded" | "parking.served" => Self::Retry,
            "source.signal" | "beside.read" | "beside.cut" | "beside.noted" => Self::Beside,
            "kafka.commit" | "kafka.committed" => Self::Transactions,
            "kafka.claimed" => Self::Claim,
            _ if point.starts_with("snapshot.") => Self::Snapshot,
            _ => Self::Load,
        }
    }

    /// Whether a process comes there only once, or another time is not another case.
    pub(crate) fn comes_once(self) -> bool {
        !matches!(self, Self::Load | Self::Transactions)
    }

    /// Whether only a relay with transactions comes there.
    pub(crate) fn needs_transactions(self) -> bool {
        matches!(self, Self::Transactions | Self::Claim)
    }

    /// Starts `armed` and waits until it has ended.
    pub(crate) async fn provoke(self, site: &Site, reader: &TopicReader, armed: &Launch) -> Ended {
        match self {
            Self::Load | Self::Transactions | Self::Claim => armed.start().ended().await,
            Self::Beside => crash_beside_the_stream(site, armed).await,
            Self::Stop => {
                let relay = armed.start();
                events_arrive(reader).await;
                relay.terminate().await
            }
            Self::Refuse => {
                let relay = armed.start();
                events_arrive(reader).await;
                limit(site, "200").await;
                let ended = relay.ended().await;
                limit(site, USUAL_BYTES).await;
                ended
            }
            Self::Snapshot => crash_in_a_snapshot(site, armed).await,
            Self::Park => {
                write_what_is_too_large(site).await;
                let ended = armed.start().ended().await;
                limit(site, USUAL_BYTES).await;
                ended
            }
            Self::Retry => {
                write_what_is_too_large(site).await;
                let relay = site.relay().start();
                until("the event is parked", PATIENCE, async || (unsettled(site).await > 0).then_some(())).await;
                relay.terminate().await.expect(0, &[]);
                limit(site, USUAL_BYTES).await;
                retry(site);
                armed.start().ended().await
            }
        }
    }
}

/// How many rows a snapshot finds.
const ROWS: usize = 500;

/// Crashes in the snapshot of a table that has a slot, a progress record and a topic of its own, and sees that it goes on.
async fn crash_in_a_snapshot(site: &Site, armed: &Launch) -> Ended {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let name = format!("{}_rows_{}", site.name(), NUMBER.fetch_add(1, Ordering::Relaxed));
    site.sql(&format!(
        "create table {name} (id int primary key); insert into {name} select generate_series(1, {ROWS});
         grant select on {name} to {}; create publication {name} for table {name}",
        site.role()
    ))
    .await;
    site.sql(&format!("select pg_create_logical_replication_slot('{name}', 'pgoutput')")).await;
    let reading = |launch: Launch| {
        launch
            .with("POSTRIDER_OUTBOX_TABLE", "")
            .with("POSTRIDER_SOURCE_SLOT", &name)
            .with("POSTRIDER_CAPTURE_TABLES", &format!("public.{name}"))
            .with("POSTRIDER_CAPTURE_PUBLICATION", &name)
            .with("POSTRIDER_CAPTURE_TOPIC", &name)
            .with("POSTRIDER_CAPTURE_SNAPSHOT_MODE", "initial_only")
            .with("POSTRIDER_CAPTURE_SNAPSHOT_CHUNK_ROWS", "50")
            .with("POSTRIDER_TOPICS_CREATE", "true")
            .with("POSTRIDER_TOPICS_PARTITIONS", "1")
            .with("POSTRIDER_KAFKA_PROGRESS_TOPIC", &format!("{name}.progress"))
    };
    let ended = reading(armed.clone()).start().ended().await;
    reading(site.relay()).start().ended().await.expect(0, &["nothing else is wanted"]);
    let reader = TopicReader::start(site.bootstrap(), [(name.clone(), 0)]);
    reader.read_to_the_end().await;
    let keys: HashSet<_> = reader.records().into_iter().filter_map(|record| record.key).collect();
    assert_eq!(keys.len(), ROWS, "every row is there after a crash in its snapshot");
    site.sql(&format!("select pg_drop_replication_slot('{name}')")).await;
    ended
}

async fn events_arrive(reader: &TopicReader) {
    let records = reader.count();
    until("records arrive", PATIENCE, async || (reader.count() > records).then_some(())).await;
}

/// One event, of a key of its own, that does not compress to what its topic takes; and two behind it.
async fn write_what_is_too_large(site: &Site) {
    limit(site, "20000").await;
    let large = "insert into outbox_events (id, aggregate_type, aggregate_id, event_type, payload)
                 select gen_random_uuid(), 'order', 'large-' || txid_current(), 'Changed',
                        jsonb_build_object('n', n, 'text', case n when 1 then random.text else '' end)
                 from (select string_agg(md5(random()::text), '') text from generate_series(1, 4000)) random,
                      generate_series(1, 3) n";
    site.sql(large).await;
}

/// Lets the relay try again what is parked.
pub(crate) fn retry(site: &Site) {
    site.administrator().argument("retry").argument("--all").complete("parked").expect(0, &[]);
}

/// How many events are parked, wait, or are tried again.
pub(crate) async fn unsettled(site: &Site) -> u64 {
    let sql = "select count(*) from postrider.parked where slot = $1 and state in ('parked', 'waiting', 'retry')";
    let row = site.db().query_one(sql, &[&site.name()]).await.expect("the parked events can be counted");
    row.get::<_, i64>(0).unsigned_abs()
}

/// Sets the greatest batch of one of the topics.
async fn limit(site: &Site, bytes: &str) {
    let topic = format!("{}.outbox.event.order", site.name());
    alter_topic(site.bootstrap(), &topic, "max.message.bytes", bytes).await;
}
