//! What the tests of parking ask of the table and of topics, and the verbs as a person runs them.

use harness::{PATIENCE, Site, admin, alter_topic, until_or};
use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};

/// A parked event.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) position: String,
    pub(super) state: String,
    pub(super) topic: String,
    pub(super) key: String,
    pub(super) reason: String,
    pub(super) attempts: i32,
}

/// Everything in the table, in the order of positions.
pub(super) async fn rows(site: &Site) -> Vec<Row> {
    let sql = "select position, state, topic, coalesce(convert_from(key, 'utf8'), ''), coalesce(reason, ''), attempts
               from postrider.parked order by position";
    let rows = site.db().query(sql, &[]).await.unwrap();
    let row = |row: &tokio_postgres::Row| Row {
        position: row.get(0),
        state: row.get(1),
        topic: row.get(2),
        key: row.get(3),
        reason: row.get(4),
        attempts: row.get(5),
    };
    rows.iter().map(row).collect()
}

/// The states in the order of positions.
pub(super) async fn states(site: &Site) -> Vec<String> {
    rows(site).await.into_iter().map(|row| row.state).collect()
}

/// Waits until this many events are in the table.
pub(super) async fn parked(site: &Site, events: usize) {
    let mut last = Vec::new();
    let enough = async || {
        last = rows(site).await;
        (last.len() >= events).then_some(())
    };
    until_or(PATIENCE, enough, || format!("{events} events are parked")).await;
}

/// Runs `postrider parked …` as the relay's role, and insists on success and on words.
pub(super) fn act(site: &Site, arguments: &[&str], words: &[&str]) {
    let launch = arguments.iter().fold(site.relay(), |launch, argument| launch.argument(argument));
    launch.complete("parked").expect(0, words);
}

/// Sets what a topic takes, in bytes.
pub(super) async fn limit(site: &Site, topic: &str, bytes: &str) {
    alter_topic(site.bootstrap(), topic, "max.message.bytes", bytes).await;
}

/// Makes a topic of one partition.
pub(super) async fn create_topic(site: &Site, topic: &str) {
    harness::create_topic(site.bootstrap(), NewTopic::new(topic, 1, TopicReplication::Fixed(1))).await;
}

/// Leaves nothing behind.
pub(super) async fn delete_topic(site: &Site, topic: &str) {
    let _ = admin(site.bootstrap()).delete_topics(&[topic], &AdminOptions::new()).await;
}
