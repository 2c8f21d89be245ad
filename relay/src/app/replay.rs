//! Rows of the outbox are published again because somebody asked for it.
//!
//! Guarantee: each record has the topic, key, value, headers and partition that the relay gave it, and [`REPLAY`] beside them, unless
//! another topic was named; records of one key come in their order; a row counts as published when every in-sync replica has it. What
//! was published before an end half way is told, with the place from which to go on. Who did it stays written.
//!
//! A record's time is that of the replay: a topic's retention must not take it away at once for being old.

mod positions;
mod report;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use uuid::Uuid;

use crate::app::recover::Error;
use crate::app::verify::{NOTHING_DELIVERED, gone};
use crate::app::{chosen, kafka, postgres};
use crate::config::outbox::Outbox;
use crate::config::{self, Config};
use crate::kafka::ledger::{REPLAY, ROWS_MAX};
use crate::pipeline::times::now_ms;
use crate::pipeline::{End, Error as PipelineError, Kind, Messages, Sink, Stop};
use crate::sinks::Kafka;
use crate::slots::{parked, session};
use crate::sources::polling::{ChosenPage, Fate, Rows};
use crate::telemetry::Metrics;

use positions::Located;

pub use crate::sources::polling::Choice;
pub use positions::Place;
pub use report::Report;

/// Rows that are published at once, at most; fewer at a low rate.
const ROWS_AT_ONCE: usize = 500;

/// How many batches a second has at a low rate.
const BATCHES_PER_SECOND: u32 = 10;

/// How long a batch may take to be durable.
const DURABLE_MAX: Duration = Duration::from_secs(60);

/// How long the sink may take to close; everything is durable by then.
const CLOSE_MAX: Duration = Duration::from_secs(10);

/// Which rows are meant.
#[derive(Debug, Clone)]
pub enum Selection {
    /// Those that the table says fit.
    Rows(Choice),
    /// Those whose records stand in Kafka between two places, both of them included.
    Positions(Place, Place),
}

/// What is to be published again, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// Who may read the table, if that is not the relay's role.
    pub administrator: Option<config::postgres::Postgres>,
    /// Which outbox; needed where there are several.
    pub outbox: Option<String>,
    /// Which rows.
    pub selection: Selection,
    /// Another topic than their own.
    pub topic: Option<String>,
    /// Events per second, at most.
    pub rate: u32,
    /// Whether anything is published: else only what would be is reported.
    pub act: bool,
    /// The run that goes on; `None` is a new one.
    pub run: Option<Uuid>,
    /// The id of the last row that was published by it.
    pub after: Option<String>,
    /// Who does it, by their own word.
    pub by: Option<String>,
}

/// What is told while it goes on: rows done, of so many.
pub type Shown<'a> = &'a mut (dyn FnMut(u64, u64) + 'a);

/// A row that is to be published.
struct Row {
    id: Box<str>,
    created_ms: Option<i64>,
    position: Option<u128>,
}

/// Publishes the selected rows again, or tells what that would be. What came of it is in the report, also after an error half way.
///
/// # Errors
/// What kept it from beginning.
pub async fn replay(
    config: &Config,
    options: &Options,
    stop: &mut Stop,
    shown: Shown<'_>,
) -> Result<(Report, Result<(), PipelineError>), Error> {
    kafka::insist_on_a_broker(&config.kafka, NOTHING_DELIVERED)?;
    let place = one_outbox(config, options)?;
    let (rows, mut report, mut table) = select(config, options, place).await?;
    report.rows = rows.len() as u64;
    let run = options.run.unwrap_or_else(Uuid::now_v7);
    report.run = run.to_string();
    if !options.act || rows.is_empty() {
        let mut work = Work { options, run: report.run.clone(), sink: None, report: &mut report };
        work.go_through(&mut table, &rows, stop, shown).await?;
        return Ok((report, Ok(())));
    }
    let connect = postgres::options(options.administrator.as_ref().unwrap_or(&config.postgres), false);
    let client = session::connect(&connect).await?;
    let (slot, name) = (&config.source.slot, run.simple().to_string());
    let (sink, _) = Kafka::open(chosen::kafka_options(config)?, None, Metrics::new()).await?;
    let by = options.by.as_deref();
    // Nothing is published that is not in the audit.
    parked::log(&client, ("replay", slot, &name), by, &report.beginning(options.topic.as_deref())).await?;
    let mut work = Work { options, run: report.run.clone(), sink: Some(sink), report: &mut report };
    let mut outcome = work.go_through(&mut table, &rows, stop, shown).await;
    if let Some(sink) = work.sink {
        outcome = outcome.and(sink.close(CLOSE_MAX).await);
    }
    report.done = outcome.is_ok() && !report.stopped;
    let audited = parked::log(&client, ("replayed", slot, &name), by, &report.end()).await;
    let audited = audited.map_err(|error| {
        PipelineError::new(End::Source, Kind::Unavailable, "the end of the replay is not in the audit").because(error)
    });
    Ok((report, outcome.and(audited)))
}

/// The outbox that is meant.
fn one_outbox<'c>(config: &'c Config, options: &Options) -> Result<(usize, &'c Outbox), PipelineError> {
    let outboxes = chosen::outboxes(config, options.outbox.as_deref())?;
    match outboxes[..] {
        [one] => Ok(one),
        _ => {
            let names: Vec<&str> = outboxes.iter().map(|(_, outbox)| &*outbox.name).collect();
            let context = format!("there are several outboxes: {}", names.join(", "));
            Err(PipelineError::new(End::Source, Kind::Setup, context).with_help("Name one with --outbox."))
        }
    }
}

/// The rows that are to be published, in their order, and what is known of them.
async fn select(
    config: &Config,
    options: &Options,
    place: (usize, &Outbox),
) -> Result<(Vec<Row>, Report, Rows), Error> {
    let outbox = place.1;
    let name = outbox.table.as_ref().map(ToString::to_string).unwrap_or_default();
    let mut report = Report::new(&outbox.name, &name);
    let administrator = options.administrator.as_ref();
    let (mut rows, table) = match &options.selection {
        Selection::Rows(choice) => {
            let table = chosen::open(config, place, administrator, false).await?;
            let chosen = table.choose(choice, ROWS_MAX).await?;
            report.gone = gone(choice, &chosen);
            let rows = chosen.rows.into_iter();
            let rows = rows.map(|row| Row { id: row.id, created_ms: row.created_ms, position: None });
            (rows.collect::<Vec<_>>(), table)
        }
        Selection::Positions(from, to) => {
            let (located, complete) = positions::locate(config, outbox, *from, *to).await?;
            report.topics_whole = Some(complete);
            let table = chosen::open(config, place, administrator, true).await?;
            let row = |Located { id, position }| Row { id, created_ms: None, position: Some(position) };
            (located.into_iter().map(row).collect(), table)
        }
    };
    if let Some(after) = &options.after {
        let Some(at) = rows.iter().position(|row| row.id.eq_ignore_ascii_case(after)) else {
            let context = format!("the event {after} of --after is not among the rows that are chosen");
            return Err(PipelineError::new(End::Source, Kind::Setup, context)
                .with_help(
                    "Choose the same rows as before; if that one was pruned meanwhile, begin with a later --since.",
                )
                .into());
        };
        rows.drain(..=at);
    }
    Ok((rows, report, table))
}

/// A run over the rows.
struct Work<'w> {
    options: &'w Options,
    run: String,
    /// Where they go; nowhere, if only what would be is told.
    sink: Option<Kafka>,
    report: &'w mut Report,
}

impl Work<'_> {
    async fn go_through(
        &mut self,
        table: &mut Rows,
        rows: &[Row],
        stop: &mut Stop,
        shown: Shown<'_>,
    ) -> Result<(), PipelineError> {
        let at_once = (self.options.rate / BATCHES_PER_SECOND).clamp(1, ROWS_AT_ONCE as u32) as usize;
        let at_once = if self.sink.is_some() { at_once } else { ROWS_AT_ONCE };
        let begun = Instant::now();
        let mut done = 0;
        while done < rows.len() {
            if stop.is_ordered() {
                self.report.stopped = true;
                break;
            }
            let some = &rows[done..rows.len().min(done + at_once)];
            let ids: Vec<&str> = some.iter().map(|row| &*row.id).collect();
            // Without a place in the log any number will do that no other row has.
            let numbers: Vec<u128> = (done as u128 + 1..).zip(some).map(|(n, row)| row.position.unwrap_or(n)).collect();
            let page = table.shape(&ids, &numbers).await?;
            let some = &some[..page.fates.len().min(some.len())];
            self.publish(page, some).await?;
            done += some.len();
            shown(done as u64, rows.len() as u64);
            if self.sink.is_some() {
                let due = begun + Duration::from_secs_f64(done as f64 / f64::from(self.options.rate.max(1)));
                tokio::select! {
                    () = tokio::time::sleep_until(due) => {}
                    () = stop.ordered() => {}
                }
            }
        }
        Ok(())
    }

    /// Publishes the messages of a page and waits until they are durable.
    async fn publish(&mut self, page: ChosenPage, rows: &[Row]) -> Result<(), PipelineError> {
        let ChosenPage { mut messages, fates } = page;
        let topic: Option<Arc<str>> = self.options.topic.as_deref().map(Arc::from);
        let now = now_ms();
        for index in 0..messages.len() {
            let own = messages.at(index).map(|message| Arc::from(message.topic()));
            let Some(to) = topic.clone().or(own) else { continue };
            messages.redirect(index, to, &[(REPLAY, self.run.as_bytes())]);
            messages.set_timestamp(index, now);
        }
        let topics: Vec<String> = messages.iter().map(|message| message.topic().to_owned()).collect();
        let unfit: Vec<usize> = messages.unfit().iter().map(|unfit| unfit.index).collect();
        messages.remove(&unfit);
        if let Some(sink) = &mut self.sink {
            // What each message left in the batch is a row of.
            let sent = rows.iter().zip(&fates).filter(|(_, fate)| matches!(fate, Fate::Message(_)));
            let sent: Vec<&str> = sent.map(|(row, _)| &*row.id).collect();
            deliver(sink, messages, &sent).await?;
        }
        for (row, fate) in rows.iter().zip(fates) {
            match fate {
                Fate::Message(at) => {
                    let topic = topics.get(at).map_or("", |topic| &**topic);
                    self.report.published(row, topic);
                }
                Fate::Filtered => self.report.filtered += 1,
                Fate::Unfit(_) => self.report.unfit.push(row.id.to_string()),
                Fate::Gone => self.report.gone.push(row.id.to_string()),
            }
        }
        if let Some(last) = rows.last() {
            self.report.reached(&last.id);
        }
        Ok(())
    }
}

/// Sends a batch and waits until it is durable. Nothing passes a message that is refused.
async fn deliver(sink: &mut Kafka, messages: Messages, ids: &[&str]) -> Result<(), PipelineError> {
    if messages.is_empty() {
        return Ok(());
    }
    let refused = |index: usize, reason: String, help: Option<String>| {
        let context = format!("the event {} was refused", ids.get(index).copied().unwrap_or("of this batch"));
        let help =
            help.unwrap_or_else(|| "Mend that, or leave the event out by going on behind it with --after.".to_owned());
        PipelineError::new(End::Sink, Kind::Refused, context).because(reason).with_help(help)
    };
    // Nothing of a batch is sent that holds something that can never be taken.
    if let Some(first) = sink.admit(&messages).await?.into_iter().next() {
        return Err(refused(first.index, first.reason, first.help));
    }
    let receipt = sink.send(messages).await?;
    let silent = |_| {
        let context = format!("a batch was not durable within {} s", DURABLE_MAX.as_secs());
        PipelineError::new(End::Sink, Kind::Unavailable, context)
            .with_help("Whether it arrived is not known: going on publishes it again, under the same run.")
    };
    let durable = timeout(DURABLE_MAX, receipt).await.map_err(silent)??;
    match durable.refused.into_iter().next() {
        Some(first) => Err(refused(first.index, first.reason, first.help)),
        None => Ok(()),
    }
}
