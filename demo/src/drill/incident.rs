//! What follows an incident, whichever it was: the relay refuses to go on, `postrider slot recover` brings it back, and what the
//! database still holds is what must have arrived.

use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::database::Database;
use crate::drill::writers::Stamp;
use crate::drill::{Committed, Counted, Ledger, Report};
use crate::error::{Doing, Error, Result};
use crate::relay::{Process, Relay};

/// How long a relay may take to find out that it must not go on.
const REFUSED_WITHIN: Duration = Duration::from_secs(60);

/// What `postrider slot recover` says it did.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Recovered {
    pub(super) done: bool,
    pub(super) history: String,
    pub(super) lost: u64,
    pub(super) republished: u64,
    pub(super) duplicates_at_most: u64,
    /// How long it took.
    #[serde(skip)]
    pub(super) took: Duration,
}

/// Waits until a running relay ends because events may be missing; its last words: the error, and what helps.
pub(super) async fn refuses(mut process: Process) -> Result<String> {
    let begun = Instant::now();
    loop {
        match process.check() {
            Err(error) => {
                let text = error.to_string();
                return Ok(text.rfind("\nerror: ").map_or(text.clone(), |at| text[at + 1..].to_owned()));
            }
            Ok(_) if begun.elapsed() > REFUSED_WITHIN => {
                return Err(Error::Relay(format!(
                    "the relay went on for {REFUSED_WITHIN:?} as if nothing were missing"
                )));
            }
            Ok(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// `postrider slot recover --yes`, with an administrator's rights.
pub(super) fn recover(relay: &Relay) -> Result<Recovered> {
    let begun = Instant::now();
    let said = tokio::task::block_in_place(|| relay.ask(&["slot", "recover", "--yes", "--output", "json"]))?;
    let recovered: Recovered = serde_json::from_str(&said)
        .map_err(|error| Error::Relay(format!("slot recover did not say what it did: {error}\n{said}")))?;
    Ok(Recovered { took: begun.elapsed(), ..recovered })
}

/// What the database holds: all of it must have arrived, and of what it does not hold nothing can be asked.
pub(super) async fn held(database: &Database) -> Result<Committed> {
    let sql = "select (payload ->> 'k')::bigint, (payload ->> 'n')::bigint from public.outbox_events";
    let rows = database.connect().await?.query(sql, &[]).await.doing("reading the outbox")?;
    let number = |row: &tokio_postgres::Row, column| row.get::<_, i64>(column).unsigned_abs();
    Ok(rows.iter().map(|row| Stamp { key: number(row, 0), n: number(row, 1) }).collect())
}

/// The figures of a drill that lost something in the database: only what it still holds must have arrived.
pub(super) async fn judge(
    drill: &'static str,
    ledger: Ledger,
    (written, database): (&Committed, &Database),
    since: Instant,
) -> Result<(Report, Counted)> {
    let held = held(database).await?;
    let gone = written.without(&held);
    let gap = ledger.longest_gap_since(since);
    let counted = ledger.settle(&held).await?;
    let report = Report::new(drill, counted, gap)
        .with("gone_in_database", gone as f64)
        .with("published_and_gone", counted.unknown as f64);
    Ok((report, counted))
}

impl Recovered {
    /// The report with what was recovered, and what is wanted of it: the `history` that it must have found.
    pub(super) fn told(&self, report: Report, history: &str, counted: &Counted) -> Report {
        report
            .with("recover_s", self.took.as_secs_f64())
            .with("republished", self.republished as f64)
            .with("duplicates_at_most", self.duplicates_at_most as f64)
            .wanted(self.done, || "slot recover has recovered".to_owned())
            .wanted(self.lost == 0, || format!("slot recover knows of nothing lost; it said {}", self.lost))
            .wanted(self.history == history, || format!("the history is called {history}; it said {}", self.history))
            .wanted(counted.duplicated <= self.duplicates_at_most, || {
                format!(
                    "at most {} duplicates, as slot recover said, not {}",
                    self.duplicates_at_most, counted.duplicated
                )
            })
    }
}

/// Whether the relay's last words name the command that helps.
pub(super) fn names_the_mend(words: &str) -> bool {
    words.contains("slot recover")
}
