//! Faults of the set-up: a start is refused with what is missing and the command that makes it; what was written waits.

use std::sync::Arc;

use harness::{Site, shared};
use xtask::services::PrivatePostgres;

use crate::faults::book::{Book, Kind, Then};
use crate::faults::scene::Scene;

/// A fault of the database that the next start meets, and how it is undone.
struct Step {
    what: &'static str,
    break_it: &'static str,
    mend_it: &'static str,
    cause: &'static [&'static str],
    mend: &'static [&'static str],
}

/// What is done to the database, and what is said while it is so. `{name}` is the site's name, `{role}` the relay's role.
const IN_THE_DATABASE: &[Step] = &[
    Step {
        what: "a role without REPLICATION",
        break_it: "alter role {role} noreplication",
        mend_it: "alter role {role} replication",
        cause: &["{name}", "REPLICATION"],
        mend: &["postrider init"],
    },
    Step {
        what: "a role that may not log in",
        break_it: "alter role {role} nologin",
        mend_it: "alter role {role} login",
        cause: &["{role}", "not permitted to log in"],
        mend: &["LOGIN"],
    },
    Step {
        what: "a publication that is not there",
        break_it: "alter publication {name} rename to elsewhere_{name}",
        mend_it: "alter publication elsewhere_{name} rename to {name}",
        cause: &["publication \"{name}\" does not exist"],
        mend: &["postrider init"],
    },
    Step {
        what: "a publication that does not publish inserts",
        break_it: "alter publication {name} set (publish = 'update')",
        mend_it: "alter publication {name} set (publish = 'insert')",
        cause: &["does not publish inserts"],
        mend: &["alter publication", "publish = 'insert'"],
    },
    Step {
        what: "a publication that filters rows",
        break_it: "alter publication {name} set table outbox_events where (aggregate_type <> 'order')",
        mend_it: "alter publication {name} set table outbox_events",
        cause: &["filters the rows"],
        mend: &["Remove the WHERE clause"],
    },
    Step {
        what: "a publication that lacks a column",
        break_it: "alter publication {name} set table outbox_events (id, aggregate_type, aggregate_id)",
        mend_it: "alter publication {name} set table outbox_events",
        cause: &["lacks the columns", "payload"],
        mend: &["column list"],
    },
    Step {
        what: "a publication that lacks the outbox",
        break_it: "alter publication {name} drop table outbox_events",
        mend_it: "alter publication {name} add table outbox_events",
        cause: &["does not carry the outbox table"],
        mend: &["alter publication"],
    },
    Step {
        what: "an outbox table that was renamed",
        break_it: "alter table outbox_events rename to outbox_elsewhere",
        mend_it: "alter table outbox_elsewhere rename to outbox_events",
        cause: &["the outbox table public.outbox_events does not exist"],
        mend: &["postrider migrate"],
    },
    Step {
        what: "a column that was renamed",
        break_it: "alter table outbox_events rename payload to content",
        mend_it: "alter table outbox_events rename content to payload",
        cause: &["lacks the columns payload"],
        mend: &["[outbox.columns]"],
    },
];

/// What is wrong with who and what is connected to, and with the publication.
pub(crate) async fn database(book: Arc<Book>) {
    let mut scene = Scene::of(Site::new("faultdb").await);
    scene.write().await;
    let name = scene.site.name().to_owned();
    let over_tcp = scene.site.relay().with("POSTRIDER_POSTGRES_HOST", "127.0.0.1");
    let fault = |what| book.fault(Kind::Setup, what, Then::Ends(1));

    let launch = over_tcp.clone().with("POSTRIDER_POSTGRES_PASSWORD", "never to be shown");
    scene
        .refuses(
            fault("a wrong password"),
            &launch,
            &["refused user", &scene.site.role()],
            &["password", "pg_hba.conf"],
        )
        .await;
    let launch = over_tcp.clone().with("POSTRIDER_POSTGRES_USER", "nobody_here");
    scene.refuses(fault("a role that is not there"), &launch, &["nobody_here"], &["Check [postgres] user"]).await;
    let launch = over_tcp.clone().with("POSTRIDER_POSTGRES_DATABASE", "no_such_shop");
    scene.refuses(fault("a database that is not there"), &launch, &["no_such_shop"], &["[postgres] database"]).await;

    let role = scene.site.role();
    let launch = scene.site.relay();
    for Step { what, break_it, mend_it, cause, mend } in IN_THE_DATABASE {
        let fill = |text: &str| text.replace("{name}", &name).replace("{role}", &role);
        scene.site.sql(&fill(break_it)).await;
        let cause: Vec<String> = cause.iter().map(|word| fill(word)).collect();
        let cause: Vec<&str> = cause.iter().map(String::as_str).collect();
        scene.refuses(fault(what), &launch, &cause, mend).await;
        scene.site.sql(&fill(mend_it)).await;
        scene.write().await;
    }
    scene.settle_with(&launch).await;
}

/// What is wrong with the slot, and with what the progress topic says of it.
pub(crate) async fn slot(book: Arc<Book>) {
    let mut scene = Scene::of(Site::new("faultslot").await);
    let name = scene.site.name().to_owned();
    let launch = scene.site.relay();
    scene.settle_with(&launch).await;
    scene.write().await;
    let fault = |what| book.fault(Kind::Setup, what, Then::Ends(1));

    let other = format!("{name}_other");
    let with_other = launch.clone().with("POSTRIDER_SOURCE_SLOT", &other);
    scene
        .refuses(fault("a slot that is not there"), &with_other, &["does not exist", &other], &["postrider init"])
        .await;
    let makes: &[(&str, &str, &[&str], &[&str])] = &[
        (
            "a physical slot",
            "select pg_create_physical_replication_slot('{other}')",
            &["is a physical slot"],
            &["Name a logical slot"],
        ),
        (
            "a slot of another plugin",
            "select pg_create_logical_replication_slot('{other}', 'test_decoding')",
            &["test_decoding, not pgoutput"],
            &["postrider init"],
        ),
    ];
    for (what, make, cause, mend) in makes {
        scene.site.sql(&make.replace("{other}", &other)).await;
        scene.refuses(fault(what), &with_other, cause, mend).await;
        scene.site.sql(&format!("select pg_drop_replication_slot('{other}')")).await;
    }
    let elsewhere = Site::new("faultelse").await;
    let with_elsewhere = launch.clone().with("POSTRIDER_SOURCE_SLOT", elsewhere.name());
    scene
        .refuses(
            fault("a slot of another database"),
            &with_elsewhere,
            &["belongs to database", elsewhere.name()],
            &["Correct [postgres] database or [source] slot"],
        )
        .await;

    // Each relay has a witness of its own; this one is shown another's.
    let foreign = launch.clone().with("POSTRIDER_KAFKA_PROGRESS_TOPIC", &format!("{name}.foreign"));
    for (what, value, cause, mend) in [
        (
            "a progress record of another server",
            r#"{"version":1,"system_id":"7","timeline":1,"epoch":1,"commit_lsn":"0/10","ordinal":0,"end_lsn":"0/20"}"#,
            "another server, or one restored",
            "postrider slot recover",
        ),
        ("a progress record that cannot be read", "not JSON", "cannot be read", "[kafka] progress_topic"),
    ] {
        produce(scene.site.bootstrap(), &format!("{name}.foreign"), &name, value).await;
        scene.refuses(fault(what), &foreign, &[cause], &[mend]).await;
    }
    scene.settle_with(&launch).await;
}

/// What is wrong with the server's settings.
pub(crate) async fn server(book: Arc<Book>) {
    let fault = book.fault(Kind::Setup, "a server without logical decoding", Then::Ends(1));
    let mut postgres = PrivatePostgres::start(None, &[("wal_level", "replica")]).expect("a server of our own");
    let mut site = Site::bare("faultwal", &postgres.environment(), &shared().kafka.bootstrap).await;
    site.migrate();
    let ended = site.initialiser().complete("init");
    postgres.set("wal_level", "logical").unwrap();
    postgres.set("max_slot_wal_keep_size", "1MB").unwrap();
    postgres.restart().unwrap();
    site.reconnect().await;
    site.init();
    site.create_topics().await;
    let mut scene = Scene::of(site);
    scene.refused(fault, &ended, &["wal_level is replica"], &["alter system set wal_level = logical", "restart"]);
    scene.settle_with(&scene.site.relay()).await;

    // WAL is removed only in whole segments of 16 MiB, and at checkpoints.
    let fault = book.fault(Kind::Setup, "a slot that the server invalidated", Then::Ends(1));
    scene.write().await;
    scene.site.sql("create table filler (text text)").await;
    for _ in 0..4 {
        scene.site.sql("insert into filler select repeat('x', 1000) from generate_series(1, 20000)").await;
        scene.site.sql("select pg_switch_wal(); checkpoint").await;
    }
    let ended = scene.site.relay().start().ended().await;
    fault.said(
        ended.said(),
        &["was invalidated"],
        &["max_slot_wal_keep_size", "postrider slot recover", "outbox table"],
    );
    ended.expect(1, &[]);
    fault.as_documented();
    // The message's own mend.
    scene.site.administrator().argument("recover").argument("--yes").complete("slot").expect(0, &["lost: 0"]);
    scene.settle_with(&scene.site.relay()).await;
    fault.nothing_lost();
}

/// Writes a record as another program would.
async fn produce(bootstrap: &str, topic: &str, key: &str, value: &str) {
    use rdkafka::ClientConfig;
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

    let (bootstrap, topic, key, value) = (bootstrap.to_owned(), topic.to_owned(), key.to_owned(), value.to_owned());
    let written = tokio::task::spawn_blocking(move || {
        let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", bootstrap).create().unwrap();
        producer
            .send(BaseRecord::to(&topic).key(&key).payload(&value).partition(0))
            .map_err(|(error, _)| error)
            .unwrap();
        producer.flush(harness::PATIENCE).unwrap();
    });
    written.await.unwrap();
}
