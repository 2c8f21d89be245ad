//! What a place for dead letters promises, on the shared broker with topics of its own.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use postrider_relay::pipeline::dead_letters::{
    Identity, Letter, Letters, News, Noted, Order, Returned, Stays, Step, Verb,
};
use postrider_relay::pipeline::{Kind, Message, Messages, Refused};
use postrider_relay::sinks::KafkaOptions;
use postrider_relay::sinks::lots::letters::Shape;
use postrider_relay::sinks::lots::{KafkaLetters, KafkaLettersOptions};
use postrider_relay::telemetry::Metrics;
use tokio::time::timeout;

use crate::sink_contract::topic;

const PATIENCE: Duration = Duration::from_secs(60);

fn options(job: &str) -> KafkaLettersOptions {
    KafkaLettersOptions {
        kafka: KafkaOptions::new(xtask::services::current().unwrap().kafka.bootstrap),
        topic: topic::unique("letters"),
        job: job.to_owned(),
        shape: Shape::Original,
        retention: Duration::from_secs(20 * 24 * 3600),
        replication_factor: -1,
        poll_interval: Duration::from_millis(50),
    }
}

async fn open(options: &KafkaLettersOptions) -> KafkaLetters {
    KafkaLetters::open(options.clone(), Metrics::new()).await.unwrap_or_else(|error| panic!("{}", error.chain()))
}

/// Records of partition 2 of topic `t` with these offsets and values.
fn records(of: &[(u128, &[u8])]) -> Messages {
    let mut messages = Messages::over(Bytes::new());
    for (position, value) in of {
        let mark = messages.header_mark();
        let name = messages.keep(b"correlation-id");
        let id = messages.keep(&[0, 255]);
        messages.header(postrider_relay::pipeline::HeaderName::Span(name), Some(id));
        let headers = mark..messages.header_mark();
        let (key, value) = (Some(messages.keep(b"\xffkey")), Some(messages.keep(value)));
        let (topic, position) = (Arc::from("t"), *position);
        messages.push(Message { topic, key, value, headers, timestamp_ms: 1_000_000_000_123, position, route: 0 });
    }
    messages
}

fn identity(offset: i64) -> Identity {
    Identity { topic: Arc::from("t"), partition: 2, offset }
}

async fn condemn(letters: &mut KafkaLetters, messages: &Messages) {
    let all: Vec<Letter<'_>> = messages
        .iter()
        .map(|message| Letter {
            message,
            identity: identity(message.position() as i64),
            refused: Some(Refused::new(0, "column n takes no text").with_code("type")),
            attempts: 1,
            failed_at_ms: 5,
            ordered: true,
        })
        .collect();
    letters.condemn(&all).await.unwrap_or_else(|error| panic!("{}", error.chain()));
}

fn noted(news: &[News]) -> Vec<&Noted> {
    news.iter().filter_map(|news| if let News::Letter(noted) = news { Some(noted) } else { None }).collect()
}

fn order(step: Step, returned: Vec<Returned>) -> Order {
    Order {
        id: 42,
        verb: Verb::Replay,
        step,
        topic: Arc::from("t"),
        partition: 2,
        offsets: vec![7, 9],
        again: false,
        by: "anna".to_owned(),
        at_ms: 1,
        done_at_ms: None,
        returned,
    }
}

#[tokio::test]
async fn letters_come_back_to_the_byte_and_everybody_of_the_group_knows_them() {
    let options = options("load");
    let mut mine = open(&options).await;
    assert_eq!(mine.news().await.unwrap(), []);
    let messages = records(&[(7, b"{\"n\":\"x\"}"), (9, b"\0\xff")]);
    condemn(&mut mine, &messages).await;
    let mut other = open(&options).await;
    let (known, again) = (mine.news().await.unwrap(), other.news().await.unwrap());
    assert_eq!(known, again);
    let letters = noted(&known);
    assert_eq!(letters.iter().map(|letter| letter.identity.offset).collect::<Vec<_>>(), [7, 9]);
    assert!(letters.iter().all(|letter| letter.held_key.is_some() && !letter.waiting));
    let wanted: Vec<_> = letters.iter().rev().map(|letter| (letter.identity.clone(), letter.place)).collect();
    let fetched = other.fetch(&wanted).await.unwrap();
    for (fetched, sent) in fetched.iter().zip([messages.at(1).unwrap(), messages.at(0).unwrap()]) {
        assert_eq!((fetched.topic(), fetched.key(), fetched.value()), (sent.topic(), sent.key(), sent.value()));
        assert_eq!((fetched.position(), fetched.timestamp_ms()), (sent.position(), sent.timestamp_ms()));
        assert!(fetched.headers().eq(sent.headers()));
    }
    assert_eq!(mine.news().await.unwrap(), [], "what was told is no news");
    let bootstrap = &options.kafka.bootstrap_servers;
    assert_eq!(topic::config(bootstrap, &options.topic, "retention.ms").await, "1728000000");
    let orders = format!("{}-orders", options.topic);
    assert_eq!(topic::config(bootstrap, &orders, "cleanup.policy").await, "compact");
}

#[tokio::test]
async fn groups_that_share_a_topic_see_only_what_is_their_own() {
    let options = options("load");
    let mut mine = open(&options).await;
    let mut other = open(&KafkaLettersOptions { job: "invalidate".to_owned(), ..options.clone() }).await;
    condemn(&mut mine, &records(&[(7, b"v")])).await;
    mine.write(&[order(Step::Asked, Vec::new())]).await.unwrap();
    assert_eq!(other.news().await.unwrap(), []);
    assert_eq!(mine.news().await.unwrap().len(), 2);
}

#[tokio::test]
async fn an_order_is_heard_of_and_comes_after_the_letters_that_it_names() {
    let options = options("load");
    let (mut worker, mut person) = (open(&options).await, open(&options).await);
    worker.news().await.unwrap();
    condemn(&mut person, &records(&[(7, b"v"), (9, b"v")])).await;
    let returned = vec![Returned { offset: 9, why: Stays::Refused, reason: "still".to_owned() }];
    let orders = [order(Step::Asked, Vec::new()), order(Step::Done, returned)];
    person.write(&orders).await.unwrap();
    let mut news = Vec::new();
    while news.len() < 4 {
        timeout(PATIENCE, worker.heard()).await.expect("it is heard of");
        news.extend(worker.news().await.unwrap());
    }
    assert_eq!(noted(&news[..2]).len(), 2, "{news:?}");
    assert_eq!(news[2..], orders.map(News::Order));
}

#[tokio::test]
async fn a_record_of_the_largest_size_fits() {
    let options = options("load");
    let mut letters = open(&options).await;
    let value = vec![b'x'; 1_048_000];
    condemn(&mut letters, &records(&[(1, &value)])).await;
    let news = letters.news().await.unwrap();
    let wanted = [(identity(1), noted(&news)[0].place)];
    let fetched = letters.fetch(&wanted).await.unwrap();
    assert_eq!(fetched.at(0).unwrap().value().map(<[u8]>::len), Some(value.len()));
}

#[tokio::test]
async fn without_a_broker_opening_says_so() {
    let mut options = options("load");
    options.kafka = KafkaOptions::new("127.0.0.1:1");
    options.kafka.connect_timeout = Duration::from_millis(500);
    let error = KafkaLetters::open(options, Metrics::new()).await.err().expect("nobody is there");
    assert_eq!(error.kind(), Kind::Unavailable);
}
