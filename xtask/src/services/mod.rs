//! Real services for tests, benches and the demo: `up`, `down`, `status`, and private instances that a test may stop
//! and restart.
//!
//! With a Docker engine they are the official images, through `docker-compose.yml`; without one they are the same
//! engines run
//! natively, from package registries. Whoever uses them sees an [`Environment`] of addresses and cannot tell which.
//!
//! Guarantee: only processes that were started here are ever signalled, and only while they are still the ones that
//! were started.

#[cfg(feature = "certificates")]
pub mod certificates;
mod clickhouse;
mod client;
mod compose;
pub mod debezium;
mod environment;
mod error;
mod home;
mod kafka;
mod native;
mod packages;
mod perf;
mod port;
mod postgres;
mod private;
mod process;
mod progress;
pub mod promtool;
mod redis;
mod state;

pub use environment::{Environment, Kafka, Postgres, VARIABLE, current};
pub use error::{Error, Result};
pub use home::VARIABLE as HOME_VARIABLE;
pub use packages::{node_package, python_package};
pub use perf::producer_performance;
pub use postgres::binaries::MAJORS;
pub use private::{
    Backup, ClickhouseTls, ClickhouseUser, PrivateClickhouse, PrivateKafka, PrivatePostgres, PrivateRedis,
    PrivateRedisCluster, RedisTls,
};
pub use progress::Progress;
pub use state::Service;

use home::Home;
use postgres::binaries::Binaries;
use state::State;

/// What `up` shall start.
#[derive(Debug, Clone)]
pub struct UpOptions {
    /// The major version of Postgres; none takes the one that runs, else the one installed.
    pub postgres: Option<u16>,
    /// Which services.
    pub only: Vec<Service>,
    /// Without Docker even where an engine answers.
    pub native: bool,
    /// Where progress is shown.
    pub progress: Progress,
}

impl Default for UpOptions {
    fn default() -> Self {
        Self { postgres: None, only: Service::ALL.to_vec(), native: false, progress: Progress::silent() }
    }
}

/// One line of [`status`].
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Status {
    /// Which service.
    pub service: Service,
    /// `running`, `unhealthy` (alive, but does not answer), `dead` (started once, gone) or `stopped`.
    pub health: Health,
    /// Its port, if it was started.
    pub port: Option<u16>,
    /// Its version, if it was started.
    pub version: Option<String>,
    /// Its process, if it runs natively.
    pub pid: Option<u32>,
}

/// How a service fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// It answers.
    Running,
    /// Its process lives but does not answer.
    Unhealthy,
    /// It was started and is gone.
    Dead,
    /// It was not started.
    Stopped,
}

/// Starts what is wanted and does not run yet, repairs what died, and leaves alone what runs well.
///
/// # Errors
/// The first service that could not be had; what started stays running and known.
pub fn up(options: &UpOptions) -> Result<()> {
    let home = Home::open()?;
    let _lock = home.lock("state")?;
    private::sweep(&home)?;
    if !options.native && compose::is_available() { compose::up(&home, options) } else { native::up(&home, options) }
}

/// The services to use, started if need be: those of the variable [`VARIABLE`] if it is set (then nothing is
/// started), else ours.
///
/// # Errors
/// As of [`up`] and [`current`].
pub fn obtain(options: &UpOptions) -> Result<Environment> {
    if std::env::var_os(VARIABLE).is_none() {
        up(options)?;
    }
    current()
}

/// Stops those of `only` that `up` left running, and names them; what an aborted test left running goes too. With
/// `wipe` their data goes.
///
/// # Errors
/// If the state file cannot be read or replaced, or the data cannot be removed.
pub fn down(only: &[Service], wipe: bool) -> Result<Vec<Service>> {
    let home = Home::open()?;
    let _lock = home.lock("state")?;
    private::sweep(&home)?;
    native::down(&home, only, wipe)
}

/// Removes what those services left that do not run, and names them: what starts next starts empty.
///
/// # Errors
/// If the state file cannot be read or replaced, or the data cannot be removed.
pub fn discard() -> Result<Vec<Service>> {
    let home = Home::open()?;
    let _lock = home.lock("state")?;
    let state = State::read(&home)?;
    let runs = |service: &Service| {
        matches!(native::status(&home, &state, *service).health, Health::Running | Health::Unhealthy)
    };
    let left: Vec<Service> = Service::ALL.into_iter().filter(|service| !runs(service)).collect();
    native::down(&home, &left, true)?;
    Ok(left)
}

/// Removes the private instances that ended processes left running.
///
/// # Errors
/// If what they left cannot be removed.
pub fn sweep() -> Result<()> {
    private::sweep(&Home::open()?)
}

/// Fetches the binaries of these majors of Postgres, so that no private instance has to wait for them.
///
/// # Errors
/// The first that could not be had.
pub fn fetch_postgres(majors: &[u16], progress: &Progress) -> Result<()> {
    let home = Home::open()?;
    majors.iter().try_for_each(|major| {
        let task = progress.task(&format!("postgres {major}"));
        let binaries = Binaries::find(&home, &task, Some(*major))?;
        task.done(&format!("{} is here", binaries.version));
        Ok(())
    })
}

/// How every service fares.
///
/// # Errors
/// If the state file cannot be read.
pub fn status() -> Result<Vec<Status>> {
    let home = Home::open()?;
    let state = State::read(&home)?;
    Ok(Service::ALL.into_iter().map(|service| native::status(&home, &state, service)).collect())
}
