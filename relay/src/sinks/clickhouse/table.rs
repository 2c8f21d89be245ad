//! What a table is: its columns, its engine, how long it remembers tokens, and which views its inserts feed.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::sinks::clickhouse::client::{Client, TableName};
use crate::sinks::clickhouse::errors::Failure;

/// Views on views on views at most.
const VIEWS_DEPTH_MAX: usize = 16;

/// A table as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its names.
    pub name: TableName,
    /// Its columns, in order.
    pub columns: Vec<TableColumn>,
    /// The engine's name, such as `ReplacingMergeTree`.
    pub engine: String,
    /// The engine with its arguments and the table's settings.
    pub engine_full: String,
    /// The expression it is sorted by.
    pub sorting_key: String,
    /// The expression it is partitioned by; empty if it is not.
    pub partition_key: String,
    /// For how many inserts it remembers tokens; zero means not at all.
    pub window: u64,
}

/// A column as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct TableColumn {
    /// Its name.
    pub name: String,
    /// Its type's text.
    #[serde(rename = "type")]
    pub kind: String,
    /// `DEFAULT`, `MATERIALIZED`, `ALIAS`, `EPHEMERAL`, or empty.
    #[serde(rename = "default_kind")]
    pub default_kind: String,
    /// The expression of that.
    #[serde(rename = "default_expression")]
    pub default_expression: String,
    /// Whether the table is sorted by it.
    #[serde(rename = "is_in_sorting_key", deserialize_with = "flag")]
    pub in_sorting_key: bool,
    /// Whether the table is partitioned by it.
    #[serde(rename = "is_in_partition_key", deserialize_with = "flag")]
    pub in_partition_key: bool,
}

impl TableColumn {
    /// Whether an insert may name it.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        !matches!(self.default_kind.as_str(), "MATERIALIZED" | "ALIAS")
    }

    /// Whether it has a value of its own where an insert gives none.
    #[must_use]
    pub fn has_default(&self) -> bool {
        self.default_kind == "DEFAULT"
    }
}

/// A materialized view that inserts into a table feed, and where it writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// The view.
    pub name: TableName,
    /// The table it reads the inserts of: the table itself, or another view's target.
    pub source: TableName,
    /// The table it writes to; the view's own inner one, if it names none.
    pub target: TableName,
    /// The target's engine.
    pub engine: String,
    /// For how many inserts the target remembers tokens; zero means not at all.
    pub window: u64,
}

#[derive(Deserialize)]
struct TableRow {
    engine: String,
    engine_full: String,
    sorting_key: String,
    partition_key: String,
    window: String,
    replicated_window: String,
}

#[derive(Deserialize)]
struct ViewRow {
    database: String,
    name: String,
    uuid: String,
    create_table_query: String,
}

impl Table {
    /// What the table is, or none if there is no such table.
    ///
    /// # Errors
    /// The server's, with its class.
    pub async fn read(client: &Client, name: &TableName) -> Result<Option<Self>, Failure> {
        let Some(row) = table_row(client, name).await? else { return Ok(None) };
        let sql = "select name, type, default_kind, default_expression, is_in_sorting_key, is_in_partition_key \
                   from system.columns where database = {database:String} and table = {table:String} order by position";
        let columns = client.rows(&format!("describe {name}"), sql, &named(name)).await?;
        let window = row.window();
        let TableRow { engine, engine_full, sorting_key, partition_key, .. } = row;
        Ok(Some(Self { name: name.clone(), columns, engine, engine_full, sorting_key, partition_key, window }))
    }

    /// The column of that name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&TableColumn> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Of a `ReplacingMergeTree`: the column of the version, and the one that marks a row as deleted, as far as it has them.
    #[must_use]
    pub fn replacing(&self) -> Option<(Option<&str>, Option<&str>)> {
        if !self.engine.ends_with("ReplacingMergeTree") {
            return None;
        }
        let arguments = arguments(&self.engine_full);
        // A replicated table's first two are its path and its replica's name, if it says them.
        let own = arguments.iter().filter(|argument| !argument.starts_with('\'')).copied();
        let mut own = own.map(|argument| argument.trim_matches('`'));
        Some((own.next(), own.next()))
    }

    /// The incremental materialized views that inserts into the table feed, those that feed on their targets included.
    /// Refreshable views are none of them: they read tables, not inserts.
    ///
    /// # Errors
    /// The server's, with its class.
    pub async fn views(&self, client: &Client) -> Result<Vec<View>, Failure> {
        let what = format!("find the views on {}", self.name);
        let sql = "select database, name, toString(uuid) as uuid, create_table_query from system.tables \
                   where engine = 'MaterializedView' \
                   and has((select arrayZip(dependencies_database, dependencies_table) from system.tables \
                            where database = {database:String} and name = {table:String}), (database, name)) \
                   order by database, name";
        let mut found = Vec::new();
        let mut seen = BTreeSet::from([self.name.clone()]);
        let mut sources = vec![self.name.clone()];
        for _ in 0..VIEWS_DEPTH_MAX {
            let mut next = Vec::new();
            for source in sources {
                let rows: Vec<ViewRow> = client.rows(&what, sql, &named(&source)).await?;
                for row in rows.into_iter().filter(|row| !is_refreshable(&row.create_table_query)) {
                    let view = row.view(client, &source).await?;
                    if seen.insert(view.target.clone()) {
                        next.push(view.target.clone());
                    }
                    found.push(view);
                }
            }
            if next.is_empty() {
                break;
            }
            sources = next;
        }
        Ok(found)
    }
}

impl TableRow {
    /// What the table says itself, else the server.
    fn window(&self) -> u64 {
        let (setting, default) = if self.engine.starts_with("Replicated") || self.engine.starts_with("Shared") {
            ("replicated_deduplication_window", &self.replicated_window)
        } else {
            ("non_replicated_deduplication_window", &self.window)
        };
        let own = setting_of(&self.engine_full, setting);
        own.or_else(|| default.parse().ok()).unwrap_or(0)
    }
}

impl ViewRow {
    async fn view(self, client: &Client, source: &TableName) -> Result<View, Failure> {
        let name = TableName { database: self.database, table: self.name };
        let target = target(&self.create_table_query, &name.database).unwrap_or_else(|| {
            let none = self.uuid.bytes().all(|byte| matches!(byte, b'0' | b'-'));
            let table = if none { format!(".inner.{}", name.table) } else { format!(".inner_id.{}", self.uuid) };
            TableName { database: name.database.clone(), table }
        });
        let row = table_row(client, &target).await?;
        let window = row.as_ref().map_or(0, TableRow::window);
        let engine = row.map(|row| row.engine).unwrap_or_default();
        Ok(View { name, source: source.clone(), target, engine, window })
    }
}

async fn table_row(client: &Client, name: &TableName) -> Result<Option<TableRow>, Failure> {
    let sql = "select engine, engine_full, sorting_key, partition_key, \
               (select any(value) from system.merge_tree_settings \
                where name = 'non_replicated_deduplication_window') as window, \
               (select any(value) from system.merge_tree_settings \
                where name = 'replicated_deduplication_window') as replicated_window \
               from system.tables where database = {database:String} and name = {table:String}";
    let rows = client.rows(&format!("look for {name}"), sql, &named(name)).await?;
    Ok(rows.into_iter().next())
}

fn named(name: &TableName) -> [(&'static str, &str); 2] {
    [("database", &name.database), ("table", &name.table)]
}

/// The value of a setting in an engine's text: `… SETTINGS index_granularity = 8192, name = 1000`.
fn setting_of(engine_full: &str, setting: &str) -> Option<u64> {
    let (_, settings) = engine_full.rsplit_once("SETTINGS ")?;
    settings.split(',').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        (name.trim() == setting).then(|| value.trim().parse().ok())?
    })
}

/// What stands in the first parentheses of an engine's text, at its commas.
fn arguments(engine_full: &str) -> Vec<&str> {
    let Some(open) = engine_full.find('(') else { return Vec::new() };
    // `MergeTree ORDER BY (a, b)` has no arguments.
    if engine_full[..open].contains(' ') {
        return Vec::new();
    }
    let inner = &engine_full[open + 1..];
    let inner = inner.split_once(')').map_or(inner, |(inner, _)| inner);
    inner.split(',').map(str::trim).filter(|argument| !argument.is_empty()).collect()
}

/// Where a view writes, if it says so: `CREATE MATERIALIZED VIEW db.v TO db.t (…) AS SELECT …`.
fn target(create: &str, database: &str) -> Option<TableName> {
    let head = &create[..create.find(" AS ").unwrap_or(create.len())];
    let (_, rest) = head.split_once(" TO ")?;
    let (first, rest) = identifier(rest)?;
    Some(match rest.strip_prefix('.').and_then(identifier) {
        Some((table, _)) => TableName { database: first, table },
        None => TableName { database: database.to_owned(), table: first },
    })
}

/// The name that a text begins with, in backticks or bare, and what follows.
fn identifier(text: &str) -> Option<(String, &str)> {
    if let Some(quoted) = text.strip_prefix('`') {
        let mut name = String::new();
        let mut letters = quoted.chars();
        loop {
            match letters.next()? {
                '\\' => name.push(letters.next()?),
                '`' => return Some((name, letters.as_str())),
                letter => name.push(letter),
            }
        }
    }
    let end = text.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(text.len());
    (end > 0).then(|| (text[..end].to_owned(), &text[end..]))
}

/// Whether a view is made anew now and then, instead of by each insert.
fn is_refreshable(create: &str) -> bool {
    let head = &create[..create.find(" AS ").unwrap_or(create.len())];
    head.contains(" REFRESH EVERY ") || head.contains(" REFRESH AFTER ")
}

/// ClickHouse has numbers for what is true or not.
fn flag<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    u8::deserialize(deserializer).map(|value| value != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_read_from_the_engines_text() {
        let engine =
            "MergeTree ORDER BY id SETTINGS non_replicated_deduplication_window = 1000, index_granularity = 8192";
        assert_eq!(setting_of(engine, "non_replicated_deduplication_window"), Some(1000));
        assert_eq!(setting_of(engine, "replicated_deduplication_window"), None);
        assert_eq!(setting_of("MergeTree ORDER BY id", "index_granularity"), None);
    }

    #[test]
    fn the_version_and_the_mark_of_a_deletion_are_the_engines_arguments() {
        let table = |engine: &str, engine_full: &str| Table {
            name: TableName::parse("db", "t"),
            columns: Vec::new(),
            engine: engine.to_owned(),
            engine_full: engine_full.to_owned(),
            sorting_key: String::new(),
            partition_key: String::new(),
            window: 0,
        };
        let full = "ReplacingMergeTree(_version, _deleted) ORDER BY (id, at) SETTINGS index_granularity = 8192";
        assert_eq!(table("ReplacingMergeTree", full).replacing(), Some((Some("_version"), Some("_deleted"))));
        let none = table("ReplacingMergeTree", "ReplacingMergeTree ORDER BY (id, at)");
        assert_eq!(none.replacing(), Some((None, None)));
        let replicated = "ReplicatedReplacingMergeTree('/clickhouse/{shard}', '{replica}', `v`) ORDER BY id";
        assert_eq!(table("ReplicatedReplacingMergeTree", replicated).replacing(), Some((Some("v"), None)));
        assert_eq!(table("MergeTree", "MergeTree ORDER BY id").replacing(), None);
    }

    #[test]
    fn a_views_target_is_read_from_its_statement() {
        let name = |database: &str, table: &str| TableName { database: database.to_owned(), table: table.to_owned() };
        for (create, expected) in [
            ("CREATE MATERIALIZED VIEW db.v TO db.t (`a` UInt8) AS SELECT a FROM db.s", Some(name("db", "t"))),
            ("CREATE MATERIALIZED VIEW db.v TO t AS SELECT ' TO x' FROM db.s", Some(name("own", "t"))),
            ("CREATE MATERIALIZED VIEW db.v TO `d b`.`t\\`x` AS SELECT 1", Some(name("d b", "t`x"))),
            ("CREATE MATERIALIZED VIEW db.v (`a` UInt8) ENGINE = MergeTree AS SELECT a TO b", None),
        ] {
            assert_eq!(target(create, "own"), expected, "{create}");
        }
        assert!(is_refreshable("CREATE MATERIALIZED VIEW db.v REFRESH EVERY 1 MINUTE TO db.t AS SELECT 1"));
        assert!(!is_refreshable("CREATE MATERIALIZED VIEW db.v TO db.t AS SELECT ' REFRESH EVERY '"));
    }
}
