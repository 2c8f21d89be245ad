//! Looked at before anything is loaded: whether the server and each table are as exactly-once results need them.
//!
//! What is not right ends the start, with the statement that mends it: a loader that goes on would count twice, or show
//! rows that are gone.

use std::sync::Arc;

use serde::Deserialize;

use crate::encode::native::Type;
use crate::pipeline::{End, Error, Kind};
use crate::sinks::clickhouse::client::{Client, TableName, quoted};
use crate::sinks::clickhouse::encode::Fed;
use crate::sinks::clickhouse::insert::failed;
use crate::sinks::clickhouse::layout::{Layout, Mismatch};
use crate::sinks::clickhouse::options::{Feed, OnTruncate, Rows, Unknown};
use crate::sinks::clickhouse::readings::Readings;
use crate::sinks::clickhouse::rows::Filler;
use crate::sinks::clickhouse::table::{Table, View};

/// The oldest server whose tokens reach the targets of views as they do today.
const VERSION_MIN: (u32, u32) = (24, 8);

/// How many inserts a table is told to remember: a day's worth of retries, at a few bytes each.
pub(super) const WINDOW: u32 = 1000;

/// Whether the server answers, knows us, and is new enough.
pub(super) async fn server(client: &mut Client) -> Result<(), Error> {
    let version = client.meet().await.map_err(|failure| failed(&failure))?;
    let mut parts = version.split('.').map_while(|part| part.parse::<u32>().ok());
    let (Some(major), Some(minor)) = (parts.next(), parts.next()) else { return Ok(()) };
    if (major, minor) < VERSION_MIN {
        let (major, minor) = VERSION_MIN;
        return Err(setup(
            format!(
                "ClickHouse is of version {version}, which does not pass deduplication tokens on to views as this needs it"
            ),
            format!("Use ClickHouse {major}.{minor} or later."),
        ));
    }
    Ok(())
}

/// Looks at the table of a feed; `None` if it is not there and may be made.
pub(super) async fn table(client: &Client, database: &str, feed: &Arc<Feed>) -> Result<Option<Fed>, Error> {
    let name = TableName { database: database.to_owned(), table: feed.table.clone() };
    let Some(table) = Table::read(client, &name).await.map_err(|failure| failed(&failure))? else {
        return if feed.create { Ok(None) } else { Err(absent(&name, feed)) };
    };
    engine(&table, feed)?;
    if let Rows::Current { .. } = feed.rows {
        replacing(&table, feed)?;
    }
    window(&table.name, &table.engine, table.window, None)?;
    let views = table.views(client).await.map_err(|failure| failed(&failure))?;
    for view in &views {
        window(&view.target, &view.engine, view.window, Some(view))?;
    }
    let layout = Layout::of(feed, &table).map_err(|Mismatch { what, help }| setup(what, help))?;
    rights(client, &table.name, feed).await?;
    let may_refuse = !views.is_empty() || has_constraints(client, &table.name).await?;
    let mut key: Vec<String> =
        table.columns.iter().filter(|column| column.in_sorting_key).map(|c| c.name.clone()).collect();
    key.sort_unstable();
    Ok(Some(Fed {
        feed: Arc::clone(feed),
        table: table.name,
        may_refuse,
        layout,
        key,
        key_is_right: false,
        readings: Readings::new(),
        filler: Filler::default(),
        told: (0, 0),
    }))
}

fn absent(name: &TableName, feed: &Feed) -> Error {
    let engine = match feed.rows {
        Rows::Current { .. } => "…, _version UInt128, _deleted Bool) ENGINE = ReplacingMergeTree(_version, _deleted)",
        Rows::Append { .. } => "…) ENGINE = MergeTree",
    };
    setup(
        format!("table {name} does not exist, or the user may not see it"),
        format!(
            "CREATE TABLE {} ({engine} ORDER BY (…) SETTINGS non_replicated_deduplication_window = {WINDOW}; or let the loader make it from records that carry their schema: create = true in [load.tables.{}].",
            name.quoted(),
            feed.name
        ),
    )
}

fn engine(table: &Table, feed: &Feed) -> Result<(), Error> {
    let Table { name, engine, .. } = table;
    if !engine.ends_with("MergeTree") {
        return Err(setup(
            format!(
                "{name} is a {engine}, which does not remember what was inserted: what is sent again would count twice"
            ),
            format!("Name a table of the MergeTree family in [load.tables.{}].", feed.name),
        ));
    }
    Ok(())
}

/// Whether rows of a table of current rows replace each other by version, wherever they lie.
fn replacing(table: &Table, feed: &Feed) -> Result<(), Error> {
    let name = &table.name;
    let (Some((Some(version), Some(deleted))), true) = (table.replacing(), is_plain_key(table)) else {
        return Err(no_replacing(table, feed));
    };
    let kind = |column: &str| table.column(column).map_or("", |column| column.kind.as_str());
    if !Type::parse(kind(version)).is_ok_and(|of| of.is_unsigned(128)) {
        return Err(setup(
            format!(
                "column {version} of {name}, the version by which rows replace each other, is {} and must be UInt128",
                kind(version)
            ),
            rebuilt(table),
        ));
    }
    if !matches!(kind(deleted), "Bool" | "UInt8") {
        return Err(setup(
            format!(
                "column {deleted} of {name}, the mark of deleted rows, is {} and must be Bool or UInt8",
                kind(deleted)
            ),
            rebuilt(table),
        ));
    }
    let stray = table.columns.iter().find(|column| column.in_partition_key && !column.in_sorting_key);
    if let Some(column) = stray {
        return Err(setup(
            format!(
                "{name} is partitioned by {}, which is not part of its key ({}): a deletion, which knows the key alone, would land in another partition than the row",
                column.name, table.sorting_key
            ),
            rebuilt(table),
        ));
    }
    Ok(())
}

fn is_plain_key(table: &Table) -> bool {
    // A key of one column may stand in parentheses, as it was written.
    let key = table.sorting_key.trim_start_matches('(').trim_end_matches(')');
    let mut parts = key.split(',').map(|part| part.trim().trim_matches('`'));
    !key.is_empty() && parts.all(|part| table.column(part).is_some())
}

fn no_replacing(table: &Table, feed: &Feed) -> Error {
    setup(
        format!(
            "{} cannot keep the current rows of a captured table: it is `{}`, and must be a ReplacingMergeTree of a version and a mark of deleted rows, sorted by the columns of the captured table's key",
            table.name, table.engine_full
        ),
        format!("{} Or set kind = \"append\" in [load.tables.{}].", rebuilt(table), feed.name),
    )
}

/// What cannot be altered: an engine, a key, a partition. The way is a new table.
fn rebuilt(table: &Table) -> String {
    let (name, new) = (table.name.quoted(), quoted(&format!("{}_new", table.name.table)));
    format!(
        "It cannot be altered: CREATE TABLE {}.{new} (the same columns, _version UInt128, _deleted Bool) ENGINE = ReplacingMergeTree(_version, _deleted) ORDER BY (the key) SETTINGS non_replicated_deduplication_window = {WINDOW}; EXCHANGE TABLES {name} AND {}.{new}; then load it from the topic's beginning.",
        quoted(&table.name.database),
        quoted(&table.name.database),
    )
}

/// Whether a table remembers tokens: the feed's own, or the target of a view.
fn window(name: &TableName, engine: &str, window: u64, view: Option<&View>) -> Result<(), Error> {
    if window > 0 || !engine.ends_with("MergeTree") {
        return Ok(());
    }
    let setting = if engine.starts_with("Replicated") || engine.starts_with("Shared") {
        "replicated_deduplication_window"
    } else {
        "non_replicated_deduplication_window"
    };
    let of_view = view.map(|view| format!(", the target of the view {}", view.name)).unwrap_or_default();
    Err(setup(
        format!(
            "table {name}{of_view} remembers no insert ({setting} = 0): what is sent again after a failure would count twice"
        ),
        format!("ALTER TABLE {} MODIFY SETTING {setting} = {WINDOW}", name.quoted()),
    ))
}

/// Whether the user may do what the loader does.
async fn rights(client: &Client, name: &TableName, feed: &Feed) -> Result<(), Error> {
    let mut wanted = vec!["SELECT", "INSERT"];
    if feed.unknown == Unknown::Add {
        wanted.push("ALTER ADD COLUMN");
        wanted.push("ALTER MODIFY COLUMN");
    }
    if let Rows::Current { .. } = feed.rows
        && feed.on_truncate == OnTruncate::Delete
    {
        wanted.push("ALTER DELETE");
    }
    let mut lacking = Vec::new();
    for right in wanted {
        let what = format!("ask whether the user may {right} on {name}");
        let answer =
            client.bytes(&what, &format!("check grant {right} on {}", name.quoted()), "TabSeparated", &[]).await;
        // A server that does not know the question answers it with the first insert.
        if answer.is_ok_and(|answer| answer.trim_ascii() == b"0") {
            lacking.push(right);
        }
    }
    if lacking.is_empty() {
        return Ok(());
    }
    let lacking = lacking.join(", ");
    Err(setup(
        format!("the user may not {lacking} on {name}"),
        format!("GRANT {lacking} ON {} TO the user of [clickhouse]", name.quoted()),
    ))
}

/// Whether the table refuses rows by constraints of its own.
async fn has_constraints(client: &Client, name: &TableName) -> Result<bool, Error> {
    #[derive(Deserialize)]
    struct Found {
        found: u8,
    }
    let sql = "select position(create_table_query, ' CONSTRAINT ') > 0 as found from system.tables \
               where database = {database:String} and name = {table:String}";
    let parameters = [("database", name.database.as_str()), ("table", name.table.as_str())];
    let found: Vec<Found> = client
        .rows(&format!("look for constraints of {name}"), sql, &parameters)
        .await
        .map_err(|failure| failed(&failure))?;
    Ok(found.iter().any(|found| found.found != 0))
}

pub(super) fn setup(what: String, help: String) -> Error {
    Error::new(End::Sink, Kind::Setup, what).with_help(help)
}
