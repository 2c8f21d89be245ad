//! `postrider outbox prune`: delivered rows of a plain table go.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::{
    cli::{
        Error, File,
        administrator::{Administrator, block_on},
        duration::duration,
        outbox::{Tables, load},
    },
    pipeline::Stop,
    slots::outbox::prune::{self, Pruned},
};

/// Deletes delivered events from a table that is not partitioned, a few at a time.
///
/// It waits until every logical slot of the database has confirmed what is committed at its start, and
/// deletes what of that is old enough. An event whose transaction was open then stays, as does one that
/// is parked. Rows that somebody has locked are left for the next run.
///
/// SIGINT or SIGTERM ends it between two statements, with exit code 0. Space is given back to the table
/// by the next vacuum; a partitioned table needs neither (`postrider outbox partitions`).
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Prune {
    /// How old an event must be, such as 7d, 12h, 30m or 0s
    #[arg(long, value_name = "AGE", value_parser = age)]
    older_than: Duration,
    /// Rows that one statement deletes
    #[arg(long, value_name = "ROWS", default_value = "1000", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    batch: u32,
    /// The pause between two statements, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 20)]
    pause_ms: u64,
    /// How long to wait for the slots to confirm what is committed now, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 60_000)]
    wait_ms: u64,
    /// The column that tells when an event was written
    #[arg(long, value_name = "COLUMN", default_value = "created_at")]
    time_column: String,
    /// Only count what would be deleted
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    tables: Tables,
    #[command(flatten)]
    administrator: Administrator,
}

impl Prune {
    pub(super) fn execute(self, config: File<'_>) -> Result<(), Error> {
        let config = load(config)?;
        let cares = self.tables.cares(&config)?;
        let pruned = block_on(async {
            let mut stop = listen()?;
            let client = self.administrator.connect(&config.postgres).await?;
            let mut pruned = Vec::new();
            for care in cares {
                let prune = prune::Prune {
                    table: care.table,
                    slot: care.slot,
                    id_column: care.id_column,
                    time_column: self.time_column.clone(),
                    older_than: self.older_than,
                    batch: self.batch,
                    pause: Duration::from_millis(self.pause_ms),
                    wait: Duration::from_millis(self.wait_ms),
                    dry_run: self.dry_run,
                };
                pruned.push(prune::prune(&client, &prune, &mut stop).await?);
            }
            Ok(pruned)
        })?;
        self.tables.print(&pruned, text)
    }
}

/// Ordered by SIGINT and SIGTERM.
pub(super) fn listen() -> Result<Stop, Error> {
    let (order, stop) = Stop::new();
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Runtime)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Runtime)?;
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        order.order();
    });
    Ok(stop)
}

fn text(pruned: &Pruned) -> String {
    let Pruned { table, deleted, batches, dry_run, stopped, delivered_lsn } = pruned;
    let done = if *dry_run { "would be deleted" } else { "deleted" };
    let stopped = if *stopped { "; stopped before the end, run it again to go on" } else { "" };
    format!(
        "{table}: {deleted} events {done} in {batches} statements; all before {delivered_lsn} is delivered{stopped}\n"
    )
}

fn age(text: &str) -> Result<Duration, String> {
    let age = duration(text)?;
    // What Postgres can subtract from now.
    if age > Duration::from_secs(36_500 * 86_400) { Err("at most 36500d".to_owned()) } else { Ok(age) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_has_a_number_and_a_unit() {
        for (text, seconds) in [("7d", 604_800), ("12h", 43_200), ("30m", 1_800), ("0s", 0)] {
            assert_eq!(age(text), Ok(Duration::from_secs(seconds)));
        }
        for text in ["", "7", "d", "-1d", "7 d", "1w", "36501d", "99999999999d", "7ü"] {
            assert!(age(text).is_err(), "{text}");
        }
    }
}
