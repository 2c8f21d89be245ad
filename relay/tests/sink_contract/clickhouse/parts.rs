//! A batch that comes in parts is one: one insert under one token, whatever the parts.

use std::ops::Range;

use postrider_relay::pipeline::{Durable, Kind, Messages, Part, Sink};
use postrider_relay::sinks::clickhouse::{ClickHouse, Unknown};
use serde_json::json;

use super::current::records_at;
use super::once::{counting, counts, numbers};
use super::place::{append, load};

/// These numbers, at these offsets, as a part of a batch of `partition` that began at `first`.
fn part(partition: i32, first: i64, of: Range<i64>, more: bool) -> Messages {
    as_part(numbers(of.start, of.clone()), partition, of.start - first, more)
}

fn as_part(mut messages: Messages, partition: i32, before: i64, more: bool) -> Messages {
    let mut cut = messages.cut().unwrap().clone();
    cut.partition = partition;
    cut.part = Part { before: usize::try_from(before).unwrap(), bytes_before: 0, more };
    messages.set_cut(cut);
    messages
}

/// Sends a batch of partition 0 in parts that end before these numbers.
async fn load_parts(sink: &mut ClickHouse, first: i64, ends: &[i64]) -> Durable {
    let mut begin = first;
    for (at, end) in ends.iter().enumerate() {
        let more = at + 1 < ends.len();
        let fate = load(sink, part(0, first, begin..*end, more)).await.unwrap();
        if !more {
            return fate;
        }
        assert_eq!(fate, Durable::default(), "what is not complete has no fate");
        begin = *end;
    }
    unreachable!("a batch has a last part")
}

#[tokio::test]
async fn a_batch_in_parts_is_one_insert_and_the_same_whatever_the_parts() {
    let place = counting("").await;
    let mut sink = place.open(&[append("numbers", &[])]).await;
    assert_eq!(load_parts(&mut sink, 0, &[10, 40, 41, 100]).await, Durable::default());
    assert_eq!(counts(&place).await, [json!([100, 100])]);
    let parts = "select count() from system.parts where database = currentDatabase() and table = 'numbers' and active";
    assert_eq!(place.value(parts).await, json!(1));
    // Other parts, none, and another process: always the same batch.
    assert_eq!(load_parts(&mut sink, 0, &[50, 100]).await, Durable::default());
    assert_eq!(load(&mut sink, numbers(0, 0..100)).await.unwrap(), Durable::default());
    let mut sink = place.open(&[append("numbers", &[])]).await;
    assert_eq!(load_parts(&mut sink, 0, &[99, 100]).await, Durable::default());
    assert_eq!(counts(&place).await, [json!([100, 100])]);
    // A longer one is another.
    assert_eq!(load_parts(&mut sink, 100, &[150, 201]).await, Durable::default());
    assert_eq!(counts(&place).await, [json!([201, 201])]);
}

#[tokio::test]
async fn of_a_batch_that_is_not_complete_nothing_is_sent_and_it_begins_anew_with_its_first_part() {
    let place = counting("").await;
    let mut sink = place.open(&[append("numbers", &[])]).await;
    for end in [10, 30] {
        load(&mut sink, part(0, 0, 0..end, true)).await.unwrap();
    }
    assert_eq!(load(&mut sink, part(0, 0, 30..100, false)).await.unwrap(), Durable::default());
    assert_eq!(counts(&place).await, [json!([100, 100])]);
    load(&mut sink, part(0, 100, 100..150, true)).await.unwrap();
    sink.reset().await.unwrap();
    let error = load(&mut sink, part(0, 100, 150..200, false)).await.expect_err("its first part was forgotten");
    assert!(error.kind() == Kind::Refused && error.is_retried_at_once(), "{}", error.chain());
    assert_eq!(counts(&place).await, [json!([100, 100])]);
    assert_eq!(load_parts(&mut sink, 100, &[150, 200]).await, Durable::default());
    assert_eq!(counts(&place).await, [json!([200, 200])]);
}

#[tokio::test]
async fn parts_of_several_partitions_are_kept_apart_and_those_of_lost_ones_are_forgotten() {
    let place = counting("").await;
    let mut sink = place.open(&[append("numbers", &[])]).await;
    load(&mut sink, part(0, 0, 0..50, true)).await.unwrap();
    let held = |partition| place.gathered.bytes([("t".into(), partition)]);
    assert!(held(0) > 50 * 8 && held(1) == 0, "{}", held(0));
    load(&mut sink, part(1, 0, 0..50, true)).await.unwrap();
    assert_eq!(held(1), held(0));
    // What is delivered again, at somebody's wish, is a batch of its own between them.
    let mut replayed = numbers(7, 7..8);
    replayed.set_salt(1);
    assert_eq!(load(&mut sink, replayed).await.unwrap(), Durable::default());
    assert_eq!(load(&mut sink, part(1, 0, 50..60, false)).await.unwrap(), Durable::default());
    assert_eq!(load(&mut sink, part(0, 0, 50..70, false)).await.unwrap(), Durable::default());
    assert_eq!((counts(&place).await, held(0), held(1)), (vec![json!([131, 131])], 0, 0));
    load(&mut sink, part(1, 60, 60..110, true)).await.unwrap();
    place.assigned.remove(&"t".into(), 1);
    load(&mut sink, part(0, 70, 70..120, true)).await.unwrap();
    let error = load(&mut sink, part(1, 60, 110..120, false)).await.expect_err("its partition was lost");
    assert!(error.is_retried_at_once(), "{}", error.chain());
    assert!(held(0) > 0);
    // A batch that comes again from its first record takes the place of what there was of it.
    assert_eq!(load(&mut sink, part(0, 70, 70..80, false)).await.unwrap(), Durable::default());
    assert_eq!((held(0), counts(&place).await), (0, vec![json!([141, 141])]));
    load(&mut sink, part(0, 80, 80..130, true)).await.unwrap();
    sink.reset().await.unwrap();
    assert_eq!(held(0), 0);
}

#[tokio::test]
async fn a_table_that_is_altered_amid_a_batch_gets_the_batch_once_and_whole() {
    let place = counting("").await;
    let mut feed = append("numbers", &[]);
    feed.unknown = Unknown::Add;
    let mut sink = place.open(&[feed]).await;
    let named =
        || as_part(records_at(50, &[(None, Some(r#"{"n":50,"name":"fifty"}"#.to_owned()), None)]), 0, 50, false);
    load(&mut sink, part(0, 0, 0..50, true)).await.unwrap();
    let error = load(&mut sink, named()).await.expect_err("the first part has no such column");
    assert!(error.is_retried_at_once() && error.to_string().contains("altered"), "{}", error.chain());
    load(&mut sink, part(0, 0, 0..50, true)).await.unwrap();
    assert_eq!(load(&mut sink, named()).await.unwrap(), Durable::default());
    assert_eq!(counts(&place).await, [json!([51, 51])]);
    assert_eq!(place.rows("select n, name from numbers where name != ''").await, [json!([50, "fifty"])]);
}

#[tokio::test]
async fn a_batch_in_parts_that_is_refused_is_cut_in_its_middle_and_one_of_a_single_record_refuses_that() {
    let place = counting(", constraint small check n != 777").await;
    let mut sink = place.open(&[append("numbers", &[])]).await;
    let split = load_parts(&mut sink, 700, &[790, 800]).await.split.expect("it is cut");
    assert_eq!(split.after, 50);
    sink.reset().await.unwrap();
    // Its other records are letters already, so that this one is all that is left.
    let last = as_part(records_at(778, &[]), 0, 1, false);
    load(&mut sink, part(0, 777, 777..778, true)).await.unwrap();
    let refused = load(&mut sink, last).await.unwrap().refused;
    assert_eq!(refused.iter().map(|refused| refused.index).collect::<Vec<_>>(), [0]);
    assert_eq!(counts(&place).await, [json!([0, 0])]);
}
