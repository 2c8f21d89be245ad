//! What cannot be read on from: each error says what, where and what to do.

use std::time::Duration;

use postrider_relay::pipeline::{Error, Kind, Source};
use postrider_relay::sinks::kafka::WorkedOnce;
use rdkafka::admin::AdminOptions;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{Offset, TopicPartitionList};

use super::{Group, failure, next, shape};
use crate::sink_contract::secure::{PASSWORD, secured};
use crate::sink_contract::topic;

/// Commits an offset with a note by other means than ours.
fn commit(group: &Group, offset: i64, note: &str) {
    let mut list = TopicPartitionList::new();
    let mut part = list.add_partition(&group.topic, 0);
    part.set_offset(Offset::Offset(offset)).unwrap();
    part.set_metadata(note);
    group.observer().commit(&list, CommitMode::Sync).unwrap();
}

/// Reads and acknowledges so many records, and leaves; the note that stays.
async fn deliver(group: &Group, records: usize) -> String {
    let mut source = group.member().await;
    let mut read = 0;
    while read < records {
        let batch = next(&mut source).await;
        read += batch.messages.len();
        source.acknowledge(batch.end).await.unwrap();
    }
    source.close().await.unwrap();
    group.committed(0).1
}

/// Removes what comes before this offset, as retention does.
async fn remove_before(group: &Group, offset: i64) {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&group.topic, 0, Offset::Offset(offset)).unwrap();
    topic::admin(&group.options.bootstrap_servers).delete_records(&list, &AdminOptions::new()).await.unwrap();
}

async fn recreate(group: &Group) {
    topic::delete(&group.options.bootstrap_servers, &group.topic).await;
    topic::create(&group.options.bootstrap_servers, &group.topic, 1, &[]).await;
}

fn assert_says(error: &Error, kind: Kind, words: &[&str]) {
    let text = format!("{} | {}", error.chain(), error.help().unwrap_or_default());
    assert_eq!(error.kind(), kind, "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not said in: {text}");
    }
    assert!(!text.contains(PASSWORD), "{text}");
}

#[tokio::test]
async fn an_offset_that_another_program_committed_is_not_taken_over_unasked() {
    let group = Group::new().await;
    group.fill(0, 0..5);
    commit(&group, 2, "spark checkpoint 7");
    let error = failure(&mut group.member().await).await;
    assert_says(&error, Kind::Setup, &["another program", &group.topic, &group.options.group, "--to-offset 2"]);
    // As `kafka-consumer-groups.sh --reset-offsets` does it.
    commit(&group, 2, "");
    assert_eq!(next(&mut group.member().await).await.end.first, 2);
}

#[tokio::test]
async fn a_damaged_note_and_that_of_a_later_version_are_refused() {
    let group = Group::new().await.repeatable(3);
    group.fill(0, 0..5);
    drop(next(&mut group.member().await).await);
    let (offset, note) = group.committed(0);
    assert_eq!(offset, Some(0));
    commit(&group, 1, &note);
    let error = failure(&mut group.member().await).await;
    assert_says(&error, Kind::Setup, &["damaged note", "partition 0", "may then be counted twice"]);
    commit(&group, 0, "postrider9 x");
    let error = failure(&mut group.member().await).await;
    assert_says(&error, Kind::Setup, &["later version"]);
}

#[tokio::test]
async fn records_that_retention_removed_unread_are_a_gap_until_it_is_accepted() {
    let mut group = Group::new().await;
    group.fill(0, 0..10);
    deliver(&group, 10).await;
    group.fill(0, 10..30);
    // Only what was read, and then more than that.
    remove_before(&group, 10).await;
    let mut source = group.member().await;
    assert_eq!(next(&mut source).await.end.first, 10);
    source.close().await.unwrap();
    remove_before(&group, 25).await;
    let error = failure(&mut group.member().await).await;
    assert_says(&error, Kind::Gap, &["15 offsets", &group.topic, "stands at 10", "is 25", "--accept-gap"]);

    group.options.accept_gap = true;
    let mut source = group.member().await;
    let batch = next(&mut source).await;
    assert_eq!(shape(&batch).2[0], 25);
    assert_eq!(group.metrics.consumer.gaps_accepted.get(), 1);
    source.acknowledge(batch.end).await.unwrap();
    source.close().await.unwrap();
    group.options.accept_gap = false;
    group.fill(0, 30..31);
    let batch = next(&mut group.member().await).await;
    assert!(batch.end.first > 25, "{:?}", batch.end);
}

#[tokio::test]
async fn records_that_are_removed_before_the_sink_took_them_are_a_gap_while_it_reads() {
    let mut group = Group::new().await.repeatable(2);
    group.options.queue_bytes_max = 1;
    // What was accepted at the start is not what happens later.
    group.options.accept_gap = true;
    group.fill(0, 0..100);
    let mut source = group.member().await;
    let batch = next(&mut source).await;
    remove_before(&group, 90).await;
    source.rewind().await.unwrap();
    let error = failure(&mut source).await;
    assert_says(&error, Kind::Gap, &["90 offsets", "is 90"]);
    drop(batch);
}

#[tokio::test]
async fn a_topic_that_was_created_anew_is_read_from_its_beginning() {
    let group = Group::new().await;
    group.fill(0, 0..10);
    deliver(&group, 10).await;
    recreate(&group).await;
    group.fill(0, 50..53);
    // The brokers forget a group's offsets with the topic.
    let mut source = group.member().await;
    assert_eq!(shape(&next(&mut source).await).2[0], 50);
}

#[tokio::test]
async fn offsets_of_a_topic_that_was_created_anew_are_a_gap_until_it_is_accepted() {
    let mut group = Group::new().await;
    group.fill(0, 0..10);
    let note = deliver(&group, 10).await;
    recreate(&group).await;
    group.fill(0, 50..53);
    commit(&group, 10, &note);
    let error = failure(&mut group.member().await).await;
    assert_says(&error, Kind::Gap, &["ends at 3", "up to", "deleted and created anew", "--accept-gap"]);

    group.fill(0, 53..70);
    let error = failure(&mut group.member().await).await;
    assert_says(&error, Kind::Gap, &["offset 9", "is not the one", "created anew", "--to-earliest"]);

    group.options.accept_gap = true;
    let mut source = group.member().await;
    assert_eq!(shape(&next(&mut source).await).2[0], 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_whose_members_share_partitions_in_another_way_is_refused() {
    let group = Group::new().await;
    let other: BaseConsumer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", &group.options.bootstrap_servers)
        .set("group.id", &group.options.group)
        .set("partition.assignment.strategy", "range")
        .create()
        .unwrap();
    other.subscribe(&[&group.topic]).unwrap();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let (joined, has_joined) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        while matches!(stopped.try_recv(), Err(std::sync::mpsc::TryRecvError::Empty)) {
            drop(other.poll(Duration::from_millis(20)));
            if other.assignment().is_ok_and(|list| list.count() > 0) {
                let _ = joined.send(());
            }
        }
    });
    tokio::task::spawn_blocking(move || has_joined.recv().unwrap()).await.unwrap();
    let error = failure(&mut group.member().await).await;
    assert_says(&error, Kind::Setup, &["share partitions in another way", &group.options.group, "consumer.protocol"]);
    stop.send(()).unwrap();
    thread.join().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_and_with_a_login_it_reads_as_ever_and_says_which_rights_it_lacks() {
    let place = secured().await;
    let mut group = Group::on(&place.broker.bootstrap(), 1).await;
    group.fill(0, 0..3);
    let sink = place.options("SCRAM");
    group.options.security = sink.security.clone();
    group.options.security.login = place.login("SCRAM-SHA-512", "relay", PASSWORD);
    group.options.properties = sink.properties.clone();
    let plain = std::mem::replace(&mut group.options.bootstrap_servers, sink.bootstrap_servers.clone());
    let mut source = group.member().await;
    let batch = next(&mut source).await;
    assert_eq!(batch.end.first, 0);
    source.acknowledge(batch.end).await.unwrap();
    source.close().await.unwrap();

    group.options.security.login = place.login("SCRAM-SHA-512", "relay", "wrong-one");
    group.options.security.worked = WorkedOnce::default();
    let error = group.try_open().await.map(|_| ()).unwrap_err();
    assert_says(&error, Kind::Setup, &["refused the login", "kafka.sasl_username"]);

    group.options.security.login = place.login("SCRAM-SHA-256", "stranger", PASSWORD);
    let error = group.try_open().await.map(|_| ()).unwrap_err();
    assert_says(&error, Kind::Setup, &[&group.topic, "--operation Read", "kafka-acls.sh"]);
    // For the observers of the test.
    group.options.bootstrap_servers = plain;
}

#[tokio::test]
async fn a_broker_that_is_not_there_is_named_and_does_not_hang_the_opening() {
    let mut group = Group::new().await;
    group.options.bootstrap_servers = "127.0.0.1:1".into();
    group.options.connect_timeout = Duration::from_millis(500);
    let error = group.try_open().await.map(|_| ()).unwrap_err();
    assert_says(&error, Kind::Unavailable, &["127.0.0.1:1", "refused"]);
}
