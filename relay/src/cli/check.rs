//! `postrider check`: the doctor.

use std::{env, time::Duration};

use serde::Serialize;

use crate::{
    app::check::{Options, check},
    cli::{Error, File, administrator::block_on, print},
    config::{Config, relays::OfRelay},
    finding::{Finding, Severity},
};

/// Examines configuration, database and broker together, and changes nothing.
///
/// Each finding has a severity, a code that never changes (docs/check.md lists them all), what was found,
/// why it matters, and the exact SQL, command or line of configuration that mends it. On a good set-up it
/// says nothing.
///
/// Of several relays each is examined in turn; --relay names one.
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
    pub(crate) fn execute(self, config: File<'_>) -> Result<(), Error> {
        let relays = Config::load_each(config, env::vars_os()).map_err(Error::Config)?;
        let mut found = Vec::new();
        for OfRelay { name, config } in relays {
            let mut findings = self.examine(&config)?;
            findings.retain(|finding| self.verbose || finding.severity() != Severity::Note);
            found.push((name, findings));
        }
        match self.output.as_str() {
            "json" => print(&json(&found))?,
            _ => print(&found.iter().map(text).collect::<String>())?,
        }
        let findings = || found.iter().flat_map(|(_, findings)| findings);
        let count = |severity| findings().filter(|finding| finding.severity() == severity).count();
        let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
        if errors > 0 || (self.strict && warnings > 0) {
            return Err(Error::Check { errors, warnings });
        }
        Ok(())
    }

    /// What there is to say of one relay.
    fn examine(&self, config: &Config) -> Result<Vec<Finding>, Error> {
        let administrator = self.admin_url.as_ref().map(|url| config.postgres.with_url(url)).transpose();
        let administrator = administrator.map_err(Error::AdminUrl)?;
        let options = Options { administrator, old_after: Duration::from_secs(self.old_after) };
        block_on(async { check(config, options).await.map_err(|error| Error::Run { error, json: false }) })
    }
}

/// The findings of a relay, below its name if there are several.
fn text((relay, findings): &(Option<String>, Vec<Finding>)) -> String {
    let text = findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    match relay {
        Some(name) if !findings.is_empty() => format!("relay {name}:\n{text}\n"),
        _ => text,
    }
}

/// A finding as programs read it.
#[derive(Serialize)]
struct Listed<'a> {
    /// Whose, of several relays.
    #[serde(skip_serializing_if = "Option::is_none")]
    relay: Option<&'a str>,
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

fn json(found: &[(Option<String>, Vec<Finding>)]) -> String {
    let of_relays = found.iter().flat_map(|(relay, findings)| findings.iter().map(move |finding| (relay, finding)));
    let listed: Vec<Listed<'_>> = of_relays
        .map(|(relay, finding)| Listed {
            relay: relay.as_deref(),
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
