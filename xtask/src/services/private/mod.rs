//! Instances that belong to one test: it may stop, freeze, restart and reconfigure them, and nobody else notices.
//!
//! Each leaves a note of who owns it; the next `up`, `down` or start removes those whose owner is gone.

mod clickhouse;
mod kafka;
mod postgres;
mod redis;

use std::fs;
use std::path::PathBuf;
use std::process::Child;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::services::error::{Error, IoContext, Result};
use crate::services::home::{Home, remove_tree, write_private};
use crate::services::process::{Process, Signal};
use crate::services::progress::{Progress, Task};

pub use clickhouse::{ClickhouseTls, ClickhouseUser, PrivateClickhouse};
pub use kafka::PrivateKafka;
pub use postgres::{Backup, PrivatePostgres};
pub use redis::{PrivateRedis, PrivateRedisCluster, RedisTls};

/// A port may be taken between its choice and the start; three such accidents in a row are none.
const START_TRIES_MAX: u32 = 3;

/// Names the process that an instance belongs to.
const OWNER: &str = "owner.json";

/// The server's log.
const LOG: &str = "log";

/// Distinguishes the instances of one process.
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Lets `start` choose its ports and start, again if one of them was taken meanwhile.
pub(crate) fn start_on_free_ports(mut start: impl FnMut() -> Result<()>) -> Result<()> {
    let mut tries = 1;
    loop {
        match start() {
            Err(Error::NotReady { reason, .. }) if tries < START_TRIES_MAX && reason.contains("in use") => tries += 1,
            outcome => return outcome,
        }
    }
}

/// The folder of one instance: `owner.json`, `log` with what belongs to it, and data.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) home: Home,
    pub(crate) folder: PathBuf,
}

impl Place {
    /// A new folder, noted as this process's.
    pub(crate) fn new(kind: &str) -> Result<Self> {
        let home = Home::open()?;
        sweep(&home)?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = home.folder(&format!("private/{kind}-{}-{number}", std::process::id()))?;
        let owner = serde_json::to_string(&Process::this()?).expect("numbers are JSON");
        write_private(&folder.join(OWNER), &owner)?;
        Ok(Self { home, folder })
    }

    /// Where its server writes its log.
    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join(LOG)
    }
}

/// Ends and removes the instances whose owner is gone.
pub(crate) fn sweep(home: &Home) -> Result<()> {
    let _lock = home.lock("private")?;
    let folder = home.path("private");
    for entry in fs::read_dir(&folder).context("list", &folder)? {
        let path = entry.context("list", &folder)?.path();
        // A folder without a readable note is just being made, or is being removed by its owner.
        let Ok(text) = fs::read_to_string(path.join(OWNER)) else { continue };
        let Ok(owner) = serde_json::from_str::<Process>(&text) else { continue };
        if !owner.is_alive() {
            if let Some(server) = Process::noted(&path.join(LOG)) {
                server.stop(Signal::QUIT, Duration::from_millis(500));
            }
            remove_tree(&path)?;
        }
    }
    Ok(())
}

/// Progress that nobody sees.
pub(crate) fn quiet_task(name: &str) -> Task {
    Progress::silent().task(name)
}

/// Sends a signal to the server, if it runs.
pub(crate) fn signal(server: &Option<(Process, Child)>, signal: Signal) {
    if let Some((process, _)) = server {
        process.signal(signal);
    }
}
