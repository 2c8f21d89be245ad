//! Getting in: why the server did not answer, or did not let the relay's role in.

use postgres_protocol::escape::{escape_identifier, escape_literal};
use tokio_postgres::Client;

use crate::finding::{Finding, Rule, Severity};
use crate::postgres::error::{Error, Kind};
use crate::postgres::session;
use crate::slots::check::Expected;

static UNREACHABLE: Rule = Rule {
    code: "postgres-unreachable",
    severity: Severity::Error,
    why: "Without the database there is nothing to relay; the relay waits and tries again.",
    mend: "Start the server, or correct `postgres.host` and `postgres.port`.",
};
static AUTHENTICATION: Rule = Rule {
    code: "postgres-authentication",
    severity: Severity::Error,
    why: "The server does not let the relay's role in, so the relay ends at its start.",
    mend: "`alter role … login password …`, or correct `postgres.user` and `postgres.password_file`.",
};
static DATABASE: Rule = Rule {
    code: "postgres-database",
    severity: Severity::Error,
    why: "A slot belongs to one database, and the configured one is not there.",
    mend: "Create the database, or correct `postgres.database`.",
};
static CONNECT: Rule = Rule {
    code: "role-connect",
    severity: Severity::Error,
    why: "The relay's role may not connect to the database that holds the outbox.",
    mend: "`grant connect on database … to …`",
};
static LOGIN: Rule = Rule {
    code: "role-login",
    severity: Severity::Error,
    why: "The relay's role is there and may not log in.",
    mend: "`alter role … login`",
};
static ROLE: Rule = Rule {
    code: "role-missing",
    severity: Severity::Error,
    why: "The server knows no role of the configured name.",
    mend: "`postrider init` creates it; or correct `postgres.user`.",
};
static HBA: Rule = Rule {
    code: "postgres-hba",
    severity: Severity::Error,
    why: "The server's pg_hba.conf has no line that lets this role connect from here.",
    mend: "Add a line to pg_hba.conf, then `select pg_reload_conf()`.",
};
static FULL: Rule = Rule {
    code: "postgres-full",
    severity: Severity::Error,
    why: "The server has no connection left, so the relay cannot start or come back.",
    mend: "End sessions that nobody needs, or raise max_connections.",
};
static HANDSHAKE: Rule = Rule {
    code: "postgres-handshake",
    severity: Severity::Error,
    why: "Server and relay do not agree on a secure connection, so that the relay ends at its start.",
    mend: "Correct `postgres.tls` and the files named beside it: docs/operations.md, \"Secure connections\".",
};
static UNANSWERED: Rule = Rule {
    code: "postgres-unanswered",
    severity: Severity::Error,
    why: "A question about the catalog failed, so what it would have told is not known.",
    mend: "See the server's log, then check again.",
};
static ADMINISTRATOR: Rule = Rule {
    code: "administrator",
    severity: Severity::Warning,
    why: "What only the wider view of --admin-url shows was not looked at.",
    mend: "Correct --admin-url, or leave it out.",
};

pub(super) const RULES: &[&Rule] =
    &[&UNREACHABLE, &AUTHENTICATION, &DATABASE, &ROLE, &LOGIN, &CONNECT, &HBA, &FULL, &UNANSWERED, &ADMINISTRATOR];

/// Longest a single question may take: one that waits for a lock is a finding, not a hang.
const PREPARE: &str = "set statement_timeout = '20s'; set default_transaction_read_only = on";

/// A session as the relay's role, which can change nothing.
pub(super) async fn session(expected: &Expected) -> Result<Client, Finding> {
    let client = session::connect(&expected.connect).await.map_err(|error| refused(expected, &error))?;
    client.batch_execute(PREPARE).await.map_err(|error| unanswered(&error))?;
    Ok(client)
}

/// A session as the administrator, if one was named.
pub(super) async fn administrator(expected: &Expected) -> Result<Option<Client>, Finding> {
    let Some(options) = &expected.administrator else { return Ok(None) };
    let client = session::connect(options).await.map_err(|error| {
        let what = format!("the administrator's view cannot be had: {}", said(&error));
        ADMINISTRATOR.found(what).words(ADMINISTRATOR.mend)
    })?;
    client.batch_execute(PREPARE).await.map_err(|error| unanswered(&error))?;
    Ok(Some(client))
}

/// A question that was not answered.
pub(super) fn unanswered(error: &tokio_postgres::Error) -> Finding {
    let said = error.as_db_error().map_or_else(|| error.to_string(), |error| error.message().to_owned());
    UNANSWERED.found(format!("the server did not answer a question about its catalog: {said}")).words(UNANSWERED.mend)
}

/// What the server said, or else what the client did.
pub(super) fn said(error: &Error) -> String {
    match error.server_error() {
        Some(server) => server.message.clone(),
        None => std::error::Error::source(error).map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}")),
    }
}

fn refused(expected: &Expected, error: &Error) -> Finding {
    let (role, database) = (&expected.connect.user, &expected.connect.database);
    let quoted = escape_identifier(role);
    let message = said(error);
    match error.sqlstate() {
        Some("3D000") => DATABASE
            .found(format!("there is no database {database:?}"))
            .command(format!("createdb {}", shell(database)))
            .words("or correct `postgres.database`"),
        Some("42501") => CONNECT
            .found(format!("role {role:?} may not connect to database {database:?}"))
            .sql(format!("grant connect on database {} to {quoted}", escape_identifier(database))),
        Some("53300") => FULL.found(format!("the server has no connection left: {message}")).words(FULL.mend),
        Some(_) if message.contains("pg_hba.conf") => HBA
            .found(format!("pg_hba.conf does not let role {role:?} into database {database:?}: {message}"))
            .words(format!("add to pg_hba.conf: `host {database} {role} <this machine's address>/32 scram-sha-256`"))
            .sql("select pg_reload_conf()"),
        Some(_) if message.contains("is not permitted to log in") => {
            LOGIN.found(format!("role {role:?} may not log in")).sql(format!("alter role {quoted} login"))
        }
        Some(_) if message.contains("does not exist") => ROLE
            .found(format!("there is no role {role:?}"))
            .command("postrider init")
            .words("or correct `postgres.user`"),
        _ => match error.kind() {
            Kind::Authentication => AUTHENTICATION
                .found(format!("the server does not accept role {role:?}: {message}"))
                .words(format!(
                    "correct `postgres.user` and `postgres.password_file`; or set the password by psql's `\\password {role}`"
                )),
            Kind::Tls => HANDSHAKE
                .found(format!("no secure connection comes about: {message}"))
                .words("correct `postgres.tls` and the files named beside it"),
            _ => UNREACHABLE.found(format!("the server cannot be used: {message}")).words(UNREACHABLE.mend),
        },
    }
}

/// A word of a command line.
pub(super) fn shell(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.' | '/' | ':');
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// A literal of SQL.
pub(super) fn literal(text: &str) -> String {
    // Where a backslash would make it an escape string, the function opens it with a space.
    escape_literal(text).trim_start().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::error::{During, ServerError};
    use crate::slots::check::table::expected;

    #[test]
    fn each_refusal_of_the_server_has_a_code_of_its_own_and_a_mend() {
        for (sqlstate, message, code, mend) in [
            (
                "28P01",
                "password authentication failed for user \"postrider\"",
                "postgres-authentication",
                "password_file",
            ),
            ("28000", "no pg_hba.conf entry for host \"10.0.0.1\", user \"postrider\"", "postgres-hba", "pg_hba.conf"),
            ("28000", "role \"postrider\" is not permitted to log in", "role-login", "alter role \"postrider\" login"),
            ("28000", "role \"postrider\" does not exist", "role-missing", "postrider init"),
            ("42501", "permission denied for database \"shop\"", "role-connect", "grant connect on database \"shop\""),
            ("3D000", "database \"shop\" does not exist", "postgres-database", "createdb shop"),
            ("53300", "sorry, too many clients already", "postgres-full", "max_connections"),
            ("57P03", "the database system is starting up", "postgres-unreachable", "postgres.host"),
        ] {
            let report =
                ServerError { code: sqlstate.to_owned(), message: message.to_owned(), ..ServerError::default() };
            let finding = refused(&expected(), &Error::server("connecting", During::Query, report));
            assert_eq!(finding.code(), code, "{message}");
            assert!(finding.mend().iter().any(|step| step.text().contains(mend)), "{finding}");
        }
        assert_eq!(shell("it's"), "'it'\\''s'");
    }
}
