//! Reads parked events, without what they hold unless it is asked for.

use std::collections::HashMap;

use serde::Serialize;
use tokio_postgres::{Client, Row};

use crate::slots::error::Error;
use crate::slots::parked::Selection;

/// A parked event, without its content.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct ParkedEvent {
    /// The slot that it came through.
    pub slot: String,
    /// Its position.
    pub position: String,
    /// Its state.
    pub state: String,
    /// The topic that it was meant for.
    pub topic: String,
    /// Its key as text; bytes that are none are shown as U+FFFD.
    pub key: Option<String>,
    /// What its key is called in logs.
    pub key_hash: Option<String>,
    /// Its id.
    pub event_id: Option<String>,
    /// Its type.
    pub event_type: Option<String>,
    /// Its route.
    pub route: String,
    /// Why it is parked; none if it waits behind another.
    pub reason: Option<String>,
    /// What a person can do about it.
    pub help: Option<String>,
    /// Whether what is kept of it may not be all.
    pub unfit: bool,
    /// Whether a later event of its key was delivered before it was refused.
    pub order_broken: bool,
    /// The topic that is to be tried instead of its own.
    pub reroute: Option<String>,
    /// How often it was tried again.
    pub attempts: i32,
    /// Bytes of key, value and headers.
    pub bytes: i64,
    /// When it was committed, in ISO 8601.
    pub committed_at: String,
    /// When it was parked.
    pub parked_at: String,
    /// When its state changed last.
    pub changed_at: String,
}

/// One event with its history and, if asked for, what it holds.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct Details {
    /// The event.
    #[serde(flatten)]
    pub event: ParkedEvent,
    /// Its headers, `[[name, value], …]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<serde_json::Value>,
    /// Its value as text; bytes that are none are shown as U+FFFD.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// What was done with it.
    pub log: Vec<Audited>,
}

/// A line of the audit.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct Audited {
    /// When, in ISO 8601.
    pub at: String,
    /// What.
    pub verb: String,
    /// By which role.
    pub role: String,
    /// Who it was by their own word.
    pub by: Option<String>,
    /// With which result, or why.
    pub note: Option<String>,
}

/// Ids that are asked about at once.
const IDS_AT_ONCE: usize = 10_000;

const COLUMNS: &str = "slot, position, state, topic, key, key_hash, event_id, event_type, route, reason, help, unfit,
  order_broken, reroute, attempts, bytes,
  to_json(committed_at) #>> '{}' as committed_at,
  to_json(parked_at) #>> '{}' as parked_at,
  to_json(changed_at) #>> '{}' as changed_at";

/// The selected events in the order of their positions, at most `limit`; settled ones only if `settled`, or if their state
/// or position was asked for.
///
/// # Errors
/// [`Error::Database`].
pub async fn list(
    client: &Client,
    selection: &Selection,
    settled: bool,
    limit: u32,
) -> Result<Vec<ParkedEvent>, Error> {
    let statement = format!(
        "select {COLUMNS}
         from postrider.parked
         where {}
           and ($6 or $5::text is not null or cardinality($2::text[]) > 0 or state in ('parked', 'waiting', 'retry'))
         order by position
         limit $7",
        Selection::CONDITION
    );
    let (key, limit) = (selection.key_bytes(), i64::from(limit));
    let mut parameters = selection.parameters(&key).to_vec();
    parameters.push(&settled);
    parameters.push(&limit);
    let rows = client.query(&statement, &parameters).await.map_err(failed)?;
    Ok(rows.iter().map(event).collect())
}

/// One event, if it is there; with what it holds only if `payload`.
///
/// # Errors
/// [`Error::Database`].
pub async fn show(client: &Client, slot: &str, position: &str, payload: bool) -> Result<Option<Details>, Error> {
    let statement = format!(
        "select {COLUMNS}, case when $3 then headers::text end as headers, case when $3 then value end as value
         from postrider.parked
         where slot = $1 and position = $2"
    );
    let Some(row) = client.query_opt(&statement, &[&slot, &position, &payload]).await.map_err(failed)? else {
        return Ok(None);
    };
    let log = "select to_json(at) #>> '{}', verb, role, by_whom, note
               from postrider.parked_log
               where slot = $1 and position = $2
               order by id";
    let log = client.query(log, &[&slot, &position]).await.map_err(failed)?;
    Ok(Some(Details {
        event: event(&row),
        headers: row.get::<_, Option<&str>>("headers").and_then(|json| serde_json::from_str(json).ok()),
        value: row.get::<_, Option<&[u8]>>("value").map(|value| String::from_utf8_lossy(value).into_owned()),
        log: log
            .iter()
            .map(|row| Audited { at: row.get(0), verb: row.get(1), role: row.get(2), by: row.get(3), note: row.get(4) })
            .collect(),
    }))
}

/// What became of events that were parked once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fates {
    /// By id: the newest state, and the topic that it was sent to instead of its own.
    pub states: HashMap<String, (String, Option<String>)>,
    /// How many are held that have no id: a row that could not be made into a message may not have told it.
    pub nameless: u64,
}

/// What became of events that were parked once, of those of these ids. `id_header` is the header that holds an id.
///
/// # Errors
/// [`Error::Database`].
pub async fn fates(client: &Client, slot: &str, id_header: &str, ids: &[String]) -> Result<Fates, Error> {
    let exists = "select to_regclass('postrider.parked') is not null";
    if ids.is_empty() || !client.query_one(exists, &[]).await.map_err(failed)?.get::<_, bool>(0) {
        return Ok(Fates::default());
    }
    let named = "select p.position, p.state, p.reroute,
                   coalesce(p.event_id, (select h ->> 1 from json_array_elements(p.headers) h where h ->> 0 = $2 limit 1)) as id
                 from postrider.parked p
                 where p.slot = $1";
    let nameless =
        format!("select count(*) from ({named}) p where id is null and state in ('parked', 'waiting', 'retry')");
    let nameless = client.query_one(&nameless, &[&slot, &id_header]).await.map_err(failed)?;
    let newest = format!(
        "select distinct on (id) id, state, reroute from ({named}) p where id = any ($3) order by id, position desc"
    );
    let mut fates = Fates { states: HashMap::new(), nameless: nameless.get::<_, i64>(0).unsigned_abs() };
    for ids in ids.chunks(IDS_AT_ONCE) {
        let rows = client.query(&newest, &[&slot, &id_header, &ids]).await.map_err(failed)?;
        fates.states.extend(rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))));
    }
    Ok(fates)
}

fn event(row: &Row) -> ParkedEvent {
    ParkedEvent {
        slot: row.get("slot"),
        position: row.get("position"),
        state: row.get("state"),
        topic: row.get("topic"),
        key: row.get::<_, Option<&[u8]>>("key").map(|key| String::from_utf8_lossy(key).into_owned()),
        key_hash: row.get("key_hash"),
        event_id: row.get("event_id"),
        event_type: row.get("event_type"),
        route: row.get("route"),
        reason: row.get("reason"),
        help: row.get("help"),
        unfit: row.get("unfit"),
        order_broken: row.get("order_broken"),
        reroute: row.get("reroute"),
        attempts: row.get("attempts"),
        bytes: row.get("bytes"),
        committed_at: row.get("committed_at"),
        parked_at: row.get("parked_at"),
        changed_at: row.get("changed_at"),
    }
}

fn failed(source: tokio_postgres::Error) -> Error {
    Error::Database { action: "cannot read the parked events".to_owned(), source }
}
