//! Rows of the outbox against what Kafka holds of them.
//!
//! Guarantee: a row is called missing only if the relay counts it as delivered, nobody holds it, and its topic still holds everything
//! of its time. What was looked at is of one moment of the table; the relay may run meanwhile. Nothing is changed.

mod judge;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use serde::Serialize;

use crate::app::recover::{Error, READ_BACK_MAX, id_header_of};
use crate::app::{chosen, kafka, postgres};
use crate::config::outbox::{OnRefusal, Outbox};
use crate::config::source::Mode;
use crate::config::{self, Config};
use crate::kafka::held::{Extent, Seen, Sought, Topics};
use crate::kafka::ledger::{Ledger, ROWS_MAX, Tally};
use crate::pipeline::{End, Error as PipelineError, Kind};
use crate::sinks::kafka::check::newest_progress;
use crate::sinks::kafka::{Observer, compacted, walk};
use crate::slots::outbox::delivered::has_confirmed;
use crate::slots::{parked, session};
use crate::sources::polling::{Chosen, Fate, Rows};
use crate::sources::wal::Record;
use crate::telemetry::Metrics;

use judge::{Evidence, SLACK_MS, judge};

pub use crate::sources::polling::Choice;
pub use judge::Class;

/// Rows that are asked for at once.
const ROWS_AT_ONCE: usize = 2_000;

/// What is to be looked at.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Who may read the tables, if that is not the relay's role.
    pub administrator: Option<config::postgres::Postgres>,
    /// Only this outbox.
    pub outbox: Option<String>,
    /// Which rows.
    pub choice: Choice,
    /// How long the relay may take to deliver what is committed at the start.
    pub wait: Duration,
    /// Faults that are told one by one, at most.
    pub faults_max: usize,
}

/// What is said of the rows of one outbox.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The outbox.
    pub outbox: String,
    /// Its table.
    pub table: String,
    /// Rows that fit; the sum of all classes.
    pub rows: u64,
    /// How many rows there are of each class.
    pub classes: BTreeMap<Class, u64>,
    /// Rows that somebody published again, beside what their class says.
    pub replayed: u64,
    /// Whether the relay has passed everything that was committed at the start; else what awaits delivery may be missing.
    pub caught_up: bool,
    /// Ids that were asked for and are not in the table.
    pub gone: Vec<String>,
    /// Records that were read.
    pub records_read: u64,
    /// Topics that no longer hold everything since the oldest row was written.
    pub topics_cut: Vec<String>,
    /// The first rows of those that are missing, differ, are out of order or were delivered more than once.
    pub faults: Vec<Fault>,
    /// How many of these are not listed.
    pub faults_more: u64,
    /// Whether nothing is missing, differs or is out of order.
    pub ok: bool,
}

/// A row that somebody may want to look at.
#[derive(Debug, Clone, Serialize)]
pub struct Fault {
    /// The event's id.
    pub id: String,
    /// What is said of it.
    pub class: Class,
    /// Why.
    pub why: String,
    /// The topic that it belongs to.
    pub topic: String,
}

/// Looks at the chosen rows of every outbox that is meant.
///
/// # Errors
/// What keeps it from looking.
pub async fn verify(config: &Config, options: &Options) -> Result<Vec<Report>, Error> {
    kafka::insist_on_a_broker(&config.kafka, NOTHING_DELIVERED)?;
    let mut reports = Vec::new();
    for place in chosen::outboxes(config, options.outbox.as_deref())? {
        reports.push(Box::pin(one(config, options, place)).await?);
    }
    // An id is gone if no outbox has it.
    let known = |id: &String| reports.iter().any(|report| !report.gone.contains(id));
    let known: Vec<String> = options.choice.ids.iter().filter(|id| known(id)).cloned().collect();
    for report in &mut reports {
        report.gone.retain(|id| !known.contains(id));
    }
    Ok(reports)
}

/// What there is not where events are published to nowhere.
pub(super) const NOTHING_DELIVERED: &str = "nothing that was delivered";

/// The ids that were asked for and are not among the rows.
pub(super) fn gone(choice: &Choice, chosen: &Chosen) -> Vec<String> {
    let there: HashSet<String> = chosen.rows.iter().map(|row| row.id.to_ascii_lowercase()).collect();
    choice.ids.iter().filter(|id| !there.contains(&id.to_ascii_lowercase())).cloned().collect()
}

/// What is known of a row before anything is read back.
enum Row {
    /// It is in the ledger.
    Expected(usize),
    Filtered,
    Unfit(String),
    Gone,
}

/// What is known of all rows.
struct Look {
    chosen: Chosen,
    rows: Vec<Row>,
    ledger: Ledger,
    extent: Extent,
    /// Whether the slot has passed all of them.
    confirmed: bool,
    /// Below which transaction everything is delivered.
    below: Option<u64>,
    /// Whether a mark in the row is what counts.
    marks: bool,
}

async fn one(config: &Config, options: &Options, (route, outbox): (usize, &Outbox)) -> Result<Report, Error> {
    let id_header = id_header_of(outbox).ok_or_else(|| {
        let context =
            format!("the records of the outbox {:?} carry no id, so nothing tells which row each is of", outbox.name);
        PipelineError::new(End::Sink, Kind::Setup, context).with_help("Give it a name by [outbox.headers] id.")
    })?;
    let administrator = options.administrator.as_ref();
    let mut table = chosen::open(config, (route, outbox), administrator, false).await?;
    let chosen = table.choose(&options.choice, ROWS_MAX).await?;
    let marks = config.source.mode == Mode::Polling;
    let client = session::connect(&postgres::options(administrator.unwrap_or(&config.postgres), false)).await?;
    let slot = &config.source.slot;
    let confirmed = !marks && has_confirmed(&client, slot, chosen.log_end, options.wait).await?;
    let kafka_options = chosen::kafka_options(config)?;
    let below = if confirmed || marks || chosen.rows.is_empty() {
        None
    } else {
        let record = newest_progress(&kafka_options, slot).await?;
        record.and_then(|record| Record::parse(&record).ok()?.horizon).map(|horizon| horizon.below)
    };
    let given_up = match &outbox.on_refusal {
        OnRefusal::DeadLetter(topic) => Some(topic.clone()),
        _ => None,
    };
    let mut ledger = Ledger::new(given_up.clone(), outbox.headers.position.clone(), chosen.ordered);
    let rows = expect(&mut table, &chosen, &mut ledger).await?;
    let topics: Vec<String> = ledger.topics().map(str::to_owned).chain(given_up).collect();
    let extent = Extent { complete: true, ..Extent::default() };
    let mut look = Look { chosen, rows, ledger, extent, confirmed, below, marks };
    if !topics.is_empty() {
        let sought = sought(config, &look.chosen, &topics, (&id_header, outbox));
        let read = walk(kafka_options.clone(), sought, look.ledger, Metrics::new()).await?;
        (look.ledger, look.extent) = read;
    }
    let undelivered: Vec<String> = look.undelivered().map(|place| look.chosen.rows[place].id.to_string()).collect();
    let parked = parked::fates(&client, slot, &id_header, &undelivered).await?;
    let compacted = if undelivered.is_empty() {
        Default::default()
    } else {
        let there = look.extent.topics.iter().map(String::as_str);
        compacted(kafka_options, there, Metrics::new()).await?
    };
    let name = outbox.table.as_ref().map(ToString::to_string).unwrap_or_default();
    let mut report = look.report((&outbox.name, name), parked, &compacted, options.faults_max);
    report.gone = gone(&options.choice, &look.chosen);
    Ok(report)
}

/// Adds every row to the ledger.
async fn expect(table: &mut Rows, chosen: &Chosen, ledger: &mut Ledger) -> Result<Vec<Row>, PipelineError> {
    let mut rows = Vec::with_capacity(chosen.rows.len());
    while rows.len() < chosen.rows.len() {
        let some = chosen.rows[rows.len()..].iter().take(ROWS_AT_ONCE);
        let ids: Vec<&str> = some.map(|row| &*row.id).collect();
        let page = table.shape(&ids, &[]).await?;
        for (id, fate) in ids.iter().zip(page.fates) {
            rows.push(match fate {
                Fate::Message(at) => match page.messages.at(at) {
                    Some(message) => Row::Expected(ledger.expect(id, &message)),
                    None => Row::Gone,
                },
                Fate::Filtered => Row::Filtered,
                Fate::Unfit(why) => Row::Unfit(why),
                Fate::Gone => Row::Gone,
            });
        }
    }
    Ok(rows)
}

/// What is read back: the topics of the rows, from the time of the oldest on.
fn sought(config: &Config, chosen: &Chosen, topics: &[String], (id_header, outbox): (&str, &Outbox)) -> Sought {
    let name = |topic: &String| regex::Regex::new(&format!("^{}$", regex::escape(topic))).ok();
    let topics = topics.iter().filter_map(name).map(|pattern| Topics { pattern, id_header: id_header.to_owned() });
    let created = chosen.rows.iter().map(|row| row.created_ms);
    let oldest = created.reduce(|one, other| one.zip(other).map(|(one, other)| one.min(other))).flatten();
    Sought {
        topics: topics.collect(),
        except: config.kafka.progress_topic.clone(),
        position_header: outbox.headers.position.clone(),
        from_ms: oldest.map(|ms| ms.saturating_sub(SLACK_MS)),
        patience: config.kafka.request_timeout,
        within: READ_BACK_MAX,
    }
}

impl Observer for Ledger {
    fn see(&mut self, seen: &Seen<'_>) -> Result<(), PipelineError> {
        self.note(seen);
        Ok(())
    }
}

impl Look {
    fn tally(&self, row: &Row) -> Tally {
        match row {
            Row::Expected(at) => self.ledger.tally(*at),
            Row::Filtered | Row::Unfit(_) | Row::Gone => Tally::default(),
        }
    }

    /// The places of rows of which no record was seen.
    fn undelivered(&self) -> impl Iterator<Item = usize> {
        let none = |row: &Row| match row {
            Row::Expected(at) => self.ledger.tally(*at).delivered == 0,
            Row::Unfit(_) => true,
            Row::Filtered | Row::Gone => false,
        };
        self.rows.iter().enumerate().filter(move |(_, row)| none(row)).map(|(place, _)| place)
    }

    fn report(
        &self,
        (outbox, table): (&str, String),
        mut fates: parked::Fates,
        compacted: &BTreeSet<String>,
        faults_max: usize,
    ) -> Report {
        let mut report = Report {
            outbox: outbox.to_owned(),
            table,
            rows: 0,
            classes: BTreeMap::new(),
            replayed: 0,
            caught_up: self.confirmed || self.marks,
            gone: Vec::new(),
            records_read: self.extent.records,
            topics_cut: self.extent.beginnings_ms.keys().cloned().collect(),
            faults: Vec::new(),
            faults_more: 0,
            ok: true,
        };
        report.topics_cut.sort_unstable();
        for (chosen, row) in self.chosen.rows.iter().zip(&self.rows) {
            let (topic, unfit) = match row {
                Row::Expected(at) => (self.ledger.topic_of(*at), None),
                Row::Unfit(why) => ("", Some(&**why)),
                Row::Filtered => {
                    report.count(Class::Filtered);
                    continue;
                }
                // Pruned since it was chosen.
                Row::Gone => continue,
            };
            let tally = self.tally(row);
            let state = fates.states.get(&*chosen.id).map(|(state, topic)| (&**state, topic.as_deref()));
            // Of those that are held without an id, this is one.
            let nameless = state.is_none() && unfit.is_some() && fates.nameless > 0;
            fates.nameless -= u64::from(nameless);
            let evidence = Evidence {
                parked: if nameless { Some(("parked", None)) } else { state },
                unfit,
                // A relay that polled for a while marked what it delivered.
                confirmed: self.confirmed || chosen.published == Some(true),
                // A row that would be deleted once it is published is not published.
                published: self.marks.then(|| chosen.published.unwrap_or(false)),
                xid: chosen.xid,
                below: self.below,
                created_ms: chosen.created_ms,
                topic,
                topic_exists: self.extent.topics.contains(topic),
                topic_compacted: compacted.contains(topic),
                topic_begins_ms: self.extent.beginnings_ms.get(topic).copied(),
            };
            let (class, why) = judge(tally, &evidence);
            report.count(class);
            report.replayed += u64::from(tally.replayed > 0);
            if class.is_fault() || class == Class::Duplicated {
                report.fault(Fault { id: chosen.id.to_string(), class, why, topic: topic.to_owned() }, faults_max);
            }
        }
        report
    }
}

impl Report {
    /// How many rows there are of a class.
    #[must_use]
    pub fn of(&self, class: Class) -> u64 {
        self.classes.get(&class).copied().unwrap_or(0)
    }

    fn count(&mut self, class: Class) {
        self.rows += 1;
        *self.classes.entry(class).or_default() += 1;
        self.ok &= !class.is_fault();
    }

    fn fault(&mut self, fault: Fault, faults_max: usize) {
        if self.faults.len() < faults_max {
            self.faults.push(fault);
        } else {
            self.faults_more += 1;
        }
    }
}
