//! `postrider adopt`: taking over from another program, and back.

use std::{
    env, fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use clap::Subcommand;

use crate::{
    adopt::{self, Brokers},
    cli::{Error, File, print},
    config::Config,
};

/// Longest connector's configuration that is read, in bytes; the reader itself refuses less.
const FILE_BYTES_MAX: u64 = 2 * 1024 * 1024;

/// Takes over from another program, slot and position included.
#[derive(Debug, clap::Args)]
pub(crate) struct Adopt {
    #[command(subcommand)]
    from: From,
}

#[derive(Debug, Subcommand)]
enum From {
    Debezium(Debezium),
}

/// Turns a Debezium connector, of tables or with the event router, into a configuration, or back.
///
/// FILE is the connector's JSON, as `GET /connectors/NAME` answers or as it was posted, or the properties of
/// Debezium Server; `-` reads standard input. What becomes of each option is told on standard error. If one
/// cannot be taken over, nothing is written, and the exit code is 1.
///
/// It connects to nothing and changes nothing: docs/adopt.md has the steps.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Debezium {
    /// The connector's configuration.
    #[arg(value_name = "FILE", required_unless_present = "back", conflicts_with = "back")]
    file: Option<PathBuf>,
    /// Where to write the configuration; without this option to standard output. A file that is there is kept.
    #[arg(long, value_name = "PATH", conflicts_with = "back")]
    write: Option<PathBuf>,
    /// The brokers, host:port separated by commas: a connector's configuration does not name them.
    #[arg(long, value_name = "BROKERS", conflicts_with = "back")]
    bootstrap_servers: Option<String>,
    /// Print the connector that stands for our configuration, and what position it will see.
    #[arg(long)]
    back: bool,
}

impl Adopt {
    pub(crate) fn execute(self, config: File<'_>) -> Result<(), Error> {
        let From::Debezium(debezium) = self.from;
        match &debezium.file {
            Some(file) => debezium.there(file),
            None => back(config),
        }
    }
}

impl Debezium {
    fn there(&self, file: &Path) -> Result<(), Error> {
        let name = file.display().to_string();
        let text = read(file).map_err(|source| Error::Connector { name: name.clone(), source: source.into() })?;
        let adoption = adopt::debezium(&text, &Brokers(self.bootstrap_servers.clone()))
            .map_err(|source| Error::Connector { name, source: source.into() })?;
        let fates: String = adoption.fates.iter().map(|fate| format!("{fate}\n")).collect();
        tell(&fates);
        if adoption.is_refused() {
            return Err(Error::Adopt("some options cannot be taken over: nothing was written".to_owned()));
        }
        match &self.write {
            None => print(&adoption.configuration)?,
            Some(path) => {
                let failed = |source: io::Error| Error::Write { path: path.display().to_string(), source };
                let mut file = fs::File::create_new(path).map_err(failed)?;
                file.write_all(adoption.configuration.as_bytes()).map_err(failed)?;
            }
        }
        tell(&format!("\n{}", adoption.runbook()));
        Ok(())
    }
}

fn back(config: File<'_>) -> Result<(), Error> {
    let config = Config::load(config, env::vars_os()).map_err(Error::Config)?;
    let connector = adopt::back(&config).map_err(Error::Adopt)?;
    print(&format!("{}\n", connector.json))?;
    tell(&connector.remarks.iter().map(|remark| format!("- {remark}\n")).collect::<String>());
    Ok(())
}

fn read(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    if file == Path::new("-") {
        io::stdin().take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    } else {
        fs::File::open(file)?.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    }
    Ok(text)
}

/// Tells a person beside the result.
fn tell(text: &str) {
    // Where standard error is closed, there is nobody to tell.
    drop(io::stderr().write_all(text.as_bytes()));
}
