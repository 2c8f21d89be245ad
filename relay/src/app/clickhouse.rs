//! From the configuration's `[clickhouse]` and `[load]` to what the sink is told.

use std::sync::Arc;
use std::time::Duration;

use tracing::debug;

use crate::config::clickhouse::ClickHouse;
use crate::config::load::{self, ColumnSource, Load, RecordPart, Table, TableKind};
use crate::pipeline::{Assigned, Gathered, Stop};
use crate::sinks::clickhouse::{
    ClickHouseOptions, Client, Feed, From, LoadOptions, OnTruncate, Part, Rows, Unknown, refreshes,
};
use crate::telemetry::Metrics;

/// How often it is asked how old the refreshable views are.
const REFRESHES_INTERVAL: Duration = Duration::from_secs(15);

/// Where ClickHouse is.
pub(crate) fn options(config: &ClickHouse) -> ClickHouseOptions {
    ClickHouseOptions {
        url: config.url.clone(),
        database: config.database.clone(),
        user: config.user.clone(),
        password: config.password.as_ref().map(|password| password.expose().to_owned()),
        tls_ca_file: config.tls_ca_file.clone(),
        tls_identity: config.tls_certificate_file.clone().zip(config.tls_key_file.clone()),
        connect_timeout: config.connect_timeout,
        insert_timeout: config.insert_timeout,
        query_timeout: config.query_timeout,
        compressed: config.compressed,
        settings: config.settings.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
    }
}

/// What fills what.
pub(super) fn load(config: &Load, assigned: Assigned, gathered: Gathered) -> LoadOptions {
    LoadOptions {
        feeds: config.tables.iter().map(feed).collect(),
        inserts_in_flight_max: config.inserts_in_flight_max,
        salt: config.replay_salt.clone(),
        assigned,
        gathered,
    }
}

fn feed(table: &Table) -> Feed {
    let rows = match table.kind {
        TableKind::Current => Rows::Current { view: table.current_view },
        TableKind::Append => Rows::Append { operations: table.operations.clone() },
    };
    Feed {
        name: table.name.clone(),
        topic: Arc::from(table.topic.as_str()),
        table: table.table.clone(),
        rows,
        columns: table.columns.clone(),
        from: table.from.iter().map(|(column, source)| (column.clone(), from(source))).collect(),
        unknown: match table.unknown {
            load::Unknown::Ignore => Unknown::Ignore,
            load::Unknown::Refuse => Unknown::Refuse,
            load::Unknown::Add => Unknown::Add,
        },
        on_truncate: match table.on_truncate {
            load::OnTruncate::Delete => OnTruncate::Delete,
            load::OnTruncate::Refuse => OnTruncate::Refuse,
            load::OnTruncate::Ignore => OnTruncate::Ignore,
        },
        create: table.create,
        order_by: table.order_by.clone(),
    }
}

fn from(source: &ColumnSource) -> From {
    match source {
        ColumnSource::Field(name) => From::Field(name.clone()),
        ColumnSource::Before(name) => From::Before(name.clone()),
        ColumnSource::Header(name) => From::Header(name.clone()),
        ColumnSource::Constant(text) => From::Constant(text.clone()),
        ColumnSource::Record(part) => From::Part(match part {
            RecordPart::Topic => Part::Topic,
            RecordPart::Partition => Part::Partition,
            RecordPart::Offset => Part::Offset,
            RecordPart::Timestamp => Part::Timestamp,
            RecordPart::Key => Part::Key,
            RecordPart::Value => Part::Value,
            RecordPart::Headers => Part::Headers,
            RecordPart::Operation => Part::Operation,
            RecordPart::Position => Part::Position,
            RecordPart::Committed => Part::Committed,
        }),
    }
}

/// Notes now and then how old the refreshable views of the database are. Beside the pipeline, which does not depend on it.
pub(super) fn watch_views(server: &ClickHouseOptions, metrics: &Arc<Metrics>, mut stop: Stop) {
    let Ok(client) = Client::new(server) else { return };
    let (database, metrics) = (server.database.clone(), Arc::clone(metrics));
    tokio::spawn(async move {
        let mut due = tokio::time::interval(REFRESHES_INTERVAL);
        due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.ordered() => return,
                _ = due.tick() => {}
            }
            if let Err(failure) = refreshes::look(&client, &database, &metrics).await {
                debug!(%failure, "the refreshes of views are not known");
            }
        }
    });
}
