//! A database of a test's own on the shared server.

use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use postrider_relay::encode::native::{Block, Column, Reading, Type};
use postrider_relay::sinks::clickhouse::{ClickHouseOptions, Client, Collapse, Failure, TableName};

/// A database that nobody else uses; what it held is gone when the next test run's name differs.
pub(super) struct Database {
    pub(super) client: Client,
    pub(super) name: String,
}

impl Database {
    pub(super) async fn new() -> Self {
        let url = xtask::services::current().expect("services run").clickhouse_url.expect("ClickHouse runs");
        let mut options = ClickHouseOptions::new(url, "default");
        options.compressed = false;
        Self::with(Client::new(&options).expect("a client")).await
    }

    pub(super) async fn with(client: Client) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("native_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        client
            .command("make a database", &format!("drop database if exists {name}"))
            .await
            .expect("the server does it");
        client.command("make a database", &format!("create database {name}")).await.expect("the server does it");
        Self { client, name }
    }

    pub(super) fn table(&self, table: &str) -> TableName {
        TableName { database: self.name.clone(), table: table.to_owned() }
    }

    pub(super) async fn command(&self, sql: &str) {
        self.client.command("prepare a test", &sql.replace("{db}", &self.name)).await.expect("the server does it");
    }

    /// The first column of an answer, as text.
    pub(super) async fn texts(&self, sql: &str) -> Vec<String> {
        let sql = sql.replace("{db}", &self.name);
        let rows: Vec<Vec<String>> = self.lines(&sql).await;
        rows.into_iter().map(|mut row| row.swap_remove(0)).collect()
    }

    /// The rows of an answer, each value as the server prints it.
    pub(super) async fn lines(&self, sql: &str) -> Vec<Vec<String>> {
        let answer =
            self.client.bytes("read back", sql, "JSONCompactStringsEachRow", &[]).await.expect("the server does it");
        serde_json::Deserializer::from_slice(&answer).into_iter().collect::<Result<_, _>>().expect("rows")
    }

    pub(super) async fn insert(&self, table: &str, block: Block, token: &str) -> Result<(), Failure> {
        let mut bytes = Vec::new();
        block.write(&mut bytes);
        let columns: Vec<&str> = block.columns.iter().map(Column::name).collect();
        self.client.insert(&self.table(table), &columns, token, Bytes::from(bytes), Collapse::AtOnce).await
    }
}

/// A column of that type with those values.
pub(super) fn column(name: &str, of: &str, values: &[&str], reading: &Reading) -> Column {
    let mut column = Column::new(name, Type::parse(of).expect("a type"));
    for json in values {
        column.push_json(json, reading).expect("it fits");
    }
    column
}
