//! What a check found: a fault with a stable code, why it matters, and the exact words that mend it.
//!
//! Rules are tables of constants beside the code that looks for them; `docs/check.md` is held against them by a test.

use std::fmt;

/// How bad a finding is, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The relay does not start, stops, or loses a promise.
    Error,
    /// It runs, and something that is foreseeable will break a promise, a service or a disk.
    Warning,
    /// Worth knowing; nothing needs to be done.
    Note,
}

impl Severity {
    /// Its word, in listings and documents.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// One thing that is looked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name, which never changes.
    pub code: &'static str,
    /// How bad it usually is.
    pub severity: Severity,
    /// Why it matters, as a sentence.
    pub why: &'static str,
    /// What mends it, in general words; a finding has the exact ones.
    pub mend: &'static str,
}

impl Rule {
    /// It was found: `what` says what is there, as a lowercase fragment without any row's values.
    pub fn found(&'static self, what: impl Into<String>) -> Finding {
        Finding { rule: self, severity: self.severity, what: what.into(), mend: Vec::new() }
    }
}

/// One fault of one set-up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    rule: &'static Rule,
    severity: Severity,
    what: String,
    mend: Vec<Step>,
}

/// One step of a mend. The steps are to be taken in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// SQL, to be run in the outbox's database by its administrator.
    Sql(String),
    /// A command line.
    Command(String),
    /// A line of the configuration, `key = value` with the whole path of the key.
    Configuration(String),
    /// What a person must do or decide.
    Words(String),
}

impl Step {
    /// The kind, as listings name it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Sql(_) => "sql",
            Self::Command(_) => "command",
            Self::Configuration(_) => "configuration",
            Self::Words(_) => "words",
        }
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Sql(text) | Self::Command(text) | Self::Configuration(text) | Self::Words(text) => text,
        }
    }
}

impl Finding {
    /// Adds SQL to the mend.
    #[must_use]
    pub fn sql(mut self, sql: impl Into<String>) -> Self {
        self.mend.push(Step::Sql(sql.into()));
        self
    }

    /// Adds a command line to the mend.
    #[must_use]
    pub fn command(mut self, command: impl Into<String>) -> Self {
        self.mend.push(Step::Command(command.into()));
        self
    }

    /// Adds a line of the configuration to the mend.
    #[must_use]
    pub fn configuration(mut self, key: &str, value: &str) -> Self {
        self.mend.push(Step::Configuration(format!("{key} = {value}")));
        self
    }

    /// Adds what a person must do.
    #[must_use]
    pub fn words(mut self, words: impl Into<String>) -> Self {
        self.mend.push(Step::Words(words.into()));
        self
    }

    /// The same, as bad as this case is.
    #[must_use]
    pub fn as_bad_as(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    /// The rule's code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.rule.code
    }

    /// How bad it is here.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// What is there.
    #[must_use]
    pub fn what(&self) -> &str {
        &self.what
    }

    /// Why it matters.
    #[must_use]
    pub fn why(&self) -> &'static str {
        self.rule.why
    }

    /// What mends it, step by step.
    #[must_use]
    pub fn mend(&self) -> &[Step] {
        &self.mend
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}[{}]: {}", self.severity.name(), self.code(), self.what)?;
        writeln!(f, "  why: {}", self.why())?;
        for step in &self.mend {
            match step {
                Step::Words(text) => writeln!(f, "  mend: {text}")?,
                _ => writeln!(f, "  mend ({}): {}", step.kind(), step.text())?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static RULE: Rule = Rule { code: "a-code", severity: Severity::Warning, why: "It matters.", mend: "Mend it." };

    #[test]
    fn a_finding_says_what_why_and_each_step_of_the_mend_in_its_order() {
        let finding = RULE.found("something is there").sql("select 1").words("wait").configuration("a.b", "2");
        assert_eq!(
            finding.to_string(),
            "warning[a-code]: something is there\n  why: It matters.\n  mend (sql): select 1\n  mend: wait\n  \
             mend (configuration): a.b = 2\n"
        );
        assert!(Severity::Error < Severity::Note, "the worst sorts first");
        assert_eq!(finding.as_bad_as(Severity::Error).severity(), Severity::Error);
    }
}
