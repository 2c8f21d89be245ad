//! `cargo xtask services up|down|status|env`.

use std::io::{Write, stdout};
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use xtask::services::{self, Environment, Health, Progress, Service, Status, UpOptions};

use crate::commands::Outcome;

/// What is to be done with the services.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Start what does not run yet, repair what died; quick if all is well
    Up(Up),
    /// Stop what `up` started; data stays unless --wipe is given
    Down {
        /// Only these services
        #[arg(long, value_name = "SERVICE,…", value_enum, value_delimiter = ',')]
        only: Vec<Service>,
        /// Remove the data too
        #[arg(long)]
        wipe: bool,
    },
    /// Show what runs, and whether it answers
    Status {
        /// The form of the answer
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Print the addresses, as lines for `eval "$(cargo xtask services env)"` or as JSON
    Env {
        /// The form of the answer
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
}

#[derive(Debug, Args)]
struct Up {
    /// The major version of Postgres [default: the one that runs, else the one installed]
    #[arg(long, value_name = "MAJOR", value_parser = clap::value_parser!(u16).range(15..=18))]
    postgres: Option<u16>,
    /// Only these services
    #[arg(long, value_name = "SERVICE,…", value_enum, value_delimiter = ',')]
    only: Vec<Service>,
    /// Without Docker, even if an engine answers
    #[arg(long)]
    native: bool,
    /// The form of the answer
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Output {
    /// For a person or a shell
    Text,
    /// One JSON value
    Json,
}

/// Does it.
pub(crate) fn run(arguments: Arguments) -> Outcome {
    match arguments.verb {
        Verb::Up(up) => {
            services::up(&UpOptions {
                postgres: up.postgres,
                only: or_all(up.only),
                native: up.native,
                progress: Progress::shown(),
            })?;
            print(&show(&services::status()?, up.output))?;
        }
        Verb::Down { only, wipe } => {
            let stopped = services::down(&or_all(only), wipe)?;
            let names: Vec<&str> = stopped.into_iter().map(Service::name).collect();
            let text = if names.is_empty() {
                "nothing was running".to_owned()
            } else {
                format!("stopped {}", names.join(", "))
            };
            print(&format!("{text}\n"))?;
        }
        Verb::Status { output } => {
            let status = services::status()?;
            print(&show(&status, output))?;
            let broken = status.iter().any(|line| matches!(line.health, Health::Dead | Health::Unhealthy));
            return Ok(if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS });
        }
        Verb::Env { output } => print(&lines(&services::current()?, output))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// No list means everything.
fn or_all(only: Vec<Service>) -> Vec<Service> {
    if only.is_empty() { Service::ALL.to_vec() } else { only }
}

fn print(text: &str) -> std::io::Result<()> {
    stdout().write_all(text.as_bytes())
}

fn show(status: &[Status], output: Output) -> String {
    match output {
        Output::Json => format!("{}\n", serde_json::to_string(status).expect("plain data is JSON")),
        Output::Text => status.iter().map(line).collect(),
    }
}

fn line(status: &Status) -> String {
    let health = match status.health {
        Health::Running => "running",
        Health::Unhealthy => "unhealthy",
        Health::Dead => "dead",
        Health::Stopped => return format!("{:<11} stopped\n", status.service.name()),
    };
    let version = status.version.as_deref().unwrap_or_default();
    let port = status.port.map(|port| format!("127.0.0.1:{port}")).unwrap_or_default();
    let pid = status.pid.map(|pid| format!("pid {pid}")).unwrap_or_default();
    format!("{:<11} {health:<10} {version:<10} {port:<16} {pid}", status.service.name()).trim_end().to_owned() + "\n"
}

fn lines(environment: &Environment, output: Output) -> String {
    let json = serde_json::to_string(environment).expect("plain data is JSON");
    let Output::Text = output else { return format!("{json}\n") };
    let postgres = &environment.postgres;
    let mut pairs = vec![
        (services::VARIABLE, json),
        ("PGHOST", postgres.socket_dir.display().to_string()),
        ("PGPORT", postgres.port.to_string()),
        ("PGUSER", postgres.user.clone()),
        ("PGPASSWORD", postgres.password.clone()),
        ("DATABASE_URL", postgres.url("postgres")),
        ("KAFKA_BOOTSTRAP", environment.kafka.bootstrap.clone()),
    ];
    pairs.extend(environment.redis_url.clone().map(|url| ("REDIS_URL", url)));
    pairs.extend(environment.clickhouse_url.clone().map(|url| ("CLICKHOUSE_URL", url)));
    pairs.iter().map(|(name, value)| format!("export {name}={}\n", quoted(value))).collect()
}

/// A shell word with exactly this value.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_one_shell_word_whatever_is_in_it() {
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
    }

    #[test]
    fn a_stopped_service_has_no_address() {
        let status = Status { service: Service::Redis, health: Health::Stopped, port: None, version: None, pid: None };
        assert_eq!(line(&status), "redis       stopped\n");
    }
}
