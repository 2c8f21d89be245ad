//! From the configuration's `[postgres]`, `[source]` and outboxes to the source's options.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::sync::watch;

use crate::app::{capture, postgres};
use crate::config::Config;
use crate::config::outbox::{self, Debezium, Outbox, Patterns};
use crate::shape::debezium::{Converter, Place, Placement, RouterOptions};
use crate::shape::filter::Filter;
use crate::shape::outbox::{FormOptions, Headers, OutboxOptions};
use crate::shape::row::Field;
use crate::sources::wal::{OutboxColumns, OutboxSource, OutboxTable, Spill, WalOptions};

/// What the source is told.
pub(super) fn options(
    config: &Config,
    accept_gap: bool,
    reader: watch::Sender<i32>,
    spill: Option<Arc<Spill>>,
) -> WalOptions {
    WalOptions {
        connect: postgres::options(&config.postgres, true),
        slot: config.source.slot.clone(),
        publication: config.source.publication.clone(),
        outboxes: outboxes(config),
        capture: capture::source(config),
        wal_disk_bytes: config.postgres.wal_disk_bytes,
        accept_gap: AtomicBool::new(accept_gap),
        reader,
        spill,
    }
}

/// Every outbox.
pub(super) fn outboxes(config: &Config) -> Vec<OutboxSource> {
    (0..).zip(&config.outboxes).map(|(route, outbox)| source(route, outbox)).collect()
}

/// One outbox, whose place in the configuration is the number of its route.
fn source(route: u16, outbox: &Outbox) -> OutboxSource {
    let columns = &outbox.columns;
    let further = outbox.further_columns();
    let form = match &outbox.debezium {
        Some(debezium) => FormOptions::Debezium(router(outbox, debezium, &further)),
        None => FormOptions::Native {
            topic: outbox.topic.clone(),
            key: outbox.key.clone(),
            headers: headers(outbox, &further),
        },
    };
    let may_be_missing =
        |name: &String| outbox.debezium.as_ref().is_some_and(|debezium| !debezium.required_columns().contains(name));
    OutboxSource {
        name: outbox.name.clone(),
        table: outbox
            .table
            .as_ref()
            .map(|table| OutboxTable { schema: table.schema.clone(), name: table.name.clone() }),
        message_prefix: outbox.message_prefix.clone(),
        columns: OutboxColumns {
            id: Some(columns.id.clone()),
            aggregate_type: columns.aggregate_type.clone(),
            aggregate_id: columns.aggregate_id.clone(),
            event_type: columns.event_type.clone(),
            payload: columns.payload.clone(),
            payload_bytes: columns.payload_bytes.clone(),
            headers: columns.headers.clone(),
            further: further.iter().map(|name| (name.clone(), !may_be_missing(name))).collect(),
        },
        shape: OutboxOptions { route, filter: filter(outbox), form, further },
    }
}

fn filter(outbox: &Outbox) -> Filter {
    let side = |patterns: &Patterns| (patterns.only.clone(), patterns.except.clone());
    Filter::new(side(&outbox.filter.aggregate_types), side(&outbox.filter.event_types))
}

fn headers(outbox: &Outbox, further: &[String]) -> Headers {
    let field = |column: &String| {
        let index = further.iter().position(|known| known == column);
        let index = index.and_then(|index| u16::try_from(index).ok());
        Field::Further(index.expect("further_columns names every column of a header, and there are few"))
    };
    let names = &outbox.headers;
    Headers {
        id: names.id.clone(),
        event_type: names.event_type.clone(),
        position: names.position.clone(),
        from_columns: names.from_columns.iter().map(|(name, column)| (name.clone(), field(column))).collect(),
    }
}

/// The event router's options, its columns as places among the further ones.
fn router(outbox: &Outbox, debezium: &Debezium, further: &[String]) -> RouterOptions {
    let place = |column: &String| {
        let place = further.iter().position(|known| known == column);
        place.expect("further_columns names every column of the event router")
    };
    let table = outbox.table.as_ref().map(ToString::to_string).unwrap_or_default();
    RouterOptions {
        schema_name: format!("{}.{table}", debezium.prefix),
        topic_regex: debezium.topic_regex.clone(),
        topic_replacement: debezium.topic_replacement.clone(),
        placements: debezium
            .placements
            .iter()
            .map(|placement| Placement {
                column: place(&placement.column),
                place: match placement.place {
                    outbox::Place::Header => Place::Header,
                    outbox::Place::Envelope => Place::Envelope,
                    outbox::Place::Partition => Place::Partition,
                },
                alias: placement.alias.clone(),
            })
            .collect(),
        expand: debezium.expand,
        keep_nulls: debezium.keep_nulls,
        keep_empty_arrays: debezium.keep_empty_arrays,
        tombstone_on_empty: debezium.tombstone_on_empty,
        timestamp: debezium.timestamp.as_ref().map(place),
        schema_version: debezium.schema_version.as_ref().map(place),
        key: converter(debezium.key_converter),
        value: converter(debezium.value_converter),
        header: converter(debezium.header_converter),
        position: outbox.headers.position.clone(),
    }
}

fn converter(of: outbox::Converter) -> Converter {
    match of {
        outbox::Converter::Text => Converter::Text,
        outbox::Converter::Simple => Converter::Simple,
        outbox::Converter::Json { schemas } => Converter::Json { schemas },
        outbox::Converter::Binary => Converter::Binary,
    }
}
