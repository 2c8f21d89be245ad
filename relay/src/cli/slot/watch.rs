//! `postrider slot watch`: slots again and again, for a person at a terminal or for a script.

use std::{io::IsTerminal, time::Duration};

use serde::Serialize;

use crate::{
    cli::{
        Error, File,
        administrator::block_on,
        duration::duration,
        parked::select::Output,
        print,
        slot::{places::Places, screen},
    },
    slots::{
        list::{Listing, Slot},
        watch::{self, Change, Seen},
    },
};

/// The rate of the log is the average over so long: longer than the pauses between two statements, shorter than what an alarm
/// may take.
const WINDOW: Duration = Duration::from_secs(60);

/// Clears a terminal: home, then all below.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Looks at replication slots again and again, until one is lost or nearly so.
///
/// On a terminal it draws the list of `postrider slot list` anew each time. Elsewhere it prints a line for
/// each slot first, then one for each change, and each time one for the slot that has the least time left.
/// The rate of the log is the average over the last minute. Ctrl-C ends it.
///
/// Exit codes: 0 all of --count was seen, 1 a slot is lost or below --until-eta, or nothing was seen at
/// last, 2 wrong usage or configuration. Of all slots, one that is lost already at the first look counts
/// only if it is named.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Watch {
    #[command(flatten)]
    places: Places,
    /// Between two looks
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    interval: Duration,
    /// End after so many looks; without it, never
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End with exit code 1 when a slot has less time left
    #[arg(long, value_name = "TIME", value_parser = duration)]
    until_eta: Option<Duration>,
    /// As text, or as one JSON object a line for each look
    #[arg(long, value_name = "FORM", value_enum, default_value = "text")]
    output: Output,
}

/// One look, as JSON.
#[derive(Debug, Serialize)]
struct Line<'a> {
    changes: &'a [Change],
    alarm: Option<&'a str>,
    #[serde(flatten)]
    listing: &'a Listing,
}

impl Watch {
    pub(super) fn execute(self, config: File<'_>) -> Result<(), Error> {
        let mut survey = self.places.survey(config, WINDOW)?;
        let mut watch = watch::Watch::over(self.places.names(), self.until_eta.map(|eta| eta.as_secs_f64()));
        let draws = self.output == Output::Text && std::io::stdout().is_terminal();
        block_on(async {
            let mut ticks = tokio::time::interval(self.interval.max(Duration::from_millis(100)));
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            for look in 1_u64.. {
                ticks.tick().await;
                let listing = survey.look().await;
                let seen = watch.see(&listing);
                match (self.output, draws) {
                    (Output::Json, _) => print(&json(&listing, &seen))?,
                    (Output::Text, true) => print(&format!("{CLEAR}{}{}", screen::table(&listing), changes(&seen)))?,
                    (Output::Text, false) => print(&lines(&listing, &seen, look == 1))?,
                }
                if let Some(alarm) = seen.alarm {
                    return Err(Error::SlotAlarm(alarm));
                }
                if look == 1 || self.count == Some(look) {
                    self.places.complete(&listing)?;
                }
                if self.count == Some(look) {
                    break;
                }
            }
            Ok(())
        })
    }
}

fn json(listing: &Listing, seen: &Seen) -> String {
    let line = Line { changes: &seen.changes, alarm: seen.alarm.as_deref(), listing };
    serde_json::to_string(&line).expect("texts and numbers always have a JSON form") + "\n"
}

fn changes(seen: &Seen) -> String {
    seen.changes.iter().map(|change| format!("  {} {}: {}\n", change.place, change.slot, change.what)).collect()
}

/// What a log wants: each slot once, then changes, and of each server the slot that has the least time left.
fn lines(listing: &Listing, seen: &Seen, first: bool) -> String {
    let mut text = String::new();
    for unseen in &listing.unseen {
        text.push_str(&format!("{}: not seen: {}\n", unseen.place, unseen.error));
    }
    for server in &listing.servers {
        let now = &server.server.now;
        for slot in server.slots.iter().filter(|_| first) {
            text.push_str(&format!("{now} {}\n", line(slot)));
        }
        for change in seen.changes.iter().filter(|change| server.places.contains(&change.place)) {
            text.push_str(&format!("{now} {}: {}\n", change.slot, change.what));
        }
        let left = |slot: &&Slot| slot.seconds_to_limit.is_some();
        let order = |one: &&Slot, other: &&Slot| {
            let seconds = |slot: &Slot| slot.seconds_to_limit.unwrap_or(f64::INFINITY);
            seconds(one).total_cmp(&seconds(other))
        };
        let rate = server.wal_bytes_per_second.unwrap_or_default();
        #[expect(clippy::cast_possible_truncation, reason = "a rate is shown in whole bytes")]
        let rate = screen::bytes(rate as i64);
        match server.slots.iter().filter(left).min_by(order) {
            Some(slot) if !first => text.push_str(&format!("{now} log {rate}/s, next: {}\n", line(slot))),
            None if !first => text.push_str(&format!("{now} log {rate}/s, no slot nears a limit\n")),
            _ => {}
        }
    }
    text
}

fn line(slot: &Slot) -> String {
    let facts = &slot.facts;
    let size = |size: Option<i64>| size.map_or_else(|| "-".to_owned(), screen::bytes);
    format!(
        "{} {} {}, keeps {}, lag {}, left {} ({}), read by {}",
        facts.name,
        slot.owner.name(),
        facts.wal_status.as_deref().unwrap_or("-"),
        size(facts.retained_bytes),
        size(facts.lag_bytes),
        screen::left(slot),
        screen::limit(slot),
        screen::read_by(slot),
    )
}
