//! `demo run`, `demo drain`, `demo exactly-once`, `demo latency`, `demo snapshot`, `demo load`, `demo trending`, `demo compare`, `demo soak`, `demo drill`: started by `cargo xtask`, which names the services and the relay's binary.

use std::error::Error as _;
use std::fmt::Display;
use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use demo::error::{Error, Result};
use demo::screen::{Screen, print};
use demo::soak::{Form as SoakForm, SOAKS, Soak};
use demo::{churn, compare, drain, drill, invalidation, large, latency, load, loader, run, snapshot, state, trending};

/// Nova, a small social network, writes; the relay carries; the verdict is counted.
#[derive(Debug, Parser)]
#[command(name = "demo", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Writers write, the relay is killed, a consumer judges
    Run {
        #[command(flatten)]
        options: run::Options,
        #[command(flatten)]
        form: Form,
    },
    /// A backlog is drained, beside pg_recvlogical
    Drain {
        #[command(flatten)]
        options: drain::Options,
        #[command(flatten)]
        form: Form,
    },
    /// What Kafka's transactions cost, beside the same relay without them
    ExactlyOnce {
        #[command(flatten)]
        options: drain::exactly::Options,
        #[command(flatten)]
        form: Form,
    },
    /// Events at a steady rate, timed from the commit to a consumer, without TLS and with it
    Latency {
        #[command(flatten)]
        options: latency::Options,
        #[command(flatten)]
        form: Form,
    },
    /// How fast Redis forgets, beside redis-benchmark; from the commit to a key that is gone; patterns in a million keys
    Invalidate {
        #[command(flatten)]
        options: invalidation::Options,
        #[command(flatten)]
        form: Form,
    },
    /// An initial snapshot, beside COPY and Kafka's producer test
    Snapshot {
        #[command(flatten)]
        options: snapshot::Options,
        #[command(flatten)]
        form: Form,
    },
    /// A full topic into ClickHouse, beside the engine's own INSERT of files
    Load {
        #[command(flatten)]
        options: load::Options,
        #[command(flatten)]
        form: Form,
    },
    /// What is talked of, from the refreshed table and from the raw events
    Trending {
        #[command(flatten)]
        options: trending::Options,
        #[command(flatten)]
        form: Form,
    },
    /// Another's relay and ours on the same changes, record by record
    Compare {
        #[command(flatten)]
        options: compare::Options,
        #[command(flatten)]
        form: Form,
    },
    /// A long run by its name; `list` names them all
    Soak {
        /// Which one
        name: String,
        /// Keep the database, slot, topics and logs also after a good verdict
        #[arg(long)]
        keep: bool,
        #[command(flatten)]
        options: state::Options,
        #[command(flatten)]
        form: Form,
    },
    /// Something breaks, what the documentation tells is done, and the cost is counted; `--list` names them all
    Drill {
        /// Which one
        #[arg(required_unless_present = "list")]
        name: Option<String>,
        /// Name every drill
        #[arg(long)]
        list: bool,
        #[command(flatten)]
        options: drill::Options,
        #[command(flatten)]
        form: Form,
    },
}

#[derive(Debug, Args)]
struct Form {
    /// `json`: the last line of standard output is one object
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

impl Form {
    /// The table on standard output; or, where JSON was asked for, the table for who watches and the object for who reads.
    fn show(&self, table: &impl Display, json: impl FnOnce() -> String, screen: &Screen) {
        match self.output {
            Output::Text if std::io::stdout().is_terminal() => print(&format!("{table:#}")),
            Output::Text => print(&table.to_string()),
            Output::Json => {
                screen.say(&table.to_string());
                print(&json());
            }
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let screen = Screen::new();
    match obey(Cli::parse().command, &screen).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            screen.say(&explain(&error));
            ExitCode::FAILURE
        }
    }
}

/// Does what was asked; whether the verdict is good.
async fn obey(command: Command, screen: &Screen) -> Result<bool> {
    match command {
        Command::Run { options, form } => play(&options, &form, screen).await,
        Command::Drain { options, form } => {
            let environment = xtask::services::current()?;
            let report = drain::drain(&environment, &options, screen).await?;
            form.show(&report, || report.json(), screen);
            Ok(true)
        }
        Command::ExactlyOnce { options, form } => {
            let environment = xtask::services::current()?;
            let report = drain::exactly::bench(&environment, &options, screen).await?;
            form.show(&report, || report.json(), screen);
            Ok(true)
        }
        Command::Latency { options, form } => {
            let report = latency::bench(&options, screen).await?;
            form.show(&report, || report.json(), screen);
            Ok(true)
        }
        Command::Invalidate { options, form } => {
            let report = invalidation::bench(&options, screen).await?;
            form.show(&report, || report.json(), screen);
            Ok(true)
        }
        Command::Snapshot { options, form } => {
            let environment = xtask::services::current()?;
            let report = snapshot::bench(&environment, &options, screen).await?;
            form.show(&report, || report.json(), screen);
            Ok(report.passed())
        }
        Command::Load { options, form } => {
            let environment = xtask::services::current()?;
            let report = load::bench(&environment, &options, screen).await?;
            form.show(&report, || report.json(), screen);
            Ok(report.passed())
        }
        Command::Trending { options, form } => {
            let report = trending::bench(&options, screen).await?;
            form.show(&report, || report.json(), screen);
            Ok(report.passed())
        }
        Command::Compare { options, form } => {
            let environment = xtask::services::current()?;
            if options.losses {
                let losses = compare::losses::run(&environment, &options, screen).await?;
                form.show(&losses, || losses.json(), screen);
                return Ok(losses.passed());
            }
            let report = compare::compare(&environment, &options, screen).await?;
            form.show(&report, || report.json(), screen);
            Ok(report.passed())
        }
        Command::Drill { name, list, options, form } => match name.filter(|_| !list) {
            Some(name) => exercise(&name, &options, &form, screen).await,
            None => {
                drill::DRILLS.iter().for_each(|drill| print(&format!("{:<14} {}", drill.name, drill.about)));
                Ok(true)
            }
        },
        Command::Soak { name, .. } if name == "list" => {
            SOAKS.iter().for_each(|soak| print(&format!("{:<10} {}", soak.name, soak.about)));
            Ok(true)
        }
        Command::Soak { name, keep, options, form } => match Soak::named(&name) {
            Some(soak) => endure(soak, options, keep, &form, screen).await,
            None => Err(Error::Relay(format!("there is no soak named {name}: `soak list` names them all"))),
        },
    }
}

async fn exercise(name: &str, options: &drill::Options, form: &Form, screen: &Screen) -> Result<bool> {
    let Some(played) = drill::play(name, options, screen).await else {
        return Err(Error::Relay(format!("there is no drill named {name}: `drill --list` names them all")));
    };
    let report = played?;
    form.show(&report, || report.json(), screen);
    Ok(report.passed())
}

async fn endure(soak: &Soak, options: state::Options, keep: bool, form: &Form, screen: &Screen) -> Result<bool> {
    if let (SoakForm::Chain, Some(mut run)) = (soak.form, soak.form.options(options.seed, keep)) {
        run.kills = options.kills.unwrap_or(run.kills);
        run.seconds = options.seconds.or(run.seconds);
        run.rate = options.rate.unwrap_or(run.rate);
        let report = run::restarted(&run, screen).await?;
        form.show(&report, || report.json(), screen);
        return Ok(report.passed());
    }
    let environment = xtask::services::current()?;
    match soak.form {
        SoakForm::Run { .. } | SoakForm::Chain => match soak.form.options(options.seed, keep) {
            Some(run) => play(&run, form, screen).await,
            None => Ok(false),
        },
        SoakForm::State => {
            let report = state::run(&environment, options, keep, screen).await?;
            form.show(&report, || report.json(), screen);
            Ok(report.passed())
        }
        SoakForm::Large => {
            let report = large::run(&environment, options, keep, screen).await?;
            form.show(&report, || report.json(), screen);
            Ok(report.passed())
        }
        SoakForm::Snapshot => {
            let verdict = snapshot::soak(&environment, options, keep, screen).await?;
            form.show(&verdict, || verdict.json(), screen);
            Ok(verdict.passed())
        }
        SoakForm::Poison => {
            let report = loader::poison::run(&environment, options.rows, keep, screen).await?;
            form.show(&report, || report.json(), screen);
            Ok(report.passed())
        }
        SoakForm::Outage => {
            let report = loader::outage::run(&environment, options.seconds, keep, screen).await?;
            form.show(&report, || report.json(), screen);
            Ok(report.passed())
        }
        SoakForm::Churn => {
            let report = churn::run(&environment, options, keep, screen).await?;
            form.show(&report, || report.json(), screen);
            Ok(report.passed())
        }
    }
}

async fn play(options: &run::Options, form: &Form, screen: &Screen) -> Result<bool> {
    let environment = xtask::services::current()?;
    let report = run::run(&environment, options, screen).await?;
    form.show(&report, || report.json(), screen);
    Ok(report.passed())
}

/// The error with everything below it.
fn explain(error: &Error) -> String {
    let mut text = format!("error: {error}");
    let mut below = error.source();
    while let Some(source) = below {
        text.push_str(&format!("\n  because: {source}"));
        below = source.source();
    }
    text
}
