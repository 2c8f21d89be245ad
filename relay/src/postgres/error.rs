//! What can go wrong with a replication connection, sorted by what a caller can do about it.

use std::borrow::Cow;
use std::fmt;
use std::io;

use crate::postgres::cursor::Cursor;

/// What a caller can branch on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// No connection, a lost or silent one, or a server that is starting, stopping or full: try again.
    Unavailable,
    /// The server does not accept this user or password, or asks for a method that is not supported.
    Authentication,
    /// The way to the server cannot be made as safe as demanded: no TLS there, a certificate that is not believed, a file of
    /// ours that cannot be used.
    Tls,
    /// Another session is using the slot; `pid` is its backend, where the server named it. Try again, or stop that session.
    SlotActive {
        /// The backend that holds the slot.
        pid: Option<i32>,
    },
    /// There is no such slot.
    SlotMissing,
    /// A publication does not exist at the place in the WAL that is being read: going on would be a silent gap.
    PublicationMissing,
    /// The server or the slot is not in a state to do this: `wal_level`, an invalidated slot, a slot of another plugin or database.
    Prerequisite,
    /// The server sent what the protocol does not allow.
    Protocol,
    /// Any other refusal; [`Error::sqlstate`] tells which.
    Rejected,
}

/// An error of the replication client.
///
/// The text says what was being done and, where it is known, what to do; [`std::error::Error::source`] says what happened.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    context: Cow<'static, str>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What was being done when the server refused: the same SQLSTATE means different things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum During {
    Query,
    SlotCommand,
    Stream,
}

impl Error {
    pub(crate) fn new(kind: Kind, context: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, context: context.into(), source: None }
    }

    pub(crate) fn io(context: impl Into<Cow<'static, str>>, source: io::Error) -> Self {
        Self { kind: Kind::Unavailable, context: context.into(), source: Some(source.into()) }
    }

    pub(crate) fn protocol(context: impl Into<Cow<'static, str>>, source: DecodeError) -> Self {
        Self { kind: Kind::Protocol, context: context.into(), source: Some(source.into()) }
    }

    pub(crate) fn server(context: impl Into<Cow<'static, str>>, during: During, source: ServerError) -> Self {
        let kind = classify(&source, during);
        Self { kind, context: context.into(), source: Some(source.into()) }
    }

    pub(crate) fn with_source(
        kind: Kind,
        context: impl Into<Cow<'static, str>>,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self { kind, context: context.into(), source: Some(source.into()) }
    }

    /// Where the server's door stays shut until the configuration is another: what happened, and what the operator of a
    /// `[postgres]` section can do. Both ends of the relay ask here, so that neither takes such a door for a server that is away.
    #[must_use]
    pub fn barred(&self, user: &str) -> Option<(String, &'static str)> {
        match self.kind {
            Kind::Authentication => Some((
                format!("Postgres refused user {user:?}"),
                "Check [postgres] user, password or password_file, and the server's pg_hba.conf.",
            )),
            Kind::Tls => Some((
                "the way to Postgres cannot be made as safe as the configuration demands".to_owned(),
                "Check [postgres] tls and the files named beside it; docs/operations.md, \"Secure connections\".",
            )),
            _ => None,
        }
    }

    /// The same kind of trouble, told as part of a larger one that repeats what it says.
    pub(crate) fn within(self, context: String) -> Self {
        Self { kind: self.kind, context: context.into(), source: None }
    }

    /// What a caller can branch on.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether the same attempt can succeed later without anybody changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self.kind, Kind::Unavailable | Kind::SlotActive { .. })
    }

    /// The server's own report, if the server reported this.
    #[must_use]
    pub fn server_error(&self) -> Option<&ServerError> {
        self.source.as_deref()?.downcast_ref()
    }

    /// The SQLSTATE, if the server reported this: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
    #[must_use]
    pub fn sqlstate(&self) -> Option<&str> {
        self.server_error().map(|error| error.code.as_str())
    }

    /// The server's own words, in its language.
    #[must_use]
    pub fn server_says(&self) -> Option<&str> {
        self.server_error().map(|error| error.message.as_str())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.context)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static))
    }
}

/// An `ErrorResponse` or `NoticeResponse`: <https://www.postgresql.org/docs/current/protocol-error-fields.html>.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServerError {
    /// `ERROR`, `FATAL`, `PANIC`, or for a notice `WARNING`, `NOTICE` …, never translated.
    pub severity: String,
    /// The SQLSTATE, five characters.
    pub code: String,
    /// What happened, in the server's language.
    pub message: String,
    /// More about it.
    pub detail: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl ServerError {
    /// Reads the fields of an `ErrorResponse` or `NoticeResponse`; text that is not UTF-8 (before the
    /// encoding is agreed on, the server may use another) is kept readable rather than refused.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, DecodeError> {
        let mut cursor = Cursor::new(body);
        let mut report = Self::default();
        loop {
            let field = cursor.u8()?;
            if field == 0 {
                break;
            }
            let rest = cursor.rest();
            let end = rest
                .iter()
                .position(|&byte| byte == 0)
                .ok_or(DecodeError::new(cursor.offset(), Fault::Unterminated))?;
            let value = String::from_utf8_lossy(&rest[..end]).into_owned();
            cursor.take(end + 1)?;
            match field {
                b'V' => report.severity = value,
                // Older than 9.6, or a proxy: only the translated severity is there.
                b'S' if report.severity.is_empty() => report.severity = value,
                b'C' => report.code = value,
                b'M' => report.message = value,
                b'D' => report.detail = Some(value),
                b'H' => report.hint = Some(value),
                _ => {}
            }
        }
        cursor.finish()?;
        Ok(report)
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (SQLSTATE {})", self.severity, self.message, self.code)?;
        if let Some(detail) = &self.detail {
            write!(f, "; detail: {detail}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "; hint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ServerError {}

/// Received bytes that do not form what they should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("at byte {offset}: {fault}")]
pub struct DecodeError {
    /// How many bytes into the message.
    pub offset: usize,
    /// What is wrong there.
    pub fault: Fault,
}

impl DecodeError {
    pub(crate) const fn new(offset: usize, fault: Fault) -> Self {
        Self { offset, fault }
    }
}

/// What is wrong with received bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The message ends before its last field does.
    #[error("the message is {missing} bytes too short")]
    Truncated {
        /// How many bytes are missing at least.
        missing: usize,
    },
    /// The message goes on after its last field.
    #[error("{bytes} bytes follow the end of the message")]
    TrailingBytes {
        /// How many.
        bytes: usize,
    },
    /// A tag that this protocol version does not have.
    #[error("unknown {what} {:?}", char::from(*.found))]
    Unknown {
        /// What the tag should have told.
        what: &'static str,
        /// The tag.
        found: u8,
    },
    /// A string without its terminating zero.
    #[error("a string does not end")]
    Unterminated,
    /// A string that is not UTF-8, although the session's encoding is.
    #[error("a string is not UTF-8")]
    NotUtf8,
    /// A row that has not as many columns as were announced.
    #[error("a row of {found} columns instead of {wanted}")]
    Columns {
        /// How many it has.
        found: usize,
        /// How many were announced.
        wanted: usize,
    },
    /// A count below zero.
    #[error("a length of {length}")]
    NegativeLength {
        /// The count.
        length: i32,
    },
    /// A time that does not fit into 64 bits of Unix microseconds.
    #[error("a time {micros} microseconds after 2000-01-01 cannot be told in Unix time")]
    TimeOutOfRange {
        /// Microseconds since 2000-01-01 00:00:00 UTC.
        micros: i64,
    },
}

fn classify(error: &ServerError, during: During) -> Kind {
    let code = error.code.as_str();
    match (code, during) {
        ("42704", During::SlotCommand) => Kind::SlotMissing,
        ("42704", During::Stream) => Kind::PublicationMissing,
        ("55006", _) => Kind::SlotActive { pid: last_number(&error.message) },
        ("55000", _) => Kind::Prerequisite,
        _ => match code.get(..2) {
            Some("28") => Kind::Authentication,
            // Connection trouble, a serialisation failure, too few resources, an operator's intervention: all pass.
            Some("08" | "40" | "53" | "57") => Kind::Unavailable,
            _ => Kind::Rejected,
        },
    }
}

/// The backend's process id ends the message in every language: `replication slot "x" is active for PID 4711`.
fn last_number(message: &str) -> Option<i32> {
    message.rsplit(|c: char| !c.is_ascii_digit()).find(|digits| !digits.is_empty())?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(code: &str, message: &str) -> ServerError {
        ServerError { code: code.into(), message: message.into(), ..ServerError::default() }
    }

    #[test]
    fn a_sqlstate_and_what_was_being_done_decide_the_kind() {
        for (code, during, kind, transient) in [
            ("28P01", During::Query, Kind::Authentication, false),
            ("28000", During::Query, Kind::Authentication, false),
            ("3D000", During::Query, Kind::Rejected, false),
            ("42704", During::Query, Kind::Rejected, false),
            ("42704", During::SlotCommand, Kind::SlotMissing, false),
            ("42704", During::Stream, Kind::PublicationMissing, false),
            ("55000", During::SlotCommand, Kind::Prerequisite, false),
            ("57P01", During::Stream, Kind::Unavailable, true),
            ("57P03", During::Query, Kind::Unavailable, true),
            ("53300", During::Query, Kind::Unavailable, true),
            ("", During::Query, Kind::Rejected, false),
        ] {
            let error = Error::server("x", during, report(code, "no"));
            assert_eq!((error.kind(), error.is_transient()), (kind, transient), "{code} {during:?}");
            assert_eq!(error.sqlstate(), Some(code));
        }
    }

    #[test]
    fn an_active_slot_names_the_backend_that_holds_it() {
        let message = "replication slot \"orders_2\" is active for PID 4711";
        let error = Error::server("x", During::SlotCommand, report("55006", message));
        assert_eq!(error.kind(), Kind::SlotActive { pid: Some(4711) });
        assert!(error.is_transient());
        assert_eq!(last_number("no digits"), None);
        assert_eq!(last_number("99999999999999"), None);
    }

    #[test]
    fn the_fields_of_a_report_are_read_and_the_untranslated_severity_wins() {
        let body = b"SFEHLER\0VERROR\0C42704\0Mno slot\0Dwhy\0Hdo\0Fslot.c\0\0";
        let read = ServerError::parse(body).unwrap();
        let wanted = ServerError {
            severity: "ERROR".into(),
            code: "42704".into(),
            message: "no slot".into(),
            detail: Some("why".into()),
            hint: Some("do".into()),
        };
        assert_eq!(read, wanted);
        assert_eq!(read.to_string(), "ERROR: no slot (SQLSTATE 42704); detail: why; hint: do");
        for length in 0..body.len() {
            ServerError::parse(&body[..length]).expect_err("a cut report is an error");
        }
    }
}
