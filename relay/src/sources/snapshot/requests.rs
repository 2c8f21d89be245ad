//! The table `postrider.snapshots` as a relay sees it: what it is asked to read while it streams, and how far it came.
//!
//! Guarantee: how far it came is written only after it is durable, so that whoever goes on may read a chunk again and never
//! leaves one out.

use std::collections::HashSet;

use postgres_protocol::escape::escape_literal;
use serde::{Deserialize, Serialize};

use crate::pipeline::{End, Error, Kind};
use crate::postgres::connection::{Connection, Row};
use crate::sources::snapshot::order::{Named, Order};
use crate::sources::wal::window::Visible;

/// Who asked for a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A row of the signal table.
    Signal,
    /// A change of the table's columns that sent no rows.
    Rewrite,
}

impl Origin {
    fn as_str(self) -> &'static str {
        match self {
            Self::Signal => "signal",
            Self::Rewrite => "rewrite",
        }
    }
}

/// A table to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) id: u64,
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) condition: Option<String>,
    pub(crate) paused: bool,
    /// How far it came.
    pub(crate) reached: Option<Reached>,
    pub(crate) counts: Counts,
}

/// How far a snapshot came: what a relay needs that goes on with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reached {
    /// The values of the last key that was delivered.
    pub(crate) key: Vec<String>,
    /// A transaction older than all that were not over when the snapshot was begun.
    pub(crate) since: u32,
}

/// How much was delivered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) rows: u64,
    pub(crate) chunks: u64,
    /// Chunks that had to be read again.
    pub(crate) rereads: u64,
    /// Rows of all snapshots of the slot so far: what their positions count.
    pub(crate) sent: u64,
}

/// How far a snapshot came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) id: u64,
    /// How far it came; `None`: nowhere yet.
    pub(crate) reached: Option<Reached>,
    pub(crate) counts: Counts,
    pub(crate) done: bool,
}

/// What is to be read, in the order in which it was asked for; and how far the positions of rows were counted.
///
/// # Errors
/// As [`ask`].
pub(crate) fn wanted(sql: &mut Connection, slot: &str) -> Result<(Vec<Request>, u64), Error> {
    let query = format!(
        "select id, schema_name, table_name, condition, state, position, rows, chunks, rereads, sent,
                (select max(sent) from postrider.snapshots where slot = {slot})
         from postrider.snapshots
         where slot = {slot} and state in ('requested', 'running', 'paused')
         order by id",
        slot = escape_literal(slot)
    );
    let rows = ask(sql, &query)?;
    let sent = rows.first().map_or(0, |row| number(row, 10));
    Ok((rows.iter().map(request).collect(), sent))
}

fn request(row: &Row) -> Request {
    Request {
        id: number(row, 0),
        schema: text(row, 1).to_owned(),
        name: text(row, 2).to_owned(),
        condition: row.get(3).cloned().flatten(),
        paused: text(row, 4) == "paused",
        reached: serde_json::from_str(text(row, 5)).ok(),
        counts: Counts { rows: number(row, 6), chunks: number(row, 7), rereads: number(row, 8), sent: number(row, 9) },
    }
}

/// Asks what a snapshot sees now.
///
/// # Errors
/// As [`ask`], and `Setup` on a standby, where a snapshot does not tell which transactions are running.
pub(crate) fn visible(sql: &mut Connection) -> Result<Visible, Error> {
    let rows = ask(sql, "select pg_catalog.pg_current_snapshot(), pg_catalog.pg_is_in_recovery()")?;
    if rows.first().is_some_and(|row| text(row, 1) == "t") {
        let context = "on a standby a snapshot does not tell which transactions are running";
        return Err(Error::new(End::Source, Kind::Setup, context)
            .with_help("Let the relay read from the primary while it takes snapshots beside the stream."));
    }
    rows.first()
        .and_then(|row| Visible::parse(text(row, 0)))
        .ok_or_else(|| Error::new(End::Source, Kind::Broken, "Postgres printed a snapshot that cannot be read"))
}

/// Asks which transactions are running that have a number.
///
/// # Errors
/// As [`ask`].
pub(crate) fn running(sql: &mut Connection) -> Result<HashSet<u32>, Error> {
    let query = "select transactionid from pg_catalog.pg_locks
                 where locktype = 'transactionid' and mode = 'ExclusiveLock' and granted";
    let rows = ask(sql, query)?;
    Ok(rows.iter().map(|row| number(row, 0)).collect())
}

/// Writes how far a snapshot came, unless somebody ended it meanwhile.
///
/// # Errors
/// As [`ask`].
pub(crate) fn advance(sql: &mut Connection, slot: &str, mark: &Mark) -> Result<(), Error> {
    let position = mark.reached.as_ref().map(|reached| serde_json::to_string(reached).unwrap_or_default());
    let Counts { rows, chunks, rereads, sent } = mark.counts;
    let (state, ended) = if mark.done { ("'done'", "clock_timestamp()") } else { ("state", "null") };
    let query = format!(
        "update postrider.snapshots
         set state = case when {done} or state = 'paused' then {state} else 'running' end,
             position = {position}, rows = {rows}, chunks = {chunks}, rereads = {rereads}, sent = {sent},
             started_at = coalesce(started_at, clock_timestamp()), progress_at = clock_timestamp(), ended_at = {ended}
         where slot = {slot} and id = {id} and state in ('requested', 'running', 'paused')",
        done = mark.done,
        position = position.map_or_else(|| "null".to_owned(), |position| escape_literal(&position)),
        slot = escape_literal(slot),
        id = mark.id,
    );
    ask(sql, &query).map(drop)
}

/// Writes that a snapshot was begun, and of about how many rows.
///
/// # Errors
/// As [`ask`].
pub(crate) fn begin(sql: &mut Connection, slot: &str, id: u64, rows: Option<u64>) -> Result<(), Error> {
    let rows = rows.map_or_else(|| "null".to_owned(), |rows| rows.to_string());
    let query = format!(
        "update postrider.snapshots
         set state = 'running', started_at = coalesce(started_at, clock_timestamp()), estimated_rows = {rows}
         where slot = {slot} and id = {id} and state in ('requested', 'running')",
        slot = escape_literal(slot),
    );
    ask(sql, &query).map(drop)
}

/// Writes that a snapshot cannot go on, and why.
///
/// # Errors
/// As [`ask`].
pub(crate) fn fail(sql: &mut Connection, slot: &str, id: u64, why: &str, help: Option<&str>) -> Result<(), Error> {
    let query = format!(
        "update postrider.snapshots
         set state = 'failed', error = {why}, help = {help}, ended_at = clock_timestamp()
         where slot = {slot} and id = {id} and state in ('requested', 'running', 'paused')",
        why = escape_literal(why),
        help = help.map_or_else(|| "null".to_owned(), escape_literal),
        slot = escape_literal(slot),
    );
    ask(sql, &query).map(drop)
}

/// Asks for a table to be read because of something at `position` of the stream. Asked twice for the same, it is one request.
///
/// # Errors
/// As [`ask`].
pub(crate) fn request_rewritten(
    sql: &mut Connection,
    slot: &str,
    position: &str,
    (schema, name): (&str, &str),
) -> Result<usize, Error> {
    let tables = [(Named { schema: schema.to_owned(), name: name.to_owned() }, None)];
    register(sql, slot, Origin::Rewrite, position, &tables)
}

/// Does what a signal at `position` of the stream asks for, and returns how many snapshots it touched. Done twice, it is as
/// if done once, but for what is written to the log.
///
/// # Errors
/// As [`ask`].
pub(crate) fn follow(
    sql: &mut Connection,
    (slot, publication): (&str, &str),
    position: &str,
    order: &Order,
) -> Result<usize, Error> {
    match order {
        Order::Start(wanted) => {
            let mut tables = Vec::new();
            for wanted in wanted {
                let named = if wanted.tables.is_pattern() {
                    matching(sql, publication, &wanted.tables)?
                } else {
                    vec![wanted.tables.clone()]
                };
                tables.extend(named.into_iter().map(|named| (named, wanted.condition.clone())));
            }
            register(sql, slot, Origin::Signal, position, &tables)
        }
        Order::Stop(tables) => {
            set(sql, slot, tables, "'stopped', ended_at = clock_timestamp()", "'requested', 'running', 'paused'")
        }
        Order::Pause => set(sql, slot, &[], "'paused'", "'requested', 'running'"),
        Order::Resume => set(sql, slot, &[], "'running'", "'paused'"),
        Order::Log(_) => Ok(0),
    }
}

fn register(
    sql: &mut Connection,
    slot: &str,
    origin: Origin,
    position: &str,
    tables: &[(Named, Option<String>)],
) -> Result<usize, Error> {
    let row = |(named, condition): &(Named, Option<String>)| {
        format!(
            "({}, {}, {}, {}, '{}', {})",
            escape_literal(slot),
            escape_literal(&named.schema),
            escape_literal(&named.name),
            condition.as_deref().map_or_else(|| "null".to_owned(), escape_literal),
            origin.as_str(),
            escape_literal(position),
        )
    };
    if tables.is_empty() {
        return Ok(0);
    }
    let query = format!(
        "insert into postrider.snapshots (slot, schema_name, table_name, condition, origin, signal_position)
         values {}
         on conflict do nothing
         returning id",
        tables.iter().map(row).collect::<Vec<_>>().join(", ")
    );
    ask(sql, &query).map(|rows| rows.len())
}

/// The published tables that a pattern names.
fn matching(sql: &mut Connection, publication: &str, named: &Named) -> Result<Vec<Named>, Error> {
    let query = format!(
        "select schemaname, tablename
         from pg_catalog.pg_publication_tables
         where pubname = {} and schemaname like {} and tablename like {}
         order by 1, 2",
        escape_literal(publication),
        escape_literal(&like(&named.schema)),
        escape_literal(&like(&named.name)),
    );
    let rows = ask(sql, &query)?;
    Ok(rows.iter().map(|row| Named { schema: text(row, 0).to_owned(), name: text(row, 1).to_owned() }).collect())
}

fn set(sql: &mut Connection, slot: &str, tables: &[Named], state: &str, from: &str) -> Result<usize, Error> {
    let one = |named: &Named| {
        let (schema, name) = (escape_literal(&like(&named.schema)), escape_literal(&like(&named.name)));
        format!("(schema_name like {schema} and table_name like {name})")
    };
    let which =
        if tables.is_empty() { "true".to_owned() } else { tables.iter().map(one).collect::<Vec<_>>().join(" or ") };
    let query = format!(
        "update postrider.snapshots set state = {state} where slot = {} and state in ({from}) and ({which}) returning id",
        escape_literal(slot),
    );
    ask(sql, &query).map(|rows| rows.len())
}

/// A pattern in which `*` stands for any characters, as LIKE knows it.
fn like(pattern: &str) -> String {
    pattern.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_").replace('*', "%")
}

fn text(row: &Row, index: usize) -> &str {
    row.get(index).and_then(Option::as_deref).unwrap_or_default()
}

fn number<T: std::str::FromStr + Default>(row: &Row, index: usize) -> T {
    text(row, index).parse().unwrap_or_default()
}

/// Asks the server.
///
/// # Errors
/// `Unavailable` if it does not answer, `Setup` if the table or a right on it is missing, `Broken` else.
fn ask(sql: &mut Connection, query: &str) -> Result<Vec<Row>, Error> {
    // Codes of a table, schema or column that is not there, and of a right that is missing.
    const MISSING: [&str; 4] = ["42P01", "3F000", "42703", "42501"];
    sql.simple_query(query).map_err(|error| {
        let kind = match error.sqlstate() {
            Some(code) if MISSING.contains(&code) => Kind::Setup,
            _ if error.is_transient() => Kind::Unavailable,
            _ => Kind::Broken,
        };
        Error::new(End::Source, kind, "postrider.snapshots, where snapshots are asked for, could not be used")
            .because(error)
            .with_help("Run `postrider migrate` and `postrider init`.")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_means_the_same_to_like() {
        for (pattern, is) in [("orders", "orders"), ("a_b*", r"a\_b%"), (r"50%\", r"50\%\\")] {
            assert_eq!(like(pattern), is);
        }
    }
}
