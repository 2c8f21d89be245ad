//! The way to the server: who may, what is pinned, and what is told when something goes wrong.

use std::time::Duration;

use bytes::Bytes;
use postrider_relay::encode::native::{Block, Reading};
use postrider_relay::sinks::clickhouse::{Class, ClickHouseOptions, Client, Collapse};
use xtask::services::certificates::{Authority, Subject};
use xtask::services::{ClickhouseTls, ClickhouseUser, PrivateClickhouse};

use super::database::{Database, column};

fn numbers(values: &[&str]) -> Block {
    Block::new(vec![column("n", "UInt64", values, &Reading::Plain)])
}

#[tokio::test]
async fn the_same_token_again_does_nothing_in_the_table_and_in_its_views() {
    let database = Database::new().await;
    for sql in [
        "create table {db}.t (n UInt64) engine = MergeTree order by n settings non_replicated_deduplication_window = 100",
        "create table {db}.sums (n UInt64) engine = SummingMergeTree order by tuple() settings non_replicated_deduplication_window = 100",
        "create materialized view {db}.v to {db}.sums as select n from {db}.t",
    ] {
        database.command(sql).await;
    }
    for token in ["a", "a", "b", "a"] {
        database.insert("t", numbers(&["1", "2"]), token).await.unwrap();
    }
    assert_eq!(database.texts("select count() from {db}.t").await, ["4"]);
    assert_eq!(database.texts("select sum(n) from {db}.sums").await, ["6"]);
}

#[tokio::test]
async fn null_in_a_column_without_null_is_its_default() {
    let database = Database::new().await;
    database
        .command("create table {db}.t (n UInt64, kind String default concat('k', toString(n))) engine = Memory")
        .await;
    let kind = column("kind", "Nullable(String)", &["null", r#""own""#], &Reading::Plain);
    let n = column("n", "UInt64", &["1", "2"], &Reading::Plain);
    database.insert("t", Block::new(vec![n, kind]), "1").await.unwrap();
    assert_eq!(database.texts("select kind from {db}.t order by n").await, ["k1", "own"]);
}

#[tokio::test]
async fn parameters_travel_as_they_are() {
    let database = Database::new().await;
    for value in ["", "a'b\"c`d", "a\\b\tc\nd", "é🐎", "{x:String}", "?"] {
        let rows: Vec<serde_json::Value> =
            database.client.rows("echo", "select {value:String} as v, '?' as w", &[("value", value)]).await.unwrap();
        assert_eq!(rows, [serde_json::json!({"v": value, "w": "?"})]);
    }
}

#[tokio::test]
async fn what_goes_wrong_is_classed_and_named() {
    let database = Database::new().await;
    let failure = database.insert("missing", numbers(&["1"]), "1").await.unwrap_err();
    assert_eq!((failure.class(), failure.name()), (Class::Setup, Some("UNKNOWN_TABLE")), "{failure}");
    assert!(failure.to_string().contains("missing"), "{failure}");

    database
        .command("create table {db}.t (n UInt64, constraint small check n < 100) engine = MergeTree order by n")
        .await;
    let failure = database.insert("t", numbers(&["1", "4242"]), "1").await.unwrap_err();
    assert_eq!((failure.class(), failure.name()), (Class::Data, Some("VIOLATED_CONSTRAINT")), "{failure}");
    assert!(failure.to_string().contains("small") && !failure.to_string().contains("4242"), "{failure}");
    assert_eq!(database.texts("select count() from {db}.t").await, ["0"]);

    let other = Block::new(vec![column("m", "UInt64", &["1"], &Reading::Plain)]);
    let failure = database.insert("t", other, "1").await.unwrap_err();
    assert_eq!((failure.class(), failure.name()), (Class::Setup, Some("NO_SUCH_COLUMN_IN_TABLE")), "{failure}");

    let failure = database.client.command("make a table", "create table nonsense").await.unwrap_err();
    assert!(failure.to_string().starts_with("ClickHouse: make a table: "), "{failure}");
}

#[tokio::test]
async fn a_view_that_refuses_is_named() {
    let database = Database::new().await;
    for sql in [
        "create table {db}.t (n UInt64) engine = MergeTree order by n",
        "create table {db}.target (n UInt64) engine = MergeTree order by n",
        "create materialized view {db}.picky to {db}.target as select n + throwIf(n = 4242, 'no') as n from {db}.t",
    ] {
        database.command(sql).await;
    }
    let failure = database.insert("t", numbers(&["4242"]), "1").await.unwrap_err();
    assert_eq!(failure.class(), Class::Data, "{failure}");
    assert_eq!(failure.of_view(), Some(format!("{}.picky", database.name).as_str()), "{failure}");
    assert!(!failure.to_string().contains("4242"), "{failure}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_away_and_named() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let client = Client::new(&ClickHouseOptions::new(format!("http://{nobody}"), "default")).unwrap();
    let failure = client.ping().await.unwrap_err();
    assert_eq!(failure.class(), Class::Away);
    assert!(failure.to_string().contains("refused"), "{failure}");
}

#[tokio::test]
async fn packed_rows_arrive_and_a_wrong_password_is_a_matter_of_set_up() {
    let user = ClickhouseUser { name: "loader", password: "hush", reads_only: false };
    let server = PrivateClickhouse::start_with(&[user], None).unwrap();
    let mut options = ClickHouseOptions::new(server.url(), "default");
    options.user = "loader".to_owned();
    options.password = Some("hush".to_owned());
    let mut client = Client::new(&options).unwrap();
    assert!(client.meet().await.unwrap().starts_with("26."));
    let database = Database::with(client).await;
    database.command("create table {db}.t (n UInt64) engine = MergeTree order by n").await;
    // Several pieces of a megabyte each.
    let values: Vec<String> = (0..400_000).map(|n: u64| n.to_string()).collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    database.insert("t", numbers(&values), "1").await.unwrap();
    assert_eq!(database.texts("select sum(n) from {db}.t").await, ["79999800000"]);

    options.password = Some("wrong".to_owned());
    let failure = Client::new(&options).unwrap().ping().await.unwrap_err();
    assert_eq!((failure.class(), failure.code()), (Class::Setup, Some(516)), "{failure}");
    assert!(!failure.to_string().contains("wrong"), "{failure}");
}

#[tokio::test]
async fn certificates_are_checked() {
    let authority = Authority::new("test authority").unwrap();
    let names = ["127.0.0.1", "localhost"];
    let server_pair = authority.sign(Subject { common_name: "clickhouse", names: &names, expired: false }).unwrap();
    let tls = ClickhouseTls { chain: &server_pair.chain, key: &server_pair.key, clients: None };
    let server = PrivateClickhouse::start_with(&[], Some(tls)).unwrap();
    let folder = std::env::temp_dir().join(format!("postrider-clickhouse-tls-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (own, other) = (folder.join("own.pem"), folder.join("other.pem"));
    std::fs::write(&own, authority.pem()).unwrap();
    std::fs::write(&other, Authority::new("another authority").unwrap().pem()).unwrap();

    let mut options = ClickHouseOptions::new(server.https_url(), "default");
    options.tls_ca_file = Some(own);
    Client::new(&options).unwrap().ping().await.unwrap();

    options.tls_ca_file = Some(other);
    let failure = Client::new(&options).unwrap().ping().await.unwrap_err();
    assert_eq!(failure.class(), Class::Setup, "{failure}");
    assert!(failure.to_string().contains("certificate"), "{failure}");

    options.tls_ca_file = Some(folder.join("missing.pem"));
    let failure = Client::new(&options).unwrap_err();
    assert!(failure.to_string().contains("missing.pem"), "{failure}");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up_and_one_that_comes_back_is_found_again() {
    let mut server = PrivateClickhouse::start().unwrap();
    let mut options = ClickHouseOptions::new(server.url(), "default");
    options.connect_timeout = Duration::from_secs(1);
    let database = Database::with(Client::new(&options).unwrap()).await;
    database.command("create table {db}.t (n UInt64) engine = MergeTree order by n settings non_replicated_deduplication_window = 10").await;
    server.kill();
    let failure = database.insert("t", numbers(&["1"]), "1").await.unwrap_err();
    assert_eq!(failure.class(), Class::Away, "{failure}");
    server.start_again().unwrap();
    for _ in 0..2 {
        database.insert("t", numbers(&["1"]), "1").await.unwrap();
    }
    assert_eq!(database.texts("select count() from {db}.t").await, ["1"]);
    // Nothing of a block that is not one is stored.
    let broken = database
        .client
        .insert(&database.table("t"), &["n"], "2", Bytes::from_static(b"\x01\x05\x01n"), Collapse::AtOnce)
        .await;
    assert!(broken.is_err());
    assert_eq!(database.texts("select count() from {db}.t").await, ["1"]);
}
