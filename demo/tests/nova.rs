//! Nova's own promises, on a real Postgres and without a relay: what its writers say they committed is what the log holds, and the
//! counter they stamp is the order of commits for each key. Without them, no verdict of the demo would mean anything.

use std::time::Duration;

use demo::database::Database;
use demo::findings::{Defect, Findings};
use demo::judge::{Judge, Received};
use demo::nova::{self, Crowd, Options, Outcome};
use demo::outbox;
use demo::watcher::Counter;
use tokio_postgres::Client;
use uuid::Uuid;

type AnyError = Box<dyn std::error::Error>;

#[tokio::test(flavor = "multi_thread")]
async fn what_the_writers_committed_is_in_the_log_in_the_order_of_their_counters() {
    let environment = xtask::services::current().unwrap();
    let name = format!("nova_{:x}", std::process::id());
    let database = Database::create(&environment.postgres, &name).await.unwrap();
    // The database and its slot are dropped before anything is asserted, so that a failure leaves nothing behind.
    let written = write_and_read_back(&database, &name).await.map_err(|error| error.to_string());
    database.drop().await.unwrap();

    let (outcome, findings) = written.unwrap();
    assert!(outcome.events > 1_000, "{outcome:?}");
    assert!(!outcome.rolled_back.is_empty());
    assert_eq!(findings.committed, outcome.events);
    assert_eq!(findings.count(Defect::Lost), 0, "{:?}", findings.examples());
    assert_eq!(findings.count(Defect::Reordered), 0, "{:?}", findings.examples());
    assert!(findings.clean(), "{:?}", findings.examples());
}

/// Lets the crowd write for a moment; what it says, and what the judge finds in the log.
async fn write_and_read_back(database: &Database, slot: &str) -> Result<(Outcome, Findings), AnyError> {
    let mut client = database.connect().await?;
    postrider::migrations::run(&mut client).await?;
    nova::create_schema(&client).await?;
    client.batch_execute("create publication outbox for table public.outbox_events with (publish = 'insert')").await?;
    client.execute("select pg_create_logical_replication_slot($1::text::name, 'pgoutput')", &[&slot]).await?;

    let options = Options { writers: 8, lingerers: 2, events_per_s: 1_500.0, seed: 7, steadfast: false };
    let mut crowd = Crowd::start(database, options).await?;
    let length = Duration::from_secs(3);
    if let Ok(error) = tokio::time::timeout(length, crowd.failure()).await {
        return Err(error.into());
    }
    let outcome = crowd.stop().await?;

    let mut judge = Judge::default();
    observe_log(&client, slot, &mut judge).await?;
    outbox::settle(&mut client, &mut judge).await?;
    let (findings, _) = judge.finish(&outcome.rolled_back);
    Ok((outcome, findings))
}

/// Shows the judge every inserted row of the log, as if each had been delivered at once.
async fn observe_log(client: &Client, slot: &str, judge: &mut Judge) -> Result<(), AnyError> {
    let sql = "select data
        from pg_logical_slot_get_binary_changes($1::text::name, null, null, 'proto_version', '1', 'publication_names', 'outbox')
        where get_byte(data, 0) = ascii('I')";
    for (index, row) in client.query(sql, &[&slot]).await?.iter().enumerate() {
        let columns = columns(row.get(0));
        let text = |column: usize| columns[column].clone().unwrap_or_default();
        let (topic, payload) = (format!("outbox.event.{}", text(1)), text(4));
        let headers: serde_json::Value = serde_json::from_str(&text(6))?;
        judge.observe(&Received {
            topic: &topic,
            key: text(2).as_bytes(),
            value: payload.as_bytes(),
            id: Some(Uuid::parse_str(&text(0))?),
            event_type: &text(3),
            correlation_id: headers["correlation-id"].as_str(),
            position: Some(index as u128 + 1),
            n: Counter::of(payload.as_bytes()),
            ..Received::default()
        });
    }
    Ok(())
}

/// The columns of an Insert message, see <https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html>.
fn columns(message: &[u8]) -> Vec<Option<String>> {
    // The kind of message, the relation's id, the kind of tuple, the number of columns.
    let mut rest = &message[1 + 4 + 1 + 2..];
    let mut columns = Vec::new();
    while let Some((kind, after)) = rest.split_first() {
        if *kind == b'n' {
            columns.push(None);
            rest = after;
            continue;
        }
        let (length, after) = after.split_first_chunk::<4>().expect("a value has a length");
        let (value, after) = after.split_at(u32::from_be_bytes(*length) as usize);
        columns.push(Some(String::from_utf8(value.to_vec()).expect("the database is UTF-8")));
        rest = after;
    }
    columns
}
