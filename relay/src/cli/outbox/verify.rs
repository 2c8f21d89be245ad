//! `postrider outbox verify`: what was written, against what Kafka holds.

use std::time::Duration;

use crate::{
    app::verify::{self, Choice, Class, Options, Report},
    cli::{
        Error, File,
        administrator::{Administrator, block_on},
        duration::duration,
        outbox::chosen::{Ids, Times, load, relay_error},
        parked::select::{Output, json},
        print,
    },
};

/// Reads Kafka back and compares it with the rows of the outbox.
///
/// Each row is delivered, duplicated, missing, differing (another topic, key, value or headers than the
/// relay would write), out of order for its key, parked, awaiting delivery, filtered, or cannot be told
/// because retention or compaction removed what would tell. It changes nothing, and the relay may run.
/// At most 1048576 rows at once, which take 256 MiB; choose parts by --since and --until.
///
/// Exit codes: 0 nothing is wrong, 1 something is missing, differs or is out of order, or it could not
/// be looked at, 2 wrong usage or configuration.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Verify {
    /// Only this one of several outboxes: `outbox`, or the NAME of [outboxes.NAME]
    #[arg(long, value_name = "NAME")]
    outbox: Option<String>,
    #[command(flatten)]
    ids: Ids,
    #[command(flatten)]
    times: Times,
    /// How long a running relay may take to deliver what is committed now; beyond it that is awaiting
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    wait: Duration,
    /// Rows to list of those at fault, at most
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    faults: usize,
    /// The form of the report
    #[arg(long, value_name = "FORM", value_enum, default_value = "text")]
    output: Output,
    #[command(flatten)]
    administrator: Administrator,
}

impl Verify {
    pub(super) fn execute(self, config: File<'_>) -> Result<(), Error> {
        let config = load(config)?;
        let options = Options {
            administrator: self.administrator.of(&config.postgres)?,
            outbox: self.outbox,
            choice: Choice {
                ids: self.ids.id,
                since_ms: self.times.since,
                until_ms: self.times.until,
                ..Choice::default()
            },
            wait: self.wait,
            faults_max: self.faults,
        };
        let reports = block_on(async { verify::verify(&config, &options).await.map_err(relay_error) })?;
        match self.output {
            Output::Json => print(&json(&reports))?,
            Output::Text => print(&reports.iter().map(text).collect::<String>())?,
        }
        let faults = |class| reports.iter().map(|report| report.of(class)).sum::<u64>();
        if reports.iter().all(|report| report.ok) {
            return Ok(());
        }
        Err(Error::Verified {
            missing: faults(Class::Missing),
            differing: faults(Class::Differing),
            out_of_order: faults(Class::OutOfOrder),
        })
    }
}

/// What is printed of each class, in this order, and when.
const LINES: [(Class, &str); 9] = [
    (Class::Delivered, "delivered once"),
    (Class::Duplicated, "duplicated"),
    (Class::Missing, "missing"),
    (Class::Differing, "differing"),
    (Class::OutOfOrder, "out of order"),
    (Class::Parked, "parked"),
    (Class::Awaiting, "awaiting delivery"),
    (Class::Filtered, "filtered"),
    (Class::CannotTell, "cannot be told"),
];

fn text(report: &Report) -> String {
    let Report { outbox, table, rows, records_read, replayed, .. } = report;
    let mut text = format!("{outbox} ({table}): {rows} rows, {records_read} records read\n");
    if *rows == 0 {
        text.push_str("  no row fits\n");
    }
    for (class, name) in LINES {
        let count = report.of(class);
        // What must be zero is said to be.
        if count > 0 || (*rows > 0 && matches!(class, Class::Missing | Class::Differing | Class::OutOfOrder)) {
            text.push_str(&format!("  {name:<18} {count}\n"));
        }
    }
    if report.of(Class::Awaiting) > 0 && !report.caught_up {
        text.push_str("  the relay has not confirmed everything that was committed at the start: what awaits delivery may yet come\n");
    }
    if *replayed > 0 {
        text.push_str(&format!("  {:<18} {replayed}, beside what is said above\n", "replayed"));
    }
    if !report.gone.is_empty() {
        text.push_str(&format!("  not in the table   {}\n", report.gone.join(", ")));
    }
    if !report.topics_cut.is_empty() {
        let topics = report.topics_cut.join(", ");
        text.push_str(&format!("  no longer whole since the oldest of these rows: {topics}\n"));
    }
    for fault in &report.faults {
        text.push_str(&format!("  {} {}: {}\n", fault.id, name(fault.class), fault.why));
    }
    if report.faults_more > 0 {
        text.push_str(&format!("  … and {} more (--faults)\n", report.faults_more));
    }
    text
}

fn name(class: Class) -> &'static str {
    LINES.iter().find(|(of, _)| *of == class).map_or("", |(_, name)| name)
}
