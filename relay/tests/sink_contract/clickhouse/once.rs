//! Exactly once: the same batch again, a view that fails, a row that the server refuses.

use postrider_relay::pipeline::{Durable, Kind, Messages, Sink};
use serde_json::json;

use super::current::records_at;
use super::place::{Place, append, load};

const WINDOW: &str = "settings non_replicated_deduplication_window = 1000";

pub(super) fn numbers(first: i64, numbers: impl IntoIterator<Item = i64>) -> Messages {
    let records: Vec<_> = numbers.into_iter().map(|n| (None, Some(format!("{{\"n\":{n}}}")), None)).collect();
    records_at(first, &records)
}

/// A table of numbers, of which `more` is said, and a view that counts them.
pub(super) async fn counting(more: &str) -> Place {
    Place::with(&[
        &format!("create table numbers (n Int64{more}) engine = MergeTree order by n {WINDOW}"),
        &format!("create table totals (k Int64, c AggregateFunction(count)) engine = AggregatingMergeTree order by k {WINDOW}"),
        "create materialized view totalling to totals as select n % 2 as k, countState() as c from numbers group by k",
    ])
    .await
}

pub(super) async fn counts(place: &Place) -> Vec<serde_json::Value> {
    place.rows("select (select count() from numbers), (select countMerge(c) from totals)").await
}

#[tokio::test]
async fn a_batch_that_comes_again_as_it_was_cut_is_counted_once_in_the_table_and_behind_every_view() {
    let place = counting("").await;
    let mut sink = place.open(&[append("numbers", &[])]).await;
    for _ in 0..3 {
        assert_eq!(load(&mut sink, numbers(0, 0..100)).await.unwrap(), Durable::default());
    }
    // A process that begins anew sends the same.
    let mut sink = place.open(&[append("numbers", &[])]).await;
    assert_eq!(load(&mut sink, numbers(0, 0..100)).await.unwrap(), Durable::default());
    assert_eq!(counts(&place).await, [json!([100, 100])]);
    // Other records at the same offsets, as of a topic that was made anew, are not taken for them.
    assert_eq!(load(&mut sink, numbers(0, 100..200)).await.unwrap(), Durable::default());
    assert_eq!(counts(&place).await, [json!([200, 200])]);
}

#[tokio::test]
async fn what_a_view_refuses_is_neither_cut_nor_given_up_and_counts_once_when_the_view_is_mended() {
    let place = counting("").await;
    place.run(&format!("create table others (n Int64) engine = MergeTree order by n {WINDOW}")).await;
    place.run("create materialized view failing to others as select n + throwIf(n = 7) as n from numbers").await;
    let mut sink = place.open(&[append("numbers", &[])]).await;
    for _ in 0..2 {
        let error = load(&mut sink, numbers(0, 0..100)).await.expect_err("the view fails");
        assert_eq!(error.kind(), Kind::Unavailable);
        assert!(error.chain().contains("failing"), "{}", error.chain());
        sink.reset().await.unwrap();
    }
    place.run("drop view failing").await;
    place.run("create materialized view failing to others as select n from numbers").await;
    assert_eq!(load(&mut sink, numbers(0, 0..100)).await.unwrap(), Durable::default());
    assert_eq!(counts(&place).await, [json!([100, 100])]);
    assert_eq!(place.value("select count() from others").await, json!(100));
}

#[tokio::test]
async fn a_row_that_a_constraint_refuses_is_found_by_cutting_and_only_it_leaves() {
    let place = counting(", constraint small check n != 777").await;
    let mut sink = place.open(&[append("numbers", &[])]).await;
    // As a source does that is told to cut: the same records, in smaller parts, in order.
    let mut parts: Vec<_> = std::iter::once(700..800_i64).collect();
    let mut refused = Vec::new();
    while let Some(part) = parts.pop() {
        let fate = load(&mut sink, numbers(part.start - 700, part.clone())).await.unwrap();
        if let Some(split) = fate.split {
            assert!(!split.reason.contains("777"), "{}", split.reason);
            let middle = part.start + split.after as i64;
            assert!(part.start < middle && middle < part.end);
            parts.extend([middle..part.end, part.start..middle]);
            sink.reset().await.unwrap();
        } else if let Some(one) = fate.refused.first() {
            assert_eq!((part.end - part.start, one.index), (1, 0));
            refused.push((part.start, one.reason.clone()));
        }
    }
    assert_eq!(refused.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [777]);
    assert!(refused[0].1.contains("VIOLATED_CONSTRAINT"), "{}", refused[0].1);
    assert_eq!(counts(&place).await, [json!([99, 99])]);
}
