//! `postrider outbox stats`: what the table costs, and who keeps it from being cleaned.

use crate::{
    cli::{
        Error, File,
        administrator::{Administrator, block_on},
        outbox::{Tables, load},
    },
    slots::outbox::stats::{self, Extent, Holder},
};

/// Shows the table's rows and size, what is dead in it, and who keeps vacuum from cleaning that.
///
/// Rows and bloat are estimates of the planner's; both are as fresh as the last analyze. It changes
/// nothing. What other roles do is only shown to members of pg_read_all_stats (or pg_monitor).
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Stats {
    /// Count the rows, which reads the whole table
    #[arg(long)]
    exact: bool,
    /// Show what sessions that hold vacuum back run; a query may hold values
    #[arg(long)]
    show_query: bool,
    #[command(flatten)]
    tables: Tables,
    #[command(flatten)]
    administrator: Administrator,
}

impl Stats {
    pub(super) fn execute(self, config: File<'_>) -> Result<(), Error> {
        let config = load(config)?;
        let cares = self.tables.cares(&config)?;
        let extent = Extent { exact: self.exact, queries: self.show_query };
        let stats = block_on(async {
            let client = self.administrator.connect(&config.postgres).await?;
            let mut all = Vec::new();
            for care in &cares {
                all.push(stats::stats(&client, &care.table, &care.slot, extent).await?);
            }
            Ok(all)
        })?;
        self.tables.print(&stats, text)
    }
}

fn text(stats: &stats::Stats) -> String {
    let about = if stats.rows_exact { "" } else { "about " };
    let unknown = || "unknown".to_owned();
    let never = || "never".to_owned();
    let mut text = format!(
        "{}\n  rows             {about}{} in {} table(s)\n  not delivered    {}\n  heap             {}\n  indexes          {}\n  \
         out of line      {}\n  dead rows        {}\n  bloat            {}\n  last autovacuum  {}\n  last vacuum      {}\n",
        stats.table,
        stats.rows,
        stats.partitions,
        match (stats.undelivered_log_bytes, stats.undelivered_rows_estimate) {
            (Some(log), Some(rows)) => format!("about {rows} rows at most: {} of log are not confirmed", bytes(log)),
            _ => "unknown: the slot does not exist".to_owned(),
        },
        bytes(stats.heap_bytes),
        bytes(stats.index_bytes),
        bytes(stats.toast_bytes),
        stats.dead_rows,
        stats.bloat_bytes_estimate.map_or_else(unknown, |bloat| format!("about {}", bytes(bloat))),
        stats.last_autovacuum.clone().unwrap_or_else(never),
        stats.last_vacuum.clone().unwrap_or_else(never),
    );
    text.push_str("  what holds dead rows back, the oldest first\n");
    text.extend(stats.horizon.iter().map(holder));
    if stats.horizon.is_empty() {
        text.push_str("    nothing\n");
    }
    if stats.horizon_hidden {
        text.push_str("    other roles' sessions are hidden from this role: `grant pg_read_all_stats` to it, or use --admin-url\n");
    }
    text
}

fn holder(holder: &Holder) -> String {
    let mut line = format!("    {} {:?}", holder.kind, holder.name);
    if let Some(pid) = holder.pid {
        line.push_str(&format!(", pid {pid}"));
    }
    if let Some(state) = &holder.state {
        line.push_str(&format!(", {state}"));
    }
    if let Some(seconds) = holder.seconds {
        line.push_str(&format!(", for {seconds} s"));
    }
    line.push_str(&format!(", {} transactions old\n      {}\n", holder.transactions, holder.advice));
    if let Some(query) = &holder.query {
        line.push_str(&format!("      {}\n", query.replace(['\n', '\r'], " ")));
    }
    line
}

fn bytes(bytes: i64) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, larger);
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_told_in_the_unit_that_fits() {
        for (count, told) in
            [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (8 << 20, "8.0 MiB"), (3 << 40, "3.0 TiB")]
        {
            assert_eq!(bytes(count), told);
        }
    }
}
