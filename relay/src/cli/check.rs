//! `postrider check`: the doctor.

use std::{env, path::Path, time::Duration};

use serde::Serialize;

use crate::{
    app::check::{Options, check},
    cli::{Error, administrator::block_on, print},
    config::Config,
    finding::{Finding, Severity},
};

/// Examines configuration, database and broker together, and changes nothing.
///
/// Each finding has a severity, a code that never changes (docs/check.md lists them all), what was found,
/// why it matters, and the exact SQL, command or line of configuration that mends it. On a good set-up it
/// says nothing.
///
/// Exit codes: 0 no error was found (with --strict: no warning either), 1 one was found, 2 wrong usage or
/// configuration.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Check {
    /// Fail on warnings as well.
    #[arg(long)]
    strict: bool,
    /// Show notes as well: what is worth knowing and needs nothing to be done.
    #[arg(long)]
    verbose: bool,
    /// As text, or as one JSON array of findings.
    #[arg(long, value_name = "FORM", default_value = "text", value_parser = ["text", "json"])]
    output: String,
    /// A transaction is too old when it is open for longer, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    old_after: u64,
    /// Look with this role's wider view as well, such as postgres://postgres@localhost
    ///
    /// The relay's role sees neither how old the transactions of others are nor which migrations were
    /// applied. The variable keeps a password out of the list of processes.
    #[arg(long, value_name = "URL", env = "POSTRIDER_ADMIN_URL", hide_env_values = true, verbatim_doc_comment)]
    admin_url: Option<String>,
}

impl Check {
    pub(crate) fn execute(self, config: Option<&Path>) -> Result<(), Error> {
        let config = Config::load(config, env::vars_os()).map_err(Error::Config)?;
        let administrator = self.admin_url.as_ref().map(|url| config.postgres.with_url(url)).transpose();
        let administrator = administrator.map_err(Error::AdminUrl)?;
        let options = Options { administrator, old_after: Duration::from_secs(self.old_after) };
        let mut findings =
            block_on(async { check(&config, options).await.map_err(|error| Error::Run { error, json: false }) })?;
        findings.retain(|finding| self.verbose || finding.severity() != Severity::Note);
        match self.output.as_str() {
            "json" => print(&json(&findings))?,
            _ => print(&findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?,
        }
        let count = |severity| findings.iter().filter(|finding| finding.severity() == severity).count();
        let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
        if errors > 0 || (self.strict && warnings > 0) {
            return Err(Error::Check { errors, warnings });
        }
        Ok(())
    }
}

/// A finding as programs read it.
#[derive(Serialize)]
struct Listed<'a> {
    severity: &'static str,
    code: &'static str,
    what: &'a str,
    why: &'static str,
    mend: Vec<ListedStep<'a>>,
}

#[derive(Serialize)]
struct ListedStep<'a> {
    kind: &'static str,
    text: &'a str,
}

fn json(findings: &[Finding]) -> String {
    let listed: Vec<Listed<'_>> = findings
        .iter()
        .map(|finding| Listed {
            severity: finding.severity().name(),
            code: finding.code(),
            what: finding.what(),
            why: finding.why(),
            mend: finding.mend().iter().map(|step| ListedStep { kind: step.kind(), text: step.text() }).collect(),
        })
        .collect();
    let mut text = serde_json::to_string_pretty(&listed).expect("strings always have a JSON form");
    text.push('\n');
    text
}
