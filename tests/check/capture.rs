//! Captured tables that are set up wrong, on the shared server.

use std::pin::Pin;

use harness::{Site, create_topic, shared};
use rdkafka::admin::{NewTopic, TopicReplication};

use crate::check::case::Case;

type Variables = &'static [(&'static str, &'static str)];

const PUBLICATION: (&str, &str) = ("POSTRIDER_CAPTURE_PUBLICATION", "{}_capture");
const TOPIC: (&str, &str) = ("POSTRIDER_CAPTURE_TOPIC", "{}.cdc.{table}");
const USERS: (&str, &str) = ("POSTRIDER_CAPTURE_TABLES", "public.users");

/// Only the table that every site has.
const ONE: Variables = &[PUBLICATION, TOPIC, USERS];

/// The table and others.
macro_rules! also {
    ($tables:literal $(, $name:literal = $value:literal)*) => {
        &[PUBLICATION, TOPIC, ("POSTRIDER_CAPTURE_TABLES", $tables) $(, ($name, $value))*]
    };
}

/// A case that SQL makes wrong, of these captured tables.
fn case(
    name: &'static str,
    codes: &'static [&'static str],
    variables: Variables,
    sql: &'static [&'static str],
) -> Case {
    Case { variables, ..Case::sql(name, codes, sql) }.on(site)
}

/// A place with a captured table, set up before its slot.
fn site() -> Pin<Box<dyn Future<Output = Site>>> {
    Box::pin(async {
        let site = Site::bare("doctor", &shared().postgres, &shared().kafka.bootstrap).await;
        site.migrate();
        site.sql("create table users (id bigint primary key, age integer, email text not null)").await;
        let set = |launch: harness::Launch, (name, value): &(&str, &str)| {
            launch.with(name, &value.replace("{}", site.name()))
        };
        ONE.iter().fold(site.initialiser(), set).complete("init").expect(0, &[]);
        site.create_topics().await;
        site
    })
}

pub(super) fn cases() -> Vec<Case> {
    [tables(), publication(), keys(), rights(), topics()].into_iter().flatten().collect()
}

fn tables() -> Vec<Case> {
    vec![
        case("a captured table that is not there", &["capture-table"], also!("public.users,public.posts"), &[])
            .by_hand(),
        case("a pattern that no table fits", &["capture-no-table", "capture-other-tables"], also!("shop.*"), &[])
            .by_hand(),
        case(
            "a view that shall be captured",
            &["capture-kind"],
            also!("public.users,public.adults"),
            &["create view adults as select * from users where age > 17"],
        )
        .by_hand(),
        case(
            "a captured table that is unlogged",
            &["capture-unlogged"],
            also!("public.users,public.carts"),
            &["create unlogged table carts (id int primary key)"],
        ),
        case(
            "partitions that nobody named",
            &["capture-partitions"],
            also!("public.users,public.readings", "POSTRIDER_CAPTURE_PUBLISH_VIA_PARTITION_ROOT" = "false"),
            &[
                READINGS,
                "create table first partition of readings for values from (0) to (1000)",
                "grant select on readings to {}_relay",
                "alter publication {}_capture add table readings",
                "alter publication {}_capture set (publish_via_partition_root = false)",
            ],
        )
        .by_hand(),
        case(
            "a signal table that is not there",
            &["capture-signal-table"],
            also!("public.users", "POSTRIDER_CAPTURE_SIGNAL_TABLE" = "public.signals"),
            &[],
        ),
        case(
            "a signal table without data",
            &["capture-signal-columns"],
            also!("public.users", "POSTRIDER_CAPTURE_SIGNAL_TABLE" = "public.signals"),
            &[
                "create table signals (id text primary key, type text)",
                "alter publication {}_capture add table signals",
            ],
        )
        .by_hand(),
    ]
}

const READINGS: &str = "create table readings (id int primary key) partition by range (id)";

fn publication() -> Vec<Case> {
    vec![
        case(
            "no publication of captured tables",
            &["capture-publication-missing"],
            ONE,
            &["drop publication {}_capture"],
        ),
        case(
            "a publication younger than the slot",
            &["capture-publication-younger"],
            ONE,
            &[
                "drop publication {}_capture",
                "select postrider.emit('order', 'between', 'Changed', '{\"n\": 1}')",
                "create publication {}_capture for table users with (publish_via_partition_root)",
            ],
        )
        .by_hand(),
        case(
            "a publication without a captured table",
            &["capture-publication-table"],
            also!("public.*"),
            &["create table posts (id int primary key)", "grant select on posts to {}_relay"],
        ),
        case(
            "a publication without deletions",
            &["capture-publication-operations"],
            ONE,
            &["alter publication {}_capture set (publish = 'insert, update')"],
        ),
        case(
            "partitions under their own names",
            &["capture-publication-root"],
            also!("public.users,public.readings"),
            &[
                READINGS,
                "grant select on readings to {}_relay",
                "alter publication {}_capture add table readings",
                "alter publication {}_capture set (publish_via_partition_root = false)",
            ],
        ),
        case(
            "a publication that filters rows",
            &["capture-row-filter"],
            ONE,
            &["alter publication {}_capture set table users where (id > 10)"],
        ),
        case(
            "a publication that hides the key",
            &["capture-key-hidden", "capture-no-key"],
            ONE,
            &["alter publication {}_capture set table users (email)"],
        ),
        case(
            "a publication of more than is captured",
            &["capture-other-tables"],
            ONE,
            &["create table posts (id int primary key)", "alter publication {}_capture add table posts"],
        ),
    ]
}

fn keys() -> Vec<Case> {
    vec![
        case(
            "captured updates that the server refuses",
            &["capture-replica-identity"],
            ONE,
            &["alter table users replica identity nothing"],
        ),
        case("a captured table without key", &["capture-no-key"], also!("public.users,public.visits"), VISITS)
            .by_hand(),
        case(
            "a key that deletions do not have",
            &["capture-key-identity"],
            also!("public.users", "POSTRIDER_CAPTURE_KEY_COLUMNS" = "public.users=email"),
            &[],
        ),
        case(
            "a key of a column that is not there",
            &["capture-key-column"],
            also!("public.users", "POSTRIDER_CAPTURE_KEY_COLUMNS" = "public.users=name"),
            &[],
        )
        .by_hand(),
        case(
            "a mask that the column's type cannot take",
            &["capture-unsupported"],
            also!("public.users", "POSTRIDER_CAPTURE_MASKS" = "public.users.age=mask:3"),
            &[],
        )
        .by_hand(),
        case(
            "a mask of the primary key",
            &["capture-unsupported"],
            also!("public.users", "POSTRIDER_CAPTURE_MASKS" = "public.users.id=hash:SHA-256:/etc/hostname"),
            &[],
        )
        .by_hand(),
    ]
}

const VISITS: &[&str] = &[
    "create table visits (page text)",
    "alter table visits replica identity full",
    "grant select on visits to {}_relay",
    "alter publication {}_capture add table visits",
];

fn rights() -> Vec<Case> {
    vec![
        case(
            "a captured table that a snapshot may not read",
            &["capture-select"],
            ONE,
            &["revoke select on users from {}_relay"],
        ),
        case(
            "snapshots that the role may not keep",
            &["capture-requests"],
            ONE,
            &["revoke all on postrider.snapshots from {}_relay"],
        ),
        case(
            "a captured table whose rows are hidden",
            &["capture-row-security"],
            ONE,
            &["alter table users enable row level security"],
        ),
    ]
}

fn topics() -> Vec<Case> {
    vec![
        case(
            "two captured tables in one topic",
            &["capture-topic-shared"],
            also!("public.users,shop.users"),
            &[
                "create schema shop",
                "create table shop.users (id int primary key)",
                "grant usage on schema shop to {}_relay",
                "grant select on shop.users to {}_relay",
                "alter publication {}_capture add table shop.users",
            ],
        ),
        Case {
            spoil: Some(|site| {
                Box::pin(async move {
                    let name = format!("{}.cdc.visits", site.name());
                    let topic = NewTopic::new(&name, 1, TopicReplication::Fixed(1)).set("cleanup.policy", "compact");
                    create_topic(site.bootstrap(), topic).await;
                    Vec::new()
                })
            }),
            ..case(
                "a table without key in a compacted topic",
                &["capture-no-key", "topic-compacted-keyless"],
                also!("public.users,public.visits"),
                VISITS,
            )
        }
        .by_hand(),
    ]
}
