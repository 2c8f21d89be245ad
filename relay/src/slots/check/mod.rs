//! The database's part of `postrider check`: reads what the catalog says, changes nothing, and names each fault.
//!
//! Each file reads its facts by ordinary SQL and then judges them by a pure function, so that what no test server can be
//! (an older version, a server over the network) is tested by a table of facts.

pub mod capture;
mod connect;
mod horizon;
mod migrations;
mod polling;
mod publication;
mod role;
mod server;
mod slot;
mod standbys;
mod stream;
mod table;

pub use capture::ExpectedCapture;
pub use polling::ExpectedPolling;
pub use stream::identify;
pub(in crate::slots) use stream::precedes;

use std::time::Duration;

use tokio_postgres::Client;

use crate::finding::{Finding, Rule, Severity};
use crate::postgres::lsn::EndLsn;
use crate::postgres::options::ConnectOptions;
use crate::slots::setup::Table;

/// Distinct aggregate types looked for in a table, and the newest rows looked at for them: a look, not a scan.
const AGGREGATE_TYPES_MAX: i64 = 100;

/// What the configuration expects of the database.
#[derive(Debug, Clone)]
pub struct Expected {
    /// How the relay connects.
    pub connect: ConnectOptions,
    /// How to look with a wider view than the relay's role has; none if nobody said.
    pub administrator: Option<ConnectOptions>,
    /// The slot.
    pub slot: String,
    /// The publication.
    pub publication: String,
    /// Whether there is an outbox, whose publication is then read.
    pub has_outbox: bool,
    /// The outbox tables.
    pub tables: Vec<Outbox>,
    /// What is captured, if anything is.
    pub capture: Option<ExpectedCapture>,
    /// How the outbox is polled, if it is, or may come to be.
    pub polling: Option<ExpectedPolling>,
    /// Whether events that cannot be delivered are parked in the database.
    pub parks: bool,
    /// How many migrations this version brings.
    pub migrations: usize,
    /// A transaction or a prepared transaction is old when it is open for longer.
    pub old_after: Duration,
}

/// An outbox table and the columns that are mapped.
#[derive(Debug, Clone)]
pub struct Outbox {
    /// The table.
    pub table: Table,
    /// Where the configuration names it, such as `outbox`.
    pub section: String,
    /// Its columns.
    pub columns: Vec<Column>,
    /// The column that chooses the topic, if a column does.
    pub aggregate_type: Option<String>,
}

/// A column that the configuration maps.
#[derive(Debug, Clone)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// The key that names it, such as `outbox.columns.headers`.
    pub key: String,
    /// What it must hold.
    pub holds: Holds,
    /// Whether the table may do without it: the key then takes "".
    pub optional: bool,
}

/// What a column must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// Any value of any type.
    Anything,
    /// Any value by its text.
    Text,
    /// The content: json, jsonb or text; bytes would be published in hexadecimal.
    Content,
    /// Bytes.
    Bytes,
    /// A JSON object.
    Object,
}

/// What was found, and what the broker's part of the check needs to know.
#[derive(Debug, Default)]
pub struct Examined {
    /// The faults.
    pub findings: Vec<Finding>,
    /// Where the slot was confirmed, if it can be read.
    pub confirmed: Option<EndLsn>,
    /// Aggregate types in the newest rows of each outbox table that was asked for, in the order of the tables.
    pub aggregate_types: Vec<Vec<String>>,
    /// The captured tables that the publication carries.
    pub captured: Vec<Table>,
}

/// Every rule of the database's part.
pub fn rules() -> impl Iterator<Item = &'static Rule> {
    [
        connect::RULES,
        server::RULES,
        role::RULES,
        slot::RULES,
        standbys::RULES,
        stream::RULES,
        publication::RULES,
        table::RULES,
        polling::RULES,
        capture::RULES,
        migrations::RULES,
        horizon::RULES,
    ]
    .into_iter()
    .flatten()
    .copied()
}

/// Looks at everything. A question that the server does not answer is a finding as well.
pub async fn check(expected: &Expected) -> Examined {
    let mut examined = Examined::default();
    let client = match connect::session(expected).await {
        Ok(client) => client,
        Err(finding) => {
            examined.findings.push(finding);
            return examined;
        }
    };
    match look(expected, &client, &mut examined).await {
        Ok(()) => {}
        Err(error) => examined.findings.push(connect::unanswered(&error)),
    }
    examined
}

async fn look(expected: &Expected, client: &Client, examined: &mut Examined) -> Result<(), tokio_postgres::Error> {
    let findings = &mut examined.findings;
    let server = server::read(client, expected).await?;
    findings.extend(server::examine(expected, &server));
    if !server.is_known() {
        return Ok(());
    }
    // Before the role is known to be able to, its replication connection would only say the same again.
    let role = role::read(client, expected).await?;
    let faults = role::examine(expected, &role);
    let may_replicate = !faults.iter().any(|finding| finding.severity() == Severity::Error);
    findings.extend(faults);

    let mut tables = Vec::new();
    for outbox in &expected.tables {
        let found = table::read(client, expected, outbox).await?;
        findings.extend(table::examine(expected, outbox, found.as_ref()));
        examined.aggregate_types.push(table::aggregate_types(client, outbox, found.as_ref()).await);
        tables.push(found);
    }
    if let Some(polling) = &expected.polling {
        findings.extend(polling::check(client, expected, polling).await?);
    }
    if expected.polling.as_ref().is_some_and(|polling| !polling.falls_back) {
        // Nobody asks for a publication or a slot then.
        findings.retain(|finding| !polling::OF_A_SLOT.contains(&finding.code()));
    } else {
        look_at_slot(expected, client, (&server, &tables, may_replicate), examined).await?;
    }
    let findings = &mut examined.findings;
    let wide = connect::administrator(expected).await;
    let wide = match wide {
        Ok(wide) => wide,
        Err(finding) => {
            findings.push(finding);
            None
        }
    };
    let view = wide.as_ref().unwrap_or(client);
    findings.extend(migrations::check(view, expected, &tables).await?);
    findings.extend(horizon::check(view, expected).await?);
    Ok(())
}

/// What is read through a slot: the publications, the captured tables and the slot itself.
async fn look_at_slot(
    expected: &Expected,
    client: &Client,
    (server, tables, may_replicate): (&server::Server, &[Option<table::TableFound>], bool),
    examined: &mut Examined,
) -> Result<(), tokio_postgres::Error> {
    let findings = &mut examined.findings;
    if expected.has_outbox {
        let publication = publication::read(client, expected).await?;
        findings.extend(publication::examine(expected, tables, publication.as_ref()));
    }
    if let Some(capture) = &expected.capture {
        let found = capture::read(client, expected, capture).await?;
        findings.extend(capture::examine(expected, capture, server, &found));
        let published = found.found.captured().filter(|relation| relation.is_published);
        examined.captured = published.map(|relation| relation.table.clone()).collect();
    }
    let slot = slot::read(client, expected).await?;
    findings.extend(slot::examine(expected, server, slot.as_ref()));
    examined.confirmed = slot.as_ref().and_then(|slot| slot.confirmed);
    if slot.as_ref().is_some_and(|slot| slot.failover) && !server.standby {
        findings.extend(standbys::check(client, expected).await?);
    }

    if may_replicate && server.can_stream() {
        findings.extend(stream::probe(expected, slot.as_ref()).await);
    }
    Ok(())
}

impl Expected {
    /// The publications that the relay asks for, that of the outboxes first.
    fn publications(&self) -> Vec<String> {
        let outboxes = self.has_outbox.then(|| self.publication.clone());
        let capture = self.capture.as_ref().map(|capture| capture.wanted.publication.clone());
        outboxes.into_iter().chain(capture).collect()
    }
}
