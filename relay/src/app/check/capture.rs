//! Captured tables as the relay would describe them: what could not be published, what has no key, and whose topics they go to.

use std::collections::BTreeMap;

use crate::app::{capture, postgres, setup};
use crate::config::capture::SnapshotMode;
use crate::config::{self, Config};
use crate::finding::{Finding, Rule, Severity};
use crate::pipeline::{End, Error, Kind};
use crate::postgres::connection::Connection;
use crate::shape::change::Capture;
use crate::shape::change::options::Unsupported;
use crate::sinks::kafka::check::CapturedTopic;
use crate::slots::check::ExpectedCapture;
use crate::slots::setup::Table;
use crate::sources::wal::catalog;

/// Tables that are described at most: a look, not an inventory.
const TABLES_MAX: usize = 500;

static UNSUPPORTED: Rule = Rule {
    code: "capture-unsupported",
    severity: Severity::Error,
    why: "A table that cannot be described cannot be published: the relay stops at its first change.",
    mend: "Leave the column out with `capture.columns_except`, or the table with `capture.tables_except`.",
};
static NO_KEY: Rule = Rule {
    code: "capture-no-key",
    severity: Severity::Warning,
    why: "Records without key go to any partition, so that the changes of one row have no order, and no consumer can tell whose they are.",
    mend: "`alter table … add primary key …`, or `capture.key_columns` with `replica identity full`.",
};
static TOPIC_SHARED: Rule = Rule {
    code: "capture-topic-shared",
    severity: Severity::Warning,
    why: "Rows of several tables with one key look like one row to whoever reads the topic, and compaction keeps one of them.",
    mend: "Name more in `capture.topic`, such as \"cdc.{schema}.{table}\".",
};

static TYPE_OTHER: Rule = Rule {
    code: "capture-type-other",
    severity: Severity::Note,
    why: "Values of a type that has no form of its own are published as the text that Postgres prints; Debezium leaves such columns out.",
    mend: "`capture.columns_except` leaves them out, `capture.types.other = \"refuse\"` refuses their tables.",
};

pub(super) const RULES: &[&Rule] = &[&UNSUPPORTED, &NO_KEY, &TOPIC_SHARED, &TYPE_OTHER];

/// What was found, and the topics that changes go to.
#[derive(Debug, Default)]
pub(super) struct Described {
    pub(super) findings: Vec<Finding>,
    pub(super) topics: Vec<CapturedTopic>,
}

/// What the database is expected to have.
pub(super) fn expected(config: &Config) -> Option<ExpectedCapture> {
    let capture = config.capture.as_ref()?;
    Some(ExpectedCapture {
        wanted: setup::capture(capture),
        keys: capture.key_columns.iter().map(|key| (setup::table(&key.table), key.columns.clone())).collect(),
        snapshots: capture.snapshot.mode != SnapshotMode::NoData,
    })
}

/// Describes the tables that the publication carries, as the relay does when the first change of one comes.
///
/// # Errors
/// Options that the relay cannot use either.
pub(super) async fn describe(config: &Config, tables: Vec<Table>) -> Result<Described, Error> {
    let Some(capture) = config.capture.clone() else { return Ok(Described::default()) };
    let shaper = Capture::new(&capture::options(config, &capture))
        .map_err(|error| Error::new(End::Source, Kind::Setup, "[capture] cannot be used").because(error))?;
    let connect = postgres::options(&config.postgres, false);
    let describing = move || {
        // That the database cannot be reached is told elsewhere.
        let Ok(mut sql) = Connection::connect(&connect) else { return Described::default() };
        described(&mut sql, &capture, &shaper, &tables)
    };
    let interrupted = |error| Error::new(End::Source, Kind::Broken, "describing tables was interrupted").because(error);
    tokio::task::spawn_blocking(describing).await.map_err(interrupted)
}

fn described(
    sql: &mut Connection,
    capture: &config::capture::Capture,
    shaper: &Capture,
    tables: &[Table],
) -> Described {
    let mut described = Described::default();
    let mut topics: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for Table { schema, name } in tables.iter().take(TABLES_MAX) {
        // A table that is gone by now has nothing wrong.
        let Ok(table) = catalog::table(sql, &capture.publication, schema, name) else { continue };
        let shown = Table { schema: schema.clone(), name: name.clone() }.quoted();
        match shaper.describe(&table) {
            Ok(form) => {
                let keyed = form.has_key();
                if !keyed {
                    described
                        .findings
                        .push(NO_KEY.found(format!("table {shown} has no primary key")).words(NO_KEY.mend));
                }
                let others: Vec<&str> = form.others().collect();
                if !others.is_empty() {
                    let what = format!("of table {shown} these are published as text: {}", others.join(", "));
                    described.findings.push(TYPE_OTHER.found(what).words(TYPE_OTHER.mend));
                }
                topics.entry(form.topic().to_string()).or_default().push(shown);
                described.topics.push(CapturedTopic { topic: form.topic().to_string(), keyed });
            }
            // Told already, by rules of their own.
            Err(Unsupported::KeyNotTold { .. } | Unsupported::NoKeyColumn { .. }) => {}
            Err(why) => described.findings.push(UNSUPPORTED.found(why.to_string()).words(UNSUPPORTED.mend)),
        }
    }
    for (topic, tables) in topics.iter().filter(|(_, tables)| tables.len() > 1) {
        let finding = TOPIC_SHARED.found(format!("tables {} share topic {topic:?}", tables.join(" and ")));
        described.findings.push(if capture.debezium {
            finding.words("rename one of them: `compatibility = \"debezium\"` leaves no choice of the topic")
        } else {
            finding.configuration("capture.topic", "\"cdc.{schema}.{table}\"")
        });
    }
    described
}
