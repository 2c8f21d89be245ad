//! What polling needs instead of a slot: rights on the rows, the leases, and indexes that hold only the rows that wait.

use postgres_protocol::escape::escape_identifier;
use tokio_postgres::Client;

use crate::finding::{Finding, Rule, Severity};
use crate::slots::check::{Expected, Outbox};

static GRANTS: Rule = Rule {
    code: "polling-grants",
    severity: Severity::Error,
    why: "A polling relay notes in the outbox what it delivered, and takes its part of the work by a lease; it may not do both.",
    mend: "`postrider init`, which grants what polling needs",
};
static LEASES: Rule = Rule {
    code: "polling-leases",
    severity: Severity::Error,
    why: "Polling relays agree by the table postrider.leases on who reads which keys; it is not there.",
    mend: "`postrider migrate`, then `postrider init`",
};
static INDEX: Rule = Rule {
    code: "polling-index",
    severity: Severity::Warning,
    why: "Without an index of only the rows that wait, each look walks everything that was ever published.",
    mend: "`create index concurrently on … (seq) where published_at is null`; the same on the column of the transaction",
};

pub(super) const RULES: &[&Rule] = &[&GRANTS, &LEASES, &INDEX];

/// Findings about what polling does without.
pub(super) const OF_A_SLOT: &[&str] = &[
    "wal-level",
    "wal-senders",
    "wal-keep-unlimited",
    "wal-keep-small",
    "idle-slot-timeout",
    "wal-sender-timeout-off",
    "wal-sender-timeout-short",
    "role-replication",
    "table-unlogged",
];

/// How the outbox is polled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedPolling {
    /// Whether delivered rows are deleted.
    pub deletes: bool,
    /// The column that is set when a row is published.
    pub published_at: Option<String>,
    /// The columns by which rows are found: the order, and the transaction if rows tell it.
    pub found_by: Vec<String>,
    /// Whether a slot is read as long as there is one.
    pub falls_back: bool,
}

const LEASES_USABLE: &str = "
select
  has_schema_privilege($1::name, n.oid, 'usage')
    and has_table_privilege($1::name, c.oid, 'select')
    and has_table_privilege($1::name, c.oid, 'insert')
    and has_table_privilege($1::name, c.oid, 'update')
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname = 'postrider' and c.relname = 'leases'";

/// Whether delivered rows can be noted: null where the table or its column is not there, which is found elsewhere.
const NOTES: &str = "
select
  case
    when $4::bool then has_table_privilege($3::name, c.oid, 'delete')
    else has_table_privilege($3::name, c.oid, 'update') or (
      select has_column_privilege($3::name, c.oid, a.attnum, 'update')
      from pg_catalog.pg_attribute a
      where a.attrelid = c.oid and a.attname = $5 and not a.attisdropped
    )
  end
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname = $1 and c.relname = $2";

/// Columns of the table, among those asked for, with which no valid partial index begins.
const WITHOUT_INDEX: &str = "
select a.attname::text
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attname = any($3) and not a.attisdropped
where n.nspname = $1 and c.relname = $2
  and not exists (
    select
    from pg_catalog.pg_index i
    where i.indrelid = c.oid and i.indkey[0] = a.attnum and i.indisvalid and ($4 or i.indpred is not null)
  )";

pub(super) async fn check(
    client: &Client,
    expected: &Expected,
    polling: &ExpectedPolling,
) -> Result<Vec<Finding>, tokio_postgres::Error> {
    let role = &expected.connect.user;
    let quoted = escape_identifier(role);
    let mut findings = Vec::new();
    match client.query_opt(LEASES_USABLE, &[role]).await? {
        None => findings.push(
            LEASES
                .found("the table postrider.leases is not there")
                .command("postrider migrate")
                .command("postrider init"),
        ),
        Some(row) if !row.get::<_, bool>(0) => findings.push(
            GRANTS
                .found(format!("role {role:?} may not use the table postrider.leases"))
                .sql(format!("grant usage on schema postrider to {quoted}"))
                .sql(format!("grant select, insert, update on postrider.leases to {quoted}")),
        ),
        Some(_) => {}
    }
    for outbox in &expected.tables {
        findings.extend(notes(client, expected, polling, outbox).await?);
        findings.extend(indexes(client, polling, outbox).await?);
    }
    Ok(findings)
}

async fn notes(
    client: &Client,
    expected: &Expected,
    polling: &ExpectedPolling,
    outbox: &Outbox,
) -> Result<Option<Finding>, tokio_postgres::Error> {
    let (role, table) = (&expected.connect.user, &outbox.table);
    let column = polling.published_at.as_deref().unwrap_or_default();
    let row = client.query_opt(NOTES, &[&table.schema, &table.name, role, &polling.deletes, &column]).await?;
    let may = row.and_then(|row| row.get::<_, Option<bool>>(0));
    let right = if polling.deletes { "delete".to_owned() } else { format!("update ({})", escape_identifier(column)) };
    Ok((may == Some(false)).then(|| {
        GRANTS.found(format!("role {role:?} may not note in {} what was delivered", table.quoted())).sql(format!(
            "grant {right} on table {} to {}",
            table.quoted(),
            escape_identifier(role)
        ))
    }))
}

async fn indexes(
    client: &Client,
    polling: &ExpectedPolling,
    outbox: &Outbox,
) -> Result<Vec<Finding>, tokio_postgres::Error> {
    let table = &outbox.table;
    // Where rows are deleted and none is marked, every row waits, and a whole index will do.
    let any = polling.deletes;
    let rows = client.query(WITHOUT_INDEX, &[&table.schema, &table.name, &polling.found_by, &any]).await?;
    let finding = |row: &tokio_postgres::Row| {
        let column = row.get::<_, String>(0);
        let only = polling.published_at.as_ref().map(|name| format!(" where {} is null", escape_identifier(name)));
        INDEX.found(format!("{} has no index of the rows that wait by {column}", table.quoted())).sql(format!(
            "create index concurrently on {} ({}){}",
            table.quoted(),
            escape_identifier(&column),
            only.unwrap_or_default()
        ))
    };
    Ok(rows.iter().map(finding).collect())
}
