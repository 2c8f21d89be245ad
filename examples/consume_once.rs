//! Handles an event once although it is delivered twice, as it can be after a crash.
//!
//! ```sh
//! postrider migrate
//! DATABASE_URL=postgres://… cargo run --example consume_once --features tokio-postgres
//! ```
#![expect(clippy::print_stdout, reason = "an example shows its result")]

use std::error::Error;
use std::time::Duration;

use postrider::{Envelope, inbox};
use serde::Deserialize;
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

/// What this consumer reads of the event. Fields that it does not know, as of a later version, are passed over.
#[derive(Deserialize)]
struct OrderPlaced {
    total_cents: i64,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::var("DATABASE_URL").map_err(|_| "set DATABASE_URL")?;
    let (mut client, connection) = tokio_postgres::connect(&url, NoTls).await?;
    let connection = tokio::spawn(connection);
    client.batch_execute("create table if not exists revenue (total_cents bigint not null)").await?;

    // A record as Kafka hands it over. With rdkafka these are `message.headers()` and `message.payload()`.
    let id = Uuid::now_v7().to_string();
    let headers = [("id", id.as_bytes()), ("event_type", b"OrderPlaced".as_slice())];
    let payload = br#"{"total_cents": 1999, "currency": "EUR"}"#.as_slice();

    for delivery in ["first", "second"] {
        let envelope = Envelope::read(headers, Some(payload))?;
        let handled = handle(&mut client, &envelope).await?;
        println!("{delivery} delivery: {}", if handled { "handled" } else { "known, skipped" });
        // Only now is the record's offset committed to Kafka: a crash before it leads to a delivery that is known.
    }

    // From time to time, what is older than any topic's retention is removed, a batch and a transaction at a time.
    let mut transaction = client.transaction().await?;
    inbox::prune(&mut transaction, Duration::from_secs(30 * 24 * 3600), 10_000).await?;
    transaction.commit().await?;

    drop(client);
    connection.await??;
    Ok(())
}

/// The work and the inbox entry are one transaction: either both happened, or the next delivery does both.
async fn handle(client: &mut Client, envelope: &Envelope<'_>) -> Result<bool, Box<dyn Error>> {
    let mut transaction = client.transaction().await?;
    // Each consumer has a name of its own, so that several may share a database.
    if !inbox::first_time(&mut transaction, "revenue", envelope.id).await? {
        return Ok(false);
    }
    // An event of another type is of no interest here, but it is handled: the entry stays.
    if envelope.event_type == "OrderPlaced" {
        let order: OrderPlaced = envelope.json()?;
        transaction.execute("insert into revenue values ($1)", &[&order.total_cents]).await?;
    }
    transaction.commit().await?;
    Ok(true)
}
