//! Poison: a thousand records among a million that the table does not take, or that nobody can read. Exactly those become dead letters,
//! each with its reason; and after the table was mended, a replay brings in, once, whatever can be read.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use rdkafka::message::{BorrowedMessage, Headers, Message};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use xtask::services::Environment;

use crate::chain::{blocking, letters};
use crate::error::{Error, Result};
use crate::loader::events::{Events, good, id};
use crate::loader::site::Site;
use crate::screen::Screen;

/// Records, unless somebody says otherwise.
const RECORDS: u64 = 1_000_000;
/// Of so many records, one is poison.
const ONE_OF: u64 = 1_000;
/// Of so many that are poison, one cannot be read by anybody.
const UNREADABLE_ONE_OF: u64 = 10;
/// How long a replay may take.
const REPLAY_MAX: Duration = Duration::from_secs(300);
/// How often it is asked how far it is.
const LOOK: Duration = Duration::from_secs(1);
/// What the mended table needs to take the others.
const MEND: [&str; 4] = [
    "alter table clicks modify column dwell_ms UInt32",
    "alter table clicks modify column device LowCardinality(Nullable(String))",
    "alter table clicks modify column country String",
    "alter table clicks modify column user_id String",
];
/// The column that each kind of poison does not fit into, in the order of [`MEND`].
const COLUMNS: [&str; 4] = ["dwell_ms", "device", "country", "user_id"];

/// What was found.
#[derive(Debug, Serialize)]
pub struct Report {
    records: u64,
    poison: u64,
    rows: u64,
    distinct: u64,
    dead_letters: u64,
    /// Dead letters that are no poison, or there twice, and poison that is none.
    wrong_letters: u64,
    /// Dead letters whose reason does not name what is wrong.
    poor_reasons: u64,
    rows_after_replay: u64,
    distinct_after_replay: u64,
    dead_after_replay: u64,
    /// Records that nobody can read.
    unreadable: u64,
    records_per_s: f64,
    seconds: f64,
    verdict: &'static str,
    #[serde(skip)]
    examples: Vec<String>,
}

/// What is wrong with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Poison {
    /// A column does not take its value.
    Misfit(usize),
    /// It is no JSON object.
    Unreadable(u64),
}

impl Poison {
    /// What is wrong with the record of this number, if anything is.
    fn of(number: u64) -> Option<Self> {
        let (nth, at) = (number / ONE_OF, number % ONE_OF);
        // Somewhere else in each thousand.
        if at != nth * 379 % ONE_OF {
            return None;
        }
        let kind = nth / UNREADABLE_ONE_OF;
        Some(if nth.is_multiple_of(UNREADABLE_ONE_OF) {
            Self::Unreadable(kind % 4)
        } else {
            Self::Misfit((nth % 4) as usize)
        })
    }

    fn value(self, number: u64) -> Vec<u8> {
        let good = good(number);
        let with = |from: &str, to: &str| good.replacen(from, to, 1).into_bytes();
        match self {
            Self::Misfit(0) => {
                let dwell = format!(r#""dwell_ms":{}"#, number * 37 % 60_000);
                with(&dwell, r#""dwell_ms":70000"#)
            }
            Self::Misfit(1) => with(if number.is_multiple_of(2) { r#""iOS""# } else { r#""Android""# }, "null"),
            Self::Misfit(2) => with(r#""CH""#, r#""Switzerland""#),
            Self::Misfit(_) => with(&Uuid::from_u128(u128::from(number % 5_000)).to_string(), "guest-17"),
            Self::Unreadable(0) => b"not json".to_vec(),
            Self::Unreadable(1) => good.as_bytes()[..good.len() / 2].to_vec(),
            Self::Unreadable(2) => [good.as_bytes(), b"\xff"].concat(),
            Self::Unreadable(_) => with("iOS", "i\0OS").into_iter().chain(*b"\0").collect(),
        }
    }
}

/// Plays one run from nothing to the verdict.
pub async fn run(environment: &Environment, records: Option<u64>, keep: bool, screen: &Screen) -> Result<Report> {
    let site = Site::open(environment, "poison").await?;
    let played = play(&site, records.unwrap_or(RECORDS), screen).await;
    match &played {
        Ok(report) if report.passed() && !keep => site.clear().await?,
        _ => screen.say(&site.whereabouts()),
    }
    played
}

async fn play(site: &Site, records: u64, screen: &Screen) -> Result<Report> {
    let poison: BTreeMap<Uuid, Poison> =
        (0..records).filter_map(|number| Some((id(number), Poison::of(number)?))).collect();
    screen.say(&format!("          producing {records} records, {} of them poison", poison.len()));
    let events = Events::new(&site.bootstrap, &site.topic())?;
    for number in 0..records {
        let value = Poison::of(number).map_or_else(|| good(number).into_bytes(), |poison| poison.value(number));
        events.send(number, &value).await?;
    }
    events.flush().await?;
    let started = Instant::now();
    let mut process = site.load.start()?;
    site.catch_up(&mut process, screen).await?;
    let loaded = started.elapsed();
    process.stop()?;
    let (rows, distinct) = site.rows().await?;
    let judged = judge(site, &poison).await?;
    let dead_letters = site.given_up().await?;

    screen.say("          mending the table, and replaying the dead letters");
    for sql in MEND {
        site.clickhouse.run(sql).await?;
    }
    let ((rows_after_replay, distinct_after_replay), dead_after_replay) = replay(site, screen).await?;
    let unreadable = poison.values().filter(|poison| matches!(poison, Poison::Unreadable(_))).count() as u64;
    let seconds = loaded.as_secs_f64();
    let mut report = Report {
        records,
        poison: poison.len() as u64,
        rows,
        distinct,
        dead_letters,
        wrong_letters: judged.wrong,
        poor_reasons: judged.poor,
        rows_after_replay,
        distinct_after_replay,
        dead_after_replay,
        unreadable,
        records_per_s: (records as f64 / seconds).round(),
        seconds: (seconds * 1000.0).round() / 1000.0,
        verdict: "fail",
        examples: judged.examples,
    };
    if report.good() {
        report.verdict = "pass";
    }
    Ok(report)
}

/// Replays every dead letter; what the table holds then, and how many letters stay dead.
async fn replay(site: &Site, screen: &Screen) -> Result<((u64, u64), u64)> {
    let mut process = site.load.start()?;
    let said = site.load.ask(&["dlq", "replay", "--all"])?;
    screen.say(&format!("          {}", said.trim().lines().last().unwrap_or_default()));
    let since = Instant::now();
    let dead = loop {
        process.check()?;
        let letters: Vec<Letter> = serde_json::from_str(&site.load.ask(&["dlq", "list", "--output", "json"])?)
            .map_err(|error| Error::Relay(format!("postrider dlq list answers what cannot be read: {error}")))?;
        let of = |state: &str| letters.iter().filter(|letter| letter.state == state).count() as u64;
        if of("replaying") == 0 || since.elapsed() > REPLAY_MAX {
            break of("dead") + of("replaying");
        }
        tokio::time::sleep(LOOK).await;
    };
    process.stop()?;
    Ok((site.rows().await?, dead))
}

/// A dead letter as `postrider dlq list` tells it.
#[derive(Debug, Deserialize)]
struct Letter {
    state: String,
}

#[derive(Debug, Default)]
struct Judged {
    wrong: u64,
    poor: u64,
    examples: Vec<String>,
}

impl Judged {
    fn example(&mut self, text: String) {
        if self.examples.len() < 8 {
            self.examples.push(text);
        }
    }
}

/// Reads every dead letter and holds it against what was poison.
async fn judge(site: &Site, poison: &BTreeMap<Uuid, Poison>) -> Result<Judged> {
    let (bootstrap, topic) = (site.bootstrap.clone(), site.letters.clone());
    let mut found: Vec<(Option<Uuid>, String)> = Vec::new();
    let found = blocking(move || {
        letters::each(&bootstrap, &topic, |message| found.push((event(message), reason(message))))?;
        Ok(found)
    })
    .await?;
    let (mut judged, mut left) = (Judged::default(), poison.clone());
    for (id, reason) in found {
        match id.and_then(|id| left.remove(&id)) {
            None => {
                judged.wrong += 1;
                judged.example(format!("a dead letter that is no poison, or is there twice: {id:?}, {reason}"));
            }
            Some(Poison::Misfit(kind)) if !reason.contains(COLUMNS[kind]) => {
                judged.poor += 1;
                judged.example(format!("a reason that does not name {}: {reason}", COLUMNS[kind]));
            }
            Some(Poison::Unreadable(_)) if reason.is_empty() => {
                judged.poor += 1;
                judged.example("a dead letter without a reason".to_owned());
            }
            Some(_) => {}
        }
    }
    judged.wrong += left.len() as u64;
    if let Some((id, kind)) = left.first_key_value() {
        judged.example(format!("poison that is no dead letter: {id}, {kind:?}"));
    }
    Ok(judged)
}

fn header(message: &BorrowedMessage<'_>, name: &str) -> Option<String> {
    let header = message.headers()?.iter().find(|header| header.key == name)?;
    Some(String::from_utf8_lossy(header.value?).into_owned())
}

fn event(message: &BorrowedMessage<'_>) -> Option<Uuid> {
    header(message, "id").and_then(|id| Uuid::parse_str(&id).ok())
}

fn reason(message: &BorrowedMessage<'_>) -> String {
    header(message, "__connect.errors.exception.message").unwrap_or_default()
}

impl Report {
    fn good(&self) -> bool {
        let loaded = self.rows == self.records - self.poison && self.distinct == self.rows;
        let letters = self.dead_letters == self.poison && self.wrong_letters == 0 && self.poor_reasons == 0;
        let replayed = self.rows_after_replay == self.records - self.unreadable;
        let replayed = replayed && self.dead_after_replay == self.unreadable;
        loaded && letters && replayed && self.distinct_after_replay == self.rows_after_replay
    }

    /// Whether the loader kept its promises.
    pub fn passed(&self) -> bool {
        self.verdict == "pass"
    }

    /// The figures as one line of JSON.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("numbers and a name are always JSON")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (records, poison) = (self.records, self.poison);
        writeln!(f)?;
        writeln!(
            f,
            "  records       {records:>12}   {poison} of them poison, {} of which nobody can read",
            self.unreadable
        )?;
        writeln!(
            f,
            "  in the table  {:>12}   rows, of {} events, after {:.1} s: {:.0} records/s",
            self.rows, self.distinct, self.seconds, self.records_per_s
        )?;
        writeln!(
            f,
            "  dead letters  {:>12}   {} of them wrong or missing, {} with a poor reason",
            self.dead_letters, self.wrong_letters, self.poor_reasons
        )?;
        writeln!(
            f,
            "  after replay  {:>12}   rows, of {} events; {} letters stay dead\n",
            self.rows_after_replay, self.distinct_after_replay, self.dead_after_replay
        )?;
        for example in &self.examples {
            writeln!(f, "  {example}")?;
        }
        match self.passed() {
            true => write!(f, "  PASS  exactly the poison was set aside, and what was mended came in once"),
            false => write!(f, "  FAIL  what was set aside or brought back is not what must be"),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::loader::events::good;
    use crate::loader::poison::Poison;

    #[test]
    fn one_of_a_thousand_records_is_poison_and_differs_from_the_good_one() {
        let numbers: Vec<u64> = (0..100_000).filter(|number| Poison::of(*number).is_some()).collect();
        assert_eq!(numbers.len(), 100);
        for number in numbers {
            let value = Poison::of(number).map(|poison| poison.value(number)).unwrap_or_default();
            assert_ne!(value, good(number).into_bytes(), "{number}");
        }
    }
}
