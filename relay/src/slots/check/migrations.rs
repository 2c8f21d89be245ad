//! What `postrider migrate` brings: whether this version's part of it is there.

use tokio_postgres::Client;

use crate::finding::{Finding, Rule, Severity};
use crate::slots::check::Expected;
use crate::slots::check::table::TableFound;

static PENDING: Rule = Rule {
    code: "migrations-pending",
    severity: Severity::Warning,
    why: "What this version of the relay uses in the database is not all there.",
    mend: "`postrider migrate`",
};

pub(super) const RULES: &[&Rule] = &[&PENDING];

/// The history is the owner's: the relay's role usually may not read it, and then nothing is said.
const READABLE: &str = "
select
  to_regnamespace('postrider') is not null and has_schema_privilege('postrider', 'usage')
    and to_regclass('postrider.migrations') is not null and has_table_privilege('postrider.migrations', 'select'),
  to_regnamespace('postrider') is null";

/// Compares how many were applied with how many there are. A table of somebody's own needs none.
pub(super) async fn check(
    view: &Client,
    expected: &Expected,
    tables: &[Option<TableFound>],
) -> Result<Option<Finding>, tokio_postgres::Error> {
    let ours = expected.tables.iter().zip(tables).any(|(outbox, found)| {
        found.is_some() && outbox.table.schema == "public" && outbox.table.name == "outbox_events"
    });
    if !ours {
        return Ok(None);
    }
    let readable = view.query_one(READABLE, &[]).await?;
    let applied: i64 = match (readable.get(0), readable.get(1)) {
        (_, true) => 0,
        (true, false) => view.query_one("select count(*) from postrider.migrations", &[]).await?.get(0),
        (false, false) => return Ok(None),
    };
    let applied = usize::try_from(applied).unwrap_or_default();
    let wanted = expected.migrations;
    Ok((applied < wanted)
        .then(|| PENDING.found(format!("{applied} of {wanted} migrations were applied")).command("postrider migrate")))
}
