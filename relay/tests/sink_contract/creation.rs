//! Topics that come into being at their first event, or do not; their names are what a hostile writer chose.

use std::sync::Arc;

use postrider_relay::pipeline::{Durable, Refused, Sink};
use postrider_relay::sinks::Kafka;
use regex::Regex;

use super::batch::{batch, keyed};
use super::kafka::Shared;
use super::topic::{self, unique};
use super::{Rig, durable};

async fn admit(sink: &mut Kafka, topic: &str) -> Vec<Refused> {
    sink.admit(&batch(topic, &[keyed(1, 1)])).await.unwrap()
}

#[tokio::test]
async fn a_missing_topic_is_created_as_configured() {
    let mut rig = Shared::new();
    rig.options.topics.partitions = 5;
    rig.options.topics.replication_factor = 1;
    rig.options.topics.cleanup_policy = Some("compact,delete".into());
    rig.options.topics.retention_ms = Some(86_400_000);
    let (mut sink, _) = rig.open().await;
    assert_eq!(admit(&mut sink, rig.topic()).await, []);
    let receipt = sink.send(batch(rig.topic(), &[keyed(1, 1)])).await.unwrap();
    assert_eq!(durable(receipt).await, Durable::default());
    let broker = &rig.options.bootstrap_servers;
    assert_eq!(topic::config(broker, rig.topic(), "cleanup.policy").await, "compact,delete");
    assert_eq!(topic::config(broker, rig.topic(), "retention.ms").await, "86400000");
    assert_eq!(sink.partitions(rig.topic()), Some(5));
}

#[tokio::test]
async fn sinks_that_need_the_same_topic_at_once_all_get_it() {
    let rig = Arc::new(Shared::new());
    let sending: Vec<_> = (0..4)
        .map(|number| {
            let rig = Arc::clone(&rig);
            tokio::spawn(async move {
                let (mut sink, _) = rig.open().await;
                let receipt = sink.send(batch(rig.topic(), &[keyed(number, number)])).await.unwrap();
                assert_eq!(durable(receipt).await, Durable::default());
            })
        })
        .collect();
    for sending in sending {
        sending.await.unwrap();
    }
    assert_eq!(rig.delivered().await.unwrap().len(), 4);
}

#[tokio::test]
async fn names_that_are_not_allowed_are_refused_and_leave_nothing_behind() {
    let mut rig = Shared::new();
    let prefix = unique("allowed");
    rig.options.topics.allow = Some(Regex::new(&format!("^(?:{}\\.[a-z]+)$", regex::escape(&prefix))).unwrap());
    let (mut sink, _) = rig.open().await;
    assert_eq!(admit(&mut sink, &format!("{prefix}.order")).await, []);
    for (name, why) in [
        (format!("{prefix}.UPPER"), "topics.allow"),
        (format!("x{prefix}.order"), "topics.allow"),
        (format!("{prefix}.order/../etc"), "letters, digits"),
        (format!("{prefix}.größe"), "letters, digits"),
        (format!("{prefix}.a\0b"), "letters, digits"),
        (format!("{prefix}.a\nb"), "letters, digits"),
        (format!("{prefix}.{}", "a".repeat(5000)), "characters"),
        (String::new(), "not a topic's name"),
        ("..".into(), "not a topic's name"),
        ("__consumer_offsets".into(), "Kafka's own"),
        (rig.options.progress_topic.clone(), "witnesses"),
    ] {
        let refused = admit(&mut sink, &name).await;
        assert_eq!(refused.len(), 1, "{name:?}");
        assert!(refused[0].reason.contains(why) && refused[0].reason.len() < 1000, "{name:?}: {refused:?}");
        assert!(!refused[0].reason.contains(['\0', '\n']), "{refused:?}");
        assert!(refused[0].help.is_some(), "{refused:?}");
    }
    let made: Vec<String> =
        topic::names(&rig.options.bootstrap_servers).into_iter().filter(|name| name.contains(&prefix)).collect();
    assert_eq!(made, [format!("{prefix}.order")]);
}

#[tokio::test]
async fn names_that_differ_only_by_dots_and_underscores_are_refused_with_the_one_that_is_there() {
    let rig = Shared::new();
    let name = unique("colliding");
    let (mut sink, _) = rig.open().await;
    assert_eq!(admit(&mut sink, &format!("{name}.a_b")).await, []);
    let refused = admit(&mut sink, &format!("{name}.a.b")).await;
    assert!(refused[0].reason.contains(&format!("{name}.a_b")), "{refused:?}");
    assert!(refused[0].reason.contains("dots and underscores"), "{refused:?}");
    // In one batch too: one of the two exists afterwards.
    let mut both = 0;
    for name in [format!("{name}.c_d"), format!("{name}.c.d")] {
        both += admit(&mut sink, &name).await.len();
    }
    assert_eq!(both, 1);
}

#[tokio::test]
async fn ten_thousand_names_create_no_more_topics_than_may_be_and_hold_up_nothing() {
    let mut rig = Shared::new();
    rig.options.topics.topics_max = 5;
    rig.options.topics.partitions = 1;
    let prefix = unique("explosion");
    let (mut sink, _) = rig.open().await;
    let mut refused = 0;
    for first in (0..10_000).step_by(500) {
        let mut messages = postrider_relay::pipeline::Messages::over(bytes::Bytes::new());
        for number in first..first + 500 {
            messages.push(postrider_relay::pipeline::Message {
                topic: format!("{prefix}.{number}").into(),
                key: None,
                value: None,
                headers: 0..0,
                timestamp_ms: super::batch::COMMITTED_AT_MS,
                position: u128::from(number as u64) + 1,
                route: 0,
            });
        }
        let answers = sink.admit(&messages).await.unwrap();
        assert!(answers.iter().all(|answer| answer.reason.contains("created 5 topics already")), "{:?}", answers[0]);
        refused += answers.len();
        // What was refused last is not asked for again, and a topic that is there goes on.
        assert_eq!(admit(&mut sink, &format!("{prefix}.0")).await, []);
    }
    assert_eq!(refused, 9_995);
    let made =
        topic::names(&rig.options.bootstrap_servers).into_iter().filter(|name| name.starts_with(&prefix)).count();
    assert_eq!(made, 5);
}

#[tokio::test]
async fn a_replication_that_the_cluster_cannot_give_is_refused_with_the_section_that_asks_for_it() {
    let mut rig = Shared::new();
    rig.options.topics.replication_factor = 3;
    let (mut sink, _) = rig.open().await;
    let refused = admit(&mut sink, rig.topic()).await;
    assert!(refused[0].reason.contains("[topics]"), "{refused:?}");
    assert!(refused[0].help.as_deref().unwrap().contains("--replication-factor 3"), "{refused:?}");
}

#[tokio::test]
async fn a_topic_that_is_deleted_under_way_is_created_again() {
    let rig = Shared::new();
    let broker = rig.options.bootstrap_servers.clone();
    let (mut sink, _) = rig.open().await;
    let receipt = sink.send(batch(rig.topic(), &[keyed(1, 1)])).await.unwrap();
    assert_eq!(durable(receipt).await, Durable::default());
    topic::delete(&broker, rig.topic()).await;
    sink.reset().await.unwrap();
    let again = async {
        loop {
            assert_eq!(admit(&mut sink, rig.topic()).await, []);
            let receipt = sink.send(batch(rig.topic(), &[keyed(1, 2)])).await.unwrap();
            if receipt.await.is_ok() {
                return;
            }
            sink.reset().await.unwrap();
        }
    };
    tokio::time::timeout(super::PATIENCE, again).await.unwrap();
    assert_eq!(topic::numbers_of(&rig.delivered().await.unwrap(), 1), [2]);
}
