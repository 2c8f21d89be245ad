//! What a statement's error means: that there are no leases to be had, or that the server is away.

use tokio_postgres::error::{DbError, SqlState};

use crate::pipeline::{End, Error, Kind};
use crate::postgres;
use crate::postgres::options::ConnectOptions;

/// Why there is no session, told as it is when the slot is opened.
pub(super) fn unreachable(options: &ConnectOptions, error: postgres::error::Error) -> Error {
    use postgres::error::Kind as K;

    if let Some((context, help)) = error.barred(&options.user) {
        return Error::new(End::Source, Kind::Setup, context).because(error).with_help(help);
    }
    match error.kind() {
        K::Rejected => {
            let context = format!("Postgres refused a session in database {:?}", options.database);
            let help = "Check [postgres] database and user; the role needs LOGIN and CONNECT: run `postrider init`.";
            Error::new(End::Source, Kind::Setup, context).because(error).with_help(help)
        }
        K::Prerequisite => {
            Error::new(End::Source, Kind::Setup, "Postgres cannot be used as it is set up").because(error)
        }
        _ => Error::new(End::Source, Kind::Unavailable, "Postgres cannot be reached").because(error),
    }
}

/// What follows from an error. Only the code and the message of a report are told.
pub(super) fn failed(context: String, error: tokio_postgres::Error) -> Error {
    match error.as_db_error() {
        Some(report) => reported(context, report),
        None => Error::new(End::Source, Kind::Unavailable, context).because(error),
    }
}

fn reported(context: String, report: &DbError) -> Error {
    let told = format!("{} (SQLSTATE {})", report.message(), report.code().code());
    let error = |kind| Error::new(End::Source, kind, context).because(told);
    match obstacle(report.code()) {
        Some(help) => error(Kind::Setup).with_help(help),
        None => error(Kind::Unavailable),
    }
}

/// What a person can do where no waiting helps.
fn obstacle(code: &SqlState) -> Option<&'static str> {
    let absent = [
        SqlState::UNDEFINED_TABLE,
        SqlState::UNDEFINED_COLUMN,
        SqlState::INVALID_SCHEMA_NAME,
        SqlState::UNDEFINED_OBJECT,
    ];
    if absent.contains(code) {
        return Some("`postrider migrate` makes the table postrider.leases, and `postrider init` grants the rights.");
    }
    if *code == SqlState::INSUFFICIENT_PRIVILEGE {
        return Some(
            "The relay's role may not use the table postrider.leases: run `postrider init`, which grants the rights.",
        );
    }
    // A standby can be read, but no lease be taken there.
    let read_only = [SqlState::READ_ONLY_SQL_TRANSACTION, SqlState::FEATURE_NOT_SUPPORTED];
    read_only.contains(code).then_some("A server that cannot be written to keeps no leases.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_waiting_does_not_mend_is_an_obstacle() {
        for code in ["42P01", "3F000", "42501", "25006", "0A000"] {
            assert!(obstacle(&SqlState::from_code(code)).is_some(), "{code}");
        }
        for code in ["57P01", "40001", "53300", "57014"] {
            assert!(obstacle(&SqlState::from_code(code)).is_none(), "{code}");
        }
    }
}
