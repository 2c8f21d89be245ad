//! A slot that has lost changes, where the rows themselves make good for them.

use postgres_protocol::escape::escape_literal;
use tracing::{Span, info};

use crate::pipeline::{End, Error, Kind};
use crate::postgres::connection::Connection;
use crate::postgres::error::Error as PostgresError;
use crate::postgres::options::ConnectOptions;
use crate::postgres::slot::NewSlot;
use crate::sources::wal::WalOptions;

/// How a slot stands.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Missing,
    /// It needs WAL that is gone; whether it was kept over a failover.
    Lost {
        failover: bool,
    },
    Usable,
}

/// Whether the slot must be made anew. Who cannot be asked is not gone.
pub(super) async fn is_gone(options: &WalOptions) -> bool {
    let found = blocking(options, look).await;
    found.is_ok_and(|found| found != Found::Usable)
}

/// Makes the slot anew if it is missing, or if the server has given up what it needs.
pub(super) async fn make_good(options: &WalOptions) -> Result<(), Error> {
    blocking(options, |connect, slot| {
        let found = look(connect, slot)?;
        if found == Found::Usable {
            return Ok(());
        }
        let mut connection = Connection::connect(connect)?;
        let mut new = NewSlot::named(slot);
        if let Found::Lost { failover } = found {
            connection.drop_slot(slot, true)?;
            new.failover = failover;
        }
        connection.create_logical_slot(&new)?;
        info!(slot, "slot made anew");
        Ok(())
    })
    .await
}

async fn blocking<T: Send + 'static>(
    options: &WalOptions,
    ask: fn(&ConnectOptions, &str) -> Result<T, PostgresError>,
) -> Result<T, Error> {
    let (connect, slot, span) = (options.connect.clone(), options.slot.clone(), Span::current());
    let asked =
        tokio::task::spawn_blocking(move || span.in_scope(|| ask(&connect, &slot).map_err(|error| (error, slot))));
    match asked.await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err((error, slot))) => {
            let kind = if error.is_transient() { Kind::Unavailable } else { Kind::Setup };
            Err(Error::new(End::Source, kind, format!("slot {slot:?} has lost changes, and cannot be made anew"))
                .because(error)
                .with_help("Run `postrider init`; the relay then reads the rows again."))
        }
        Err(error) => Err(Error::new(End::Source, Kind::Broken, "making a slot anew was interrupted").because(error)),
    }
}

fn look(connect: &ConnectOptions, slot: &str) -> Result<Found, PostgresError> {
    let mut session = Connection::connect(&ConnectOptions { replication: false, ..connect.clone() })?;
    // `failover` is a column of PostgreSQL 17 and later: as a field of the row it may be absent.
    let query = format!(
        "select wal_status, pg_catalog.to_jsonb(s) ->> 'failover'
         from pg_catalog.pg_replication_slots s where slot_name = {}",
        escape_literal(slot)
    );
    let rows = session.simple_query(&query)?;
    let Some(row) = rows.first() else { return Ok(Found::Missing) };
    let text = |index: usize| row.get(index).and_then(Option::as_deref);
    Ok(match text(0) {
        Some("lost") => Found::Lost { failover: text(1) == Some("true") },
        _ => Found::Usable,
    })
}
