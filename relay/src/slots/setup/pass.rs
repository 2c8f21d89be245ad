//! A publication that is younger than the slot: the slot decodes with the catalog of its own past, so it may be asked for
//! the publication only when it has passed its creation.
//!
//! What a transaction wrote before that is decoded as of then, even if it commits later. So the transactions that were open
//! end first, and then the slot passes the place in the log where it is.

use std::time::Duration;

use postgres_protocol::escape::escape_literal;
use tokio::time::Instant;
use tokio_postgres::Client;

use crate::slots::setup::Wanted;

/// How long a relay that is running may take to pass: it confirms at least every ten seconds.
const PASS_MAX: Duration = Duration::from_secs(30);

/// Between two looks.
const LOOK: Duration = Duration::from_millis(200);

/// How far everybody is.
struct Place {
    /// Whether the transactions have ended that were open.
    ended: bool,
    /// Whether somebody reads the slot.
    active: bool,
    /// Whether the slot has passed the place in question.
    passed: bool,
}

/// Waits until the slot is past the publication that was just made, while somebody reads it; else says what is left to do.
pub(super) async fn pass(client: &Client, wanted: &Wanted) -> Result<Option<String>, tokio_postgres::Error> {
    let made: String = client.query_one("select pg_snapshot_xmax(pg_current_snapshot())::text", &[]).await?.get(0);
    let deadline = Instant::now() + PASS_MAX;
    let mut end = None;
    loop {
        let place = look(client, &wanted.slot, &made, end.as_deref()).await?;
        if place.passed {
            return Ok(None);
        }
        if place.ended && end.is_none() {
            let row = client.query_one("select pg_current_wal_insert_lsn()::text", &[]).await?;
            end = Some(row.get::<_, String>(0));
            continue;
        }
        if !place.active || Instant::now() >= deadline {
            return Ok(Some(left(client, wanted, end).await?));
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn look(client: &Client, slot: &str, made: &str, end: Option<&str>) -> Result<Place, tokio_postgres::Error> {
    const PLACE: &str = "
select
  pg_snapshot_xmin(pg_current_snapshot()) >= $2::text::xid8 as ended,
  coalesce(bool_or(active), false) as active,
  coalesce(bool_or(confirmed_flush_lsn >= $3::text::pg_lsn), false) as passed
from pg_catalog.pg_replication_slots
where slot_name = $1";
    let row = client.query_one(PLACE, &[&slot, &made, &end]).await?;
    Ok(Place { ended: row.get("ended"), active: row.get("active"), passed: row.get("passed") })
}

async fn left(client: &Client, wanted: &Wanted, end: Option<String>) -> Result<String, tokio_postgres::Error> {
    let publication = wanted.capture.as_ref().map_or("", |capture| capture.publication.as_str());
    let older = format!("slot {} is older than publication {publication}", wanted.slot);
    if wanted.outbox.is_none() {
        let slot = escape_literal(&wanted.slot);
        return Ok(format!(
            "{older} and cannot read what was written before it: `select pg_drop_replication_slot({slot})`, then this again; \
             if changes were delivered through it, `postrider slot recover` after that"
        ));
    }
    let end = match end {
        Some(end) => end,
        // Transactions are open: whatever they have written by now lies before this place.
        None => client.query_one("select pg_current_wal_insert_lsn()::text", &[]).await?.get(0),
    };
    Ok(format!(
        "{older} and has still to pass it: `postrider run` reads the outboxes alone until it has confirmed {end}; what is changed \
         in captured tables before that is not in the stream, and only a snapshot publishes it"
    ))
}
