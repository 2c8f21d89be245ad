//! What is read of tables that are there.

use postrider_relay::sinks::clickhouse::{Table, TableName};

use super::database::Database;

#[tokio::test]
async fn a_table_says_what_it_is() {
    let database = Database::new().await;
    database
        .command(
            "create table {db}.t (id UUID, at DateTime64(6, 'UTC') default now64(), name Nullable(String), up String materialized upper(name), \
             _version UInt128, _deleted Bool) engine = ReplacingMergeTree(_version, _deleted) \
             partition by toYYYYMM(at) order by (id, at) settings non_replicated_deduplication_window = 1000",
        )
        .await;
    let table = Table::read(&database.client, &database.table("t")).await.unwrap().unwrap();
    assert_eq!(table.engine, "ReplacingMergeTree");
    assert_eq!(table.replacing(), Some((Some("_version"), Some("_deleted"))));
    assert_eq!((table.sorting_key.as_str(), table.partition_key.as_str()), ("id, at", "toYYYYMM(at)"));
    assert_eq!(table.window, 1000);
    let names: Vec<_> = table.columns.iter().map(|column| (column.name.as_str(), column.kind.as_str())).collect();
    assert_eq!(names[..3], [("id", "UUID"), ("at", "DateTime64(6, 'UTC')"), ("name", "Nullable(String)")]);
    let column = |name| table.column(name).unwrap();
    assert!(column("id").in_sorting_key && !column("id").in_partition_key);
    assert!(column("at").in_partition_key && column("at").has_default());
    assert_eq!(column("at").default_expression, "now64()");
    assert!(!column("up").is_writable() && column("name").is_writable());
}

#[tokio::test]
async fn a_table_that_is_not_there_is_none_and_no_error() {
    let database = Database::new().await;
    assert_eq!(Table::read(&database.client, &database.table("t")).await, Ok(None));
    let nowhere = TableName::parse("no_such_database", "t");
    assert_eq!(Table::read(&database.client, &nowhere).await, Ok(None));
}

#[tokio::test]
async fn a_window_that_is_not_set_is_the_servers() {
    let database = Database::new().await;
    database.command("create table {db}.t (id UInt8) engine = MergeTree order by id").await;
    let table = Table::read(&database.client, &database.table("t")).await.unwrap().unwrap();
    assert_eq!((table.window, table.replacing()), (0, None));
}

#[tokio::test]
async fn views_are_found_with_their_targets_and_those_that_feed_on_them() {
    let database = Database::new().await;
    let with_window = "settings non_replicated_deduplication_window = 100";
    for sql in [
        "create table {db}.t (id UInt64) engine = MergeTree order by id",
        &format!("create table {{db}}.target (n UInt64) engine = MergeTree order by n {with_window}"),
        "create table {db}.further (n UInt64) engine = MergeTree order by n",
        "create materialized view {db}.v to {db}.target as select id as n from {db}.t",
        "create materialized view {db}.on_target to {db}.further as select n from {db}.target",
        &format!(
            "create materialized view {{db}}.inner_one engine = MergeTree order by n {with_window} as select id as n from {{db}}.t"
        ),
        "create materialized view {db}.now_and_then refresh every 1 day engine = MergeTree order by n as select id as n from {db}.t",
    ] {
        database.command(sql).await;
    }
    let table = Table::read(&database.client, &database.table("t")).await.unwrap().unwrap();
    let views = table.views(&database.client).await.unwrap();
    let found: Vec<_> = views
        .iter()
        .map(|view| {
            let target = if view.target.table.starts_with(".inner") { ".inner" } else { &view.target.table };
            (view.name.table.as_str(), view.source.table.as_str(), target, view.window)
        })
        .collect();
    assert_eq!(
        found,
        [("inner_one", "t", ".inner", 100), ("v", "t", "target", 100), ("on_target", "target", "further", 0)]
    );
    assert!(views.iter().all(|view| view.engine == "MergeTree"), "{views:?}");
}
