//! Crashes while a table is read beside the stream: the snapshot is neither forgotten nor does it leave out a row.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering};

use harness::{Ended, Launch, PATIENCE, Site, TopicReader, until};

/// How many rows the snapshot finds.
const ROWS: usize = 300;

/// Asks by a signal for a table that has a slot, a progress record and a topic of its own, crashes, and sees that it is read.
pub(crate) async fn crash_beside_the_stream(site: &Site, armed: &Launch) -> Ended {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let name = format!("{}_beside_{}", site.name(), NUMBER.fetch_add(1, Ordering::Relaxed));
    site.sql(&format!(
        "create table {name} (id int primary key); insert into {name} select generate_series(1, {ROWS});
         create table {name}_signals (id text, type text, data text);
         grant select on {name} to {}; create publication {name} for table {name}, {name}_signals",
        site.role()
    ))
    .await;
    site.sql(&format!("select pg_create_logical_replication_slot('{name}', 'pgoutput')")).await;
    let signal = format!(r#"{{"data-collections": ["public.{name}"]}}"#);
    site.sql(&format!("insert into {name}_signals values ('1', 'execute-snapshot', '{signal}')")).await;
    let reading = |launch: Launch| {
        launch
            .with("POSTRIDER_OUTBOX_TABLE", "")
            .with("POSTRIDER_SOURCE_SLOT", &name)
            .with("POSTRIDER_CAPTURE_TABLES", &format!("public.{name}"))
            .with("POSTRIDER_CAPTURE_PUBLICATION", &name)
            .with("POSTRIDER_CAPTURE_TOPIC", &name)
            .with("POSTRIDER_CAPTURE_SIGNAL_TABLE", &format!("public.{name}_signals"))
            .with("POSTRIDER_CAPTURE_SNAPSHOT_MODE", "no_data")
            .with("POSTRIDER_CAPTURE_SNAPSHOT_CHUNK_ROWS", "50")
            .with("POSTRIDER_TOPICS_CREATE", "true")
            .with("POSTRIDER_TOPICS_PARTITIONS", "1")
            .with("POSTRIDER_KAFKA_PROGRESS_TOPIC", &format!("{name}.progress"))
    };
    let ended = reading(armed.clone()).start().ended().await;
    let mut relay = reading(site.relay()).start();
    relay.ready().await;
    let states = "select string_agg(state, ',') from postrider.snapshots where slot = $1";
    let state = async || site.db().query_one(states, &[&name]).await.ok()?.get::<_, Option<String>>(0);
    until("the snapshot is done, and it is one", PATIENCE, async || state().await.filter(|state| state == "done"))
        .await;
    let reader = TopicReader::start(site.bootstrap(), [(name.clone(), 0)]);
    reader.read_to_the_end().await;
    let keys: HashSet<_> = reader.records().into_iter().filter_map(|record| record.key).collect();
    assert_eq!(keys.len(), ROWS, "every row is there after a crash beside the stream");
    relay.terminate().await.expect(0, &[]);
    site.sql(&format!("select pg_drop_replication_slot('{name}')")).await;
    ended
}
