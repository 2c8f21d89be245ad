//! The long forms, by name: what a run of half a minute cannot show.

use crate::run::Options;

/// More events a second than Nova's writers can write anywhere.
const FULL_SPEED: u64 = 1_000_000;

/// A long run.
#[derive(Debug, Clone, Copy)]
pub struct Soak {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// What it does.
    pub form: Form,
}

/// What a soak does.
#[derive(Debug, Clone, Copy)]
pub enum Form {
    /// A run of the demo.
    Run {
        /// Its length.
        seconds: u64,
        /// Events a second.
        rate: u64,
        /// How often the relay is killed.
        kills: u64,
        /// With Kafka's transactions.
        exactly_once: bool,
    },
    /// Captured tables against what consumers make of them: [`crate::state`].
    State,
    /// A transaction that fits into no memory: [`crate::large`].
    Large,
    /// Tables whose schemas change all the time: [`crate::churn`].
    Churn,
    /// An initial snapshot that is killed: [`crate::snapshot`].
    Snapshot,
    /// Records that no table takes: [`crate::loader::poison`].
    Poison,
    /// The loader without ClickHouse: [`crate::loader::outage`].
    Outage,
    /// A run of the whole chain on services that are restarted: [`crate::chain`].
    Chain,
}

/// Every soak there is.
pub const SOAKS: &[Soak] = &[
    Soak {
        name: "kills",
        about: "200 SIGKILLs in ten minutes: the relay lives 1 to 5 seconds at a time",
        form: Form::Run { seconds: 600, rate: 1_000, kills: 200, exactly_once: false },
    },
    Soak {
        name: "hour",
        about: "an hour at a steady pace with a kill every three minutes: memory and latency must not creep",
        form: Form::Run { seconds: 3_600, rate: 1_000, kills: 20, exactly_once: false },
    },
    Soak {
        name: "exactly-once",
        about: "200 SIGKILLs in ten minutes with Kafka's transactions: nothing lost, and nothing twice",
        form: Form::Run { seconds: 600, rate: 1_000, kills: 200, exactly_once: true },
    },
    Soak {
        name: "state",
        about: "captured tables folded back from their topics: 200 000 operations, schema changes, 20 SIGKILLs",
        form: Form::State,
    },
    Soak {
        name: "large",
        about: "one transaction of 5 000 000 rows of a captured table, a SIGKILL in the middle, and the relay's memory",
        form: Form::Large,
    },
    Soak {
        name: "churn",
        about: "200 captured tables with a schema change each second, beside the same without",
        form: Form::Churn,
    },
    Soak {
        name: "snapshot",
        about: "an initial snapshot of 5 million rows, killed 5 times: it goes on, and only what was in work comes twice",
        form: Form::Snapshot,
    },
    Soak {
        name: "chain",
        about: "the whole chain at full speed for 60 s: 10 SIGKILLs of each process, every service stopped and killed",
        form: Form::Chain,
    },
    Soak {
        name: "poison",
        about: "1 000 poison records among 1 000 000: exactly those become dead letters, and come in once after a mend",
        form: Form::Poison,
    },
    Soak {
        name: "outage",
        about: "ClickHouse away for two minutes: the breaker opens, memory stays flat, and the loader catches up by itself",
        form: Form::Outage,
    },
];

impl Soak {
    /// The soak of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        SOAKS.iter().find(|soak| soak.name == name)
    }
}

impl Form {
    /// The run that it is, if it is one.
    pub fn options(self, seed: Option<u64>, keep: bool) -> Option<Options> {
        match self {
            Self::Run { seconds, rate, kills, exactly_once } => {
                Some(Options { seconds: Some(seconds), rate, kills, relay_only: true, exactly_once, seed, keep })
            }
            Self::Chain => {
                let (seconds, rate, kills) = (Some(60), FULL_SPEED, 10);
                Some(Options { seconds, rate, kills, relay_only: false, exactly_once: false, seed, keep })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::soak::{SOAKS, Soak};

    #[test]
    fn every_soak_is_found_by_its_name() {
        for soak in SOAKS {
            assert_eq!(Soak::named(soak.name).map(|found| found.about), Some(soak.about));
        }
        assert!(Soak::named("list").is_none());
    }
}
