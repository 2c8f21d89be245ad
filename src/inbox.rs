//! The inbox of a consumer: remembers, in the consumer's own transaction, which events it has handled.
//!
//! Delivery is at least once, so an event can come again after a crash. A consumer that asks [`first_time`] in the transaction of
//! its own work does that work once: the entry and the work commit together or not at all.

use std::time::Duration;

use uuid::Uuid;

use crate::error::{Error, Field, check_text};
use crate::limits::CONSUMER_BYTES_MAX;
use crate::transaction::{OutboxTransaction, Parameter};

/// Without a conflict target the statement needs no right to read the table.
const RECORD: &str = "\
    insert into postrider.inbox (consumer, event_id) \
    values ($1, $2) \
    on conflict do nothing";

/// Takes what nobody else is pruning, oldest first.
const PRUNE: &str = "\
    delete from postrider.inbox \
    where ctid = any (array(\
        select ctid \
        from postrider.inbox \
        where received_at < now() - $1 * interval '1 millisecond' \
        order by received_at \
        limit $2 \
        for update skip locked))";

/// A thousand years, beyond which Postgres could run out of timestamps to subtract it from. No entry is that old.
const AGE_MS_MAX: i64 = 31_557_600_000_000;

/// Records that `consumer` handles `event_id`, and tells whether this is the first time.
///
/// Returns `false` for a repeated delivery: skip the work, and acknowledge the record. While another transaction that recorded the
/// same entry is open, this one waits for it, and is the first exactly if that one rolls back. The role needs `INSERT` on `postrider.inbox`.
///
/// # Errors
/// [`Error::Empty`], [`Error::TooLarge`] or [`Error::Refused`] for a bad consumer's name. [`Error::Database`]; its SQLSTATE is `40001`
/// if the transaction is `repeatable read` or stricter and a concurrent one was first: retry the transaction.
pub async fn first_time<T: OutboxTransaction>(
    transaction: &mut T,
    consumer: &str,
    event_id: Uuid,
) -> Result<bool, Error> {
    check_text(Field::Consumer, consumer, CONSUMER_BYTES_MAX)?;
    let parameters = [Parameter::Text(Some(consumer)), Parameter::Uuid(event_id)];
    let rows = transaction.execute("recording an event in the inbox", RECORD, &parameters).await?;
    Ok(rows == 1)
}

/// Removes up to `rows_max` entries that are older than `age`, and returns how many it removed.
///
/// Keep entries for longer than a record can come again: longer than the topic's retention is always safe. Call it until it returns
/// less than `rows_max`, each time in a transaction of its own, so that no batch holds locks or old row versions for long.
/// The role needs `SELECT`, `UPDATE` and `DELETE` on `postrider.inbox`.
///
/// # Errors
/// [`Error::Database`].
pub async fn prune<T: OutboxTransaction>(transaction: &mut T, age: Duration, rows_max: u32) -> Result<u64, Error> {
    let age_ms = i64::try_from(age.as_millis()).map_or(AGE_MS_MAX, |age| age.min(AGE_MS_MAX));
    let parameters = [Parameter::Integer(age_ms), Parameter::Integer(rows_max.into())];
    transaction.execute("pruning the inbox", PRUNE, &parameters).await
}
