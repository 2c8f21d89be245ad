//! The long forms, by name: what a run of half a minute cannot show.

use crate::run::Options;

/// A long run.
#[derive(Debug, Clone, Copy)]
pub struct Soak {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
    seconds: u64,
    rate: u64,
    kills: u64,
}

/// Every soak there is.
pub const SOAKS: &[Soak] = &[
    Soak {
        name: "kills",
        about: "200 SIGKILLs in ten minutes: the relay lives 1 to 5 seconds at a time",
        seconds: 600,
        rate: 1_000,
        kills: 200,
    },
    Soak {
        name: "hour",
        about: "an hour at a steady pace with a kill every three minutes: memory and latency must not creep",
        seconds: 3_600,
        rate: 1_000,
        kills: 20,
    },
];

impl Soak {
    /// The soak of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        SOAKS.iter().find(|soak| soak.name == name)
    }

    /// The run it is.
    pub fn options(&self, seed: Option<u64>, keep: bool) -> Options {
        Options { seconds: Some(self.seconds), rate: self.rate, kills: self.kills, seed, keep }
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
