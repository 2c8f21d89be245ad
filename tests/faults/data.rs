//! Faults of the data: events that no topic takes, and rows that are hardly events. One key waits; the stream goes on.

use std::sync::Arc;

use harness::{Launch, PATIENCE, Relay, Site, until};

use crate::faults::book::{Book, Fault, Kind, Then};
use crate::faults::broker::alter;
use crate::faults::scene::Scene;

/// A table that is not ours, and checks nothing.
const FOREIGN: &str =
    "create table foreign_events (id text, kind text, key text, type text, body text, raw bytea, meta text)";

/// Our own table: what its checks let through.
pub(crate) async fn outbox(book: Arc<Book>) {
    let mut scene = Scene::of(Site::new("faultdata").await);
    let topic = format!("{}.outbox.event.order", scene.site.name());
    alter(&scene, &topic, "max.message.bytes", "20000").await;
    let mut relay = scene.site.relay().start();
    scene.settle(&mut relay).await;

    let large = book.fault(Kind::Data, "an event larger than its topic takes", Then::Parks);
    // Text that does not compress below the limit.
    let emit = "select postrider.emit('order', 'large', 'Large', jsonb_build_object('n', 1, 'text',
                  (select string_agg(md5(random()::text), '') from generate_series(1, 4000))))";
    scene.site.sql(emit).await;
    scene.goes_on(large, &relay, &["parked", "max.message.bytes", "key_hash"], &["postrider parked"]).await;
    // It is all that waits.
    scene.write().await;
    let written = scene.site.committed().await;
    scene.reader.distinct(written - 1).await;
    // A relay looks at a topic's limits now and then, and when it starts.
    relay.terminate().await.expect(0, &[]);
    alter(&scene, &topic, "max.message.bytes", "1000000").await;
    let mut relay = scene.site.relay().start();
    relay.ready().await;
    scene.site.administrator().argument("retry").argument("--all").complete("parked").expect(0, &[]);
    scene.settle(&mut relay).await;
    relay.terminate().await.expect(0, &[]);
}

/// What a foreign table lets through: each row is one fault, and the words of its reason.
const FOREIGN_ROWS: &[(&str, &str, Then, &[&str])] = &[
    (
        "an event without an aggregate type",
        "insert into foreign_events values ('a', null, 'a', 't', '{}')",
        Then::Parks,
        &["aggregate type"],
    ),
    (
        "an aggregate type that is no topic's name",
        "insert into foreign_events values ('b', 'no topic/äß', 'b', 't', '{}')",
        Then::Parks,
        &["letters, digits, dots, underscores and hyphens"],
    ),
    (
        "an aggregate type longer than a topic's name",
        "insert into foreign_events values ('c', repeat('x', 300), 'c', 't', '{}')",
        Then::Parks,
        &["249 are allowed"],
    ),
    (
        "an event larger than the producer takes",
        "insert into foreign_events values ('d', 'order', 'd', 't', repeat('x', 3000000))",
        Then::Parks,
        &["bytes"],
    ),
    (
        "a header whose name holds a NUL",
        r#"insert into foreign_events values ('e', 'order', 'e', 't', '{}', null, '{"a\u0000b": "c"}')"#,
        Then::Parks,
        &["NUL"],
    ),
    (
        "headers that are not JSON",
        "insert into foreign_events values ('f', 'order', 'f', 't', '{}', null, 'correlation=1')",
        Then::GoesOn,
        &["headers are not a JSON object", "travel as text"],
    ),
];

/// A table that is not ours.
pub(crate) async fn foreign(book: Arc<Book>) {
    let site = Site::new("faultforeign").await;
    let (name, role) = (site.name().to_owned(), site.role());
    site.sql(&format!(
        "{FOREIGN}; alter publication {name} add table foreign_events; grant select on foreign_events to {role}"
    ))
    .await;
    let reader = site.reader();
    let launch = mapped(site.relay());
    let mut relay = launch.start();
    relay.ready().await;
    let mut parked = 0;
    for (what, insert, then, words) in FOREIGN_ROWS {
        let fault = book.fault(Kind::Data, what, *then);
        site.sql(insert).await;
        let mend: &[&str] = if *then == Then::Parks { &["postrider parked"] } else { &["writer"] };
        relay.logs(&[words, mend].concat()).await;
        fault.said(&relay.log(), words, mend);
        parked += usize::from(*then == Then::Parks);
        kept(&site, &reader, &fault, parked).await;
        fault.as_documented();
    }
    dropped(&book, &site, relay).await;
}

/// What is parked is in the table, and what came after it arrives.
async fn kept(site: &Site, reader: &harness::TopicReader, fault: &Fault, parked: usize) {
    let id = format!("after {}", fault.name());
    site.db().execute("insert into foreign_events values ($1, 'order', 'after', 't', '{}')", &[&id]).await.unwrap();
    reader.record("later events arrive", |record| record.header("id") == Some(&id)).await;
    let row = site.db().query_one("select count(*) from postrider.parked where state <> 'waiting'", &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), parked as i64, "{}", fault.name());
    fault.nothing_lost();
}

/// The table goes away under a running relay.
async fn dropped(book: &Arc<Book>, site: &Site, relay: Relay) {
    let fault = book.fault(Kind::Data, "an outbox table that is dropped while the relay runs", Then::Ends(1));
    let before = site.confirmed().await;
    until("what came before is confirmed", PATIENCE, async || (site.confirmed().await >= before).then_some(())).await;
    site.sql("drop table foreign_events").await;
    let ended = relay.ended().await;
    fault.said(ended.said(), &["the outbox table public.foreign_events does not exist"], &["[outbox] table"]);
    ended.expect(1, &[]);
    fault.as_documented();
    // Everything in it had arrived or was parked.
    fault.nothing_lost();
}

/// A relay that reads the foreign table.
fn mapped(launch: Launch) -> Launch {
    [
        ("TABLE", "public.foreign_events"),
        ("COLUMNS_ID", "id"),
        ("COLUMNS_AGGREGATE_TYPE", "kind"),
        ("COLUMNS_AGGREGATE_ID", "key"),
        ("COLUMNS_EVENT_TYPE", "type"),
        ("COLUMNS_PAYLOAD", "body"),
        ("COLUMNS_PAYLOAD_BYTES", "raw"),
        ("COLUMNS_HEADERS", "meta"),
    ]
    .into_iter()
    .fold(launch, |launch, (key, value)| launch.with(&format!("POSTRIDER_OUTBOX_{key}"), value))
}
