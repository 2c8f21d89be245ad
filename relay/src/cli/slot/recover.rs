//! `postrider slot recover`: a slot that lost its place is made anew, and what was not delivered is published.

use std::{env, time::Duration};

use crate::{
    app::recover::{self, Options, Report, moment, recover},
    cli::{
        Error, File,
        administrator::{Administrator, block_on},
        duration::duration,
        parked::select::{Output, json},
        print,
    },
    config::Config,
    pipeline::times::now_ms,
};

/// Makes a slot anew that was lost, dropped or left behind, and publishes what it did not deliver.
///
/// For a relay that refuses to start because events may be missing: its slot was dropped or invalidated,
/// the server failed over without it, was restored from a backup or is a new one after an upgrade. The
/// progress record in Kafka tells what was delivered; rows of the outbox that were not, and that Kafka
/// does not hold, are written anew behind the beginning of a new slot, in their order. Writers of the
/// table wait meanwhile. Captured tables are read again beside the stream.
///
/// Without --yes it changes nothing and shows what it would do. Ended half way it can be run again: the
/// progress record is written last, and until then the relay refuses to start. docs/recovery.md has the
/// recipes.
///
/// Exit codes: 0 recovered or nothing to recover, 1 not recovered, 2 wrong usage or configuration.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Recover {
    /// Do it
    #[arg(long)]
    yes: bool,
    /// Make the slot anew though it looks well, because its publication is younger than it
    #[arg(long)]
    anew: bool,
    /// Look at rows since then, where the progress record does not tell: a time in UTC, or 2h
    #[arg(long, value_name = "WHEN", value_parser = since)]
    since: Option<i64>,
    /// How much older than the progress record rows are looked at, on a server that counts anew
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration)]
    margin: Duration,
    /// Publish every row that may be missing, without reading back what Kafka holds
    #[arg(long)]
    no_read_back: bool,
    /// Do not read the captured tables again
    #[arg(long)]
    no_snapshot: bool,
    /// Keep the new slot over a failover (PostgreSQL 17 and later); it is if the old one was
    #[arg(long)]
    failover: bool,
    /// The column that tells in which order rows were written; by default seq, or else created_at
    #[arg(long, value_name = "COLUMN")]
    order: Option<String>,
    /// How long writers may wait, in milliseconds; beyond it nothing is published
    #[arg(long, value_name = "MS", default_value_t = 60_000)]
    block_ms_max: u64,
    /// The form of the report
    #[arg(long, value_name = "FORM", value_enum, default_value = "text")]
    output: Output,
    #[command(flatten)]
    administrator: Administrator,
}

impl Recover {
    pub(super) fn execute(self, config: File<'_>) -> Result<(), Error> {
        let config = Config::load(config, env::vars_os()).map_err(Error::Config)?;
        #[cfg(feature = "failpoints")]
        crate::telemetry::failpoint::arm()?;
        let options = Options {
            administrator: self.administrator.of(&config.postgres)?,
            act: self.yes,
            anew: self.anew,
            since_ms: self.since,
            margin: self.margin,
            read_back: !self.no_read_back,
            snapshot: !self.no_snapshot,
            failover: self.failover,
            order: self.order,
            block_ms_max: self.block_ms_max,
            holds_lease: false,
            may_lack_record: false,
        };
        let report = block_on(async {
            recover(&config, options).await.map_err(|error| match error {
                recover::Error::Database(error) => Error::Setup(error),
                recover::Error::Relay(error) => Error::Run { error, json: false },
            })
        })?;
        match self.output {
            Output::Json => print(&json(&report)),
            Output::Text => print(&text(&report)),
        }
    }
}

fn since(text: &str) -> Result<i64, &'static str> {
    moment(text, now_ms())
}

fn text(report: &Report) -> String {
    let slot = &report.slot;
    if !report.needed {
        return format!("nothing to recover: {}\n", report.why);
    }
    let mut lines = vec![format!("found: {}", report.why)];
    let (done, republished) = if report.done { ("done", "published anew") } else { ("would be", "to publish anew") };
    if report.history == "other" {
        lines.push("this server counts transactions and places in its log anew: the epoch rises".to_owned());
    }
    if let Some(since) = &report.rows_since {
        lines.push(format!("rows that were created before {since} count as delivered"));
    }
    for table in &report.tables {
        lines.push(format!(
            "{}: {} rows may be missing, Kafka holds {} of them, {} {republished}",
            table.table, table.suspect, table.held, table.republished
        ));
    }
    if let Some(read) = report.read_back.as_ref().filter(|read| !read.complete) {
        lines.push(format!(
            "topics {} no longer hold everything since {}, so that some of these may be delivered twice",
            read.topics.join(", "),
            read.from.as_deref().unwrap_or("their beginning")
        ));
    }
    for range in &report.ranges {
        let from = range.from_time.as_ref().map_or_else(String::new, |time| format!(" ({time})"));
        lines.push(format!(
            "gone: {} between {}{from} and {} ({}): {}",
            range.what, range.from_lsn, range.to_lsn, range.to_time, range.mend
        ));
    }
    if !report.snapshots.is_empty() {
        lines.push(format!("asked for a snapshot of {}", report.snapshots.join(", ")));
    }
    lines.extend(report.not_read.iter().map(|why| format!("not read again: {why}")));
    lines.push(format!(
        "lost: {}, republished: {}, duplicates at most: {}, epoch: {}",
        report.lost, report.republished, report.duplicates_at_most, report.epoch
    ));
    lines.push(match &report.begins_at {
        Some(place) => format!("{done}: slot {slot} begins at {place}; start the relay"),
        None => format!("nothing was changed: run this again with --yes to make slot {slot} anew"),
    });
    lines.into_iter().map(|line| line + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::recover::MARGIN;

    #[test]
    fn the_margin_is_the_library_s() {
        assert_eq!(duration("1h"), Ok(MARGIN));
    }
}
