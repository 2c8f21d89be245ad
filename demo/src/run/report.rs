//! The verdict: the figures of a run, as a table for a person and as one JSON object for a machine.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::chain::Found;
use crate::figures::{ms, rounded};
use crate::findings::{Defect, Findings};
use crate::judge::Delivery;
use crate::latency::{Latencies, Percentiles};
use crate::nova::Outcome;
use crate::procfs::Usage;
use crate::run::torment::Outage;
use crate::state::compare::Comparison;
use crate::state::fold::Flaws;

/// Events held back. The relay has nowhere yet to park an event, so none can be.
const PARKED: u64 = 0;

/// What a run came to.
#[derive(Debug)]
pub struct Report {
    findings: Findings,
    latency: Percentiles,
    undisturbed: Percentiles,
    played: Played,
}

/// What happened during the run.
#[derive(Debug)]
pub(super) struct Played {
    pub(super) outcome: Outcome,
    /// What all of the relay's processes used.
    pub(super) usage: Usage,
    pub(super) outages: Vec<Outage>,
    pub(super) killed: u64,
    pub(super) written_for: Duration,
    pub(super) captured: Captured,
    /// With Kafka's transactions: a repetition is a defect.
    pub(super) exactly_once: bool,
    /// What is behind Kafka, unless the run ended there.
    pub(super) found: Option<Found>,
}

/// What the records of captured tables came to.
#[derive(Debug, Default)]
pub(super) struct Captured {
    /// The tables that they fold to, beside Postgres' own.
    pub(super) comparison: Comparison,
    /// What is wrong with the records themselves.
    pub(super) flaws: Flaws,
}

/// The JSON form; its keys are a contract with those who read it.
#[derive(Debug, Serialize)]
struct Figures {
    committed: u64,
    delivered: u64,
    lost: u64,
    duplicated: u64,
    phantom: u64,
    reordered: u64,
    parked: u64,
    p50_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
    events_per_s: f64,
    relay_rss_peak_mb: f64,
    relay_cpu_s: f64,
    kills: u64,
    seconds: f64,
    verdict: &'static str,
    /// Records of captured tables.
    change_records: u64,
    /// Rows that Postgres holds in these tables.
    table_rows: u64,
    /// Rows of theirs that the records do not make, or not so.
    table_differences: u64,
    #[serde(flatten)]
    chain: Option<ChainFigures>,
}

/// What a run that goes on behind Kafka adds.
#[derive(Debug, Serialize)]
struct ChainFigures {
    /// Rows of ClickHouse's tables and aggregates that are not what they must be.
    clickhouse_mismatches: u64,
    /// Pages that a reader is given as fresh although they are older than their last invalidation.
    redis_stale: u64,
    /// Fills that an invalidation overtook.
    racing_fills: u64,
    /// Records that the workers gave up.
    dead_letters: u64,
}

impl Report {
    /// Sums up. A delivery counts as undisturbed if it met neither the first start nor a kill and restart on its way.
    pub(super) fn new(findings: Findings, deliveries: &[Delivery], played: Played) -> Self {
        let (mut latency, mut undisturbed) = (Latencies::default(), Latencies::default());
        for delivery in deliveries {
            let micros = delivery.latency_us();
            latency.record(micros);
            if !played.outages.iter().any(|outage| outage.touches(delivery)) {
                undisturbed.record(micros);
            }
        }
        Self { findings, latency: latency.percentiles(), undisturbed: undisturbed.percentiles(), played }
    }

    /// Whether the relay kept its promises.
    pub fn passed(&self) -> bool {
        let Captured { comparison, flaws } = &self.played.captured;
        let downstream = self.played.found.as_ref().is_none_or(Found::good);
        let twice = self.played.exactly_once && self.findings.duplicated + flaws.duplicated > 0;
        self.findings.clean() && !twice && flaws.none() && comparison.differences == 0 && downstream
    }

    /// The figures as one line of JSON.
    pub fn json(&self) -> String {
        serde_json::to_string(&self.figures()).expect("numbers and a name are always JSON")
    }

    fn figures(&self) -> Figures {
        let defect = |defect| self.findings.count(defect);
        Figures {
            committed: self.findings.committed,
            delivered: self.findings.delivered,
            lost: defect(Defect::Lost),
            duplicated: self.findings.duplicated,
            phantom: defect(Defect::Phantom),
            reordered: defect(Defect::Reordered),
            parked: PARKED,
            p50_ms: ms(self.latency.p50),
            p99_ms: ms(self.latency.p99),
            p999_ms: ms(self.latency.p999),
            events_per_s: rounded(self.findings.committed as f64 / self.played.written_for.as_secs_f64()),
            relay_rss_peak_mb: rounded(self.played.usage.rss_peak_mib()),
            relay_cpu_s: rounded(self.played.usage.cpu.as_secs_f64()),
            kills: self.played.killed,
            seconds: rounded(self.played.written_for.as_secs_f64()),
            verdict: if self.passed() { "pass" } else { "fail" },
            change_records: self.played.captured.flaws.records,
            table_rows: self.played.captured.comparison.rows,
            table_differences: self.played.captured.comparison.differences,
            chain: self.played.found.as_ref().map(|found| ChainFigures {
                clickhouse_mismatches: found.mismatches(),
                redis_stale: found.pages.stale,
                racing_fills: found.worked.reads.racing,
                dead_letters: found.dead_letters,
            }),
        }
    }
}

/// The table; `{:#}` with colours, for a terminal.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let colours = Colours::of(f);
        self.write_counts(f, &colours)?;
        writeln!(f, "\n  commit → consumer                 p50        p99      p99.9        max")?;
        write_latency(f, "all events", self.latency)?;
        write_latency(f, "while the relay was up", self.undisturbed)?;
        let (rss, cpu) = (self.played.usage.rss_peak_mib(), self.played.usage.cpu.as_secs_f64());
        let per_million = cpu * 1e6 / self.findings.records.max(1) as f64;
        writeln!(
            f,
            "\n  relay: {rss:.1} MiB resident at most, {cpu:.2} CPU s ({per_million:.1} per million records)\n"
        )?;
        let Captured { comparison, flaws } = &self.played.captured;
        writeln!(
            f,
            "  tables: {} records fold to {} rows of {} tables; {} differ from Postgres, {} twice\n",
            flaws.records, comparison.rows, comparison.tables, comparison.differences, flaws.duplicated
        )?;
        if let Some(found) = &self.played.found {
            writeln!(f, "{found}")?;
        }
        for example in comparison.examples.iter().chain(&flaws.examples) {
            writeln!(f, "  {example}")?;
        }
        for example in self.findings.examples() {
            writeln!(f, "  {example}")?;
        }
        let Colours { good, bad, plain } = colours;
        match self.passed() {
            true => write!(
                f,
                "  {good}PASS{plain}  nothing lost, nothing invented, every key in order, every table as Postgres has it{}",
                if self.played.found.is_some() { ", every page as new as its last invalidation" } else { "" }
            ),
            false => write!(f, "  {bad}FAIL{plain}  what was read is not what was committed"),
        }
    }
}

impl Report {
    fn write_counts(&self, f: &mut fmt::Formatter<'_>, Colours { bad, plain, .. }: &Colours) -> fmt::Result {
        let Self { findings, played, .. } = self;
        let (transactions, kills) = (played.outcome.transactions, played.killed);
        let seconds = played.written_for.as_secs_f64();
        let rate = findings.committed as f64 / seconds;
        let committed = format!("in {transactions} transactions over {seconds:.0} s, {rate:.0} events/s");
        let duplicated = match kills {
            0 => "records beyond the first of their id".to_owned(),
            _ => format!("{:.0} for each of {kills} SIGKILLs", findings.duplicated as f64 / kills as f64),
        };
        writeln!(f)?;
        writeln!(f, "  committed     {:>12}   {committed}", findings.committed)?;
        writeln!(f, "  rolled back   {:>12}   events that must never be seen", played.outcome.rolled_back.len())?;
        writeln!(f, "  delivered     {:>12}", findings.delivered)?;
        writeln!(f, "  duplicated    {:>12}   {duplicated}", findings.duplicated)?;
        for defect in Defect::ALL {
            match findings.count(defect) {
                0 => writeln!(f, "  {:<13} {:>12}", defect.name(), 0)?,
                count => writeln!(f, "  {bad}{:<13} {count:>12}   must be 0{plain}", defect.name())?,
            }
        }
        writeln!(f, "  parked        {:>12}", PARKED)
    }
}

/// What switches a terminal's colours; nothing where there is no terminal.
struct Colours {
    good: &'static str,
    bad: &'static str,
    plain: &'static str,
}

impl Colours {
    fn of(f: &fmt::Formatter<'_>) -> Self {
        match f.alternate() {
            true => Self { good: "\x1b[1;32m", bad: "\x1b[1;31m", plain: "\x1b[0m" },
            false => Self { good: "", bad: "", plain: "" },
        }
    }
}

fn write_latency(f: &mut fmt::Formatter<'_>, name: &str, latency: Percentiles) -> fmt::Result {
    let column = |latency| format!("{:.1} ms", ms(latency));
    writeln!(
        f,
        "    {name:<24} {:>10} {:>10} {:>10} {:>10}",
        column(latency.p50),
        column(latency.p99),
        column(latency.p999),
        column(latency.max)
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::judge::{Delivery, Judge, Received};
    use crate::nova::Outcome;
    use crate::procfs::Usage;
    use crate::run::report::{Captured, Played, Report};

    fn report(judge: Judge) -> Report {
        let outcome = Outcome::default();
        let (findings, deliveries) = judge.finish(&outcome.rolled_back);
        let (usage, written_for) = (Usage::default(), Duration::from_secs(30));
        Report::new(
            findings,
            &deliveries,
            Played {
                outcome,
                usage,
                outages: Vec::new(),
                killed: 3,
                written_for,
                captured: Captured::default(),
                found: None,
                exactly_once: false,
            },
        )
    }

    #[test]
    fn the_json_has_exactly_the_promised_keys_in_their_order() {
        let json = report(Judge::default()).json();
        let keys = "committed, delivered, lost, duplicated, phantom, reordered, parked, p50_ms, p99_ms, p999_ms, events_per_s, relay_rss_peak_mb, relay_cpu_s, kills, seconds, verdict, change_records, table_rows, table_differences";
        let found: Vec<&str> = json
            .split('"')
            .filter(|part| part.starts_with(char::is_alphabetic))
            .filter(|part| *part != "pass")
            .collect();
        assert_eq!(found.join(", "), keys);
    }

    #[test]
    fn a_phantom_makes_the_verdict_fail_in_both_forms() {
        let mut judge = Judge::default();
        judge.observe(&Received::default());
        let report = report(judge);
        assert!(!report.passed());
        assert!(report.json().contains(r#""verdict":"fail""#));
        assert!(report.to_string().contains("FAIL"));
    }

    #[test]
    fn a_clock_that_is_a_millisecond_coarse_never_gives_a_negative_latency() {
        assert_eq!(Delivery { committed_ms: 5, received_us: 4_900 }.latency_us(), 0);
        assert_eq!(Delivery { committed_ms: 5, received_us: 6_250 }.latency_us(), 1_250);
    }
}
