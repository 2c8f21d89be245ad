//! What went wrong at ClickHouse, as far as it decides what to do; and what may be said of it.
//!
//! Guarantee: of the server's own words only those pass that can hold no value of a row: the error's code and name always, a
//! sentence where it speaks of tables, rights or limits.

use std::error::Error as _;
use std::fmt;

use clickhouse::error::Error as ClientError;

/// Letters of the server's words that are passed on, at most.
const WORDS_MAX: usize = 400;

/// What follows from a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// The server cannot be reached, or restarts, or the answer was lost: the same again, later. An insert may have been done.
    Away,
    /// The server has too much to do: the same again, later.
    Busy,
    /// It is about the rows of this very batch.
    Data,
    /// A person has to do something: no such table, no right, a wrong password.
    Setup,
    /// Nobody knows.
    Unknown,
}

impl Class {
    /// As metrics and logs name it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Away => "away",
            Self::Busy => "busy",
            Self::Data => "data",
            Self::Setup => "setup",
            Self::Unknown => "unknown",
        }
    }
}

/// A failure at ClickHouse. Shows no value of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    class: Class,
    code: Option<u32>,
    name: Option<String>,
    view: Option<String>,
    what: String,
    words: Option<String>,
}

impl std::error::Error for Failure {}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClickHouse: {}", self.what)?;
        match (self.code, &self.name) {
            (Some(code), Some(name)) => write!(f, ": {name} ({code})")?,
            (Some(code), None) => write!(f, ": error {code}")?,
            _ => {}
        }
        if let Some(view) = &self.view {
            write!(f, ", in the materialized view {view}")?;
        }
        self.words.as_ref().map_or(Ok(()), |words| write!(f, ": {words}"))
    }
}

impl Failure {
    /// What could not be set up on our own side, such as a file of certificates.
    pub(super) fn setup(what: impl Into<String>) -> Self {
        Self { class: Class::Setup, code: None, name: None, view: None, what: what.into(), words: None }
    }

    /// The server did not answer in time.
    pub(super) fn late(what: &str) -> Self {
        let words = Some("no answer in time".to_owned());
        Self { class: Class::Away, code: None, name: None, view: None, what: what.to_owned(), words }
    }

    /// What the client met with while it did `what`. With `open`, the statement held no values, and all words may be said.
    pub(super) fn of(error: &ClientError, what: &str, open: bool) -> Self {
        match error {
            ClientError::BadResponse(answer) => Self::answered(answer, what, open),
            ClientError::Network(_) => Self { words: Some(chain(error)), ..Self::late(what) }.unless_certificate(error),
            ClientError::TimedOut => Self::late(what),
            ClientError::InvalidParams(_) | ClientError::Unsupported(_) => {
                Self { words: Some(chain(error)), ..Self::setup(what) }
            }
            // The others speak of what was read, which may be rows.
            _ => Self { class: Class::Unknown, words: None, ..Self::late(what) },
        }
    }

    /// What an answer says that is no ClickHouse's, or not of the form that was asked for.
    pub(super) fn unreadable(what: &str) -> Self {
        let words = Some("the answer cannot be read".to_owned());
        Self { class: Class::Unknown, words, ..Self::late(what) }
    }

    fn answered(answer: &str, what: &str, open: bool) -> Self {
        let Some((code, message)) = code(answer) else {
            let words = "the answer is none of ClickHouse's; is the URL that of its HTTP interface?".to_owned();
            return Self { words: Some(words), ..Self::late(what) };
        };
        let view = view(message);
        let class = class(code, message);
        let is_plain = view.is_none() && matches!(class, Class::Setup | Class::Busy | Class::Away);
        let words = if open {
            Some(shortened(message))
        } else if is_plain || code == VIOLATED_CONSTRAINT {
            Some(first_sentence(message))
        } else {
            None
        };
        let words = words.filter(|words| !words.is_empty());
        Self { class, code: Some(code), name: name(message), view, what: what.to_owned(), words }
    }

    /// A certificate that is not believed is for a person to mend.
    fn unless_certificate(self, error: &ClientError) -> Self {
        let mut cause = error.source();
        while let Some(error) = cause {
            if matches!(tls(error), Some(rustls::Error::InvalidCertificate(_) | rustls::Error::AlertReceived(_))) {
                return Self { class: Class::Setup, ..self };
            }
            cause = error.source();
        }
        self
    }

    /// What follows from it.
    #[must_use]
    pub fn class(&self) -> Class {
        self.class
    }

    /// The server's number for it.
    #[must_use]
    pub fn code(&self) -> Option<u32> {
        self.code
    }

    /// The server's name for it, such as `UNKNOWN_TABLE`.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The materialized view whose refusal it is, as `database.view`. The table itself and other views may have taken the rows.
    #[must_use]
    pub fn of_view(&self) -> Option<&str> {
        self.view.as_deref()
    }
}

const VIOLATED_CONSTRAINT: u32 = 469;
const TOO_MANY_PARTS: u32 = 252;

/// Codes that say that the server, or what it stands on, is away:
/// <https://github.com/ClickHouse/ClickHouse/blob/master/src/Common/ErrorCodes.cpp>.
const AWAY: &[u32] = &[3, 107, 159, 198, 209, 210, 225, 236, 279, 285, 319, 394, 425, 733, 999];

/// Too many parts, queries or connections, no memory, no space, a table that is read-only for now, a quota.
const BUSY: &[u32] = &[201, 202, 203, 241, 242, 243, 252, 439];

/// What tables, columns, rights, settings and passwords are named in.
const SETUP: &[u32] = &[8, 10, 16, 20, 44, 46, 47, 48, 60, 62, 81, 115, 164, 192, 193, 194, 195, 291, 452, 497, 516];

/// What can only be about the rows.
const DATA: &[u32] = &[
    6, 25, 26, 27, 33, 34, 36, 38, 41, 43, 53, 69, 70, 72, 117, 131, 153, 190, 321, 349, 376, 395, 407, 441, 467, 469,
    675, 676, 691,
];

fn class(code: u32, message: &str) -> Class {
    // As many partitions as the batch has, and not what else is inserted.
    if code == TOO_MANY_PARTS && message.contains("single INSERT block") {
        return Class::Data;
    }
    match code {
        code if AWAY.contains(&code) => Class::Away,
        code if BUSY.contains(&code) => Class::Busy,
        code if SETUP.contains(&code) => Class::Setup,
        code if DATA.contains(&code) => Class::Data,
        _ => Class::Unknown,
    }
}

/// `Code: 60. DB::Exception: …`
fn code(answer: &str) -> Option<(u32, &str)> {
    let rest = answer.trim_start().strip_prefix("Code:")?.trim_start();
    let end = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
    let message = rest[end..].trim_start_matches(['.', ' ']);
    Some((rest[..end].parse().ok()?, message.strip_prefix("DB::Exception:").unwrap_or(message).trim_start()))
}

/// The name that stands behind the message, before the version: `… (UNKNOWN_TABLE) (version 26.9.1)`.
fn name(message: &str) -> Option<String> {
    let inner = message.rsplit('(').find_map(|part| {
        let (inner, _) = part.split_once(')')?;
        let is_name = inner.len() > 3
            && inner.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
        is_name.then_some(inner)
    });
    inner.map(str::to_owned)
}

/// `while pushing to view db.name (…)`.
fn view(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("while pushing to view ")?;
    let end = rest.find(" (").or_else(|| rest.find([':', ',', '\n'])).unwrap_or(rest.len());
    Some(rest[..end].trim_end_matches(['.', ' ']).to_owned()).filter(|view| !view.is_empty())
}

/// Without the name and the version that every message ends in.
fn message_alone(message: &str) -> &str {
    let end = message.rfind(" (version ").unwrap_or(message.len());
    let message = &message[..end];
    match message.rfind(" (") {
        Some(at) if name(&message[at..]).is_some() => &message[..at],
        _ => message,
    }
}

/// The first sentence: what follows may quote rows or the statement.
fn first_sentence(message: &str) -> String {
    let message = message_alone(message);
    let ends = [". ", ": While ", ": while ", " In scope ", " Expression:", " Column values:", "\n"];
    let end = ends.iter().filter_map(|end| message.find(end)).min().unwrap_or(message.len());
    shortened(&message[..end])
}

fn shortened(message: &str) -> String {
    message_alone(message).trim_end_matches(['.', ' ']).chars().take(WORDS_MAX).collect()
}

/// The error of TLS that an error is, or that an error of I/O holds: that one shows it, but not as its source.
fn tls<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e rustls::Error> {
    if let Some(found) = error.downcast_ref() {
        return Some(found);
    }
    tls(error.downcast_ref::<std::io::Error>()?.get_ref()?)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        // Some errors say what caused them, too.
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(answer: &str) -> Failure {
        Failure::of(&ClientError::BadResponse(answer.to_owned()), "insert into db.t", false)
    }

    #[test]
    fn a_missing_table_is_a_matter_of_set_up_and_is_named() {
        let failure = failure(
            "Code: 60. DB::Exception: Table db.t does not exist. Maybe you meant db.tt?. (UNKNOWN_TABLE) (version 26.9.1.1)",
        );
        assert_eq!(failure.class(), Class::Setup);
        assert_eq!((failure.code(), failure.name()), (Some(60), Some("UNKNOWN_TABLE")));
        assert_eq!(failure.to_string(), "ClickHouse: insert into db.t: UNKNOWN_TABLE (60): Table db.t does not exist");
    }

    #[test]
    fn no_value_of_a_row_is_said() {
        for answer in [
            "Code: 27. DB::Exception: Cannot parse input: expected ',' before: 'secret': (at row 1): While executing X. (CANNOT_PARSE_INPUT_ASSERTION_FAILED) (version 26.9)",
            "Code: 691. DB::Exception: Unknown element 'secret' for enum: while converting source column. (UNKNOWN_ELEMENT_OF_ENUM) (version 26.9)",
            "Code: 469. DB::Exception: Constraint `c` for table db.t (6c0e) is violated at row 78. Expression: (id < 1). Column values: id = secret. (VIOLATED_CONSTRAINT) (version 26.9)",
            "Code: 395. DB::Exception: Value passed to 'throwIf' is secret: while pushing to view db.v (1-2). (FUNCTION_THROW_IF_VALUE_IS_NON_ZERO) (version 26.9)",
            "Code: 60. DB::Exception: Table db.x does not exist: while pushing to view db.v (1-2): secret. (UNKNOWN_TABLE) (version 26.9)",
            "Code: 12345. DB::Exception: secret. (NEW_ERROR) (version 26.9)",
            "secret",
        ] {
            let text = failure(answer).to_string();
            assert!(!text.contains("secret"), "{text}");
        }
    }

    #[test]
    fn a_view_that_refuses_is_named() {
        let failure = failure(
            "Code: 395. DB::Exception: Value passed to 'throwIf' function is non-zero: while executing 'FUNCTION throwIf(1)': while pushing to view db.by_hour (c1d2). (FUNCTION_THROW_IF_VALUE_IS_NON_ZERO) (version 26.9)",
        );
        assert_eq!((failure.class(), failure.of_view()), (Class::Data, Some("db.by_hour")));
        assert!(failure.to_string().ends_with("in the materialized view db.by_hour"), "{failure}");
    }

    #[test]
    fn what_passes_by_itself_is_told_from_what_does_not() {
        for (code, expected) in [
            (252, Class::Busy),
            (241, Class::Busy),
            (202, Class::Busy),
            (210, Class::Away),
            (999, Class::Away),
            (516, Class::Setup),
            (497, Class::Setup),
            (407, Class::Data),
            (349, Class::Data),
            (1, Class::Unknown),
        ] {
            let answer = format!("Code: {code}. DB::Exception: words. (NAME_OF_IT) (version 26.9)");
            assert_eq!(failure(&answer).class(), expected, "{code}");
        }
        let partitions = "Code: 252. DB::Exception: Too many partitions for single INSERT block (more than 100). (TOO_MANY_PARTS) (version 26.9)";
        assert_eq!(failure(partitions).class(), Class::Data);
        assert_eq!(failure("<html>502</html>").class(), Class::Away);
    }
}
