//! Who the holder of a slot's lease is, and what the server knows of it: whether it is gone, and whether the backend that has
//! the slot is provably its own.
//!
//! Guarantee: a backend is terminated only if it reads the slot, is of our own role and application, and is, by process id and
//! time of birth on the same start of the server, the one that the holder said to read by; and only while the lease of that very
//! claim is over. All of that is asked in the statement that terminates.

use serde::{Deserialize, Serialize};
use tokio_postgres::Client;
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::leases::{query, read};
use crate::pipeline::Error;

const ME: &str = "
select
  pid, (extract(epoch from backend_start) * 1000000)::bigint,
  (extract(epoch from pg_postmaster_start_time()) * 1000000)::bigint
from pg_catalog.pg_stat_activity
where pid = pg_backend_pid()";

const SEEN: &str = "
select l.holder, l.token, l.expires_at <= clock_timestamp(), l.detail, s.active_pid
from (select) as one
left join postrider.leases l on l.name = $1 and l.holder is not null
left join pg_catalog.pg_replication_slots s on s.slot_name = $2";

/// Of another role's backend its birth is not told.
const IS_THERE: &str = "
select
from pg_catalog.pg_stat_activity
where pid = $1
  and (backend_start is null or (extract(epoch from backend_start) * 1000000)::bigint = $2)";

const READER: &str = "
select (extract(epoch from backend_start) * 1000000)::bigint
from pg_catalog.pg_stat_activity
where pid = $1 and usename = current_user and application_name = $2 and backend_type = 'walsender'";

const EVICT: &str = "
select pg_terminate_backend(a.pid)
from pg_catalog.pg_replication_slots s
join pg_catalog.pg_stat_activity a on a.pid = s.active_pid
join postrider.leases l on l.name = $1
where s.slot_name = $2
  and l.token = $3
  and l.expires_at <= clock_timestamp()
  and a.pid = $4
  and (extract(epoch from a.backend_start) * 1000000)::bigint = $5
  and (extract(epoch from pg_postmaster_start_time()) * 1000000)::bigint = $6
  and a.usename = current_user
  and a.application_name = $7
  and a.backend_type = 'walsender'";

/// A backend of the server, told from every later one of the same process id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Backend {
    pub(super) pid: i32,
    pub(super) started_us: i64,
}

/// What a holder says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Detail {
    pub(super) host: String,
    pub(super) process: u32,
    pub(super) application: String,
    /// When the server started, by its own clock: backends of another start are others.
    pub(super) server_started_us: i64,
    /// By which it renews.
    pub(super) session: Option<Backend>,
    /// By which it reads the slot.
    pub(super) reader: Option<Backend>,
}

impl Detail {
    /// Of this process, which renews through `client`.
    pub(super) async fn of(client: &Client, application: &str) -> Result<Self, Error> {
        let rows = query(client, "introduce itself for", "", ME, &[]).await?;
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let mut detail = Self {
            host: host.trim().to_owned(),
            process: std::process::id(),
            application: application.to_owned(),
            ..Self::default()
        };
        if let Some(row) = rows.first() {
            detail.session = Some(Backend { pid: read(row, 0)?, started_us: read(row, 1)? });
            detail.server_started_us = read(row, 2)?;
        }
        Ok(detail)
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// Who has the lease of a slot, and who has the slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// None: nobody.
    pub(super) holder: Option<Holder>,
    /// The backend that reads the slot.
    pub(super) active_pid: Option<i32>,
}

/// Whoever has the lease, or had it last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) id: Uuid,
    pub(super) token: i64,
    pub(super) is_over: bool,
    pub(super) detail: Detail,
}

/// Looks who has the lease `name` and the `slot`.
pub(super) async fn look(client: &Client, name: &str, slot: &str) -> Result<Seen, Error> {
    let rows = query(client, "look at", name, SEEN, &[(&name, Type::TEXT), (&slot, Type::TEXT)]).await?;
    let Some(row) = rows.first() else { return Ok(Seen { holder: None, active_pid: None }) };
    let holder = match read::<Option<Uuid>>(row, 0)? {
        None => None,
        Some(id) => {
            // What cannot be read is no evidence of anything.
            let detail = serde_json::from_value(read(row, 3)?).unwrap_or_default();
            Some(Holder { id, token: read(row, 1)?, is_over: read(row, 2)?, detail })
        }
    };
    Ok(Seen { holder, active_pid: read(row, 4)? })
}

/// Whether the session by which a holder renews is gone: its process has ended, or is cut off.
pub(super) async fn is_gone(client: &Client, name: &str, holder: &Holder) -> Result<bool, Error> {
    let Some(session) = holder.detail.session else { return Ok(false) };
    let parameters: [crate::leases::Parameter<'_>; 2] = [(&session.pid, Type::INT4), (&session.started_us, Type::INT8)];
    Ok(query(client, "look after the holder of", name, IS_THERE, &parameters).await?.is_empty())
}

/// The backend `pid` as one that provably is ours and reads; `None` if it cannot be seen so, as behind a pooler.
pub(super) async fn reader(client: &Client, name: &str, pid: i32, application: &str) -> Result<Option<Backend>, Error> {
    let parameters: [crate::leases::Parameter<'_>; 2] = [(&pid, Type::INT4), (&application, Type::TEXT)];
    let rows = query(client, "look after the reader of", name, READER, &parameters).await?;
    let started_us = rows.first().map(|row| read(row, 0)).transpose()?;
    Ok(started_us.map(|started_us| Backend { pid, started_us }))
}

/// Terminates the backend by which a holder reads `slot` whose lease is over; false if it is not provably that.
pub(super) async fn evict(client: &Client, name: &str, slot: &str, holder: &Holder) -> Result<bool, Error> {
    let Detail { reader: Some(reader), server_started_us, application, .. } = &holder.detail else { return Ok(false) };
    let parameters: [crate::leases::Parameter<'_>; 7] = [
        (&name, Type::TEXT),
        (&slot, Type::TEXT),
        (&holder.token, Type::INT8),
        (&reader.pid, Type::INT4),
        (&reader.started_us, Type::INT8),
        (server_started_us, Type::INT8),
        (application, Type::TEXT),
    ];
    Ok(!query(client, "evict the holder of", name, EVICT, &parameters).await?.is_empty())
}
