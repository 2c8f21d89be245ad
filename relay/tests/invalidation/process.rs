//! The process itself: from a topic to Redis, and a SIGKILL between the two passes.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use postrider_relay::shape::rules::options::Does;
use rdkafka::ClientConfig;
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use xtask::services;

use super::place::{PATIENCE, Place, change, rule};
use crate::command_line::program::Program;
use crate::sink_contract::topic;

/// Long enough that a kill after the first pass comes before the second one.
const SECOND_PASS_MS: &str = "4000";

/// The worker, killed when dropped.
struct Worker(Child);

impl Worker {
    fn start(program: &Program, config: &std::path::Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postrider"));
        let log = std::fs::File::create(program.folder().join("log")).expect("a log");
        command.current_dir(program.folder()).arg("invalidate").arg("--config").arg(config);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"POSTRIDER_")) {
            command.env_remove(name);
        }
        Self(command.stdout(Stdio::null()).stderr(log).spawn().expect("the worker starts"))
    }

    fn kill(mut self) {
        self.0.kill().expect("it runs");
        self.0.wait().expect("it ends");
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn publish(bootstrap: &str, topic: &str, position: u128, after: &str) {
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", bootstrap).create().unwrap();
    let (position, value) = change(position, "u", "null", after);
    let digits = format!("{position:032x}");
    let header = rdkafka::message::Header { key: "postrider-position", value: Some(&digits) };
    let record = BaseRecord::<str, [u8]>::to(topic).payload(&value).headers(OwnedHeaders::new().insert(header));
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(PATIENCE).unwrap();
}

async fn until_gone(place: &mut Place, key: &str, within: Duration, program: &Program) -> Duration {
    let started = Instant::now();
    while place.exists(key).await {
        let log = || std::fs::read_to_string(program.folder().join("log")).unwrap_or_default();
        assert!(started.elapsed() < within, "{key} is still there\n{}", log());
        tokio::task::yield_now().await;
    }
    started.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_between_the_passes_loses_no_second_pass() {
    let environment = services::current().expect("the services run");
    let bootstrap = environment.kafka.bootstrap.clone();
    let mut place = Place::shared(|prefix| vec![rule("a", "unused", Does::Keys, &[format!("{prefix}:{{id}}")])]).await;
    let topic = topic::unique("invalidate");
    topic::create(&bootstrap, &topic, 1, &[]).await;
    let program = Program::new();
    let (url, prefix) = (environment.redis_url.expect("Redis runs"), &place.prefix);
    let config = program.file(
        "worker.toml",
        &format!(
            "kafka.bootstrap_servers = '{bootstrap}'\nredis.url = '{}'\nadmin.listen = ''\n\
             consumer.session_timeout_ms = 6000\n[invalidate]\ngroup = '{topic}'\nsecond_pass_ms = {SECOND_PASS_MS}\n\
             [invalidate.rules.a]\ntopic = '{topic}'\nstrategy = 'keys'\ntargets = ['{prefix}:{{id}}']\n",
            url.trim_end_matches('/')
        ),
    );
    let key = place.name("1");
    place.run::<()>(&["SET", &key, "old"]).await;
    let worker = Worker::start(&program, &config);
    publish(&bootstrap, &topic, 10, r#"{"id":1}"#);
    until_gone(&mut place, &key, PATIENCE, &program).await;
    // Filled from before the change was visible; the pass that would remove it dies with the process.
    place.run::<()>(&["SET", &key, "old again"]).await;
    worker.kill();
    assert!(place.exists(&key).await);

    let _worker = Worker::start(&program, &config);
    until_gone(&mut place, &key, PATIENCE, &program).await;
    place.run::<()>(&["SET", &key, "once more"]).await;
    until_gone(&mut place, &key, PATIENCE, &program).await;
    topic::delete(&bootstrap, &topic).await;
}
