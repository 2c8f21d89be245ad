//! ClickHouse as the verdict asks it: over its HTTP interface (<https://clickhouse.com/docs/interfaces/http>), by a client that shares
//! nothing with the loader's.

use std::time::Duration;

use ureq::Agent;
use uuid::Uuid;

use crate::chain::services::blocking;
use crate::error::{Error, Result};

/// How long an answer may take: an engine that is shared and busy with a load answers late.
const ANSWER_MAX: Duration = Duration::from_secs(120);
/// How many bytes an answer may have: whole tables are read.
const ANSWER_BYTES_MAX: u64 = 1 << 30;

/// A database of ClickHouse.
#[derive(Debug, Clone)]
pub struct ClickHouse {
    agent: Agent,
    url: String,
    database: String,
}

/// The values of a row as ClickHouse prints them; none for NULL.
pub(super) type Row = Vec<Option<String>>;

impl ClickHouse {
    /// The database `database` behind `url`; nothing is connected yet.
    #[must_use]
    pub fn new(url: &str, database: &str) -> Self {
        let agent = Agent::config_builder().timeout_global(Some(ANSWER_MAX)).http_status_as_error(false).build();
        Self { agent: agent.into(), url: url.trim_end_matches('/').to_owned(), database: database.to_owned() }
    }

    /// Its name.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Where the server is.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Creates the database.
    ///
    /// # Errors
    /// ClickHouse refused or does not answer.
    pub async fn create(&self) -> Result<()> {
        self.ask("default", &format!("create database {} engine = Atomic", self.database)).await.map(drop)
    }

    /// Drops the database with everything in it.
    ///
    /// # Errors
    /// As of [`Self::create`].
    pub async fn drop(&self) -> Result<()> {
        self.ask("default", &format!("drop database if exists {}", self.database)).await.map(drop)
    }

    /// Carries a statement out.
    ///
    /// # Errors
    /// As of [`Self::create`].
    pub async fn run(&self, sql: &str) -> Result<()> {
        self.ask(&self.database, sql).await.map(drop)
    }

    /// The rows of a query, whose columns must all be texts.
    ///
    /// # Errors
    /// As of [`Self::create`], or a column is no text.
    pub async fn rows(&self, sql: &str) -> Result<Vec<Row>> {
        let answer = self.ask(&self.database, &format!("{sql}\nformat JSONCompactEachRow")).await?;
        let read = |line: &str| {
            serde_json::from_str(line).map_err(|error| refused(sql, format!("it answers what is no row: {error}")))
        };
        answer.lines().map(read).collect()
    }

    /// The one number that a query gives.
    ///
    /// # Errors
    /// As of [`Self::create`], or it gives something else.
    pub async fn number(&self, sql: &str) -> Result<u64> {
        let answer = self.ask(&self.database, sql).await?;
        answer.trim().parse().map_err(|_| refused(sql, format!("it answers no number but {answer}")))
    }

    async fn ask(&self, database: &str, sql: &str) -> Result<String> {
        let (agent, database, sql) = (self.agent.clone(), database.to_owned(), sql.to_owned());
        let url = format!("{}/", self.url);
        blocking(move || {
            let id = Uuid::now_v7().to_string();
            let request = agent.post(&url).query("database", &database).query("query_id", &id);
            let failed = |error: ureq::Error| refused(&sql, error.to_string());
            let mut answer = request.send(&sql).map_err(failed)?;
            let text = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string().map_err(failed)?;
            if answer.status().is_success() { Ok(text) } else { Err(refused(&sql, text)) }
        })
        .await
    }
}

/// An error of a statement, which is told by its first words.
fn refused(sql: &str, why: String) -> Error {
    let words: Vec<&str> = sql.split_whitespace().take(12).collect();
    Error::ClickHouse { doing: format!("asking ClickHouse to {}", words.join(" ")), why }
}
