//! Drills: a thing that goes wrong once a year, played through in a minute, and what it cost.
//!
//! Each drill has servers of its own, breaks them under load, does what `docs/` tells a DBA to do, and counts: what was committed and
//! never arrived, what arrived twice, what arrived out of its key's order, and how long nothing arrived.

mod adopt;
mod crash;
mod eta;
mod failover;
mod failover_lost;
mod guard;
mod incident;
mod invalidated;
mod ledger;
mod pair;
mod polling;
mod report;
mod restore;
mod scene;
mod takeover;
mod upgrade;
mod writers;

use clap::Args;

use crate::error::Result;
use crate::screen::Screen;

pub use ledger::{Counted, Ledger};
pub use report::Report;
pub use scene::{Scene, Servers};
pub use writers::{Committed, Load, Writers};

/// What a drill takes; each uses what it has a use for.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Events a second that services write
    #[arg(long)]
    pub rate: Option<u64>,
    /// How many events a service writes in one transaction, where the drill polls (1)
    #[arg(long)]
    pub together: Option<u64>,
    /// How long the drill lasts, in seconds
    #[arg(long)]
    pub seconds: Option<u64>,
    /// How often something is killed
    #[arg(long)]
    pub kills: Option<u64>,
    /// How many keys the events are spread over
    #[arg(long)]
    pub keys: Option<u64>,
    /// How many events wait when the drill begins
    #[arg(long)]
    pub rows: Option<u64>,
    /// Keep databases, topics and logs also after a good verdict
    #[arg(long)]
    pub keep: bool,
}

/// A drill that can be asked for by its name.
#[derive(Debug, Clone, Copy)]
pub struct Drill {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it shows.
    pub about: &'static str,
}

/// Every drill there is.
pub const DRILLS: &[Drill] = &[
    Drill { name: "crash", about: "Postgres dies under load three times, and comes back by itself" },
    Drill {
        name: "eta",
        about: "A slot that nobody reads fills up, and the time that it was given is compared with the real one",
    },
    Drill { name: "failover", about: "The primary dies under load; a standby that keeps the slot is promoted" },
    Drill {
        name: "failover-lost",
        about: "The same with a standby that has neither the slot nor all that was published",
    },
    Drill {
        name: "failover-behind",
        about: "The same with a standby that keeps the slot and lags behind what was published",
    },
    Drill { name: "invalidated", about: "The slot is invalidated by max_slot_wal_keep_size under load" },
    Drill { name: "upgrade", about: "A major upgrade by dump, from PostgreSQL 15 to 18" },
    Drill { name: "adopt", about: "A Debezium connector's slot is taken over under load, and handed back" },
    Drill { name: "restore", about: "An older backup of the database is put back" },
    Drill {
        name: "guard",
        about: "The broker goes away; the slot is released before it fills the disk, and made anew",
    },
    Drill {
        name: "takeover",
        about: "The active of two relays is killed a hundred times, and frozen; the other takes over",
    },
    Drill {
        name: "polling",
        about: "Four relays poll a long queue, are killed, and keep up with writers; a transaction stays open",
    },
];

/// Plays the drill of this name; `None` if there is none.
pub async fn play(name: &str, options: &Options, screen: &Screen) -> Option<Result<Report>> {
    let servers = match xtask::services::current() {
        Ok(environment) => Servers::shared(&environment),
        Err(error) => return Some(Err(error.into())),
    };
    Some(match name {
        "crash" => crash::run(servers, options, screen).await,
        "adopt" => adopt::run(servers, options, screen).await,
        "eta" => eta::run(servers, options, screen).await,
        "failover" => failover::run(servers, options, screen).await,
        "failover-lost" => failover_lost::run(&failover_lost::LOST, servers, options, screen).await,
        "failover-behind" => failover_lost::run(&failover_lost::BEHIND, servers, options, screen).await,
        "guard" => guard::run(servers, options, screen).await,
        "invalidated" => invalidated::run(servers, options, screen).await,
        "upgrade" => upgrade::run(servers, options, screen).await,
        "restore" => restore::run(servers, options, screen).await,
        "takeover" => takeover::run(servers, options, screen).await,
        "polling" => polling::run(servers, options, screen).await,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use crate::drill::DRILLS;

    #[test]
    fn names_are_told_once_and_are_words_of_a_command_line() {
        for (index, drill) in DRILLS.iter().enumerate() {
            assert!(DRILLS[..index].iter().all(|other| other.name != drill.name), "{}", drill.name);
            assert!(drill.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{}", drill.name);
        }
    }
}
