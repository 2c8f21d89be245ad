//! Where batches are cut: by records, bytes and age, and at the same places again.

use std::time::{Duration, Instant};

use postrider_relay::pipeline::Source;
use postrider_relay::sources::kafka::{Cuts, KafkaSource};

use super::{Group, next, shape};

/// Reads and acknowledges batches until so many records were read; their shapes.
async fn drain(source: &mut KafkaSource, count: usize) -> Vec<(i64, i64, Vec<u64>)> {
    let (mut shapes, mut read) = (Vec::new(), 0);
    while read < count {
        let batch = next(source).await;
        read += batch.messages.len();
        shapes.push(shape(&batch));
        source.acknowledge(batch.end).await.unwrap();
    }
    shapes
}

#[tokio::test]
async fn a_batch_says_what_it_was_cut_out_of_and_holds_the_records_as_they_were_written() {
    let group = Group::new().await;
    group.fill(0, 0..3);
    let mut source = group.member().await;
    let batch = next(&mut source).await;
    let cut = batch.messages.cut().expect("it was cut out of a log");
    assert_eq!((&*cut.topic, cut.partition, cut.first), (group.topic.as_str(), 0, 0));
    assert_eq!(cut.last, batch.messages.len() as i64 - 1);
    let record = batch.messages.at(0).unwrap();
    assert_eq!((record.topic(), record.route(), record.position()), (group.topic.as_str(), 3, 0));
    assert_eq!((record.key(), record.value()), (Some(&b"key-0"[..]), Some(&b"0"[..])));
    assert!(record.timestamp_ms() > 1_600_000_000_000);
    assert_eq!(batch.end.to_string(), format!("{}/0@{}", group.topic, cut.last));
}

#[tokio::test]
async fn batches_are_cut_by_records_and_by_bytes() {
    let mut group = Group::new().await.repeatable(10);
    group.fill(0, 0..30);
    let mut source = group.member().await;
    let firsts: Vec<i64> = drain(&mut source, 30).await.iter().map(|(first, ..)| *first).collect();
    assert_eq!(firsts, [0, 10, 20]);
    source.close().await.unwrap();

    group.options.cuts.bytes_max = 1;
    group.fill(0, 30..33);
    let mut source = group.member().await;
    assert_eq!(drain(&mut source, 3).await.len(), 3, "each record is larger than a batch may be");
}

#[tokio::test]
async fn a_batch_leaves_when_it_is_old_enough_and_without_an_age_at_once() {
    let mut group = Group::new().await.repeatable(1000);
    group.options.cuts.age_max = Duration::from_millis(300);
    let mut source = group.member().await;
    group.fill(0, 0..1);
    drain(&mut source, 1).await;
    let began = Instant::now();
    group.fill(0, 1..3);
    let shapes = drain(&mut source, 2).await;
    assert!(began.elapsed() >= Duration::from_millis(290), "{:?} {shapes:?}", began.elapsed());
    source.close().await.unwrap();

    group.options.repeatable = false;
    group.options.cuts.age_max = Duration::ZERO;
    let mut source = group.member().await;
    let producer = group.producer(&[]);
    let mut fastest = Duration::MAX;
    for number in 3..50 {
        let began = Instant::now();
        group.send(&producer, 0, number..number + 1);
        drain(&mut source, 1).await;
        fastest = fastest.min(began.elapsed());
    }
    assert!(fastest < Duration::from_millis(20), "{fastest:?}");
}

#[tokio::test]
async fn a_batch_leaves_only_when_its_cut_is_durable() {
    let group = Group::new().await.repeatable(4);
    group.fill(0, 0..4);
    let mut source = group.member().await;
    let batch = next(&mut source).await;
    let (offset, note) = group.committed(0);
    assert_eq!(offset, Some(0));
    assert!(note.starts_with("postrider1 ") && note.ends_with(" 3"), "{note}");
    source.acknowledge(batch.end).await.unwrap();
}

#[tokio::test]
async fn what_was_not_acknowledged_comes_again_in_the_same_batches_after_a_rewind_and_a_crash() {
    let mut group = Group::new().await.repeatable(7);
    group.fill(0, 0..7);
    let mut source = group.member().await;
    let first = shape(&next(&mut source).await);
    // More is there now, and the limits are others: the cut stays as it was.
    group.fill(0, 7..50);
    source.rewind().await.unwrap();
    assert_eq!(shape(&next(&mut source).await), first);
    drop(source);
    group.options.cuts.records_max = 1000;
    group.options.cuts.age_max = Duration::from_millis(50);
    let mut source = group.member().await;
    let batch = next(&mut source).await;
    assert_eq!(shape(&batch), first);
    source.acknowledge(batch.end).await.unwrap();
    let rest = drain(&mut source, 43).await;
    assert_eq!(rest[0].0, 7);
}

/// Reads the parts of a batch; of each, what came before and its offsets.
async fn parts(source: &mut KafkaSource, count: usize) -> Vec<(usize, i64, i64, bool)> {
    let mut parts = Vec::new();
    while parts.len() < count {
        let batch = next(source).await;
        let cut = batch.messages.cut().expect("it was cut out of a log");
        assert_eq!(batch.messages.at(0).map(|record| record.position()), u128::try_from(cut.first).ok());
        assert_eq!(cut.last - cut.first + 1, batch.messages.len() as i64);
        parts.push((cut.part.before, cut.first, cut.last, cut.part.more));
    }
    parts
}

#[tokio::test]
async fn a_large_batch_comes_in_parts_and_is_cut_recorded_and_committed_as_one() {
    let mut group = Group::new().await.repeatable(7);
    group.options.topics[0].in_parts = Some(Cuts { records_max: 10_000, ..group.options.cuts });
    group.fill(0, 0..12_000);
    let mut source = group.member().await;
    let begun = parts(&mut source, 2).await;
    assert_eq!(begun, [(0, 0, 4095, true), (4096, 4096, 8191, true)]);
    // Nothing of it is delivered yet: it comes again from its first record.
    source.rewind().await.unwrap();
    assert_eq!(parts(&mut source, 2).await, begun);
    drop(source);
    let mut source = group.member().await;
    assert_eq!(parts(&mut source, 2).await, begun);
    let last = next(&mut source).await;
    let cut = last.messages.cut().unwrap();
    assert_eq!((cut.part.before, cut.first, cut.last, cut.part.more), (8192, 8192, 9999, false));
    assert_eq!((last.end.first, last.end.last), (0, 9999));
    let (offset, note) = group.committed(0);
    assert!(
        offset == Some(0) && note.ends_with(" 9999"),
        "the cut is durable before it is complete: {offset:?} {note}"
    );
    source.acknowledge(last.end).await.unwrap();
    source.close().await.unwrap();
    assert_eq!(group.committed(0).0, Some(10_000));
}

#[tokio::test]
async fn a_batch_in_parts_that_was_split_comes_in_two() {
    let mut group = Group::new().await.repeatable(10_000);
    group.options.topics[0].in_parts = Some(group.options.cuts);
    group.fill(0, 0..10_000);
    let mut source = group.member().await;
    parts(&mut source, 2).await;
    let last = next(&mut source).await;
    source.split(last.end, 5_000).await.unwrap();
    source.rewind().await.unwrap();
    assert_eq!(parts(&mut source, 1).await, [(0, 0, 4095, true)]);
    let first = next(&mut source).await;
    assert_eq!((first.end.first, first.end.last), (0, 4999));
    source.acknowledge(first.end).await.unwrap();
    let rest = parts(&mut source, 2).await;
    assert_eq!(rest, [(0, 5000, 9095, true), (4096, 9096, 9999, false)]);
}

#[tokio::test]
async fn a_batch_that_was_split_stays_split() {
    let group = Group::new().await.repeatable(8);
    group.fill(0, 0..8);
    let mut source = group.member().await;
    let whole = next(&mut source).await;
    assert_eq!(whole.messages.len(), 8);
    source.split(whole.end, 3).await.unwrap();
    source.rewind().await.unwrap();
    let part = next(&mut source).await;
    assert_eq!(shape(&part), (0, 2, vec![0, 1, 2]));
    source.split(part.end, 1).await.unwrap();
    source.rewind().await.unwrap();
    assert_eq!(shape(&next(&mut source).await), (0, 0, vec![0]));
    drop(source);
    let mut source = group.member().await;
    let shapes = drain(&mut source, 8).await;
    assert_eq!(shapes, [(0, 0, vec![0]), (1, 2, vec![1, 2]), (3, 7, vec![3, 4, 5, 6, 7])]);
    assert_eq!(group.metrics.consumer.splits.get(), 2);
}

#[tokio::test]
async fn one_batch_of_a_partition_is_unacknowledged_where_cuts_are_repeatable() {
    let group = Group::new().await.repeatable(2);
    group.fill(0, 0..6);
    let mut source = group.member().await;
    let first = next(&mut source).await;
    let second = tokio::time::timeout(Duration::from_millis(500), source.next()).await;
    assert!(second.is_err(), "the second came before the first was acknowledged");
    source.acknowledge(first.end).await.unwrap();
    assert_eq!(shape(&next(&mut source).await), (2, 3, vec![2, 3]));
}
