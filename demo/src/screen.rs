//! What a person sees while it runs, on standard error: a live line on a terminal, a plain line every two seconds elsewhere.

use std::cell::RefCell;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::watcher::Seen;

/// How often a plain line is written where there is no terminal.
const PLAIN_LINE_EVERY: Duration = Duration::from_secs(2);
/// Over how long the shown rate is taken.
const RATE_OVER: Duration = Duration::from_secs(1);

/// The place for progress and messages.
#[derive(Debug)]
pub struct Screen {
    bar: Option<ProgressBar>,
    pace: RefCell<PaceShown>,
}

/// What the rate was taken from, and when the last plain line was written.
#[derive(Debug)]
struct PaceShown {
    since: (Instant, u64),
    events_per_s: f64,
    last_line: Option<Instant>,
}

/// A run at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    elapsed: Duration,
    length: Duration,
    committed: u64,
    delivered: u64,
    latency: Duration,
    killed: u64,
    up: bool,
}

impl Moment {
    /// The moment `elapsed` after the start of a run of this `length`.
    pub fn new(elapsed: Duration, length: Duration, committed: u64, seen: &Seen, killed: u64, up: bool) -> Self {
        Self { elapsed, length, committed, delivered: seen.distinct(), latency: seen.last_latency(), killed, up }
    }

    fn line(&self, events_per_s: f64) -> String {
        let behind = self.committed.saturating_sub(self.delivered);
        let relay = if self.up { "relay up" } else { "relay DOWN" };
        format!(
            "{events_per_s:>6.0} events/s  delivered {:>8}  behind {behind:>6}  {:>7.1} ms  {relay}, killed {}",
            self.delivered,
            self.latency.as_secs_f64() * 1000.0,
            self.killed
        )
    }
}

impl Screen {
    /// A live line if standard error is a terminal.
    pub fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{prefix:>8} {bar:24.green/dim} {wide_msg}")
                .expect("the template is a constant");
            ProgressBar::with_draw_target(Some(1000), ProgressDrawTarget::stderr_with_hz(10))
                .with_style(style.progress_chars("━╸─"))
        });
        let pace = PaceShown { since: (Instant::now(), 0), events_per_s: 0.0, last_line: None };
        Self { bar, pace: RefCell::new(pace) }
    }

    /// A message that stays.
    pub fn say(&self, message: &str) {
        match &self.bar {
            Some(bar) => bar.println(message),
            // Nobody can be told that standard error is closed.
            None => writeln!(std::io::stderr(), "{message}").unwrap_or_default(),
        }
    }

    /// The picture of this moment, in place of the one before.
    pub fn picture(&self, moment: &Moment) {
        let mut pace = self.pace.borrow_mut();
        let (since, events) = pace.since;
        if since.elapsed() >= RATE_OVER {
            pace.events_per_s = moment.committed.saturating_sub(events) as f64 / since.elapsed().as_secs_f64();
            pace.since = (Instant::now(), moment.committed);
        }
        let line = moment.line(pace.events_per_s);
        if let Some(bar) = &self.bar {
            let done = moment.elapsed.as_secs_f64() / moment.length.as_secs_f64().max(f64::EPSILON);
            bar.set_position((done * 1000.0) as u64);
            bar.set_prefix(format!("{:.1} s", moment.elapsed.as_secs_f64()));
            bar.set_message(line);
        } else if pace.last_line.is_none_or(|last| last.elapsed() >= PLAIN_LINE_EVERY) {
            pace.last_line = Some(Instant::now());
            drop(pace);
            self.say(&format!("{:6.1} s  {line}", moment.elapsed.as_secs_f64()));
        }
    }

    /// The live line has served.
    pub fn judging(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.say("          the relay has drained and ended; comparing the topics with the outbox");
    }
}

impl Default for Screen {
    fn default() -> Self {
        Self::new()
    }
}

/// Prints a result on standard output.
pub fn print(result: &str) {
    // A reader that has gone away needs no result.
    writeln!(std::io::stdout(), "{result}").unwrap_or_default();
}
