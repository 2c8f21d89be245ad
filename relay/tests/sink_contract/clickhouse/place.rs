//! A database of its own on the shared ClickHouse, and an independent look at it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use postrider_relay::pipeline::{Assigned, Durable, Error, Gathered, Kind, Messages, Receipt, Sink};
use postrider_relay::sinks::clickhouse::{
    ClickHouse, ClickHouseOptions, Client, Feed, From, LoadOptions, OnTruncate, Rows, Unknown,
};
use postrider_relay::telemetry::Metrics;
use serde_json::Value;

use super::super::PATIENCE;

/// A database that nobody else uses.
pub(in crate::sink_contract) struct Place {
    pub(in crate::sink_contract) options: ClickHouseOptions,
    pub(in crate::sink_contract) metrics: Arc<Metrics>,
    pub(in crate::sink_contract) assigned: Assigned,
    pub(in crate::sink_contract) gathered: Gathered,
    client: Client,
}

impl Place {
    /// Makes it, with these tables.
    pub(in crate::sink_contract) async fn with(tables: &[&str]) -> Self {
        let url = xtask::services::current().unwrap().clickhouse_url.unwrap();
        Self::on(url, tables).await
    }

    pub(in crate::sink_contract) async fn on(url: String, tables: &[&str]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let database = format!("load_{}_{since}_{number}", std::process::id());
        let nowhere = Client::new(&ClickHouseOptions::new(url.clone(), "default")).unwrap();
        nowhere.command("make a database", &format!("create database {database} engine = Atomic")).await.unwrap();
        let options = ClickHouseOptions::new(url, database);
        let client = Client::new(&options).unwrap();
        let (assigned, gathered) = (Assigned::default(), Gathered::default());
        for partition in 0..2 {
            assigned.add(&Arc::from("t"), partition);
        }
        let place = Self { options, metrics: Metrics::new(), assigned, gathered, client };
        for table in tables {
            place.run(table).await;
        }
        place
    }

    /// Runs a statement.
    pub(in crate::sink_contract) async fn run(&self, sql: &str) {
        self.client.command("prepare a test", sql).await.unwrap();
    }

    /// The rows of an answer, each as a JSON array.
    pub(in crate::sink_contract) async fn rows(&self, sql: &str) -> Vec<Value> {
        let bytes = self.client.bytes("look", sql, "JSONCompactEachRow", &[]).await.unwrap();
        serde_json::Deserializer::from_slice(&bytes).into_iter().collect::<Result<_, _>>().unwrap()
    }

    /// The single value of an answer.
    pub(in crate::sink_contract) async fn value(&self, sql: &str) -> Value {
        self.rows(sql).await[0][0].clone()
    }

    /// Opens a sink that loads by these feeds.
    pub(in crate::sink_contract) async fn open(&self, feeds: &[Feed]) -> ClickHouse {
        self.try_open(feeds).await.unwrap()
    }

    pub(in crate::sink_contract) async fn try_open(&self, feeds: &[Feed]) -> Result<ClickHouse, Error> {
        let load = LoadOptions {
            feeds: feeds.to_vec(),
            inserts_in_flight_max: 4,
            salt: String::new(),
            assigned: self.assigned.clone(),
            gathered: self.gathered.clone(),
        };
        ClickHouse::open(&self.options, load, Arc::clone(&self.metrics)).await
    }

    /// What opening refuses to begin with: what is wrong, and the mend.
    pub(in crate::sink_contract) async fn refusal(&self, feed: Feed) -> (String, String) {
        let error = self.try_open(&[feed]).await.expect_err("refused");
        assert_eq!(error.kind(), Kind::Setup, "{}", error.chain());
        (error.chain(), error.help().unwrap_or_default().to_owned())
    }
}

/// A feed of the topic `t` into `table` with nothing special.
pub(in crate::sink_contract) fn feed(table: &str, rows: Rows) -> Feed {
    let on_truncate = if matches!(rows, Rows::Current { .. }) { OnTruncate::Delete } else { OnTruncate::Ignore };
    Feed {
        name: table.to_owned(),
        topic: Arc::from("t"),
        table: table.to_owned(),
        rows,
        columns: None,
        from: Vec::new(),
        unknown: Unknown::Ignore,
        on_truncate,
        create: false,
        order_by: None,
    }
}

/// A feed that keeps current rows, with its view.
pub(in crate::sink_contract) fn current(table: &str) -> Feed {
    feed(table, Rows::Current { view: true })
}

/// A feed that appends a row for each record.
pub(in crate::sink_contract) fn append(table: &str, from: &[(&str, From)]) -> Feed {
    let operations = vec!['c', 'u', 'd', 'r'];
    let from = from.iter().map(|(column, from)| ((*column).to_owned(), from.clone())).collect();
    Feed { from, ..feed(table, Rows::Append { operations }) }
}

/// Sends a batch and waits for its fate.
pub(in crate::sink_contract) async fn load(sink: &mut ClickHouse, messages: Messages) -> Result<Durable, Error> {
    let receipt: Receipt = sink.send(messages).await?;
    tokio::time::timeout(PATIENCE, receipt).await.expect("the receipt resolves")
}
