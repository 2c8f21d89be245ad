//! Members of one group: what moves between them, and what keeps one a member.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use postrider_relay::pipeline::{Batch, Kind, Source};
use postrider_relay::sources::kafka::{KafkaSource, Missing, Protocol, Start, Taken, Topic};
use postrider_relay::telemetry::Metrics;
use tokio::time::timeout;

use super::{Group, failure, next, shape};
use crate::sink_contract::topic;
use crate::source_contract::PATIENCE;

const PARTITIONS: i32 = 4;
const RECORDS: u64 = 20;

/// A topic of four partitions, each with records of its own.
async fn filled() -> Group {
    let group = Group::of(PARTITIONS).await;
    for partition in 0..PARTITIONS {
        let first = partition as u64 * 100;
        group.fill(partition, first..first + RECORDS);
    }
    group
}

/// Reads until these partitions have so many records each, acknowledging nothing.
async fn take(source: &mut KafkaSource, partitions: usize, records: usize) -> BTreeMap<i32, Vec<Batch<Taken>>> {
    let mut taken: BTreeMap<i32, Vec<Batch<Taken>>> = BTreeMap::new();
    let is_complete =
        |batches: &Vec<Batch<Taken>>| batches.iter().map(|batch| batch.messages.len()).sum::<usize>() >= records;
    while taken.len() < partitions || !taken.values().all(is_complete) {
        let batch = next(source).await;
        taken.entry(batch.end.partition).or_default().push(batch);
    }
    taken
}

/// Waits until the group has committed this offset of a partition.
async fn until_committed(group: &Group, partition: i32, offset: i64) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (committed, _) = group.committed(partition);
        if committed == Some(offset) {
            return;
        }
        assert!(Instant::now() < deadline, "partition {partition} is committed at {committed:?}, not {offset}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_moves_to_another_member_is_read_again_there_and_committed_there_alone() {
    moves_between_members(filled().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_brokers_may_share_the_partitions_instead() {
    let mut group = filled().await;
    group.options.protocol = Protocol::Consumer;
    moves_between_members(group).await;
}

async fn moves_between_members(group: Group) {
    let mut first = group.member().await;
    let taken = take(&mut first, PARTITIONS as usize, RECORDS as usize).await;
    let mut second = group.member().await;
    let moved = take(&mut second, 1, RECORDS as usize).await;
    // Both members have everything in flight; the first learns only now that it is durable.
    for batch in taken.into_values().flatten() {
        first.acknowledge(batch.end).await.unwrap();
    }
    let moved_parts: BTreeSet<i32> = moved.keys().copied().collect();
    for partition in (0..PARTITIONS).filter(|partition| !moved_parts.contains(partition)) {
        // The group may still be moving a second one.
        if timeout(Duration::from_secs(5), until_committed(&group, partition, RECORDS as i64)).await.is_err() {
            let more = take(&mut second, 1, RECORDS as usize).await;
            assert_eq!(more.keys().copied().collect::<Vec<_>>(), [partition]);
        }
    }
    for partition in &moved_parts {
        assert_eq!(group.committed(*partition).0, None, "the first member committed what it no longer has");
    }
    for (partition, batches) in moved {
        let numbers: Vec<u64> = batches.iter().flat_map(|batch| shape(batch).2).collect();
        let begin = partition as u64 * 100;
        assert_eq!(numbers, (begin..begin + RECORDS).collect::<Vec<_>>());
        for batch in batches {
            second.acknowledge(batch.end).await.unwrap();
        }
        until_committed(&group, partition, RECORDS as i64).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_takes_its_cut_along_to_another_member() {
    let mut group = filled().await.repeatable(7);
    let mut first = group.member().await;
    let mut cuts = BTreeMap::new();
    while cuts.len() < PARTITIONS as usize {
        let batch = next(&mut first).await;
        cuts.insert(batch.end.partition, shape(&batch));
    }
    group.options.cuts.records_max = 1000;
    group.options.cuts.age_max = Duration::from_millis(10);
    let mut second = group.member().await;
    let batch = next(&mut second).await;
    assert_eq!(shape(&batch), cuts[&batch.end.partition]);
    drop(first);
    // The other partitions come too.
    let mut seen = BTreeSet::from([batch.end.partition]);
    while seen.len() < PARTITIONS as usize {
        let batch = next(&mut second).await;
        assert_eq!(shape(&batch), cuts[&batch.end.partition]);
        seen.insert(batch.end.partition);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_hangs_longer_than_the_session_does_not_cost_the_membership() {
    let mut group = filled().await;
    group.options.properties.push(("max.poll.interval.ms".into(), "6000".into()));
    let other = Group { options: group.options.clone(), topic: group.topic.clone(), metrics: Metrics::new() };
    let (mut first, mut second) = (group.member().await, other.member().await);
    let deadline = Instant::now() + PATIENCE;
    while (group.metrics.consumer.partitions.get(), other.metrics.consumer.partitions.get()) != (2, 2) {
        assert!(Instant::now() < deadline, "the partitions are not shared");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let rebalances = || (group.metrics.consumer.rebalances.get(), other.metrics.consumer.rebalances.get());
    let before = rebalances();
    first.rewind().await.unwrap();
    let mine = take(&mut first, 2, RECORDS as usize).await;
    let theirs = take(&mut second, 2, RECORDS as usize).await;
    tokio::time::sleep(group.options.session_timeout + Duration::from_secs(2)).await;
    assert_eq!(rebalances(), before, "a member was thrown out");
    for (source, taken) in [(&mut first, mine), (&mut second, theirs)] {
        for batch in taken.into_values().flatten() {
            source.acknowledge(batch.end).await.unwrap();
        }
    }
    for partition in 0..PARTITIONS {
        until_committed(&group, partition, RECORDS as i64).await;
    }
}

#[tokio::test]
async fn while_it_is_paused_nothing_is_fetched_and_everything_kept() {
    let group = Group::new().await;
    group.fill(0, 0..3);
    let mut source = group.member().await;
    let mut read = Vec::new();
    while read.len() < 3 {
        read.extend(shape(&next(&mut source).await).2);
    }
    let rebalances = group.metrics.consumer.rebalances.get();
    source.pause(true).await.unwrap();
    source.rewind().await.unwrap();
    group.fill(0, 3..6);
    assert!(timeout(Duration::from_secs(1), source.next()).await.is_err(), "something came while it was paused");
    assert_eq!(group.metrics.consumer.paused.get(), 1);
    source.pause(false).await.unwrap();
    let mut read = Vec::new();
    while read.len() < 6 {
        let batch = next(&mut source).await;
        read.extend(shape(&batch).2);
        source.acknowledge(batch.end).await.unwrap();
    }
    assert_eq!(read, (0..6).collect::<Vec<_>>());
    assert_eq!(group.metrics.consumer.rebalances.get(), rebalances);
}

#[tokio::test]
async fn a_queue_that_is_too_small_for_its_batches_holds_nothing_up() {
    let mut group = Group::of(2).await.repeatable(600);
    for partition in 0..2 {
        group.fill(partition, 0..1000);
    }
    let mut source = group.member().await;
    let mut cuts = BTreeMap::new();
    while cuts.len() < 2 {
        let batch = next(&mut source).await;
        cuts.insert(batch.end.partition, shape(&batch));
    }
    drop(source);
    group.options.queue_bytes_max = 4096;
    let mut source = group.member().await;
    let mut read = BTreeMap::<i32, Vec<u64>>::new();
    while read.values().map(Vec::len).sum::<usize>() < 2000 {
        let batch = next(&mut source).await;
        if let Some(cut) = cuts.remove(&batch.end.partition) {
            assert_eq!(shape(&batch), cut, "the first comes again as it was cut");
        }
        read.entry(batch.end.partition).or_default().extend(shape(&batch).2);
        source.acknowledge(batch.end).await.unwrap();
    }
    assert!(read.values().all(|numbers| *numbers == (0..1000).collect::<Vec<_>>()));
}

#[tokio::test]
async fn a_topic_that_is_missing_is_waited_for_while_others_are_read() {
    let mut group = Group::new().await;
    let later = topic::unique("later");
    group.options.topics.push(Topic { name: later.as_str().into(), route: 4, in_parts: None });
    group.fill(0, 0..2);
    let mut source = group.member().await;
    assert_eq!(group.metrics.consumer.missing_topics.get(), 1);
    let batch = next(&mut source).await;
    assert_eq!(batch.end.first, 0);
    topic::create(&group.options.bootstrap_servers, &later, 1, &[]).await;
    let other = Group { topic: later.clone(), options: group.options.clone(), metrics: group.metrics.clone() };
    other.fill(0, 7..8);
    let mut batch = next(&mut source).await;
    while *batch.end.topic != *later {
        batch = next(&mut source).await;
    }
    assert_eq!(shape(&batch).2, [7]);
    assert_eq!(group.metrics.consumer.missing_topics.get(), 0);
}

#[tokio::test]
async fn a_topic_that_is_missing_ends_the_opening_if_that_is_wished() {
    let mut group = Group::new().await;
    group.options.missing = Missing::Refuse;
    group.options.topics.push(Topic { name: "no.such.topic".into(), route: 0, in_parts: None });
    let error = group.try_open().await.map(|_| ()).unwrap_err();
    let text = format!("{} | {}", error.chain(), error.help().unwrap_or_default());
    assert_eq!(error.kind(), Kind::Setup, "{text}");
    assert!(text.contains("no.such.topic") && text.contains("kafka-topics.sh"), "{text}");
    assert!(!text.contains(&group.topic), "{text}");
}

#[tokio::test]
async fn a_group_that_begins_with_the_latest_remembers_where_it_began() {
    let mut group = Group::new().await;
    group.options.start = Start::Latest;
    group.fill(0, 0..5);
    let source = group.member().await;
    until_committed(&group, 0, 5).await;
    source.close().await.unwrap();
    group.fill(0, 5..7);
    let mut source = group.member().await;
    assert_eq!(next(&mut source).await.end.first, 5);
}

#[tokio::test]
async fn of_two_processes_with_one_name_the_first_is_fenced() {
    let mut group = Group::new().await;
    group.options.instance_id = Some("load-0".into());
    group.fill(0, 0..1);
    let mut first = group.member().await;
    next(&mut first).await;
    let mut second = group.member().await;
    let error = failure(&mut first).await;
    assert_eq!(error.kind(), Kind::Fenced, "{}", error.chain());
    assert!(error.help().is_some_and(|help| help.contains("consumer.instance_id")), "{error:?}");
    assert_eq!(next(&mut second).await.end.first, 0);
}

#[tokio::test]
async fn a_member_of_a_lasting_name_reads_topics_that_came_while_it_was_away() {
    let mut group = Group::new().await;
    group.options.instance_id = Some("load-0".into());
    let later = topic::unique("later");
    group.options.topics.push(Topic { name: later.as_str().into(), route: 0, in_parts: None });
    group.fill(0, 0..1);
    let mut source = group.member().await;
    next(&mut source).await;
    source.close().await.unwrap();
    topic::create(&group.options.bootstrap_servers, &later, 1, &[]).await;
    let other = Group { topic: later.clone(), options: group.options.clone(), metrics: group.metrics.clone() };
    other.fill(0, 7..8);
    let mut source = group.member().await;
    while *next(&mut source).await.end.topic != *later {}
}

#[tokio::test]
async fn lag_is_told_in_records_and_seconds_until_everything_is_acknowledged() {
    let group = Group::new().await;
    group.transact(0..4, true);
    let mut source = group.member().await;
    let (records, seconds) = (&group.metrics.consumer.lag_records, &group.metrics.consumer.lag_seconds);
    let lag = || {
        let label = [group.topic.as_str()];
        (records.with_label_values(&label).get(), seconds.with_label_values(&label).get())
    };
    let mut ends = Vec::new();
    let mut read = 0;
    while read < 4 {
        let batch = next(&mut source).await;
        read += batch.messages.len();
        ends.push(batch.end);
    }
    let deadline = Instant::now() + PATIENCE;
    while !matches!(lag(), (4.., seconds) if seconds > 0.0) {
        assert!(Instant::now() < deadline, "{:?}", lag());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for end in ends {
        source.acknowledge(end).await.unwrap();
    }
    // Though the transaction's marker lies behind the last record.
    while lag() != (0, 0.0) {
        assert!(Instant::now() < deadline, "{:?}", lag());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(group.metrics.consumer.commits.get() > 0);
}
