//! What the progress record says of the relay's slot, asked without opening anything.

use crate::app::{kafka, postgres};
use crate::config::{self, Config};
use crate::postgres::connection::Connection;
use crate::postgres::options::ConnectOptions;
use crate::postgres::replication::SystemIdentity;
use crate::sinks::kafka::check::newest_progress;
use crate::slots::change::{Undelivered, Witness};
use crate::slots::setup::Table;
use crate::sources::wal::Record;

/// What was delivered through the relay's slot, and which rows of its first outbox may not be. `administrator` is who asks the
/// server for its identity.
pub(crate) async fn witness(
    config: &Config,
    administrator: &config::postgres::Postgres,
) -> (Witness, Option<Undelivered>) {
    if !config.kafka.has_broker() {
        return (Witness::Nothing, None);
    }
    let unknown = |reason: String| (Witness::Unknown(reason), None);
    let options = match kafka::options(&config.kafka, &config.topics) {
        Ok(options) => options,
        Err(error) => return unknown(error.chain().to_string()),
    };
    let record = match newest_progress(&options, &config.source.slot).await {
        Ok(Some(record)) => record,
        Ok(None) => return (Witness::Nothing, None),
        Err(error) => return unknown(error.chain().to_string()),
    };
    let record = match Record::parse(&record) {
        Ok(record) => record,
        Err(error) => return unknown(error.to_string()),
    };
    let Some(identity) = identity(administrator).await else {
        return unknown("the server does not say over a replication connection who it is".to_owned());
    };
    if (record.system_id, record.timeline) != (identity.system_id, identity.timeline) {
        return (Witness::OtherHistory, None);
    }
    let table = config.outboxes.iter().find_map(|outbox| outbox.table.as_ref());
    let undelivered = record.horizon.zip(table).map(|(horizon, table)| Undelivered {
        table: Table { schema: table.schema.clone(), name: table.name.clone() },
        from_xid: horizon.below,
    });
    (Witness::Up(record.end_lsn), undelivered)
}

async fn identity(administrator: &config::postgres::Postgres) -> Option<SystemIdentity> {
    let options = ConnectOptions { replication: true, ..postgres::options(administrator, true) };
    let ask = move || Connection::connect(&options)?.identify_system();
    tokio::task::spawn_blocking(ask).await.ok()?.ok()
}
