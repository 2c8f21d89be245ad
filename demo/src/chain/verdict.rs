//! What is found behind Kafka when everything has arrived.

use std::fmt;

use crate::chain::aggregates;
use crate::chain::current;
use crate::chain::site::Downstream;
use crate::chain::stale::Pages;
use crate::chain::workers::Worked;
use crate::database::Database;
use crate::error::Result;
use crate::nova::Reported;
use crate::state::compare::Comparison;

/// The figures.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Current-state tables beside Postgres' own.
    pub(crate) tables: Comparison,
    /// Aggregates beside their recomputation.
    pub(crate) aggregates: Comparison,
    pub(crate) pages: Pages,
    /// Records that the workers gave up.
    pub(crate) dead_letters: u64,
    pub(crate) worked: Worked,
}

impl Found {
    /// Looks at everything. To be called when nobody writes, reads or fills any more.
    pub(crate) async fn judge(
        site: &Downstream,
        database: &Database,
        reported: &Reported,
        worked: Worked,
    ) -> Result<Self> {
        let postgres = database.connect().await?;
        Ok(Self {
            tables: current::compare(&postgres, &site.clickhouse).await?,
            aggregates: aggregates::compare(&postgres, &site.clickhouse, reported).await?,
            pages: Pages::judge(&site.redis_url, database).await?,
            dead_letters: site.given_up().await?,
            worked,
        })
    }

    /// Rows of ClickHouse that are not what they must be.
    pub(crate) fn mismatches(&self) -> u64 {
        self.tables.differences + self.aggregates.differences
    }

    /// Whether everything is downstream as it must be.
    pub(crate) fn good(&self) -> bool {
        self.mismatches() == 0 && self.pages.stale == 0 && self.dead_letters == 0 && self.worked.behind == 0
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tables, aggregates, pages, dead_letters, worked } = self;
        let Worked { usage: [load, invalidate], kills: [loads, invalidates], reads, behind, caught_up } = worked;
        writeln!(
            f,
            "  ClickHouse    {:>12}   rows differ: {} rows of {} tables and {} of {} aggregates were compared",
            self.mismatches(),
            tables.rows,
            tables.tables,
            aggregates.rows,
            aggregates.tables
        )?;
        writeln!(
            f,
            "  Redis         {:>12}   pages are stale: {} pages, {} of them fresh, were compared",
            pages.stale, pages.pages, pages.fresh
        )?;
        writeln!(
            f,
            "  racing fills  {:>12}   refused, because an invalidation overtook them; {} were stored, {} reads were hits",
            reads.racing, reads.stored, reads.hits
        )?;
        writeln!(f, "  dead letters  {dead_letters:>12}")?;
        writeln!(f, "  not received  {behind:>12}   records, {:.1} s after the last change", caught_up.as_secs_f64())?;
        for (role, usage, kills) in [("load", load, loads), ("invalidate", invalidate, invalidates)] {
            let (rss, cpu) = (usage.rss_peak_mib(), usage.cpu.as_secs_f64());
            writeln!(f, "  {role}: {rss:.1} MiB resident at most, {cpu:.2} CPU s, {kills} SIGKILLs")?;
        }
        for example in tables.examples.iter().chain(&aggregates.examples).chain(&pages.examples) {
            writeln!(f, "  {example}")?;
        }
        Ok(())
    }
}
