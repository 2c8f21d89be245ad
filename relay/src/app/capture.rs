//! From the configuration's `[capture]` to what the source captures.

use std::sync::Arc;

use tokio::sync::{Notify, watch};

use crate::app::{postgres, wal};
use crate::config::Config;
use crate::config::capture::{
    self as config, Capture, ColumnPattern, HashAlgorithm, HeaderConverter, Mask, MaskWith, Operation, TablePattern,
    Types,
};
use crate::pipeline::Status;
use crate::shape::change::options::{
    CaptureOptions, ChangeForm, HeaderForm, KeyOptions, MaskForm, MaskOptions, Skipped,
};
use crate::shape::change::types::{Binary, Decimal, Hstore, Interval, Others, Time, TypeOptions};
use crate::sources::capture::{ChangesOptions, SnapshotMode};
use crate::sources::snapshot::SnapshotOptions;
use crate::sources::wal::{CaptureSource, OutboxTable, Spill};

/// What is captured; `None` if nothing is.
pub(super) fn source(config: &Config) -> Option<CaptureSource> {
    let capture = config.capture.as_ref()?;
    Some(CaptureSource {
        publication: capture.publication.clone(),
        shape: options(config, capture),
        signals: capture
            .signal_table
            .as_ref()
            .map(|table| OutboxTable { schema: table.schema.clone(), name: table.name.clone() }),
        rereads_rewritten: capture.rereads_rewritten,
        reselects: capture.reselect,
    })
}

/// What the source reads, and whom it tells when nothing comes any more.
pub(super) fn changes(
    config: &Config,
    accept_gap: bool,
    status: &Arc<Status>,
    finished: Arc<Notify>,
    reader: watch::Sender<i32>,
    spill: Option<Arc<Spill>>,
) -> ChangesOptions {
    ChangesOptions {
        wal: Arc::new(wal::options(config, accept_gap, reader, spill)),
        snapshot: config.capture.as_ref().map(|capture| snapshot(config, capture)),
        status: Some(Arc::clone(status)),
        finished,
    }
}

fn snapshot(config: &Config, capture: &Capture) -> (SnapshotMode, Arc<SnapshotOptions>) {
    let snapshot = &capture.snapshot;
    let mode = match snapshot.mode {
        config::SnapshotMode::Initial => SnapshotMode::Initial,
        config::SnapshotMode::NoData => SnapshotMode::NoData,
        config::SnapshotMode::InitialOnly => SnapshotMode::InitialOnly,
        config::SnapshotMode::WhenNeeded => SnapshotMode::WhenNeeded,
    };
    let options = SnapshotOptions {
        connect: postgres::options(&config.postgres, false),
        publication: capture.publication.clone(),
        shape: options(config, capture),
        tables: tables(&snapshot.tables),
        signals: capture.signal_table.as_ref().map(|table| (table.schema.clone(), table.name.clone())),
        workers: snapshot.workers,
        chunk_rows: snapshot.chunk_rows,
        rows_per_second: snapshot.rows_per_second,
    };
    (mode, Arc::new(options))
}

/// The number of the route of captured changes: the one after the outboxes'.
pub(super) fn route(config: &Config) -> u16 {
    u16::try_from(config.outboxes.len()).unwrap_or(u16::MAX)
}

/// How captured tables become messages.
pub(super) fn options(config: &Config, capture: &Capture) -> CaptureOptions {
    let skips = |operation| capture.skipped_operations.contains(&operation);
    CaptureOptions {
        route: route(config),
        database: config.postgres.database.clone(),
        prefix: capture.topic_prefix.clone(),
        topic: capture.topic.clone(),
        form: if capture.debezium { ChangeForm::Debezium } else { ChangeForm::Native },
        schemas: capture.schemas,
        tombstones: capture.tombstones,
        types: types(capture),
        tables: tables(&capture.tables),
        tables_except: tables(&capture.tables_except),
        columns_only: columns(&capture.columns),
        columns_except: columns(&capture.columns_except),
        masks: capture.masks.iter().map(mask).collect(),
        keys: capture
            .key_columns
            .iter()
            .map(|key| KeyOptions {
                tables: format!("{}.{}", key.table.schema, key.table.name),
                columns: key.columns.clone(),
            })
            .collect(),
        skipped: Skipped {
            create: skips(Operation::Create),
            update: skips(Operation::Update),
            delete: skips(Operation::Delete),
            truncate: skips(Operation::Truncate),
        },
        skip_unchanged: capture.skip_unchanged,
        transaction_topic: capture.transaction_topic.clone(),
        message_prefixes: capture.message_prefixes.clone(),
        message_topic: capture.message_topic.clone(),
        headers: match capture.header_converter {
            HeaderConverter::Simple => HeaderForm::Simple,
            HeaderConverter::Json => HeaderForm::Json,
        },
        run_id: (capture.debezium && capture.context_headers).then(|| uuid::Uuid::now_v7().to_string()),
    }
}

fn types(capture: &Capture) -> TypeOptions {
    let Types { decimal, time, interval, binary, hstore, money_fraction_digits, refuses_other } = capture.types;
    TypeOptions {
        unavailable: capture.unavailable_value.clone(),
        decimal: match decimal {
            config::Decimal::Precise => Decimal::Precise,
            config::Decimal::Double => Decimal::Double,
            config::Decimal::Text => Decimal::Text,
        },
        money_fraction_digits,
        time: match time {
            config::Time::Adaptive => Time::Adaptive,
            config::Time::AdaptiveTimeMicroseconds => Time::AdaptiveTimeMicroseconds,
            config::Time::Connect => Time::Connect,
            config::Time::IsoString => Time::IsoString,
            config::Time::Microseconds => Time::Microseconds,
            config::Time::Nanoseconds => Time::Nanoseconds,
        },
        interval: match interval {
            config::Interval::Numeric => Interval::Numeric,
            config::Interval::IsoString => Interval::IsoString,
        },
        binary: match binary {
            config::Binary::Bytes => Binary::Bytes,
            config::Binary::Base64 => Binary::Base64,
            config::Binary::Base64UrlSafe => Binary::Base64UrlSafe,
            config::Binary::Hex => Binary::Hex,
        },
        hstore: match hstore {
            config::Hstore::Json => Hstore::Json,
            config::Hstore::Map => Hstore::Map,
        },
        // No schema describes lists of lists.
        nested: !capture.schemas,
        others: if refuses_other { Others::Refused } else { Others::Text },
    }
}

fn tables(patterns: &[TablePattern]) -> Vec<String> {
    patterns.iter().map(|pattern| format!("{}.{}", pattern.schema, pattern.table)).collect()
}

fn column(pattern: &ColumnPattern) -> String {
    format!("{}.{}.{}", pattern.table.schema, pattern.table.table, pattern.column)
}

fn columns(patterns: &[ColumnPattern]) -> Vec<String> {
    patterns.iter().map(column).collect()
}

fn mask(mask: &Mask) -> MaskOptions {
    MaskOptions {
        columns: column(&mask.columns),
        mask: match &mask.with {
            MaskWith::Truncate(letters) => MaskForm::Truncate(*letters as usize),
            MaskWith::Asterisks(count) => MaskForm::Asterisks(*count as usize),
            MaskWith::Hash { algorithm, salt } => MaskForm::Hash {
                algorithm: match algorithm {
                    HashAlgorithm::Sha224 => "SHA-224",
                    HashAlgorithm::Sha256 => "SHA-256",
                    HashAlgorithm::Sha384 => "SHA-384",
                    HashAlgorithm::Sha512 => "SHA-512",
                }
                .to_owned(),
                salt: salt.expose().to_owned(),
            },
        },
    }
}
