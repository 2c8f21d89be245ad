//! The way to ClickHouse: its HTTP interface, <https://clickhouse.com/docs/interfaces/http>, through the official client.
//!
//! Guarantee: every insert is one block under one token, with the settings on which its being done once rests, whatever the
//! user's profile on the server says.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use clickhouse::Compression;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::sinks::clickhouse::errors::Failure;
use crate::sinks::clickhouse::tls;

/// How much longer than the server the client waits: the server gives up first, so that nothing goes on behind its back.
const GRACE: Duration = Duration::from_secs(10);

/// Bytes that are packed and sent at once.
const CHUNK: usize = 1 << 20;

/// What an insert rests on. Each is the server's own default somewhere, and another somewhere else:
/// <https://clickhouse.com/docs/operations/settings/settings>.
const PINNED: &[(&str, &str)] = &[
    // The block is large already, and its token is its own.
    ("async_insert", "0"),
    ("insert_deduplicate", "1"),
    ("deduplicate_blocks_in_dependent_materialized_views", "1"),
    // A view that fails fails the insert, which is then repeated.
    ("materialized_views_ignore_errors", "0"),
    ("wait_end_of_query", "1"),
    // A column is sent in the simplest form of its type, and the server knows the finer one.
    ("input_format_native_allow_types_conversion", "1"),
    // Null in a column that holds none stands for the column's DEFAULT; where nothing is to stand for null, none is sent.
    ("input_format_null_as_default", "1"),
    ("input_format_defaults_for_omitted_fields", "1"),
    ("date_time_overflow_behavior", "throw"),
    // How many partitions a batch touches is the table's affair; the same batch would be refused for ever.
    ("throw_on_max_partitions_per_insert_block", "0"),
];

/// Whether rows of an insert that replace each other do so before they are written.
const COLLAPSE: &str = "optimize_on_insert";

/// When rows of an insert that replace each other do so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Collapse {
    /// Before they are written, as the server does it if nothing else is said: where the newest version of a row is what counts.
    AtOnce,
    /// When parts are merged: where hardly any do, looking for them takes as long as everything else that the server does for the insert.
    Later,
}

/// What a newer server calls the switch for every kind of insert; older ones refuse a setting that they do not know.
const DEDUPLICATE: &str = "deduplicate_insert";

/// How answers are written that are read here: times say their zone, and large integers are numbers.
const ANSWERS: &[(&str, &str)] = &[
    ("wait_end_of_query", "1"),
    ("date_time_output_format", "iso"),
    ("output_format_json_quote_64bit_integers", "0"),
    ("output_format_json_quote_decimals", "1"),
    ("output_format_json_quote_denormals", "1"),
    ("output_format_json_escape_forward_slashes", "0"),
];

/// Where ClickHouse is, and how it is spoken to.
#[derive(Clone)]
pub struct ClickHouseOptions {
    /// The URL of the HTTP interface, such as `http://localhost:8123`.
    pub url: String,
    /// The database of tables that are named without one.
    pub database: String,
    /// Who the relay is.
    pub user: String,
    /// The user's password.
    pub password: Option<String>,
    /// The authorities that are trusted; the operating system's if none are named. PEM.
    pub tls_ca_file: Option<PathBuf>,
    /// The relay's own certificate and its key, PEM.
    pub tls_identity: Option<(PathBuf, PathBuf)>,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long the server may take for an insert, its views included.
    pub insert_timeout: Duration,
    /// How long the server may take for anything else.
    pub query_timeout: Duration,
    /// Whether rows are packed with LZ4 on their way.
    pub compressed: bool,
    /// Further settings of each insert.
    pub settings: Vec<(String, String)>,
}

impl ClickHouseOptions {
    /// A server without a password, and defaults for the rest.
    #[must_use]
    pub fn new(url: impl Into<String>, database: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            database: database.into(),
            user: "default".to_owned(),
            password: None,
            tls_ca_file: None,
            tls_identity: None,
            connect_timeout: Duration::from_secs(10),
            insert_timeout: Duration::from_secs(120),
            query_timeout: Duration::from_secs(30),
            compressed: true,
            settings: Vec::new(),
        }
    }
}

/// Without the password.
impl fmt::Debug for ClickHouseOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClickHouseOptions")
            .field("url", &self.url)
            .field("database", &self.database)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// A client of one server. Its clones share connections.
#[derive(Clone)]
pub struct Client {
    plain: clickhouse::Client,
    inserting: clickhouse::Client,
    /// Whether the user says when rows collapse.
    collapse_is_chosen: bool,
    insert_timeout: Duration,
    query_timeout: Duration,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Client {
    /// A client as the options say; the files of certificates are read now. Connects when something is asked.
    ///
    /// # Errors
    /// [`Class::Setup`](crate::sinks::clickhouse::Class::Setup) for a file that cannot be used.
    pub fn new(options: &ClickHouseOptions) -> Result<Self, Failure> {
        let mut client = tls::connecting(options)?
            .with_url(&options.url)
            .with_database(&options.database)
            .with_user(&options.user)
            .with_product_info("postrider", env!("CARGO_PKG_VERSION"))
            .with_compression(Compression::None);
        if let Some(password) = &options.password {
            client = client.with_password(password);
        }
        let seconds = |timeout: Duration| timeout.as_secs().max(1).to_string();
        let mut inserting = client
            .clone()
            .with_compression(if options.compressed { Compression::Lz4 } else { Compression::None })
            .with_setting("max_execution_time", seconds(options.insert_timeout));
        // What is pinned comes last, and so prevails.
        for (name, value) in
            options.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).chain(PINNED.iter().copied())
        {
            inserting.set_setting(name, value);
        }
        let mut plain = client.with_setting("max_execution_time", seconds(options.query_timeout));
        for (name, value) in ANSWERS {
            plain.set_setting(*name, *value);
        }
        Ok(Self {
            plain,
            inserting,
            collapse_is_chosen: options.settings.iter().any(|(name, _)| name == COLLAPSE),
            insert_timeout: options.insert_timeout,
            query_timeout: options.query_timeout,
        })
    }

    /// Asks the server who it is; from then on inserts say what only newer servers understand. Tells its version.
    ///
    /// # Errors
    /// If it cannot be asked: away, or not with that name and password.
    pub async fn meet(&mut self) -> Result<String, Failure> {
        #[derive(Deserialize)]
        struct Met {
            version: String,
            knows: u64,
        }
        let sql =
            "select version() as version, (select count() from system.settings where name = {name:String}) as knows";
        let met: Vec<Met> = self.rows("ask for the version", sql, &[("name", DEDUPLICATE)]).await?;
        let met = met.into_iter().next().ok_or_else(|| Failure::unreadable("ask for the version"))?;
        if met.knows > 0 {
            self.inserting.set_setting(DEDUPLICATE, "enable");
        }
        Ok(met.version)
    }

    /// Whether the server answers, and knows us.
    ///
    /// # Errors
    /// If it does not.
    pub async fn ping(&self) -> Result<(), Failure> {
        self.answer("ask whether it is there", "select 1", "TabSeparated", &[], false).await.map(drop)
    }

    /// Inserts a block in `Native` form: all of it or, after an error that is not [`Away`](crate::sinks::clickhouse::Class::Away),
    /// nothing of it in the table itself. The same token again does nothing where the first was done, as long as the table remembers it.
    ///
    /// `table` and `columns` are names without quotes.
    ///
    /// # Errors
    /// The server's, with its class.
    pub async fn insert(
        &self,
        table: &TableName,
        columns: &[&str],
        token: &str,
        block: Bytes,
        collapse: Collapse,
    ) -> Result<(), Failure> {
        let list: Vec<String> = columns.iter().copied().map(quoted).collect();
        let sql = format!("insert into {} ({}) format Native", table.quoted(), list.join(", "));
        let patience = self.insert_timeout + GRACE;
        let mut insert = self
            .inserting
            .insert_formatted_with(sql)
            .with_setting("insert_deduplication_token", token)
            .with_timeouts(Some(patience), Some(patience));
        if collapse == Collapse::Later && !self.collapse_is_chosen {
            insert = insert.with_setting(COLLAPSE, "0");
        }
        let sent = async {
            let mut rest = block;
            while !rest.is_empty() {
                let chunk = rest.split_to(rest.len().min(CHUNK));
                insert.send(chunk).await?;
            }
            insert.end().await
        };
        sent.await.map_err(|error| Failure::of(&error, &format!("insert into {table}"), false))
    }

    /// Runs a statement that holds no value of a row, such as one that makes a table. What the server says against it is said whole.
    ///
    /// # Errors
    /// The server's, with its class.
    pub async fn command(&self, what: &str, sql: &str) -> Result<(), Failure> {
        self.answer(what, sql, "TabSeparated", &[], true).await.map(drop)
    }

    /// The rows of an answer, by their columns' names. `{name:Type}` in the statement stands for the parameter of that name.
    /// `what` says in an error what was asked.
    ///
    /// # Errors
    /// The server's, with its class; or rows that are not of that form.
    pub async fn rows<T: DeserializeOwned>(
        &self,
        what: &str,
        sql: &str,
        parameters: &[(&str, &str)],
    ) -> Result<Vec<T>, Failure> {
        let answer = self.answer(what, sql, "JSONEachRow", parameters, false).await?;
        let rows = serde_json::Deserializer::from_slice(&answer).into_iter();
        rows.collect::<Result<_, _>>().map_err(|_| Failure::unreadable(what))
    }

    /// The bytes of an answer in that format. Times are in ISO 8601 form, in UTC.
    ///
    /// # Errors
    /// The server's, with its class.
    pub async fn bytes(
        &self,
        what: &str,
        sql: &str,
        format: &str,
        parameters: &[(&str, &str)],
    ) -> Result<Bytes, Failure> {
        self.answer(what, sql, format, parameters, false).await
    }

    async fn answer(
        &self,
        what: &str,
        sql: &str,
        format: &str,
        parameters: &[(&str, &str)],
        open: bool,
    ) -> Result<Bytes, Failure> {
        let mut query = self.plain.query_raw(sql);
        for (name, value) in parameters {
            query = query.with_setting(format!("param_{name}"), escaped(value));
        }
        let answered = async { query.fetch_bytes(format)?.collect().await };
        match tokio::time::timeout(self.query_timeout + GRACE, answered).await {
            Ok(answered) => answered.map_err(|error| Failure::of(&error, what, open)),
            Err(_) => Err(Failure::late(what)),
        }
    }
}

/// A table, by the names of its database and its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableName {
    /// The database.
    pub database: String,
    /// The table in it.
    pub table: String,
}

impl TableName {
    /// The table of that name in `database`, unless the name says another: `other.table`.
    #[must_use]
    pub fn parse(database: &str, name: &str) -> Self {
        let (database, table) = name.split_once('.').unwrap_or((database, name));
        Self { database: database.to_owned(), table: table.to_owned() }
    }

    /// As a statement has it.
    #[must_use]
    pub fn quoted(&self) -> String {
        format!("{}.{}", quoted(&self.database), quoted(&self.table))
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.database, self.table)
    }
}

/// A name in a statement: <https://clickhouse.com/docs/sql-reference/syntax#identifiers>.
#[must_use]
pub fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('\\', "\\\\").replace('`', "\\`"))
}

/// A parameter's value, which the server reads as `TabSeparated` has it.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for letter in value.chars() {
        match letter {
            '\\' => text.push_str("\\\\"),
            '\t' => text.push_str("\\t"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\0' => text.push_str("\\0"),
            letter => text.push(letter),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_quoted() {
        assert_eq!(quoted("a`b\\c"), r"`a\`b\\c`");
        assert_eq!(escaped("a\tb\\c\n"), r"a\tb\\c\n");
        assert_eq!(TableName::parse("db", "t").quoted(), "`db`.`t`");
        assert_eq!(TableName::parse("db", "other.t").to_string(), "other.t");
    }

    #[test]
    fn the_password_is_not_shown() {
        let mut options = ClickHouseOptions::new("http://localhost:8123", "default");
        options.password = Some("hush".to_owned());
        assert!(!format!("{options:?}").contains("hush"));
    }
}
