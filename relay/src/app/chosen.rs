//! From the configuration to the rows of an outbox that somebody chose.

use crate::app::{kafka, polling, postgres, wal};
use crate::config::Config;
use crate::config::outbox::Outbox;
use crate::config::postgres::Postgres;
use crate::pipeline::{End, Error, Kind};
use crate::sinks::KafkaOptions;
use crate::sources::polling::{PolledOutbox, Rows};

/// The outboxes that have tables, each with its route: all of them, or the one of this name.
///
/// # Errors
/// That there is none, or none of that name.
pub(super) fn outboxes<'c>(config: &'c Config, name: Option<&str>) -> Result<Vec<(usize, &'c Outbox)>, Error> {
    let wanted = |outbox: &Outbox| outbox.table.is_some() && name.is_none_or(|name| name == outbox.name);
    let found: Vec<_> = config.outboxes.iter().enumerate().filter(|(_, outbox)| wanted(outbox)).collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let context = match name {
        Some(name) => format!("no outbox with a table is called {name}"),
        None => "no outbox has a table".to_owned(),
    };
    Err(Error::new(End::Source, Kind::Setup, context).with_help("Configure one as [outbox] or [outboxes.NAME]."))
}

/// Reads the table of the outbox of this route, as `administrator` if there is one. With `positions` the messages carry them as
/// those of the log do, and somebody has to know them; else they carry none.
///
/// # Errors
/// Those of [`Rows::open`].
pub(super) async fn open(
    config: &Config,
    (route, outbox): (usize, &Outbox),
    administrator: Option<&Postgres>,
    positions: bool,
) -> Result<Rows, Error> {
    let mut options = polling::options(config);
    options.connect = postgres::options(administrator.unwrap_or(&config.postgres), false);
    let without_positions = std::mem::take(&mut options.outboxes);
    let polled = if positions {
        wal::outboxes(config).into_iter().nth(route).map(|source| PolledOutbox { source, key: Vec::new() })
    } else {
        without_positions.into_iter().nth(route)
    };
    let Some(polled) = polled else {
        return Err(Error::new(End::Source, Kind::Broken, format!("there is no outbox {}", outbox.name)));
    };
    let timestamp = outbox.debezium.as_ref().and_then(|debezium| debezium.timestamp.clone());
    let time: Vec<String> = timestamp.into_iter().chain(options.columns.created_at.clone()).collect();
    Rows::open(&options, &polled, &time).await
}

/// How Kafka is asked by a verb: who waits for the answer is a person.
///
/// # Errors
/// Those of the configuration.
pub(super) fn kafka_options(config: &Config) -> Result<KafkaOptions, Error> {
    let options = kafka::options(&config.kafka, &config.topics)?;
    Ok(KafkaOptions { connect_timeout: options.connect_timeout.min(config.kafka.request_timeout), ..options })
}
