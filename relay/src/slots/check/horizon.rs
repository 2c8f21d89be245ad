//! What holds the log and the rows of the whole server back: transactions that do not end.

use tokio_postgres::Client;

use crate::finding::{Finding, Rule, Severity};
use crate::slots::check::Expected;
use crate::slots::check::connect::literal;

/// Sessions that are named at most.
const NAMED_MAX: i64 = 5;

static LONG: Rule = Rule {
    code: "long-transaction",
    severity: Severity::Warning,
    why: "A slot keeps the log from the oldest open transaction on, and vacuum keeps every row that it could still see.",
    mend: "Let it end, or `select pg_terminate_backend(…)`.",
};
static PREPARED: Rule = Rule {
    code: "prepared-transaction",
    severity: Severity::Warning,
    why: "A prepared transaction that nobody finishes holds the log, the rows and its locks, over restarts too.",
    mend: "`commit prepared …` or `rollback prepared …`",
};

pub(super) const RULES: &[&Rule] = &[&LONG, &PREPARED];

/// Those that can be seen: a role without pg_read_all_stats sees the times of its own sessions only. The decoder itself
/// is told by the slot.
const OPEN: &str = "
select
  a.pid,
  coalesce(a.usename::text, '') as role,
  coalesce(a.application_name, '') as application,
  coalesce(a.state, '') as state,
  extract(epoch from clock_timestamp() - a.xact_start)::bigint as seconds
from pg_catalog.pg_stat_activity a
where a.datname = current_database()
  and a.backend_type = 'client backend'
  and a.pid <> pg_backend_pid()
  and a.xact_start < clock_timestamp() - make_interval(secs => $1)
  and (a.backend_xid is not null or a.backend_xmin is not null)
order by a.xact_start
limit $2";

const PREPARED_TRANSACTIONS: &str = "
select gid, owner::text, extract(epoch from clock_timestamp() - prepared)::bigint as seconds
from pg_catalog.pg_prepared_xacts
where database = current_database() and prepared < clock_timestamp() - make_interval(secs => $1)
order by prepared
limit $2";

pub(super) async fn check(view: &Client, expected: &Expected) -> Result<Vec<Finding>, tokio_postgres::Error> {
    let seconds = expected.old_after.as_secs_f64();
    let mut findings = Vec::new();
    for row in view.query(OPEN, &[&seconds, &NAMED_MAX]).await? {
        let (pid, role, application, state, seconds): (i32, String, String, String, i64) =
            (row.get("pid"), row.get("role"), row.get("application"), row.get("state"), row.get("seconds"));
        findings.push(
            LONG.found(format!(
                "a transaction of {application:?} as role {role:?} (pid {pid}, {state}) is open for {seconds} s"
            ))
            .sql(format!("select pg_terminate_backend({pid}, 10000)")),
        );
    }
    for row in view.query(PREPARED_TRANSACTIONS, &[&seconds, &NAMED_MAX]).await? {
        let (gid, owner, seconds): (String, String, i64) = (row.get("gid"), row.get("owner"), row.get("seconds"));
        findings.push(
            PREPARED
                .found(format!("transaction {gid:?} of role {owner:?} is prepared for {seconds} s and not finished"))
                .words("if what coordinates it has decided to commit: commit prepared")
                .sql(format!("rollback prepared {}", literal(&gid))),
        );
    }
    Ok(findings)
}
