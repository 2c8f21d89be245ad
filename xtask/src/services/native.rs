//! The services without Docker: each a process of ours, started in parallel, remembered in the state file.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use crate::services::client::last_lines;
use crate::services::error::{Error, IoContext, Result};
use crate::services::home::{Home, remove_tree};
use crate::services::kafka::{self, Broker, Distribution, Life};
use crate::services::port;
use crate::services::postgres::binaries::Binaries;
use crate::services::postgres::cluster::{self, Cluster};
use crate::services::process::{Process, Signal, wait_until};
use crate::services::progress::{Progress, Task};
use crate::services::state::{Runner, Running, Service, State};
use crate::services::{Health, Status, UpOptions, clickhouse, compose, redis};

/// Starts what is wanted and not healthy. What came up is remembered even if another failed.
pub(crate) fn up(home: &Home, options: &UpOptions) -> Result<()> {
    let mut state = State::read(home)?;
    let due: Vec<Service> = options
        .only
        .iter()
        .copied()
        .filter(|service| !is_as_wanted(home, &state, *service, options.postgres))
        .collect();
    let outcomes: Vec<(Service, Result<Running>)> = std::thread::scope(|scope| {
        let starts: Vec<_> = due
            .iter()
            .map(|service| {
                let before = state.services.get(service);
                (*service, scope.spawn(move || replace(home, *service, before, options.postgres, &options.progress)))
            })
            .collect();
        starts.into_iter().map(|(service, start)| (service, start.join().expect("a start does not panic"))).collect()
    });
    let mut failure = None;
    for (service, outcome) in outcomes {
        match outcome {
            Ok(running) => drop(state.services.insert(service, running)),
            Err(error) => {
                state.services.remove(&service);
                failure = failure.or(Some(error));
            }
        }
    }
    state.write(home)?;
    failure.map_or(Ok(()), Err)
}

/// Stops those of `only` that the state knows, in parallel, and forgets them; with `wipe` their data goes too.
pub(crate) fn down(home: &Home, only: &[Service], wipe: bool) -> Result<Vec<Service>> {
    let mut state = State::read(home)?;
    let due: BTreeMap<Service, Running> = state.services.extract_if(.., |service, _| only.contains(service)).collect();
    std::thread::scope(|scope| {
        for (service, running) in &due {
            scope.spawn(move || stop(*service, running));
        }
    });
    // What an interrupted `up` left is in no state.
    for left in only.iter().filter_map(|service| Process::noted(&log(home, *service))) {
        left.stop(Signal::INT, Duration::from_secs(30));
    }
    state.write(home)?;
    if wipe {
        for service in only {
            wipe_data(home, *service)?;
            if due.get(service).is_some_and(|running| running.runner == Runner::Compose) {
                compose::wipe(*service)?;
            }
        }
    }
    Ok(due.into_keys().collect())
}

/// Removes what the stopped service wrote, of every version.
fn wipe_data(home: &Home, service: Service) -> Result<()> {
    let data = home.path("data");
    for entry in fs::read_dir(&data).context("list", &data)? {
        let path = entry.context("list", &data)?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name.split('-').next() == Some(service.name()) {
            remove_tree(&path)?;
        }
    }
    Ok(())
}

/// How one service fares.
pub(crate) fn status(home: &Home, state: &State, service: Service) -> Status {
    let running = state.services.get(&service);
    let health = running.map_or(Health::Stopped, |running| health(home, service, running));
    let pid = running.and_then(|running| match running.runner {
        Runner::Process(process) => Some(process.pid()),
        Runner::Compose => None,
    });
    Status {
        service,
        health,
        port: running.map(|running| running.port),
        version: running.map(|running| running.version.clone()),
        pid,
    }
}

/// Whether a service answers.
pub(crate) fn health(home: &Home, service: Service, running: &Running) -> Health {
    let alive = match running.runner {
        Runner::Process(process) => process.is_alive(),
        Runner::Compose => !port::is_free(running.port),
    };
    let answers = || match (service, &running.runner) {
        (Service::Postgres, Runner::Process(process)) => {
            cluster::serves(&postgres_data(home, &running.version), *process)
        }
        (Service::Postgres, Runner::Compose) => cluster::answers(running.port),
        (Service::Kafka, _) => kafka::is_ready(running.port),
        (Service::Redis, _) => redis::is_ready(running.port),
        (Service::Clickhouse, _) => clickhouse::is_ready(running.port),
    };
    match alive {
        false => Health::Dead,
        true if answers() => Health::Running,
        true => Health::Unhealthy,
    }
}

fn is_as_wanted(home: &Home, state: &State, service: Service, major: Option<u16>) -> bool {
    state.services.get(&service).is_some_and(|running| {
        let other_major =
            service == Service::Postgres && major.is_some_and(|major| major_of(&running.version) != major.to_string());
        !other_major
            && matches!(running.runner, Runner::Process(_))
            && health(home, service, running) == Health::Running
    })
}

/// Ends what is left of a service and starts it anew, on its old port if that is free.
fn replace(
    home: &Home,
    service: Service,
    before: Option<&Running>,
    major: Option<u16>,
    progress: &Progress,
) -> Result<Running> {
    let task = progress.task(service.name());
    if let Some(before) = before {
        task.say("stopping what is left of it");
        stop(service, before);
    }
    let wanted: Vec<u16> = before.map(|running| running.port).into_iter().chain([service.preferred_port()]).collect();
    let port = port::choose(&wanted)?;
    let major = major.or_else(|| {
        before.and_then(|running| major_of(&running.version).parse().ok()).filter(|_| service == Service::Postgres)
    });
    let started = match service {
        Service::Postgres => start_postgres(home, &task, port, major),
        Service::Kafka => start_kafka(home, &task, port),
        Service::Redis => start_redis(home, &task, port),
        Service::Clickhouse => start_clickhouse(home, &task, port),
    };
    match &started {
        Ok(running) => task.done(&format!("{} on port {port}", running.version)),
        Err(_) => task.done("failed"),
    }
    started
}

/// Ends what the state says of a service, whoever runs it.
pub(crate) fn stop(service: Service, running: &Running) {
    let Runner::Process(process) = running.runner else {
        return compose::stop(service);
    };
    match service {
        Service::Postgres => cluster::stop_fast(process),
        Service::Kafka => kafka::stop(process),
        Service::Redis | Service::Clickhouse => process.stop(Signal::TERM, Duration::from_secs(20)),
    }
}

fn start_postgres(home: &Home, task: &Task, port: u16, major: Option<u16>) -> Result<Running> {
    let binaries = Binaries::find(home, task, major)?;
    let cluster = Cluster {
        data: postgres_data(home, &binaries.version),
        sockets: home.path("sockets").join("postgres"),
        log: log(home, Service::Postgres),
        binaries,
    };
    cluster.create(home, task)?;
    cluster.configure(home, port, &[])?;
    task.say(&format!("starting {}", cluster.binaries.version));
    let (process, _) = cluster.start(home)?;
    Ok(Running { runner: Runner::Process(process), port, version: cluster.binaries.version })
}

fn start_kafka(home: &Home, task: &Task, port: u16) -> Result<Running> {
    let broker = Broker {
        distribution: Distribution::get(home, task)?,
        data: home.path("data").join(format!("kafka-{}", kafka::VERSION)),
        log: log(home, Service::Kafka),
        life: Life::Long,
    };
    broker.create()?;
    broker.configure(port, port::choose(&[port + 1])?, &[])?;
    task.say(&format!("starting {}", kafka::VERSION));
    let (process, _) = broker.start(port)?;
    Ok(Running { runner: Runner::Process(process), port, version: kafka::VERSION.to_owned() })
}

fn start_redis(home: &Home, task: &Task, port: u16) -> Result<Running> {
    let server = redis::server(home, task)?;
    let version = redis::version(&server)?;
    let mut command = redis::command(&server, port, &home.folder("data/redis")?);
    task.say(&format!("starting {version}"));
    let process = start(Service::Redis, &mut command, log(home, Service::Redis), || redis::is_ready(port))?;
    Ok(Running { runner: Runner::Process(process), port, version })
}

fn start_clickhouse(home: &Home, task: &Task, port: u16) -> Result<Running> {
    let mut command = clickhouse::Engine::get(home, task)?.command(port, &home.folder("data/clickhouse")?)?;
    task.say(&format!("starting {}", clickhouse::VERSION));
    let log = log(home, Service::Clickhouse);
    let process = start(Service::Clickhouse, &mut command, log, || clickhouse::is_ready(port))?;
    Ok(Running { runner: Runner::Process(process), port, version: clickhouse::VERSION.to_owned() })
}

/// Starts a service that needs no more than its command, and waits until it answers.
fn start(service: Service, command: &mut Command, log: PathBuf, is_ready: impl Fn() -> bool) -> Result<Process> {
    let (process, mut child): (Process, Child) = Process::spawn(command, &log)?;
    if wait_until(Duration::from_secs(60), || is_ready() || !process.is_alive()) && process.is_alive() {
        return Ok(process);
    }
    process.stop(Signal::KILL, Duration::from_secs(10));
    let _ = child.wait();
    let reason = fs::read_to_string(&log).map(|log| last_lines(&log)).unwrap_or_default();
    Err(Error::NotReady { service: service.name(), reason, log })
}

fn log(home: &Home, service: Service) -> PathBuf {
    home.path("logs").join(format!("{}.log", service.name()))
}

/// Each major has its own data: another may not read it.
fn postgres_data(home: &Home, version: &str) -> PathBuf {
    home.path("data").join(format!("postgres-{}", major_of(version)))
}

fn major_of(version: &str) -> &str {
    version.split(|letter: char| !letter.is_ascii_digit()).next().unwrap_or(version)
}
