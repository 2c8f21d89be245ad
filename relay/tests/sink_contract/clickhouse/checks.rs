//! What is not as exactly-once results need it ends the start, with the statement that mends it.

use postrider_relay::sinks::clickhouse::From;

use super::place::{Place, append, current};

const WINDOW: &str = "settings non_replicated_deduplication_window = 1000";

#[tokio::test]
async fn a_table_without_a_window_is_refused_and_so_is_the_target_of_a_view_behind_a_view() {
    let place = Place::with(&[
        "create table numbers (n Int64) engine = MergeTree order by n",
        &format!("create table first (n Int64) engine = MergeTree order by n {WINDOW}"),
        "create table second (n Int64) engine = MergeTree order by n",
        "create materialized view to_first to first as select n from numbers",
        "create materialized view to_second to second as select n from first",
    ])
    .await;
    let feed = append("numbers", &[]);
    for (table, named) in [("numbers", "numbers remembers"), ("second", "to_second remembers")] {
        let (what, help) = place.refusal(feed.clone()).await;
        assert!(what.contains(named), "{what}");
        let database = &place.options.database;
        let mend =
            format!("ALTER TABLE `{database}`.`{table}` MODIFY SETTING non_replicated_deduplication_window = 1000");
        assert_eq!(help, mend);
        place.run(&help).await;
    }
    drop(place.open(&[feed]).await);
}

#[tokio::test]
async fn a_table_that_cannot_keep_current_rows_is_refused_with_the_reason() {
    let columns = "id Int64, at DateTime, _version UInt128, _deleted Bool";
    for (table, reason) in [
        (format!("create table t ({columns}) engine = MergeTree order by id {WINDOW}"), "cannot keep the current rows"),
        (
            format!("create table t ({columns}) engine = ReplacingMergeTree(_version) order by id {WINDOW}"),
            "cannot keep the current rows",
        ),
        (
            format!(
                "create table t (id Int64, _version UInt64, _deleted Bool) engine = ReplacingMergeTree(_version) order by id {WINDOW}"
            ),
            "cannot keep the current rows",
        ),
        (
            format!(
                "create table t (id Int64, _version UInt64, _deleted UInt8) engine = ReplacingMergeTree(_version, _deleted) order by id {WINDOW}"
            ),
            "is UInt64 and must be UInt128",
        ),
        (
            format!(
                "create table t ({columns}) engine = ReplacingMergeTree(_version, _deleted) partition by toYYYYMM(at) order by id {WINDOW}"
            ),
            "is partitioned by at, which is not part of its key (id)",
        ),
        (
            format!(
                "create table t ({columns}) engine = ReplacingMergeTree(_version, _deleted) order by intHash64(id) {WINDOW}"
            ),
            "sorted by the columns of the captured table's key",
        ),
        (format!("create table t ({columns}) engine = Log"), "is a Log"),
    ] {
        let place = Place::with(&[&table]).await;
        let (what, help) = place.refusal(current("t")).await;
        assert!(what.contains(reason), "{what}");
        assert!(!help.is_empty());
    }
}

#[tokio::test]
async fn what_is_not_there_or_cannot_be_filled_is_named() {
    let place = Place::with(&[&format!(
        "create table t (n Int64, twice Int64 materialized n * 2, state AggregateFunction(count)) engine = MergeTree order by n {WINDOW}"
    )])
    .await;
    let (what, help) = place.refusal(append("nowhere", &[])).await;
    assert!(what.contains("nowhere does not exist"), "{what}");
    assert!(help.contains("CREATE TABLE") && help.contains("create = true"), "{help}");
    let constant = From::Constant(String::new());
    let (what, _) = place.refusal(append("t", &[("m", constant.clone())])).await;
    assert!(what.contains("has no column m"), "{what}");
    let (what, _) = place.refusal(append("t", &[("twice", constant)])).await;
    assert!(what.contains("column twice") && what.contains("is computed"), "{what}");
    let (what, help) = place.refusal(append("t", &[])).await;
    assert!(what.contains("column state") && help.contains("`columns`"), "{what}");
    let mut feed = append("t", &[]);
    feed.columns = Some(vec!["n".to_owned()]);
    drop(place.open(&[feed]).await);
}
