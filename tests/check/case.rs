//! One wrong set-up: how it is made wrong, what must be found, and that the printed mend is one.

use std::any::Any;
use std::pin::Pin;

use harness::{Launch, Site};
use serde_json::Deserializer;

use crate::check::{Finding, mend};

/// What a case keeps alive while it is wrong: a session that holds something, a server of its own.
pub(super) type Guard = Box<dyn Any>;

/// Makes a site wrong by more than SQL.
pub(super) type Spoil = for<'s> fn(&'s Site) -> Pin<Box<dyn Future<Output = Vec<Guard>> + 's>>;

/// How the site of a case is made.
pub(super) type Make = fn() -> Pin<Box<dyn Future<Output = Site>>>;

/// A wrong set-up.
pub(super) struct Case {
    /// What is wrong.
    pub(super) name: &'static str,
    /// What must be found, the fault itself first; nothing else but notes may be.
    pub(super) codes: &'static [&'static str],
    /// Run in its database as superuser; `{}` is the site's name.
    pub(super) sql: &'static [&'static str],
    /// Variables of the relay.
    pub(super) variables: &'static [(&'static str, &'static str)],
    /// What else is done.
    pub(super) spoil: Option<Spoil>,
    /// Arguments of the check.
    pub(super) arguments: &'static [&'static str],
    /// Whether the printed steps can be run here and are enough.
    pub(super) mends: bool,
    /// How the site is made, if not on the shared services.
    pub(super) make: Option<Make>,
}

/// What became of it.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) name: &'static str,
    pub(super) code: &'static str,
    pub(super) found: Vec<String>,
    pub(super) mended: String,
    pub(super) fault: Option<String>,
}

impl Outcome {
    /// Of a case that could not be run to its end; its panic says why.
    pub(super) fn broken(name: &'static str, code: &'static str) -> Self {
        let fault = Some("it panicked: see above".to_owned());
        Self { name, code, found: Vec::new(), mended: "nothing".to_owned(), fault }
    }
}

impl Case {
    /// A case that SQL makes wrong, and the printed steps right again.
    pub(super) fn sql(name: &'static str, codes: &'static [&'static str], sql: &'static [&'static str]) -> Self {
        Self { name, codes, sql, variables: &[], spoil: None, arguments: &[], mends: true, make: None }
    }

    /// A case of the configuration.
    pub(super) fn variables(
        name: &'static str,
        codes: &'static [&'static str],
        variables: &'static [(&'static str, &'static str)],
    ) -> Self {
        Self { variables, ..Self::sql(name, codes, &[]) }
    }

    /// A case that takes more.
    pub(super) fn spoilt(name: &'static str, codes: &'static [&'static str], spoil: Spoil) -> Self {
        Self { spoil: Some(spoil), ..Self::sql(name, codes, &[]) }
    }

    /// The same, where a person has to do what is printed.
    pub(super) fn by_hand(self) -> Self {
        Self { mends: false, ..self }
    }

    /// The same, checked with these arguments.
    pub(super) fn with(self, arguments: &'static [&'static str]) -> Self {
        Self { arguments, ..self }
    }

    /// The same, on a site of its own kind.
    pub(super) fn on(self, make: Make) -> Self {
        Self { make: Some(make), ..self }
    }

    /// Makes it wrong, checks, mends, checks again.
    pub(super) async fn run(self) -> Outcome {
        let site = match self.make {
            Some(make) => make().await,
            None => Site::new("doctor").await,
        };
        for sql in self.sql {
            site.sql(&sql.replace("{}", site.name())).await;
        }
        let guards = match self.spoil {
            Some(spoil) => spoil(&site).await,
            None => Vec::new(),
        };
        let mut variables: Vec<(String, String)> = Vec::new();
        for (name, value) in self.variables {
            variables.push(((*name).to_owned(), value.replace("{}", site.name())));
        }
        let findings = self.check(&site, &variables);
        let found: Vec<String> = findings.iter().map(|finding| finding.code.clone()).collect();
        let mut fault = self.misses(&findings);
        let mut mended = "words".to_owned();
        if self.mends && fault.is_none() {
            mended = mend::apply(&site, &findings, &mut variables, guards).await;
            let left = self.check(&site, &variables);
            if !left.is_empty() {
                fault = Some(format!("{findings:#?} was mended by {mended}, and then there was {left:#?}"));
            }
        }
        Outcome { name: self.name, code: self.codes[0], found, mended, fault }
    }

    fn check(&self, site: &Site, variables: &[(String, String)]) -> Vec<Finding> {
        let set = |launch: Launch, (name, value): &(String, String)| launch.with(name, value);
        let launch = variables.iter().fold(site.administrator(), set);
        let launch = self.arguments.iter().fold(launch, |launch, argument| launch.argument(argument));
        let ended = launch.argument("--output").argument("json").complete("check");
        // After the array stands what the process says of its exit code.
        let mut said = Deserializer::from_str(ended.said()).into_iter::<Vec<Finding>>();
        let findings = said.next().and_then(Result::ok).unwrap_or_else(|| panic!("{}: {}", self.name, ended.said()));
        let is_error = findings.iter().any(|finding| finding.severity == "error");
        assert_eq!(ended.code(), Some(i32::from(is_error)), "{}: {}", self.name, ended.said());
        assert!(!ended.said().contains("only for this test"), "the password is shown");
        findings
    }

    /// What was found that should not have been, or the other way round.
    fn misses(&self, findings: &[Finding]) -> Option<String> {
        let mut wanted = self.codes.to_vec();
        let counts = |finding: &&Finding| finding.severity != "note" || wanted.contains(&finding.code.as_str());
        let mut found: Vec<&str> = findings.iter().filter(counts).map(|finding| finding.code.as_str()).collect();
        found.sort_unstable();
        wanted.sort_unstable();
        let silent =
            findings.iter().any(|finding| finding.what.is_empty() || finding.why.is_empty() || finding.mend.is_empty());
        (found != wanted || silent).then(|| format!("wanted {wanted:?}, found {findings:#?}"))
    }
}
