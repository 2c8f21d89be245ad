//! The plan as a script for people: the same statements, to be read and run by someone else.

use postgres_protocol::escape::escape_identifier;

use crate::slots::setup::{Plan, Wanted};

/// The plan as SQL for `psql`. It holds no password. The names hold no line breaks, which would end a comment.
#[must_use]
pub fn script(wanted: &Wanted, plan: &Plan) -> String {
    let mut lines = vec![
        format!("-- Sets database {} up for Postrider.", wanted.database),
        match wanted.is_polled() {
            false => "-- Run it there with psql, as a superuser or the table's owner; it needs wal_level = logical."
                .to_owned(),
            true => "-- Run it there with psql, as the table's owner, who may create roles.".to_owned(),
        },
        // A slot that is made although its publication was not could never be read.
        "\\set ON_ERROR_STOP on".to_owned(),
    ];
    if wanted.polling.is_some() {
        lines.push(
            "-- The index for polling keeps writers of a large table waiting while it builds: then create it before, outside\n-- a \
             transaction, with `create index concurrently`."
                .to_owned(),
        );
    }
    if !plan.transaction.is_empty() {
        lines.push("begin;".to_owned());
        lines.extend(plan.transaction.iter().map(|step| format!("{};", step.sql)));
        lines.push("commit;".to_owned());
    }
    if plan.creates_relay_role {
        lines.push(format!(
            "-- The role has no password yet. In psql: \\password {}",
            escape_identifier(&wanted.relay_role)
        ));
    }
    if let Some(slot) = &plan.slot {
        lines.push(
            "-- After the publication, and outside a transaction that writes. Waits for transactions that are open. Rows that are in the \
             table\n-- by then are older than the slot and not published: see the option --backlog."
                .to_owned(),
        );
        lines.push(format!("{};", slot.sql));
    }
    if let Some(backlog) = &plan.backlog {
        lines.push(
            "-- After the publication, in one session. The first statement waits for transactions that are open; the transaction keeps \
             writers\n-- of the table waiting until its rows are published anew."
                .to_owned(),
        );
        lines.extend(backlog.steps().map(|step| format!("{};", step.sql)));
    }
    lines.push(format!(
        "-- Every service that writes events: grant {} to the_service;",
        escape_identifier(&wanted.writer_role)
    ));
    lines.join("\n") + "\n"
}
