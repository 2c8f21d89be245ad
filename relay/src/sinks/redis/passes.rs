//! The work beside the pump: a first pass as soon as something is there, a second one later, and the receipt after it.
//!
//! What waits while a pass runs is done together by the next one, each name once. Three tasks: the first pass, searches for
//! patterns (which take seconds and must not keep the others waiting), and the second pass.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use crate::pipeline::times::now_us;
use crate::pipeline::{Durable, End, Error, Kind, ReceiptSender, Refused};
use crate::shape::rules::Rules;
use crate::shape::rules::effects::{Effects, Fan, Forget};
use crate::sinks::redis::members::Members;
use crate::sinks::redis::pending::{Pending, Share};
use crate::sinks::redis::scripts::Scripts;
use crate::sinks::redis::stream::{self, Origin};
use crate::sinks::redis::sweep::{Patterns, sweep};
use crate::sinks::redis::targets::{Pass, Targets};
use crate::sinks::redis::wire::Wire;
use crate::telemetry::Metrics;

/// Batches that one pass takes together at most.
const TOGETHER_MAX: usize = 512;

/// Second passes that fall due within this time are done together.
const DUE_TOGETHER: Duration = Duration::from_millis(20);

/// A batch on its way.
pub(super) struct Work {
    /// What it asks for.
    pub(super) effects: Effects,
    /// Where it comes from.
    pub(super) origin: Origin,
    /// When each of its changes was committed, in microseconds since 1970.
    pub(super) committed_us: Vec<i64>,
    /// What was refused before.
    pub(super) refused: Vec<Refused>,
    /// Ids by which a person finds its records, if somebody listens.
    pub(super) correlations: Vec<String>,
    /// Resolved after the second pass.
    pub(super) receipt: ReceiptSender,
    /// When it was handed over.
    pub(super) accepted_at: Instant,
    /// Its share of what is pending.
    pub(super) share: Share,
}

/// Batches that went through a pass together.
struct Group {
    targets: Targets,
    done: Vec<Done>,
    pass: Pass,
    due: Instant,
}

/// A batch that waits for its second pass.
struct Done {
    receipt: ReceiptSender,
    refused: Vec<Refused>,
    accepted_at: Instant,
    _share: Share,
}

/// What all tasks use.
#[derive(Clone)]
pub(super) struct Tools {
    pub(super) wire: Wire,
    pub(super) scripts: Arc<Scripts>,
    pub(super) rules: Arc<Rules>,
    pub(super) pending: Arc<Pending>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) second_pass: Duration,
    pub(super) sweep_keys_per_second: u64,
}

/// The tasks; they end when it is dropped, and whatever they had not finished is not durable.
pub(super) struct Passes {
    queue: UnboundedSender<Work>,
    _tasks: JoinSet<()>,
}

impl Passes {
    pub(super) fn start(tools: &Tools, members: Members) -> Self {
        let (queue, works) = unbounded_channel();
        let (search, searches) = unbounded_channel();
        let (later, groups) = unbounded_channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(first(tools.clone(), members, works, (search.clone(), later.clone())));
        tasks.spawn(searching(tools.clone(), searches, later));
        tasks.spawn(second(tools.clone(), groups, search));
        Self { queue, _tasks: tasks }
    }

    /// Hands over a batch; its bound is [`Pending`]. False if the tasks have ended.
    pub(super) fn hand_over(&self, work: Work) -> bool {
        self.queue.send(work).is_ok()
    }
}

impl Group {
    fn resolve(self, metrics: &Metrics) {
        for Done { receipt, refused, accepted_at, .. } in self.done {
            metrics.worker.processing_seconds.observe(accepted_at.elapsed().as_secs_f64());
            receipt.resolve(Ok(Durable { refused, ..Durable::default() }));
        }
    }
}

/// The first of the batches is the one that the pump hears of first.
fn fail(receipts: impl Iterator<Item = ReceiptSender>, error: Error, metrics: &Metrics) {
    let class = if error.kind() == Kind::Setup { "setup" } else { "away" };
    let mut error = Some(error);
    for receipt in receipts {
        metrics.worker.processing_errors.with_label_values(&[class]).inc();
        let also = || Error::new(End::Sink, Kind::Unavailable, "a batch that was sent together with this one failed");
        receipt.resolve(Err(error.take().unwrap_or_else(also)));
    }
}

/// The first pass: whatever waits, together.
async fn first(
    mut tools: Tools,
    mut members: Members,
    mut works: UnboundedReceiver<Work>,
    (search, later): (UnboundedSender<Group>, UnboundedSender<Group>),
) {
    let mut together = Vec::new();
    while works.recv_many(&mut together, TOGETHER_MAX).await > 0 {
        let mut taken = std::mem::take(&mut together);
        match first_pass(&mut tools, &mut members, &mut taken).await {
            Err(error) => fail(taken.into_iter().map(|work| work.receipt), error, &tools.metrics),
            Ok(targets) => {
                let done = taken.into_iter().map(Done::from).collect();
                let group = Group { targets, done, pass: Pass::First, due: Instant::now() + tools.second_pass };
                if !group.targets.patterns().is_empty() {
                    drop(search.send(group));
                } else if group.targets.is_empty() || tools.second_pass.is_zero() {
                    group.resolve(&tools.metrics);
                } else {
                    drop(later.send(group));
                }
            }
        }
    }
}

impl From<Work> for Done {
    fn from(work: Work) -> Self {
        let Work { receipt, refused, accepted_at, share, .. } = work;
        Self { receipt, refused, accepted_at, _share: share }
    }
}

async fn first_pass(tools: &mut Tools, members: &mut Members, works: &mut [Work]) -> Result<Targets, Error> {
    let started = Instant::now();
    stream::apply(tools, works).await?;
    fan_out(tools, members, works).await?;
    let mut targets = Targets::default();
    for work in works.iter_mut() {
        let (bytes, names) = (targets.bytes(), targets.len());
        for forget in std::mem::take(&mut work.effects.forgets) {
            targets.add(forget);
        }
        work.share.set(targets.bytes() - bytes, targets.len() - names);
    }
    invalidate(tools, &targets, Pass::First).await?;
    tools.metrics.redis.coalesced.inc_by(targets.coalesced());
    observe(works, &tools.metrics);
    for work in works.iter() {
        debug!(
            origin = %work.origin,
            correlation_ids = work.correlations.join(","),
            names = targets.len(),
            micros = started.elapsed().as_micros() as u64,
            "invalidated"
        );
    }
    Ok(targets)
}

/// Notes how long ago each change was committed, as of now.
fn observe(works: &[Work], metrics: &Metrics) {
    let (now, lag_ms) = (now_us(), metrics.redis.lag_ms.local());
    for committed_us in works.iter().flat_map(|work| &work.committed_us) {
        let age_us = now - committed_us;
        // It is negative if the clocks disagree.
        if age_us >= 0 {
            lag_ms.observe(age_us as f64 / 1000.0);
        }
    }
    lag_ms.flush();
}

/// Turns fan-outs into what they mean for each member.
async fn fan_out(tools: &mut Tools, members: &mut Members, works: &mut [Work]) -> Result<(), Error> {
    let fans: Vec<&Fan> = works.iter().flat_map(|work| &work.effects.fans).collect();
    if fans.is_empty() {
        return Ok(());
    }
    let started = Instant::now();
    let answers = members.answer(&fans, &mut tools.wire).await?;
    tools.metrics.redis.fan_out_seconds.observe(started.elapsed().as_secs_f64());
    for work in works {
        for fan in std::mem::take(&mut work.effects.fans) {
            let Fan { rule, message, of, strategy, names, position } = fan;
            let outcome = match answers.get(&(rule, of)) {
                None => Ok(()),
                Some(Err(why)) => Err(why.clone()),
                Some(Ok(found)) => {
                    tools.metrics.redis.fan_out_members.inc_by(found.len() as u64);
                    let made: Result<Vec<_>, _> = found
                        .iter()
                        .flat_map(|member| names.iter().map(move |name| name.with(member)))
                        .map(|name| name.map(|name| Forget { strategy, name, position }))
                        .collect();
                    made.map(|made| work.effects.forgets.extend(made))
                }
            };
            if let Err(why) = outcome {
                let rule = tools.rules.all().get(rule).map(|rule| Arc::clone(&rule.name)).unwrap_or_default();
                let reason = format!("the rule `{rule}` cannot be applied: {why}");
                work.refused.push(Refused::new(message, reason).with_code("schema"));
            }
        }
        work.refused.sort_by_key(|refused| refused.index);
        work.refused.dedup_by_key(|refused| refused.index);
    }
    Ok(())
}

/// Invalidates everything but patterns.
async fn invalidate(tools: &mut Tools, targets: &Targets, pass: Pass) -> Result<(), Error> {
    let plan = targets.commands(pass, &tools.scripts, tools.wire.keys_max());
    if plan.all().is_empty() {
        return Ok(());
    }
    let started = Instant::now();
    // A server takes commands in order; a cluster's nodes do not wait for each other. A key removed before its generation
    // rises could be filled again in between, from what was read before the change.
    let values = if tools.wire.keys_max() == 1 {
        let (generations, others) = plan.all().split_at(plan.generations);
        let mut values = tools.wire.run("raise generations", generations).await?;
        values.extend(tools.wire.run("remove keys", others).await?);
        values
    } else {
        tools.wire.run("invalidate", plan.all()).await?
    };
    let name = if pass == Pass::First { "first" } else { "second" };
    tools.metrics.redis.pass_seconds.with_label_values(&[name]).observe(started.elapsed().as_secs_f64());
    plan.count(pass, &values, &tools.metrics.redis);
    Ok(())
}

/// Searches for the patterns of all groups that wait, of either pass.
async fn searching(mut tools: Tools, mut groups: UnboundedReceiver<Group>, later: UnboundedSender<Group>) {
    let mut together = Vec::new();
    while groups.recv_many(&mut together, TOGETHER_MAX).await > 0 {
        let taken = std::mem::take(&mut together);
        let patterns = |pass| {
            let of = taken.iter().filter(move |group| group.pass == pass);
            of.flat_map(|group| group.targets.patterns().iter().cloned()).collect()
        };
        let patterns = Patterns { first: patterns(Pass::First), second: patterns(Pass::Second) };
        if let Err(error) = sweep(&mut tools.wire, &patterns, tools.sweep_keys_per_second, &tools.metrics).await {
            fail(taken.into_iter().flat_map(|group| group.done).map(|done| done.receipt), error, &tools.metrics);
            continue;
        }
        for mut group in taken {
            if group.pass == Pass::Second || tools.second_pass.is_zero() {
                group.resolve(&tools.metrics);
                continue;
            }
            // From now on: what was filled during the search, from before the change, must be found by the second one.
            group.due = Instant::now() + tools.second_pass;
            drop(later.send(group));
        }
    }
}

/// The second pass: whatever is due, together, and then the receipts.
async fn second(mut tools: Tools, mut groups: UnboundedReceiver<Group>, search: UnboundedSender<Group>) {
    // They come in the order in which they fall due, for all of them wait equally long.
    let mut waiting: VecDeque<Group> = VecDeque::new();
    loop {
        let due = waiting.front().map(|group| group.due);
        tokio::select! {
            group = groups.recv() => match group {
                Some(group) => waiting.push_back(group),
                None => return,
            },
            () = async { sleep_until(due.unwrap_or_else(Instant::now)).await }, if due.is_some() => {
                let limit = Instant::now() + DUE_TOGETHER;
                let count = waiting.iter().take_while(|group| group.due <= limit).count();
                second_pass(&mut tools, waiting.drain(..count).collect(), &search).await;
            }
        }
    }
}

async fn second_pass(tools: &mut Tools, mut groups: Vec<Group>, search: &UnboundedSender<Group>) {
    let mut targets = Targets::default();
    for group in &mut groups {
        targets.merge(group.targets.take_names());
    }
    if let Err(error) = invalidate(tools, &targets, Pass::Second).await {
        fail(groups.into_iter().flat_map(|group| group.done).map(|done| done.receipt), error, &tools.metrics);
        return;
    }
    for mut group in groups {
        if group.targets.patterns().is_empty() {
            group.resolve(&tools.metrics);
        } else {
            group.pass = Pass::Second;
            drop(search.send(group));
        }
    }
}
