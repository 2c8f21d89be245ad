//! A place with captured tables: the relay captures every table of `public`, and each change is read back.

use demo::state::reader::TableTopics;
use harness::{Launch, PATIENCE, Record, Relay, Site, TopicReader, shared, until_or};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use xtask::services::Postgres;

/// Partitions of each topic.
const PARTITIONS: i32 = 3;

/// A place with captured tables.
pub(super) struct Scene {
    pub(super) site: Site,
    topics: Option<TableTopics>,
    reader: TopicReader,
}

/// A record of a captured table. Keys and rows are the texts that were sent, for the order of their members counts too.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Change {
    /// Its topic's table.
    pub(super) table: String,
    /// `-` for a tombstone.
    pub(super) op: String,
    pub(super) key: String,
    pub(super) before: String,
    pub(super) after: String,
    pub(super) position: String,
    pub(super) record: Record,
}

/// What is looked at of a value.
#[derive(Debug, Deserialize)]
struct Envelope<'v> {
    op: &'v str,
    #[serde(borrow)]
    before: Option<&'v RawValue>,
    #[serde(borrow)]
    after: Option<&'v RawValue>,
}

impl Scene {
    /// A place with the tables that `sql` makes; records of `tables` are read.
    pub(super) async fn new(promise: &str, sql: &str, tables: &[&str]) -> Self {
        Self::on(promise, &shared().postgres, sql, tables).await
    }

    /// The same on this Postgres.
    pub(super) async fn on(promise: &str, server: &Postgres, sql: &str, tables: &[&str]) -> Self {
        let site = Site::bare(promise, server, &shared().kafka.bootstrap).await;
        site.create_topics().await;
        site.migrate();
        site.sql(sql).await;
        let prefix = format!("{}.cdc.", site.name());
        let tables: Vec<String> = tables.iter().map(|table| (*table).to_owned()).collect();
        let topics = TableTopics::new(site.bootstrap(), &prefix, &tables);
        topics.create().await.unwrap();
        let all = (0..PARTITIONS).flat_map(|at| tables.iter().map(move |table| (table, at)));
        let all = all.map(|(table, at)| (format!("{prefix}{table}"), at));
        let reader = TopicReader::start(site.bootstrap(), all.collect::<Vec<_>>());
        let scene = Self { site, topics: Some(topics), reader };
        scene.capture(scene.site.initialiser()).complete("init").expect(0, &[]);
        scene
    }

    /// The same launch with every table captured.
    pub(super) fn capture(&self, launch: Launch) -> Launch {
        let topic = format!("{}.cdc.{{table}}", self.site.name());
        launch
            .with("POSTRIDER_CAPTURE_TABLES", "public.*")
            .with("POSTRIDER_CAPTURE_TOPIC", &topic)
            .with("POSTRIDER_CAPTURE_SNAPSHOT_MODE", "no_data")
    }

    pub(super) fn relay(&self) -> Launch {
        self.capture(self.site.relay())
    }

    /// A relay that reads.
    pub(super) async fn start(&self) -> Relay {
        let mut relay = self.relay().start();
        relay.ready().await;
        relay
    }

    /// Every change that was read so far, each once, in the order of their positions.
    pub(super) fn changes(&self) -> Vec<Change> {
        let prefix = format!("{}.cdc.", self.site.name());
        let mut changes: Vec<Change> =
            self.reader.records().into_iter().map(|record| Change::read(&prefix, record)).collect();
        changes.sort_by(|a, b| a.position.cmp(&b.position));
        changes.dedup_by(|a, b| a.position == b.position);
        changes
    }

    /// Waits until this many changes were read; all of them.
    pub(super) async fn wait(&self, count: usize) -> Vec<Change> {
        let reached = async || Some(self.changes()).filter(|changes| changes.len() >= count);
        let changes = until_or(PATIENCE, reached, || {
            format!("{count} changes come: {:#?}", self.changes().iter().map(Change::told).collect::<Vec<_>>())
        });
        let changes = changes.await;
        assert_eq!(changes.len(), count, "{:#?}", changes.iter().map(Change::told).collect::<Vec<_>>());
        changes
    }

    /// Writes, and waits until `count` changes were read in all; what they tell.
    pub(super) async fn tells(&self, sql: &str, count: usize) -> Vec<String> {
        let before = self.changes().len();
        self.site.sql(sql).await;
        self.wait(count).await.iter().skip(before).map(Change::told).collect()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let Some(topics) = self.topics.take() else { return };
        let delete = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
            // What cannot be deleted is left to whoever looks after the broker.
            let _ = runtime.block_on(topics.delete());
        };
        let _ = std::thread::spawn(delete).join();
    }
}

impl Change {
    fn read(prefix: &str, record: Record) -> Self {
        let text =
            |bytes: Option<&[u8]>| bytes.map_or("null".to_owned(), |bytes| String::from_utf8_lossy(bytes).into());
        let raw = |value: Option<&RawValue>| value.map_or("null", RawValue::get).to_owned();
        let value = text(record.value.as_deref());
        let envelope: Option<Envelope<'_>> = serde_json::from_str(&value).expect("a value is an envelope");
        Self {
            table: record.topic.strip_prefix(prefix).unwrap_or(&record.topic).to_owned(),
            op: envelope.as_ref().map_or("-", |envelope| envelope.op).to_owned(),
            key: text(record.key.as_deref()),
            before: raw(envelope.as_ref().and_then(|envelope| envelope.before)),
            after: raw(envelope.as_ref().and_then(|envelope| envelope.after)),
            position: record.header("postrider-position").unwrap_or_default().to_owned(),
            record,
        }
    }

    /// A column of the row as it is since.
    pub(super) fn after(&self, column: &str) -> Value {
        serde_json::from_str::<Value>(&self.after).expect("a row is JSON")[column].take()
    }

    /// In one line: operation, key, and the row before and after.
    pub(super) fn told(&self) -> String {
        let Self { table, op, key, before, after, .. } = self;
        match (before.as_str(), after.as_str()) {
            ("null", "null") => format!("{table} {op} {key}"),
            ("null", after) => format!("{table} {op} {key} {after}"),
            (before, "null") => format!("{table} {op} {key} {before}"),
            (before, after) => format!("{table} {op} {key} {before} -> {after}"),
        }
    }
}
