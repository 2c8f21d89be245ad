//! Takes the printed steps as a person would: SQL as the administrator, commands, lines of the configuration.
//!
//! Kafka's own tools are a JVM each; what they would do is done by the same requests through a client.

use std::process::Command;

use harness::{Site, alter_topic, create_topic};
use rdkafka::admin::{NewTopic, TopicReplication};

use crate::check::case::Guard;
use crate::check::{Finding, Step};

/// Takes every step of every finding; what was done, for the table.
pub(super) async fn apply(
    site: &Site,
    findings: &[Finding],
    variables: &mut Vec<(String, String)>,
    guards: Vec<Guard>,
) -> String {
    let mut kinds = Vec::new();
    let mut guards = Some(guards);
    for finding in findings {
        // Another finding's steps may have mended this one too, so that a step has nothing left to do.
        for step in &finding.mend {
            if step.kind == "words" {
                // Stopping what is in the way is what words ask for.
                guards = guards.filter(|_| !step.text.starts_with("stop "));
                continue;
            }
            take(site, step, variables).await;
            if !kinds.contains(&step.kind) {
                kinds.push(step.kind.clone());
            }
        }
    }
    drop(guards);
    kinds.join(", ")
}

async fn take(site: &Site, step: &Step, variables: &mut Vec<(String, String)>) {
    match step.kind.as_str() {
        "sql" => site.sql(&step.text).await,
        "configuration" => variables.push(variable(&step.text)),
        "command" => command(site, &step.text, variables).await,
        other => panic!("a step of the kind {other}"),
    }
}

/// The variable of a line such as `source.slot = "other"`.
fn variable(line: &str) -> (String, String) {
    let (key, value) = line.split_once(" = ").unwrap();
    let value = value.trim_matches('"').to_owned();
    match key.strip_prefix("kafka.properties.") {
        Some(property) => ("POSTRIDER_KAFKA_PROPERTIES".to_owned(), format!("{property}={value}")),
        None => (format!("POSTRIDER_{}", key.replace('.', "_").to_uppercase()), value),
    }
}

async fn command(site: &Site, line: &str, variables: &[(String, String)]) {
    let words: Vec<&str> = line.split(' ').collect();
    let option = |name: &str| {
        let at = words.iter().position(|word| *word == name).unwrap_or_else(|| panic!("{name} is not in {line}"));
        words[at + 1]
    };
    match words[0] {
        "postrider" => postrider(site, words[1], &words[2..], variables).await,
        "kafka-configs.sh" => {
            let (name, value) = option("--add-config").split_once('=').unwrap();
            alter_topic(option("--bootstrap-server"), option("--entity-name"), name, value).await;
        }
        "kafka-topics.sh" => {
            let count = |name| option(name).parse().unwrap();
            let replicas = TopicReplication::Fixed(count("--replication-factor"));
            let topic = NewTopic::new(option("--topic"), count("--partitions"), replicas);
            create_topic(option("--bootstrap-server"), topic).await;
        }
        "psql" => {
            let server = site.server();
            let output = Command::new("sh")
                .args(["-c", line])
                .env("PGHOST", &server.socket_dir)
                .env("PGPORT", server.port.to_string())
                .env("PGUSER", &server.user)
                .output()
                .unwrap();
            assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        }
        _ => panic!("no test takes the step {line}"),
    }
}

async fn postrider(site: &Site, verb: &str, arguments: &[&str], variables: &[(String, String)]) {
    let launch = if verb == "init" { site.initialiser() } else { site.administrator() };
    let launch = variables.iter().fold(launch, |launch, (name, value)| launch.with(name, value));
    let launch = arguments.iter().fold(launch, |launch, argument| launch.argument(argument));
    if verb == "run" {
        let mut relay = launch.start();
        relay.ready().await;
        // Its progress must be durable before it goes: that it has caught up is what the step is for.
        site.sql("select postrider.emit('order', 'mended', 'Changed', '{\"n\": 1}')").await;
        let end = site.wal_end().await;
        harness::until("the slot is confirmed", harness::PATIENCE, async || {
            (site.confirmed().await >= end).then_some(())
        })
        .await;
        relay.terminate().await.expect(0, &[]);
    } else {
        launch.complete(verb).expect(0, &[]);
    }
}
