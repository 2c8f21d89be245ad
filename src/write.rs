//! Writes events into the outbox, inside the caller's transaction: they exist exactly if the transaction commits.
//!
//! After any error, or if the future is dropped before it is done, roll the transaction back, or to the savepoint before.

use crate::error::Error;
use crate::event::{Event, Payload};
use crate::limits::{STATEMENT_BYTES_MAX, STATEMENT_ROWS_MAX};
use crate::transaction::{OutboxTransaction, Parameter};

/// JSON travels as text and becomes `jsonb` in the server, so that no driver touches its numbers.
const INSERT_ONE: &str = "\
    insert into public.outbox_events (id, aggregate_type, aggregate_id, event_type, payload, payload_bytes, headers) \
    values ($1, $2, $3, $4, $5::text::jsonb, $6, $7::text::jsonb)";

/// `order by position` makes `seq` rise in the order of the slice.
const INSERT_MANY: &str = "\
    insert into public.outbox_events (id, aggregate_type, aggregate_id, event_type, payload, payload_bytes, headers) \
    select id, aggregate_type, aggregate_id, event_type, payload::jsonb, payload_bytes, headers::jsonb \
    from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bytea[], $7::text[]) \
    with ordinality as event (id, aggregate_type, aggregate_id, event_type, payload, payload_bytes, headers, position) \
    order by position";

/// Writes one event, in one round trip.
///
/// The transaction is one of `sqlx` or `tokio-postgres`, see [`OutboxTransaction`]; nothing else compiles. The role needs
/// `INSERT` on `public.outbox_events` and no other right.
///
/// # Errors
/// [`Error::Database`], with SQLSTATE `23505` if an event with this id was written before; [`Error::NotStored`].
pub async fn write<T: OutboxTransaction>(transaction: &mut T, event: &Event) -> Result<(), Error> {
    let headers = event.headers_json();
    let parameters = [
        Parameter::Uuid(event.id()),
        Parameter::Text(Some(event.aggregate_type())),
        Parameter::Text(Some(event.aggregate_id())),
        Parameter::Text(Some(event.event_type())),
        Parameter::Text(json(event)),
        Parameter::Bytes(bytes(event)),
        Parameter::Text(Some(&headers)),
    ];
    let stored = transaction.execute("writing an event", INSERT_ONE, &parameters).await?;
    check_stored(1, stored)
}

/// Writes events in their order: in one round trip, or, beyond [`STATEMENT_ROWS_MAX`] events or
/// [`STATEMENT_BYTES_MAX`] bytes of payload, in several. An empty slice does nothing.
///
/// # Errors
/// As [`write()`]; after an error none of the events exists once the transaction is rolled back.
pub async fn write_all<T: OutboxTransaction>(transaction: &mut T, events: &[Event]) -> Result<(), Error> {
    let mut rest = events;
    while !rest.is_empty() {
        let (statement, later) = rest.split_at(statement_length(rest));
        write_statement(transaction, statement).await?;
        rest = later;
    }
    Ok(())
}

async fn write_statement<T: OutboxTransaction>(transaction: &mut T, events: &[Event]) -> Result<(), Error> {
    let headers: Vec<String> = events.iter().map(Event::headers_json).collect();
    let texts = |field: fn(&Event) -> &str| Parameter::Texts(events.iter().map(|event| Some(field(event))).collect());
    let parameters = [
        Parameter::Uuids(events.iter().map(Event::id).collect()),
        texts(Event::aggregate_type),
        texts(Event::aggregate_id),
        texts(Event::event_type),
        Parameter::Texts(events.iter().map(json).collect()),
        Parameter::ByteArrays(events.iter().map(bytes).collect()),
        Parameter::Texts(headers.iter().map(|headers| Some(headers.as_str())).collect()),
    ];
    let stored = transaction.execute("writing events", INSERT_MANY, &parameters).await?;
    check_stored(events.len(), stored)
}

/// An event that the table swallowed would be lost without a word.
fn check_stored(written: usize, stored: u64) -> Result<(), Error> {
    if usize::try_from(stored) == Ok(written) { Ok(()) } else { Err(Error::NotStored { written, stored }) }
}

/// How many of the events go into the next statement: at least one.
fn statement_length(events: &[Event]) -> usize {
    let mut bytes_total = 0;
    let fits = |event: &&Event| {
        bytes_total += json(event).map_or(0, str::len) + bytes(event).map_or(0, <[u8]>::len);
        bytes_total <= STATEMENT_BYTES_MAX
    };
    let count = events.iter().take(STATEMENT_ROWS_MAX).take_while(fits).count();
    count.max(1)
}

fn json(event: &Event) -> Option<&str> {
    match event.payload() {
        Payload::Json(text) => Some(text),
        Payload::Bytes(_) | Payload::Tombstone => None,
    }
}

fn bytes(event: &Event) -> Option<&[u8]> {
    match event.payload() {
        Payload::Bytes(bytes) => Some(bytes),
        Payload::Json(_) | Payload::Tombstone => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(count: usize, payload_bytes: usize) -> Vec<Event> {
        let event = Event::bytes("a", 1, "t", vec![0; payload_bytes]).build().unwrap();
        vec![event; count]
    }

    #[test]
    fn a_statement_is_bounded_in_rows_and_in_bytes() {
        assert_eq!(statement_length(&events(3, 10)), 3);
        assert_eq!(statement_length(&events(STATEMENT_ROWS_MAX + 1, 0)), STATEMENT_ROWS_MAX);
        assert_eq!(statement_length(&events(10, 1_000_000)), 8);
    }
}
