//! The life of a process in a run: started, killed by plan, started again; and what all its processes used.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::procfs::Usage;
use crate::relay::{Process, Relay};
use crate::run::kills::Kill;

/// A relay or worker that is killed by plan.
#[derive(Debug)]
pub(crate) struct Life {
    relay: Relay,
    state: State,
    plan: VecDeque<Kill>,
    killed: u64,
    used: Usage,
}

#[derive(Debug)]
enum State {
    Up(Process),
    /// Killed; to be started at this moment.
    Away(Instant),
}

/// What [`Life::tick`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Nothing was due.
    None,
    /// It was started again.
    Started,
    /// It was killed.
    Killed {
        /// How long it had lived.
        lived: Duration,
        /// How long it stays away.
        away: Duration,
    },
}

impl Life {
    /// Starts it for the first time.
    pub(crate) fn start(relay: &Relay, plan: VecDeque<Kill>) -> Result<Self> {
        let state = State::Up(relay.start()?);
        Ok(Self { relay: relay.clone(), state, plan, killed: 0, used: Usage::default() })
    }

    /// Does what is due `elapsed` after the start of the run; an error if the process ended by itself.
    pub(crate) fn tick(&mut self, elapsed: Duration) -> Result<Turn> {
        match &mut self.state {
            State::Away(until) if Instant::now() < *until => Ok(Turn::None),
            State::Away(_) => {
                self.state = State::Up(self.relay.start()?);
                Ok(Turn::Started)
            }
            State::Up(process) => {
                process.check()?;
                self.kill_if_due(elapsed)
            }
        }
    }

    /// Whether a process runs at the moment.
    pub(crate) fn up(&self) -> bool {
        matches!(self.state, State::Up(_))
    }

    /// How often it was killed.
    pub(crate) fn killed(&self) -> u64 {
        self.killed
    }

    /// The verb that it runs.
    pub(crate) fn role(&self) -> &'static str {
        self.relay.role()
    }

    /// Lets it drain and end by SIGTERM; what all its processes used.
    pub(crate) fn stop(self) -> Result<Usage> {
        let process = match self.state {
            State::Up(process) => process,
            State::Away(_) => self.relay.start()?,
        };
        Ok(self.used.then(process.stop()?))
    }

    fn kill_if_due(&mut self, elapsed: Duration) -> Result<Turn> {
        let Some(kill) = self.plan.front().copied().filter(|kill| kill.at <= elapsed) else { return Ok(Turn::None) };
        self.plan.pop_front();
        let State::Up(process) = std::mem::replace(&mut self.state, State::Away(Instant::now() + kill.away)) else {
            return Ok(Turn::None);
        };
        let lived = process.started().elapsed();
        self.used = self.used.then(process.kill()?);
        self.killed += 1;
        Ok(Turn::Killed { lived, away: kill.away })
    }
}
