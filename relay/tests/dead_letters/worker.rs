//! A loader as a process of its own, between a topic and a table that are its own.

use std::fs::File;
use std::net::TcpListener;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use clickhouse::Client;
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;

use crate::command_line::program::{Program, Said};
use crate::sink_contract::topic;

/// How long anything may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(90);

/// How often to look.
const LOOK: Duration = Duration::from_millis(100);

/// A topic, a table, and the program that loads the one into the other.
pub(super) struct Chain {
    pub(super) topic: String,
    client: Client,
    program: Program,
    admin: String,
    worker: Option<Child>,
}

impl Chain {
    /// A topic of two partitions, and the table `events (id UInt64, n UInt8)` on the ClickHouse at `url`.
    pub(super) async fn on(url: &str, more: &str) -> Self {
        let bootstrap = xtask::services::current().unwrap().kafka.bootstrap;
        let topic = topic::unique("poisoned");
        topic::create(&bootstrap, &topic, 2, &[]).await;
        let database = topic.replace(['.', '-'], "_");
        let client = Client::default().with_url(url);
        client.query(&format!("create database {database} engine = Atomic")).execute().await.unwrap();
        let client = client.with_database(&database);
        let table = "create table events (id UInt64, n UInt8) engine = MergeTree order by id \
                     settings non_replicated_deduplication_window = 1000";
        client.query(table).execute().await.unwrap();
        // Free a moment ago; only this test's worker asks for it.
        let admin = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let program = Program::new();
        program.file(
            "postrider.toml",
            &format!(
                "[kafka]\nbootstrap_servers = \"{bootstrap}\"\n[clickhouse]\nurl = \"{url}\"\ndatabase = \"{database}\"\n\
                 [load]\ngroup = \"{topic}\"\n[load.tables.events]\ntopic = \"{topic}\"\nkind = \"append\"\n\
                 [consumer]\ninstance_id = \"one\"\nbatch_age_ms = 50\nbatch_records_max = 2000\n\
                 [dead_letter]\npoll_interval_ms = 50\n[admin]\nlisten = \"{admin}\"\n{more}"
            ),
        );
        Self { topic, client, program, admin, worker: None }
    }

    /// Writes the configuration anew, with one text in place of another.
    pub(super) fn reconfigure(&self, text: &str, instead: &str) {
        let path = self.program.folder().join("postrider.toml");
        let before = std::fs::read_to_string(&path).unwrap();
        assert!(before.contains(text));
        std::fs::write(path, before.replace(text, instead)).unwrap();
    }

    /// Writes the records `ids`, of which every hundredth has no number for `n` if `poisoned`.
    pub(super) fn fill(&self, ids: std::ops::Range<u64>, poisoned: bool) {
        let bootstrap = xtask::services::current().unwrap().kafka.bootstrap;
        let producer: BaseProducer =
            ClientConfig::new().set("bootstrap.servers", bootstrap).set("enable.idempotence", "true").create().unwrap();
        for id in ids {
            let n = if poisoned && id % 100 == 7 { "\"many\"".to_owned() } else { (id % 200).to_string() };
            let (key, value) = (format!("key-{}", id % 10), format!("{{\"id\":{id},\"n\":{n}}}"));
            let partition = i32::try_from(id % 10 % 2).unwrap();
            let record = BaseRecord::to(&self.topic).partition(partition).key(&key).payload(&value);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(PATIENCE).unwrap();
    }

    /// Writes one record.
    pub(super) fn write(&self, partition: i32, key: &str, value: &str, headers: &[(&str, &str)]) {
        let bootstrap = xtask::services::current().unwrap().kafka.bootstrap;
        let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", bootstrap).create().unwrap();
        let headers = headers
            .iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(*value) }));
        let record = BaseRecord::to(&self.topic).partition(partition).key(key).payload(value).headers(headers);
        producer.send(record).map_err(|(error, _)| error).unwrap();
        producer.flush(PATIENCE).unwrap();
    }

    /// The single row that a question has for an answer, as text.
    pub(super) async fn text(&self, sql: &str) -> Option<String> {
        self.client.query(sql).fetch_optional().await.unwrap_or_default()
    }

    pub(super) fn start(&mut self) {
        let log = File::options().create(true).append(true).open(self.program.folder().join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_postrider"));
        command.current_dir(self.program.folder()).arg("load").stdout(log.try_clone().unwrap()).stderr(log);
        self.worker = Some(command.spawn().unwrap());
    }

    /// Kills it as a power cut does.
    pub(super) fn kill(&mut self) {
        if let Some(mut worker) = self.worker.take() {
            worker.kill().unwrap();
            worker.wait().unwrap();
        }
    }

    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(self.program.folder().join("log")).unwrap_or_default()
    }

    pub(super) async fn run(&self, sql: &str) {
        self.client.query(sql).execute().await.unwrap();
    }

    /// Rows of the table, and how many different ones.
    pub(super) async fn rows(&self) -> (u64, u64) {
        self.client.query("select count(), uniqExact(id) from events").fetch_one().await.unwrap_or_default()
    }

    /// Waits until the table has so many rows, each once.
    pub(super) async fn await_rows(&self, rows: u64) {
        self.until(&format!("{rows} rows"), async || self.rows().await == (rows, rows)).await;
    }

    pub(super) async fn until(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds().await {
            assert!(Instant::now() < deadline, "waited for {what}; {:?} rows\n{}", self.rows().await, self.log());
            tokio::time::sleep(LOOK).await;
        }
    }

    pub(super) fn dlq(&self, arguments: &[&str]) -> Said {
        self.program.run(&[&["dlq"], arguments].concat())
    }

    /// The answer of a verb of `dlq` as JSON.
    pub(super) fn dlq_json(&self, arguments: &[&str]) -> Value {
        let said = self.dlq(&[arguments, &["--output", "json"]].concat());
        assert_eq!((said.code, said.error.as_str()), (0, ""), "{}\n{}", said.out, self.log());
        serde_json::from_str(&said.out).unwrap()
    }

    /// What the worker says of itself; null if it does not answer.
    pub(super) fn status(&self) -> Value {
        let url = format!("http://{}", self.admin);
        serde_json::from_str(&self.program.run(&["status", "--url", &url, "--output", "json"]).out).unwrap_or_default()
    }

    /// The breaker of the worker's sink.
    pub(super) fn breaker(&self) -> Option<(String, u64)> {
        let status = self.status();
        let breaker = status["breakers"].as_array()?.iter().find(|breaker| breaker["end"] == "sink")?.clone();
        Some((breaker["state"].as_str()?.to_owned(), breaker["opened"].as_u64()?))
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        if let Some(worker) = &mut self.worker {
            worker.kill().ok();
            worker.wait().ok();
        }
    }
}
