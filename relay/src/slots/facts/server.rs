//! The server that slots are on.

use serde::Serialize;
use tokio_postgres::{Client, Row};

use crate::postgres::lsn::EndLsn;
use crate::postgres::retention;
use crate::slots::facts::query;

/// A server at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServerFacts {
    /// The database through which it was asked.
    pub database: String,
    /// The role that asked.
    pub role: String,
    /// Its version as `server_version_num` has it, such as 170002.
    pub version: i32,
    /// Whether it is a standby.
    pub standby: bool,
    /// When it was started, in seconds since 1970; with the port it tells servers apart.
    pub started: f64,
    /// Its port.
    pub port: i32,
    /// `wal_level`.
    pub wal_level: String,
    /// `max_replication_slots`.
    pub slots_max: i64,
    /// `max_slot_wal_keep_size`, in bytes; -1 without a limit.
    pub keep_bytes: i64,
    /// `wal_keep_size`, in bytes.
    pub wal_keep_bytes: i64,
    /// The size of a segment of the log, in bytes.
    pub segment_bytes: i64,
    /// `idle_replication_slot_timeout`, in seconds; none where it is 0, and before PostgreSQL 18.
    pub idle_timeout_seconds: Option<f64>,
    /// Its clock, in seconds since 1970.
    pub clock: f64,
    /// Its clock, in UTC.
    pub now: String,
    /// Where its log ends; on a standby, the end of what it has got of it.
    #[serde(serialize_with = "text_of_position")]
    pub position: EndLsn,
    /// Whether the role sees what other roles' sessions do: without it, who reads a slot is shown in part, and what pins the
    /// log is not.
    pub sees_all: bool,
    /// The oldest transaction that has written something and is not over, of those that the role sees.
    pub oldest_transaction: Option<OldestTransaction>,
}

/// A transaction that is not over.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OldestTransaction {
    /// Its process; none if it is prepared.
    pub pid: Option<i32>,
    /// Its role.
    pub role: Option<String>,
    /// The application.
    pub application: Option<String>,
    /// The state of its session, such as `idle in transaction`.
    pub state: Option<String>,
    /// The identifier of a prepared transaction.
    pub prepared: Option<String>,
    /// Its database.
    pub database: Option<String>,
    /// How many transactions began since.
    pub transactions: i64,
    /// How long it has been open or prepared, in seconds.
    pub seconds: Option<f64>,
}

impl ServerFacts {
    /// What may still be written before the server may give up a slot that keeps the log from `restart` on; none without a limit.
    pub(super) fn safe_bytes(&self, restart: EndLsn) -> Option<i64> {
        let keep = u64::try_from(self.keep_bytes).ok()?.max(self.wal_keep_bytes.unsigned_abs());
        let segment = self.segment_bytes.unsigned_abs();
        Some(retention::safe_bytes(restart.as_u64(), self.position.as_u64(), keep, segment))
    }

    /// Its version as people say it, such as `17.2`.
    #[must_use]
    pub fn version_text(&self) -> String {
        format!("{}.{}", self.version / 10_000, self.version % 10_000)
    }
}

/// Everything, the oldest transaction included.
pub(super) async fn read(client: &Client) -> Result<ServerFacts, tokio_postgres::Error> {
    let server = itself(client).await?;
    let oldest = client.query_typed_opt(query::OLDEST, &[]).await?;
    Ok(ServerFacts { oldest_transaction: oldest.as_ref().map(oldest_transaction), ..server })
}

/// The server without what goes on there.
pub(super) async fn itself(client: &Client) -> Result<ServerFacts, tokio_postgres::Error> {
    let row = client.query_typed_one(query::SERVER, &[]).await?;
    Ok(ServerFacts {
        database: row.get("database"),
        role: row.get("role"),
        version: row.get("version"),
        standby: row.get("standby"),
        started: row.get("started"),
        port: row.get("port"),
        wal_level: row.get("wal_level"),
        slots_max: row.get("slots_max"),
        keep_bytes: row.get("keep_bytes"),
        wal_keep_bytes: row.get("wal_keep_bytes"),
        segment_bytes: row.get("segment_bytes"),
        idle_timeout_seconds: row.get::<_, Option<f64>>("idle_timeout").filter(|seconds| *seconds > 0.0),
        clock: row.get("clock"),
        now: row.get("now"),
        position: EndLsn::new(row.get::<_, Option<i64>>("position").unwrap_or_default().unsigned_abs()),
        sees_all: row.get("sees_all"),
        oldest_transaction: None,
    })
}

fn oldest_transaction(row: &Row) -> OldestTransaction {
    OldestTransaction {
        pid: row.get("pid"),
        role: row.get("role"),
        application: row.get("application"),
        state: row.get("state"),
        prepared: row.get("prepared"),
        database: row.get("database"),
        transactions: row.get("transactions"),
        seconds: row.get("seconds"),
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference over")]
fn text_of_position<S: serde::Serializer>(position: &EndLsn, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(position)
}

/// A server for the tests of those who judge.
#[cfg(test)]
pub(crate) fn plain() -> ServerFacts {
    ServerFacts {
        database: "shop".to_owned(),
        role: "dba".to_owned(),
        version: 170_002,
        standby: false,
        started: 1.0,
        port: 5432,
        wal_level: "logical".to_owned(),
        slots_max: 10,
        keep_bytes: -1,
        wal_keep_bytes: 0,
        segment_bytes: 16 << 20,
        idle_timeout_seconds: None,
        clock: 1000.0,
        now: "1970-01-01T00:16:40Z".to_owned(),
        position: EndLsn::new(1 << 30),
        sees_all: true,
        oldest_transaction: None,
    }
}
