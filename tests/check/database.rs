//! Databases that are set up wrong, on the shared server.

use tokio_postgres::NoTls;

use crate::check::case::{Case, Guard};

pub(super) fn cases() -> Vec<Case> {
    [connection(), role(), slot(), publication(), table()].into_iter().flatten().collect()
}

fn connection() -> Vec<Case> {
    vec![
        Case::variables("no server at the port", &["postgres-unreachable"], &[("POSTRIDER_POSTGRES_PORT", "1")])
            .by_hand(),
        Case::variables(
            "a wrong password",
            &["postgres-authentication"],
            &[("POSTRIDER_POSTGRES_HOST", "127.0.0.1"), ("POSTRIDER_POSTGRES_PASSWORD", "wrong")],
        )
        .by_hand(),
        Case::variables("no such database", &["postgres-database"], &[("POSTRIDER_POSTGRES_DATABASE", "no_such_shop")])
            .by_hand(),
        Case::variables("no such role", &["role-missing"], &[("POSTRIDER_POSTGRES_USER", "nobody_here")]).by_hand(),
        Case::sql("a role that may not log in", &["role-login"], &["alter role {}_relay nologin"]),
        Case::sql(
            "a role that may not connect",
            &["role-connect"],
            &["revoke connect on database {} from public, {}_relay"],
        ),
    ]
}

fn role() -> Vec<Case> {
    vec![
        Case::sql("a role without REPLICATION", &["role-replication"], &["alter role {}_relay noreplication"]),
        Case::sql("a superuser as the relay", &["role-superuser"], &["alter role {}_relay superuser"]),
        Case::sql("a role that may not read", &["role-select"], &["revoke select on outbox_events from {}_relay"]),
        Case::sql("nowhere to park", &["parked-missing"], &["drop table postrider.parked"]).by_hand(),
        Case::sql(
            "a role that may not park",
            &["parked-grants"],
            &["revoke all on postrider.parked, postrider.parked_log from {}_relay"],
        ),
        Case::sql(
            "a sender timeout that is off",
            &["wal-sender-timeout-off"],
            &["alter role {}_relay set wal_sender_timeout = 0"],
        ),
        Case::sql(
            "a sender timeout of a second",
            &["wal-sender-timeout-short"],
            &["alter role {}_relay set wal_sender_timeout = '1s'"],
        ),
    ]
}

const DROP_SLOT: &str = "select pg_drop_replication_slot('{}')";

fn slot() -> Vec<Case> {
    vec![
        Case::sql("no slot", &["slot-missing"], &[DROP_SLOT]),
        Case::sql(
            "a physical slot",
            &["slot-plugin"],
            &[DROP_SLOT, "select pg_create_physical_replication_slot('{}')"],
        ),
        Case::sql(
            "a slot of another plugin",
            &["slot-plugin"],
            &[DROP_SLOT, "select pg_create_logical_replication_slot('{}', 'test_decoding')"],
        ),
        Case::sql(
            "a temporary slot",
            &["slot-temporary"],
            &[DROP_SLOT, "select pg_create_logical_replication_slot('{}', 'pgoutput', true)"],
        ),
        Case::sql(
            "a slot for prepared transactions",
            &["slot-two-phase"],
            &[DROP_SLOT, "select pg_create_logical_replication_slot('{}', 'pgoutput', false, true)"],
        ),
        Case::spoilt("a slot of another database", &["slot-database"], |site| {
            Box::pin(async move {
                site.sql(&DROP_SLOT.replace("{}", site.name())).await;
                let url = site.server().url("postgres");
                let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
                tokio::spawn(connection);
                let create = "select pg_create_logical_replication_slot($1::name, 'pgoutput')";
                client.execute(create, &[&site.name()]).await.unwrap();
                vec![Box::new(OtherSlot(url, site.name().to_owned())) as Guard]
            })
        }),
        Case::spoilt("a slot that another program reads", &["slot-held"], |site| {
            Box::pin(async move {
                let mut other = site.relay().with("POSTRIDER_POSTGRES_APPLICATION_NAME", "another program").start();
                other.ready().await;
                vec![Box::new(other) as Guard]
            })
        }),
        Case::sql(
            "a slot older than its publication",
            &["slot-before-publication"],
            &[
                "drop publication {}",
                DROP_SLOT,
                "select pg_create_logical_replication_slot('{}', 'pgoutput')",
                "select postrider.emit('order', 'between', 'Changed', '{\"n\": 1}')",
                "create publication {} for table outbox_events with (publish = 'insert', publish_via_partition_root)",
            ],
        ),
    ]
}

/// A slot in the maintenance database, dropped when the case is over.
struct OtherSlot(String, String);

impl Drop for OtherSlot {
    fn drop(&mut self) {
        let (url, name) = (self.0.clone(), self.1.clone());
        let clean = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
                tokio::spawn(connection);
                client.execute("select pg_drop_replication_slot($1)", &[&name]).await.unwrap();
            });
        };
        // A test's own runtime must not be blocked from within.
        std::thread::spawn(clean).join().unwrap();
    }
}

fn publication() -> Vec<Case> {
    vec![
        Case::sql("no publication", &["publication-missing"], &["drop publication {}"]),
        Case::sql(
            "a publication of nothing",
            &["publication-table"],
            &["alter publication {} drop table outbox_events"],
        ),
        Case::sql(
            "a publication of deletions only",
            &["publication-inserts", "publication-operations"],
            &["alter publication {} set (publish = 'delete')"],
        ),
        Case::sql(
            "a publication with a row filter",
            &["publication-row-filter"],
            &["alter publication {} set table outbox_events where (event_type <> 'Secret')"],
        ),
        Case::sql(
            "a publication that leaves columns out",
            &["publication-columns"],
            &["alter publication {} set table outbox_events (id, aggregate_type, aggregate_id, event_type)"],
        ),
        Case::sql(
            "a publication that breaks the application's updates",
            &["publication-replica-identity", "publication-other-tables"],
            &[
                "create table carts (item text)",
                "alter publication {} add table carts",
                "alter publication {} set (publish = 'insert, update')",
            ],
        ),
        Case::sql(
            "a publication of deletions too",
            &["publication-operations"],
            &["alter publication {} set (publish = 'insert, delete')"],
        ),
        Case::sql(
            "a publication of all tables",
            &["publication-all-tables"],
            &["drop publication {}", "create publication {} for all tables with (publish = 'insert')"],
        ),
        Case::sql(
            "a publication of other tables too",
            &["publication-other-tables"],
            &["create table carts (item text primary key)", "alter publication {} add table carts"],
        ),
        Case {
            variables: &[("POSTRIDER_OUTBOX_TABLE", "public.parted")],
            ..Case::sql(
                "a partitioned outbox under its partitions' names",
                &["publication-root"],
                &[
                    "create table parted (like outbox_events) partition by list (aggregate_type)",
                    "create table parted_rest partition of parted default",
                    "grant select on parted to {}_relay",
                    "alter publication {} set table parted",
                    "alter publication {} set (publish_via_partition_root = false)",
                ],
            )
        },
    ]
}

fn table() -> Vec<Case> {
    vec![
        Case {
            variables: &[("POSTRIDER_OUTBOX_TABLE", "public.nothing")],
            ..Case::sql("no outbox table", &["table-missing"], &["alter publication {} drop table outbox_events"])
        }
        .by_hand(),
        Case {
            variables: &[("POSTRIDER_OUTBOX_TABLE", "public.seen")],
            ..Case::sql(
                "a view as the outbox",
                &["table-kind", "publication-table"],
                &[
                    "create view seen as select * from outbox_events",
                    "grant select on seen to {}_relay",
                    "alter publication {} drop table outbox_events",
                ],
            )
        }
        .by_hand(),
        Case::variables(
            "a column that is not there",
            &["column-missing"],
            &[("POSTRIDER_OUTBOX_COLUMNS_HEADERS", "meta")],
        ),
        Case {
            variables: &[("POSTRIDER_OUTBOX_COLUMNS_PAYLOAD_BYTES", "raw")],
            ..Case::sql(
                "bytes in a column of text",
                &["column-type"],
                &["alter table outbox_events add column raw text"],
            )
        },
        Case::sql(
            "an unlogged outbox",
            &["table-unlogged", "publication-table"],
            &["alter publication {} drop table outbox_events", "alter table outbox_events set unlogged"],
        ),
        Case::sql(
            "a trigger that may drop events",
            &["table-trigger"],
            &[
                "create function drop_it() returns trigger language plpgsql as 'begin return null; end'",
                "create trigger guard before insert on outbox_events for each row execute function drop_it()",
            ],
        ),
        Case::sql(
            "a rule on the outbox",
            &["table-rule"],
            &["create rule instead as on insert to outbox_events do instead nothing"],
        ),
        Case::sql(
            "row-level security on the outbox",
            &["table-row-security"],
            &["alter table outbox_events enable row level security"],
        ),
        Case::sql(
            "a writer that may not use the functions",
            &["writer-grants"],
            &["revoke usage on schema postrider from {}_writer"],
        ),
        Case::sql(
            "a migration that was not applied",
            &["migrations-pending"],
            &["delete from postrider.migrations where version >= 4"],
        ),
    ]
}
