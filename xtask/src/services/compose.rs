//! The services by a Docker engine: the official images of `docker-compose.yml`, in a project and with ports of our
//! own.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::services::client::{on_path, run};
use crate::services::error::{Error, IoContext, Result};
use crate::services::home::{Home, set_mode};
use crate::services::native;
use crate::services::state::{Runner, Running, Service, State};
use crate::services::{Health, UpOptions, clickhouse, kafka, port};

/// Not the project of `docker compose up` itself: a developer's data and ours stay apart.
const PROJECT: &str = "postrider-services";

/// The major of Postgres that the compose file starts by itself.
const POSTGRES_MAJOR: u16 = 17;

/// The major of Redis that the compose file starts.
const REDIS_MAJOR: u16 = 7;

/// Whether an engine answers here, with compose.
pub(crate) fn is_available() -> bool {
    let succeeds = |arguments: &[&str]| run(Command::new("docker").args(arguments)).is_ok();
    on_path("docker").is_some() && succeeds(&["info"]) && succeeds(&["compose", "version"])
}

/// Starts what is wanted and not healthy, and remembers it.
pub(crate) fn up(home: &Home, options: &UpOptions) -> Result<()> {
    let mut state = State::read(home)?;
    let major = options.postgres.or_else(|| major_before(&state)).unwrap_or(POSTGRES_MAJOR);
    let wanted: Vec<(Service, Running)> =
        options.only.iter().map(|service| Ok((*service, wanted(&state, *service, major)?))).collect::<Result<_>>()?;
    let is_well = |(service, running): &(Service, Running)| {
        state.services.get(service) == Some(running) && native::health(home, *service, running) == Health::Running
    };
    if wanted.iter().all(is_well) {
        return Ok(());
    }
    for (service, before) in &state.services {
        // What ran natively until now would hold the port, and its users.
        if options.only.contains(service) && matches!(before.runner, Runner::Process(_)) {
            native::stop(*service, before);
        }
    }
    state.services.extend(wanted);
    let mut up = compose(home, &state, major)?;
    up.args(["up", "--detach", "--wait"]).args(options.only.iter().map(|service| service.name()));
    // Compose shows its own progress, on standard error.
    let status = up
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .map_err(|source| Error::Io { action: "run docker".to_owned(), source })?;
    if !status.success() {
        let reason = format!("{status}; `docker compose --project-name {PROJECT} logs` tells more");
        return Err(Error::Command { command: "docker compose up".to_owned(), reason });
    }
    state.write(home)
}

/// Removes a service's container; its data stays in its volume.
pub(crate) fn stop(service: Service) {
    let filters = [
        format!("label=com.docker.compose.project={PROJECT}"),
        format!("label=com.docker.compose.service={}", service.name()),
    ];
    let mut list = Command::new("docker");
    list.args(["ps", "--all", "--quiet"]).args(filters.iter().flat_map(|filter| ["--filter", filter]));
    // An engine that does not answer any more has nothing to stop.
    let containers = run(&mut list).unwrap_or_default();
    for container in containers.split_ascii_whitespace() {
        let _ = run(Command::new("docker").args(["stop", container]));
        let _ = run(Command::new("docker").args(["rm", "--force", container]));
    }
}

/// Removes a stopped service's volume.
pub(crate) fn wipe(service: Service) -> Result<()> {
    run(Command::new("docker").args(["volume", "rm", "--force", &format!("{PROJECT}_{}", service.name())])).map(drop)
}

fn major_before(state: &State) -> Option<u16> {
    let before = state.services.get(&Service::Postgres)?;
    before.version.split('.').next()?.parse().ok()
}

/// How the service will run: on the port it has, else on a free one.
fn wanted(state: &State, service: Service, major: u16) -> Result<Running> {
    let before = state.services.get(&service).filter(|before| before.runner == Runner::Compose);
    let port = before.map_or_else(|| port::choose(&[service.preferred_port()]), |before| Ok(before.port))?;
    let version = match service {
        Service::Postgres => major.to_string(),
        Service::Kafka => kafka::VERSION.to_owned(),
        Service::Redis => REDIS_MAJOR.to_string(),
        Service::Clickhouse => clickhouse_tag().to_owned(),
    };
    Ok(Running { runner: Runner::Compose, port, version })
}

/// `docker compose` with our file, our project, and the ports of `state`.
fn compose(home: &Home, state: &State, major: u16) -> Result<Command> {
    let file = crate::root().join("docker-compose.yml");
    let mut command = Command::new("docker");
    command.args(["compose", "--project-name", PROJECT, "--file"]).arg(file);
    for (service, running) in &state.services {
        command.env(format!("{}_PORT", service.name().to_uppercase()), running.port.to_string());
    }
    command.env("POSTGRES_VERSION", major.to_string()).env("POSTGRES_PASSWORD", home.password()?);
    if cfg!(target_os = "linux") {
        command.env("POSTGRES_SOCKETS", socket_folder(home)?);
    }
    Ok(command)
}

/// The socket's folder, seen from inside and outside. The container's user must write to it, and the socket trusts: so
/// everybody may enter it, but nobody else gets as far as to it.
fn socket_folder(home: &Home) -> Result<PathBuf> {
    let folder = home.folder("sockets/postgres")?;
    let parent = home.path("sockets");
    let mode = std::fs::metadata(&folder).context("look at", &folder)?.permissions().mode();
    if mode & 0o777 != 0o777 {
        set_mode(&folder, 0o777)?;
    }
    set_mode(&parent, 0o700)?;
    Ok(folder)
}

fn clickhouse_tag() -> &'static str {
    clickhouse::VERSION.rsplit_once('.').map_or(clickhouse::VERSION, |(tag, _)| tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_and_native_services_have_the_same_versions() {
        let file = std::fs::read_to_string(crate::root().join("docker-compose.yml")).unwrap();
        for image in [
            format!("image: postgres:${{POSTGRES_VERSION:-{POSTGRES_MAJOR}}}"),
            format!("image: apache/kafka:{}", kafka::VERSION),
            format!("image: redis:{REDIS_MAJOR}"),
            format!("image: clickhouse/clickhouse-server:{}", clickhouse_tag()),
        ] {
            assert!(file.lines().any(|line| line.trim() == image), "docker-compose.yml has no line `{image}`");
        }
    }

    #[test]
    fn every_published_port_is_on_the_loopback_address() {
        let file = std::fs::read_to_string(crate::root().join("docker-compose.yml")).unwrap();
        let mut lines = file.lines().map(str::trim);
        let mut published = 0;
        while lines.any(|line| line == "ports:") {
            let port = lines.next().unwrap();
            assert!(port.starts_with("- 127.0.0.1:${"), "{port}");
            published += 1;
        }
        assert_eq!(published, Service::ALL.len() + 1);
    }

    #[test]
    fn a_container_keeps_its_port_and_a_native_service_gives_way() {
        let mut state = State::default();
        let running = Running { runner: Runner::Compose, port: 4_242, version: "17".to_owned() };
        state.services.insert(Service::Postgres, running);
        assert_eq!(wanted(&state, Service::Postgres, 18).unwrap().port, 4_242);
        assert_eq!(wanted(&state, Service::Postgres, 18).unwrap().version, "18");
        assert_eq!(major_before(&state), Some(17));
    }
}
