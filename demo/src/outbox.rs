//! What the database says was committed: the outbox, read to its end after the run.

use tokio_postgres::Client;

use crate::error::{Doing, Result};
use crate::judge::{Committed, Judge};
use crate::topics::Topics;

/// Rows that are fetched at once.
const ROWS_AT_ONCE: i32 = 20_000;

/// The payload is read as Postgres prints it, because that text is what must travel.
const EVERYTHING: &str = "select id, aggregate_type, aggregate_id, event_type, headers ->> 'correlation-id', payload::text from outbox_events";

/// Lets the judge settle every event of the outbox.
pub async fn settle(client: &mut Client, judge: &mut Judge) -> Result<()> {
    let tx = client.transaction().await.doing("reading the outbox")?;
    let portal = tx.bind(EVERYTHING, &[]).await.doing("reading the outbox")?;
    loop {
        let rows = tx.query_portal(&portal, ROWS_AT_ONCE).await.doing("reading the outbox")?;
        for row in &rows {
            judge.settle(&Committed {
                id: row.get(0),
                topic: &Topics::of(row.get(1)),
                key: row.get(2),
                event_type: row.get(3),
                correlation_id: row.get(4),
                payload: row.get(5),
            });
        }
        if rows.is_empty() {
            return Ok(());
        }
    }
}
