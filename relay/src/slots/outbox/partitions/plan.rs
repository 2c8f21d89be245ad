//! What is to be done about partitions, decided from what was found. Pure: no I/O.
//!
//! Days are attached ahead of time. What lies behind the last of them goes to the *rest*, a partition without an upper bound, so that
//! writers never fail because nobody made tomorrow's; a default partition would do that too, but then none could be detached
//! concurrently. Old partitions are closed, detached and, once every slot has passed that, dropped.

use crate::slots::outbox::{
    delivered::{Behind, Slots},
    partitions::{
        day::{Day, SECONDS},
        name,
    },
};

/// How many days are kept ready, and how long delivered ones stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Whole days after today that have a partition, at least.
    pub ahead_days: u32,
    /// Whole days that a partition stays attached after its end.
    pub retention_days: u32,
}

impl Settings {
    /// Whether a partition that ends there has stayed as long as it shall.
    pub(super) fn expired(self, upper: Option<i64>, now: i64) -> bool {
        upper.is_some_and(|upper| upper + self.retention() <= now)
    }

    /// In seconds.
    fn retention(self) -> i64 {
        i64::from(self.retention_days) * SECONDS
    }
}

/// What is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// The root's name.
    pub(super) root: String,
    /// The server's clock, in seconds since 1970.
    pub(super) now: i64,
    /// The partitions that the catalog knows as such.
    pub(super) attached: Vec<Attached>,
    /// The partitions that are on their way out, as recorded.
    pub(super) leaving: Vec<Leaving>,
    /// The slots.
    pub(super) slots: Slots,
    /// Our own.
    pub(super) slot: String,
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attached {
    /// Its name; partitions of ours share the root's schema.
    pub(super) name: String,
    /// Where it begins, in seconds since 1970; none for no bound.
    pub(super) lower: Option<i64>,
    /// Where it ends; none for no bound.
    pub(super) upper: Option<i64>,
    /// Whether detaching it was interrupted.
    pub(super) pending: bool,
    /// Whether it holds any row. Only asked of a partition without upper bound.
    pub(super) filled: bool,
    /// The latest row, in seconds since 1970. Only asked of a partition without upper bound.
    pub(super) latest: Option<i64>,
    /// Why its rows must stay: held by name.
    pub(super) held: Option<String>,
}

/// A partition that is being removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leaving {
    /// Its name.
    pub(super) name: String,
    /// Whether the table still exists.
    pub(super) exists: bool,
    /// Whether the catalog still has it as a partition.
    pub(super) attached: bool,
    /// Whether detaching it was interrupted.
    pub(super) pending: bool,
    /// Where the log ended after it was detached; none until then.
    pub(super) position: Option<u64>,
    /// Why its rows must stay.
    pub(super) held: Option<String>,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Act {
    /// Attach partitions for these days, and the rest behind them.
    Extend {
        /// The first day without a partition.
        from: Day,
        /// The day where the rest begins.
        until: Day,
        /// The rest as it is now, which gives way.
        rest: Option<Rest>,
    },
    /// Forbid any further row, and note that it leaves.
    Close(String),
    /// Detach it, while readers and writers go on.
    Detach(String),
    /// End a detachment that was interrupted.
    Finalize(String),
    /// Note where the log ends, now that it is detached.
    Record(String),
    /// Drop it.
    Drop(String),
    /// Forget about it: somebody dropped it.
    Forget(String),
    /// Nothing can be done now; why.
    Wait(String, String),
}

/// The partition without upper bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rest {
    /// Its name.
    pub(super) name: String,
    /// Where it begins, in seconds since 1970.
    pub(super) lower: i64,
    /// If it holds rows, it becomes the partition of the days until here.
    pub(super) becomes_until: Option<Day>,
}

/// Everything to be done now, in order.
pub(super) fn plan(settings: Settings, found: &Found) -> Vec<Act> {
    let mut acts = Vec::new();
    acts.extend(extend(settings, found));
    for partition in &found.attached {
        // One that was interrupted keeps every other from being detached.
        if partition.pending && !found.leaving.iter().any(|leaving| leaving.name == partition.name) {
            acts.push(Act::Finalize(partition.name.clone()));
        }
    }
    for leaving in &found.leaving {
        acts.extend(go_on(leaving, found));
    }
    for partition in &found.attached {
        let known = found.leaving.iter().any(|leaving| leaving.name == partition.name);
        if !settings.expired(partition.upper, found.now) || known || partition.pending {
            continue;
        }
        match &partition.held {
            Some(why) => acts.push(Act::Wait(partition.name.clone(), why.clone())),
            None => acts.extend([Act::Close, Act::Detach, Act::Record].map(|act| act(partition.name.clone()))),
        }
    }
    acts
}

/// What is left to do for a partition that leaves, wherever it was interrupted.
fn go_on(leaving: &Leaving, found: &Found) -> Vec<Act> {
    let name = leaving.name.clone();
    let Leaving { exists, attached, pending, position, held, .. } = leaving;
    match (exists, attached, position) {
        (false, ..) => vec![Act::Forget(name)],
        (_, true, _) if *pending => vec![Act::Finalize(name.clone()), Act::Record(name)],
        (_, true, _) => vec![Act::Detach(name.clone()), Act::Record(name)],
        (_, false, None) => vec![Act::Record(name)],
        (_, false, Some(position)) => {
            let behind = found.slots.behind(&found.slot, *position);
            let behind = behind.first().map(Behind::to_string);
            vec![match behind.or_else(|| held.clone()) {
                Some(why) => Act::Wait(name, why),
                None => Act::Drop(name),
            }]
        }
    }
}

/// Attaches days in good time, half as many again as are needed, so that the rest need not move every day.
fn extend(settings: Settings, found: &Found) -> Option<Act> {
    let tomorrow = Day::of(found.now).plus(1);
    let rest = found.attached.iter().find(|partition| partition.upper.is_none());
    let end = match rest {
        Some(rest) => rest.lower,
        None => found.attached.iter().filter_map(|partition| partition.upper).max(),
    };
    // A first day where there is none yet; a bound that is no midnight rounds up to one.
    let covered = end.map_or(Day::of(found.now), |end| Day::of(end + SECONDS - 1));
    if covered >= tomorrow.plus(settings.ahead_days) && rest.is_some() {
        return None;
    }
    let until = tomorrow.plus(settings.ahead_days + settings.ahead_days.div_ceil(2)).max(covered);
    let Some(rest) = rest else { return Some(Act::Extend { from: covered, until, rest: None }) };
    let Some(lower) = end else {
        let why = "it has no lower bound either, so that there is no place for days".to_owned();
        return Some(Act::Wait(rest.name.clone(), why));
    };
    let give_way = |becomes_until| Some(Rest { name: rest.name.clone(), lower, becomes_until });
    if !rest.filled {
        // After a long pause, days that would leave at once are not made.
        let from = covered.max(Day::of(found.now - settings.retention()));
        return Some(Act::Extend { from, until, rest: give_way(None) });
    }
    // Nobody made days in time: what came meanwhile stays together, up to the end of today or of its latest row.
    let latest = rest.latest.map_or(tomorrow, |latest| Day::of(latest).plus(1)).max(tomorrow);
    if latest > until {
        let why = format!(
            "it holds events created as late as {latest}, which no clock can have said: mend or delete them, then days are made again"
        );
        return Some(Act::Wait(rest.name.clone(), why));
    }
    Some(Act::Extend { from: latest, until, rest: give_way(Some(latest)) })
}

impl Act {
    /// What it does, as a sentence's end after `would` or as a report of itself.
    pub(super) fn told(&self, root: &str) -> String {
        match self {
            Self::Extend { from, until, rest } => {
                let days = match (from < until, rest.as_ref().and_then(|rest| rest.becomes_until)) {
                    (true, _) => format!("attach partitions for {from} until {until}"),
                    (false, _) => "attach no day".to_owned(),
                };
                match rest.as_ref().and_then(|rest| rest.becomes_until) {
                    Some(end) => format!("bound {} by {end}, {days}, and a new {}", rest_name(rest), name::rest(root)),
                    None => format!("{days}, and {} behind them", name::rest(root)),
                }
            }
            Self::Close(name) => format!("close {name} for further rows"),
            Self::Detach(name) => format!("detach {name}"),
            Self::Finalize(name) => format!("finish detaching {name}"),
            Self::Record(name) => format!("record where the log ends after {name} was detached"),
            Self::Drop(name) => format!("drop {name}"),
            Self::Forget(name) => format!("forget {name}, which somebody dropped"),
            Self::Wait(name, why) => format!("{name} stays: {why}"),
        }
    }

    /// The partition it is about; none where it is about several.
    pub(super) fn partition(&self) -> Option<&str> {
        match self {
            Self::Extend { .. } => None,
            Self::Close(name)
            | Self::Detach(name)
            | Self::Finalize(name)
            | Self::Record(name)
            | Self::Drop(name)
            | Self::Forget(name)
            | Self::Wait(name, _) => Some(name),
        }
    }
}

fn rest_name(rest: &Option<Rest>) -> &str {
    rest.as_ref().map_or("", |rest| rest.name.as_str())
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
