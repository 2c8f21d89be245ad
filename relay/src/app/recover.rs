//! Recovery of a slot: lost, dropped, left behind by a failover, a restore or an upgrade. Everything that was not delivered comes
//! through a new slot.
//!
//! Guarantee: the progress record, the witness of what was delivered, is written last. Until then a relay that starts finds a gap and
//! refuses, and recovery can be run again: it decides by the same witness. Nothing is lost by ending it at any step.
//!
//! Of the rows of an outbox those may be missing in Kafka that the [`Horizon`] of the witness does not
//! cover. On another history (a dump, an older copy, a lossy failover) numbers of transactions start anew, so that the time when a row
//! was written decides as well, with a margin. What the topics are found to hold is left out; the rest is written anew behind the
//! beginning of the new slot, in its order.

mod plan;
mod report;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tracing::info;
use uuid::Uuid;

use crate::app::check::topic_pattern_of;
use crate::app::{kafka, postgres, setup};
use crate::config::outbox::{OnRefusal, Outbox};
use crate::config::{self, Config};
use crate::kafka::held::{Held, IDS_MAX, Sought, Topics};
use crate::leases::Hold;
use crate::pipeline::times::now_ms;
use crate::pipeline::{End, Error as PipelineError, Kind, Progress, Sink};
use crate::postgres::connection::Connection;
use crate::postgres::lsn::EndLsn;
use crate::postgres::options::ConnectOptions;
use crate::postgres::replication::{SystemIdentity, TimelineSwitch};
use crate::sinks::Kafka;
use crate::sinks::kafka::check::newest_progress;
use crate::slots::error::Error as SlotsError;
use crate::slots::recover::{self as slots, Recovery, TableLook};
use crate::slots::setup::Table;
use crate::sources::snapshot::SnapshotProgress;
use crate::sources::wal::{Horizon, Record, spilled};
use crate::telemetry::Metrics;
use crate::telemetry::failpoint::{Failpoint, reach};

pub use crate::calendar::moment;
pub use plan::Plan;
pub use report::{Range, ReadBack, Report, TableReport, Witness};

/// How much older than the horizon a row may be that was written on another history and is not delivered: writers set the time when
/// their transaction begins, and clocks differ.
pub const MARGIN: Duration = Duration::from_secs(3600);

/// How much earlier than a row was written its record's time may be: the clocks of brokers and databases differ.
const SLACK_MS: i64 = 5 * 60_000;

/// How long reading back may take in all, if records keep coming.
pub(super) const READ_BACK_MAX: Duration = Duration::from_secs(1800);

/// How long a relay that was killed a moment ago is waited for: until the server notices, and its lease is over.
const READERS_END_WITHIN: Duration = Duration::from_secs(5);

/// Between two looks for that.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// How long the new progress record may take.
const RECORD_MAX: Duration = Duration::from_secs(30);

/// What the one who recovers may choose.
#[derive(Debug, Clone)]
pub struct Options {
    /// Who may write the tables, if that is not the relay's role.
    pub administrator: Option<config::postgres::Postgres>,
    /// Whether anything is done: else only what would be is reported.
    pub act: bool,
    /// Make the slot anew though nothing seems to be wrong with it: its publication is younger than it.
    pub anew: bool,
    /// From when on rows are looked at where no transaction's number tells, in milliseconds since 1970; `None` decides by the witness.
    pub since_ms: Option<i64>,
    /// How much older than the witness rows are looked at on another history.
    pub margin: Duration,
    /// Whether the topics are read back: else every row that may be missing is published.
    pub read_back: bool,
    /// Whether the captured tables are read again beside the stream.
    pub snapshot: bool,
    /// Whether the new slot is kept over a failover; it is if the old one was.
    pub failover: bool,
    /// The column that tells in which order rows were written; `None` takes `seq`, or else the time.
    pub order: Option<String>,
    /// How long writers may wait, in milliseconds; beyond it nothing is published.
    pub block_ms_max: u64,
    /// Whether the caller is the relay that holds the slot's lease, and has let go of the slot.
    pub holds_lease: bool,
    /// Whether a missing progress record means that nothing was recorded yet, because the caller knows the slot for its own: then
    /// every row that the topics do not hold is published.
    pub may_lack_record: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            administrator: None,
            act: true,
            anew: false,
            since_ms: None,
            margin: MARGIN,
            read_back: true,
            snapshot: true,
            failover: false,
            order: None,
            block_ms_max: 60_000,
            holds_lease: false,
            may_lack_record: false,
        }
    }
}

/// Why recovery was not done, or not to its end: run again, it goes on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database, or what is in it.
    #[error(transparent)]
    Database(#[from] SlotsError),
    /// The brokers, or the witness.
    #[error(transparent)]
    Relay(#[from] PipelineError),
}

/// Recovers the configured slot, if it has to be: see the module.
///
/// # Errors
/// What stands in its way, with the mend. Whatever was done until then is done again by the next run.
pub async fn recover(config: &Config, mut options: Options) -> Result<Report, Error> {
    kafka::insist_on_a_broker(&config.kafka, "no progress record to recover by")?;
    let slot = &config.source.slot;
    let kafka_options = kafka::options(&config.kafka, &config.topics)?;
    let session = session(config, &options).await?;
    let begun = Instant::now();
    let (plan, snapshot) = loop {
        // The witness first: a relay that reads the slot moves both, and what looks like a gap may be none at the next look.
        let (witness, snapshot) = witness_of(config, &options, newest_progress(&kafka_options, slot).await?)?;
        let (plan, is_busy) = plan_for(config, &options, &session, witness).await?;
        if plan.as_ref().is_ok_and(|plan| !plan.needed) || !is_busy || begun.elapsed() > READERS_END_WITHIN {
            break (plan?, snapshot);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    };
    if !plan.needed {
        return Ok(plan.report(snapshot.as_ref()));
    }
    if !options.holds_lease {
        insist_on_no_spill(config)?;
    }
    let hold = lease(config, &mut options).await?;
    let done = carry_out(config, &options, session, (plan, snapshot)).await;
    if let Some(hold) = hold {
        hold.release().await;
    }
    done
}

/// Takes the slot's lease for the time of the recovery, so that no relay starts meanwhile. Where none can be had, recovery is as
/// safe: a relay that starts refuses until the witness is written.
async fn lease(config: &Config, options: &mut Options) -> Result<Option<Hold>, Error> {
    if !options.act || options.holds_lease {
        return Ok(None);
    }
    let slot = &config.source.slot;
    let postgres = options.administrator.as_ref().unwrap_or(&config.postgres);
    match Hold::claim(&postgres::options(postgres, false), &format!("slot/{slot}")).await {
        Ok(Some(hold)) => {
            options.holds_lease = true;
            Ok(Some(hold))
        }
        Ok(None) => {
            let context = format!("another process has just taken the lease of slot {slot:?}");
            let help = "Stop every relay of this slot, and run this again.";
            Err(PipelineError::new(End::Source, Kind::Setup, context).with_help(help).into())
        }
        Err(error) if error.kind() == Kind::Setup => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Does what was found to be needed.
async fn carry_out(
    config: &Config,
    options: &Options,
    mut session: Recovery,
    (mut plan, mut snapshot): (Plan, Option<SnapshotProgress>),
) -> Result<Report, Error> {
    let slot = &config.source.slot;
    let mut sink = None;
    if options.act {
        let (opened, progress) = open_sink(config).await?;
        sink = Some(opened);
        let (witness, newest) = witness_of(config, options, progress)?;
        snapshot = newest;
        plan = plan_for(config, options, &session, witness).await?.0?;
    }
    let mut report = plan.report(snapshot.as_ref());
    let held = read_back(config, options, &session, &plan, &mut report).await?;
    let tables = sift(&mut session, &plan, held.as_ref(), &mut report).await?;
    report.captured(&captured(config, &session).await?);
    let Some(mut sink) = sink else { return Ok(report) };
    let (begins, horizon) = make_slot(&session, &plan, options, &tables, &mut report).await?;
    if options.snapshot && plan.reads_again(snapshot.as_ref()) {
        request(config, &mut session, &mut report).await?;
    }
    let record = plan.record(begins, horizon, held.as_ref());
    let value = record.to_json(plan.snapshot(snapshot.as_ref()).as_ref());
    write(&mut sink, slot, value).await?;
    sink.close(RECORD_MAX).await?;
    report.done(&record);
    info!(slot, from = %begins, epoch = record.epoch, republished = report.republished, "slot recovered");
    Ok(report)
}

/// What was spilled is delivered by the relay, and needs no recovery.
fn insist_on_no_spill(config: &Config) -> Result<(), PipelineError> {
    let slot = &config.source.slot;
    let Some(folder) = config.guard.spill.as_ref().and_then(|spill| spilled(&spill.folder, slot)) else {
        return Ok(());
    };
    let context =
        format!("slot {slot:?} was spilled to the folder {folder:?} of this host, and that is not delivered yet");
    Err(PipelineError::new(End::Source, Kind::Setup, context).with_help(
        "Start the relay: it delivers what is there first. Or move the folder away, to give it up and recover without it.",
    ))
}

/// Opens the sink that writes the witness. Where delivery is exactly once that fences a relay which still lives somewhere, and waits
/// until its last transaction has ended: only after that the witness and the topics tell everything.
async fn open_sink(config: &Config) -> Result<(Kafka, Option<Bytes>), PipelineError> {
    let options = kafka::delivering(&config.kafka, &config.topics, &config.source.slot)?;
    let (sink, progress) = Kafka::open(options, Some(&config.source.slot), Metrics::new()).await?;
    Ok((sink, progress.map(|progress| progress.value)))
}

/// The progress record, and what it says of a snapshot; nothing if there need not be one.
fn witness_of(
    config: &Config,
    options: &Options,
    value: Option<Bytes>,
) -> Result<(Option<Record>, Option<SnapshotProgress>), PipelineError> {
    let (slot, topic) = (&config.source.slot, &config.kafka.progress_topic);
    let setup = |context: String| PipelineError::new(End::Sink, Kind::Setup, context);
    let Some(value) = value else {
        if options.may_lack_record {
            return Ok((None, None));
        }
        return Err(setup(format!("topic {topic:?} has no progress record of slot {slot:?}")).with_help(
            "Correct kafka.progress_topic or source.slot. If nothing was ever delivered through the slot, or the record is lost, \
             `postrider init --backlog publish` makes a slot that begins with every row of the outbox.",
        ));
    };
    let (record, snapshot) = Record::parse_whole(&value).map_err(|error| {
        setup(format!("the progress record of slot {slot:?} cannot be read"))
            .because(error)
            .with_help("Is another program writing to the progress topic? Give each its own [kafka] progress_topic.")
    })?;
    Ok((Some(record), snapshot))
}

async fn session(config: &Config, options: &Options) -> Result<Recovery, SlotsError> {
    let postgres = options.administrator.as_ref().unwrap_or(&config.postgres);
    Recovery::connect(postgres::options(postgres, false), &config.source.slot).await
}

/// Looks at the database, and decides; and whether anybody works for the slot, or did a moment ago.
async fn plan_for(
    config: &Config,
    options: &Options,
    session: &Recovery,
    witness: Option<Record>,
) -> Result<(Result<Plan, SlotsError>, bool), Error> {
    let outboxes: Vec<slots::Outbox> = config.outboxes.iter().filter_map(|outbox| bridged(outbox, options)).collect();
    let capture = config.capture.as_ref().map(|capture| capture.publication.clone());
    let outbox_publication = (!config.outboxes.is_empty()).then(|| config.source.publication.clone());
    let publications: Vec<String> = outbox_publication.into_iter().chain(capture).collect();
    let look = session.look(&publications, &outboxes).await?;
    let is_leased = look.lease.is_some() && !options.holds_lease;
    let is_busy = is_leased || look.slot.as_ref().is_some_and(|slot| slot.reader.is_some());
    let (identity, history) = identify(postgres::options(&config.postgres, true)).await?;
    let witness = witness.unwrap_or_else(|| Record::fresh(&identity, identity.flushed));
    let prefixes = config.outboxes.iter().filter_map(|outbox| outbox.message_prefix.clone()).collect();
    Ok((Plan::new(&config.source.slot, options, witness, look, (identity, history), prefixes), is_busy))
}

/// The table of an outbox, if it has one.
fn bridged(outbox: &Outbox, options: &Options) -> Option<slots::Outbox> {
    let debezium = outbox.debezium.as_ref();
    Some(slots::Outbox {
        table: setup::table(outbox.table.as_ref()?),
        id: debezium.map_or_else(|| outbox.columns.id.clone(), |debezium| debezium.id.clone()),
        id_header: id_header_of(outbox),
        time: debezium.and_then(|debezium| debezium.timestamp.clone()),
        order: options.order.clone(),
    })
}

/// Who the server is. Asked after the slot was looked at: only then has the log grown beyond that.
async fn identify(options: ConnectOptions) -> Result<(SystemIdentity, Vec<TimelineSwitch>), PipelineError> {
    let ask = move || {
        let mut connection = Connection::connect(&options)?;
        let identity = connection.identify_system()?;
        let history = connection.timeline_history(identity.timeline)?;
        Ok((identity, history))
    };
    let unknown = |kind| PipelineError::new(End::Source, kind, "the server does not say who it is");
    let asked = tokio::task::spawn_blocking(ask).await.map_err(|error| unknown(Kind::Broken).because(error))?;
    asked.map_err(|error: crate::postgres::error::Error| {
        let kind = if error.is_transient() { Kind::Unavailable } else { Kind::Setup };
        unknown(kind)
            .because(error)
            .with_help("The relay's role needs REPLICATION, and a connection to the server itself: no pooler between.")
    })
}

/// Which events the topics hold of those that may be missing; `None` if that is not asked, or there are none.
async fn read_back(
    config: &Config,
    options: &Options,
    session: &Recovery,
    plan: &Plan,
    report: &mut Report,
) -> Result<Option<Held>, Error> {
    let topics = topics(config);
    if !options.read_back || topics.is_empty() || plan.tables().is_empty() {
        return Ok(None);
    }
    let mut oldest = plan.missing_since_ms();
    for table in plan.tables() {
        let of_table = session.oldest_ms(table, &plan.suspects).await?;
        oldest = oldest.zip(of_table).map(|(one, other)| one.min(other)).or(oldest).or(of_table);
    }
    let position_header = config.outboxes.iter().find_map(|outbox| outbox.headers.position.clone());
    let sought = Sought {
        topics,
        except: config.kafka.progress_topic.clone(),
        position_header,
        from_ms: oldest.map(|ms| ms.saturating_sub(SLACK_MS)),
        patience: config.kafka.request_timeout,
        within: READ_BACK_MAX,
    };
    let kafka_options = kafka::options(&config.kafka, &config.topics)?;
    report.read_from(sought.from_ms);
    let held = crate::sinks::kafka::held(kafka_options, sought, IDS_MAX, Metrics::new()).await?;
    report.read(&held);
    Ok(Some(held))
}

/// The topics of every outbox whose records have ids: its own, and that of what it gave up.
fn topics(config: &Config) -> Vec<Topics> {
    config.outboxes.iter().flat_map(topics_of).collect()
}

/// The header that holds an event's id, if its records have one.
pub(super) fn id_header_of(outbox: &Outbox) -> Option<String> {
    match &outbox.debezium {
        Some(_) => Some("id".to_owned()),
        None => outbox.headers.id.clone(),
    }
}

/// The topics of one outbox, if its records have ids: its own, and that of what it gave up.
pub(super) fn topics_of(outbox: &Outbox) -> Vec<Topics> {
    let Some(id_header) = id_header_of(outbox) else { return Vec::new() };
    let given_up = match &outbox.on_refusal {
        OnRefusal::DeadLetter(topic) => regex::Regex::new(&format!("^{}$", regex::escape(topic))).ok(),
        _ => None,
    };
    let patterns = topic_pattern_of(outbox).into_iter().chain(given_up);
    patterns.map(|pattern| Topics { pattern, id_header: id_header.clone() }).collect()
}

/// Which rows are suspect, and which of them the topics hold. Only UUIDs are trusted: another service may number its events alike.
async fn sift(
    session: &mut Recovery,
    plan: &Plan,
    held: Option<&Held>,
    report: &mut Report,
) -> Result<Vec<(TableLook, HashSet<String>)>, Error> {
    let is_held = |id: &str| held.is_some_and(|held| Uuid::try_parse(id).is_ok() && held.contains(id));
    let mut tables = Vec::new();
    for table in plan.tables() {
        let (suspects, delivered) = session.suspects(table, &plan.suspects, is_held).await?;
        report.sifted(&table.table, suspects, delivered.len() as u64);
        tables.push((table.clone(), delivered));
    }
    Ok(tables)
}

/// The captured tables.
async fn captured(config: &Config, session: &Recovery) -> Result<Vec<Table>, SlotsError> {
    let Some(capture) = &config.capture else { return Ok(Vec::new()) };
    let outboxes = config.outboxes.iter().filter_map(|outbox| outbox.table.as_ref());
    let besides: Vec<Table> = outboxes.chain(&capture.signal_table).map(setup::table).collect();
    session.captured(&capture.publication, &besides).await
}

/// Makes the slot, behind whose beginning everything stands that was not delivered; where it begins, and what is delivered before.
async fn make_slot(
    session: &Recovery,
    plan: &Plan,
    options: &Options,
    tables: &[(TableLook, HashSet<String>)],
    report: &mut Report,
) -> Result<(EndLsn, Option<Horizon>), Error> {
    if let Some(begins) = plan.kept {
        return Ok((begins, None));
    }
    if plan.drops {
        session.drop_slot().await?;
    }
    let hold = session.hold().await?;
    let mut horizon = None;
    if !tables.is_empty() {
        let bridged = session.bridge(&hold, tables, &plan.suspects, options.block_ms_max).await?;
        report.bridged(&bridged.rows);
        horizon = Some(Horizon { below: bridged.below, at: bridged.end, time_ms: bridged.oldest_ms });
    }
    Ok((session.create(hold, plan.failover).await?, horizon))
}

/// Asks for the captured tables to be read again.
async fn request(config: &Config, session: &mut Recovery, report: &mut Report) -> Result<(), Error> {
    let Some(capture) = &config.capture else { return Ok(()) };
    let tables = captured(config, session).await?;
    report.requested(session.read_again(&capture.publication, &tables).await?);
    reach(Failpoint::RecoverRequested);
    Ok(())
}

/// Makes the new progress record durable.
async fn write(sink: &mut Kafka, slot: &str, value: Vec<u8>) -> Result<(), PipelineError> {
    let progress = Progress { key: slot.to_owned().into(), value: value.into() };
    let receipt = sink.record(progress).await?;
    let late = || {
        PipelineError::new(End::Sink, Kind::Unavailable, "the new progress record is not durable in time")
            .with_help("Run it again when the brokers answer: until then the relay refuses to start.")
    };
    let durable = tokio::time::timeout(RECORD_MAX, receipt).await.map_err(|_| late())??;
    match durable.refused.into_iter().next() {
        None => Ok(()),
        Some(refused) => {
            let context = format!("the new progress record was refused: {}", refused.reason);
            Err(PipelineError::new(End::Sink, Kind::Setup, context))
        }
    }
}

/// The time of a report.
fn now() -> i64 {
    now_ms()
}
