//! The outbox table: whether its rows reach the log as events, and whether writers may write them.

use postgres_protocol::escape::escape_identifier;
use tokio_postgres::Client;

use crate::finding::{Finding, Rule, Severity};
use crate::slots::check::{AGGREGATE_TYPES_MAX, Expected, Holds, Outbox};

static MISSING: Rule = Rule {
    code: "table-missing",
    severity: Severity::Error,
    why: "There is no table to write events to.",
    mend: "`postrider migrate` creates public.outbox_events; or name your own table in `outbox.table`.",
};
static KIND: Rule = Rule {
    code: "table-kind",
    severity: Severity::Error,
    why: "Only a table, and where it is partitioned the one above its partitions, can be published as a whole.",
    mend: "Name the table itself in `outbox.table`.",
};
static COLUMN_MISSING: Rule = Rule {
    code: "column-missing",
    severity: Severity::Error,
    why: "The relay stops at the first event, because it cannot tell where a part of it is.",
    mend: "Name the columns that the table has under `[outbox.columns]`.",
};
static COLUMN_TYPE: Rule = Rule {
    code: "column-type",
    severity: Severity::Error,
    why: "A value of that type would be published in a form that nobody expects.",
    mend: "Map another column under `[outbox.columns]`, or `alter table … alter column … type …`.",
};
static UNLOGGED: Rule = Rule {
    code: "table-unlogged",
    severity: Severity::Error,
    why: "Changes of an unlogged or temporary table are not in the log: no event is ever published.",
    mend: "`alter table … set logged`",
};
static TRIGGER: Rule = Rule {
    code: "table-trigger",
    severity: Severity::Warning,
    why: "A trigger before an insertion can change an event or drop it without a word.",
    mend: "`alter table … disable trigger …`, unless it is known to return every row.",
};
static RULE: Rule = Rule {
    code: "table-rule",
    severity: Severity::Warning,
    why: "A rule can turn an insertion into something else, so that an event never reaches the table.",
    mend: "`drop rule … on …`",
};
static ROW_SECURITY: Rule = Rule {
    code: "table-row-security",
    severity: Severity::Warning,
    why: "Without a policy that allows it a writer's event is refused, and the relay sees only a part of the table.",
    mend: "`alter table … disable row level security`",
};
static WRITERS: Rule = Rule {
    code: "writer-grants",
    severity: Severity::Warning,
    why: "A role may insert into the outbox but not reach it, or not the functions that do: its transactions fail.",
    mend: "`grant usage on schema … to …`",
};

pub(super) const RULES: &[&Rule] =
    &[&MISSING, &KIND, &COLUMN_MISSING, &COLUMN_TYPE, &UNLOGGED, &TRIGGER, &RULE, &ROW_SECURITY, &WRITERS];

/// What a table is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TableFound {
    kind: char,
    logged: bool,
    is_partition: bool,
    row_security: bool,
    columns: Vec<String>,
    types: Vec<String>,
    triggers: Vec<String>,
    rules: Vec<String>,
    /// Roles that may insert and not use a schema, with the schema.
    writers: Vec<(String, String)>,
}

impl TableFound {
    /// Whether it has a column of this name.
    pub(super) fn has(&self, column: &str) -> bool {
        self.columns.iter().any(|found| found == column)
    }

    /// Whether it has partitions.
    pub(super) fn is_partitioned(&self) -> bool {
        self.kind == 'p'
    }
}

const TABLE: &str = "
select
  c.relkind::text as kind,
  c.relpersistence = 'p' as logged,
  c.relispartition as is_partition,
  c.relrowsecurity as row_security,
  array(
    select attname::text
    from pg_catalog.pg_attribute
    where attrelid = c.oid and attnum > 0 and not attisdropped
    order by attnum
  ) as columns,
  array(
    select format_type(atttypid, null)
    from pg_catalog.pg_attribute
    where attrelid = c.oid and attnum > 0 and not attisdropped
    order by attnum
  ) as types,
  array(
    select tgname::text
    from pg_catalog.pg_trigger
    where tgrelid = c.oid and not tgisinternal and tgenabled in ('O', 'A') and tgtype & 6 = 6
    order by 1
  ) as triggers,
  array(
    select rulename::text
    from pg_catalog.pg_rewrite
    where ev_class = c.oid and ev_type = '3' and ev_enabled <> 'D'
    order by 1
  ) as rules
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname = $1 and c.relname = $2";

/// Who was granted INSERT, and lacks the schema of the table or, for the table that our migrations make, of the functions.
const WRITERS_WITHOUT: &str = "
select distinct g.grantee::regrole::text, w.nspname::text
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
cross join aclexplode(c.relacl) g
join pg_catalog.pg_namespace w
  on w.oid = n.oid or (w.nspname = 'postrider' and n.nspname = 'public' and c.relname = 'outbox_events')
where n.nspname = $1 and c.relname = $2
  and g.privilege_type = 'INSERT' and g.grantee not in (0, c.relowner)
  and not has_schema_privilege(g.grantee, w.oid, 'usage')
order by 1, 2";

pub(super) async fn read(
    client: &Client,
    _expected: &Expected,
    outbox: &Outbox,
) -> Result<Option<TableFound>, tokio_postgres::Error> {
    let (schema, name) = (&outbox.table.schema, &outbox.table.name);
    let Some(row) = client.query_opt(TABLE, &[schema, name]).await? else { return Ok(None) };
    let writers = client.query(WRITERS_WITHOUT, &[schema, name]).await?;
    Ok(Some(TableFound {
        kind: row.get::<_, String>("kind").chars().next().unwrap_or('?'),
        logged: row.get("logged"),
        is_partition: row.get("is_partition"),
        row_security: row.get("row_security"),
        columns: row.get("columns"),
        types: row.get("types"),
        triggers: row.get("triggers"),
        rules: row.get("rules"),
        writers: writers.iter().map(|row| (row.get(0), row.get(1))).collect(),
    }))
}

/// Aggregate types among the rows that are quickest to see; none if the table may not be read or is not as expected.
pub(super) async fn aggregate_types(client: &Client, outbox: &Outbox, found: Option<&TableFound>) -> Vec<String> {
    let column =
        outbox.aggregate_type.as_ref().filter(|column| found.is_some_and(|found| found.columns.contains(column)));
    let Some(column) = column else { return Vec::new() };
    let column = escape_identifier(column);
    let sql = format!(
        "select distinct {column}::text from (select {column} from {} limit 10000) t where {column} is not null limit {AGGREGATE_TYPES_MAX}",
        outbox.table.quoted()
    );
    // That the table cannot be read is a finding of its own.
    client.query(&sql, &[]).await.map_or_else(|_| Vec::new(), |rows| rows.iter().map(|row| row.get(0)).collect())
}

pub(super) fn examine(expected: &Expected, outbox: &Outbox, found: Option<&TableFound>) -> Vec<Finding> {
    let table = outbox.table.quoted();
    let key = format!("{}.table", outbox.section);
    let Some(found) = found else {
        let what = format!("table {table} does not exist in database {:?}", expected.connect.database);
        return vec![
            MISSING.found(what).command("postrider migrate").words(format!("or name your own table in `{key}`")),
        ];
    };
    let mut findings = Vec::new();
    if !matches!(found.kind, 'r' | 'p') || found.is_partition {
        let what = if found.is_partition { "is a partition of another table" } else { "is not a table" };
        findings.push(KIND.found(format!("{table} {what}")).words(format!("name the table itself in `{key}`")));
        return findings;
    }
    if !found.logged {
        findings.push(
            UNLOGGED
                .found(format!("table {table} is unlogged or temporary"))
                .sql(format!("alter table {table} set logged")),
        );
    }
    findings.extend(columns(outbox, found));
    for trigger in &found.triggers {
        findings.push(
            TRIGGER
                .found(format!("trigger {trigger:?} runs before each insertion into {table}"))
                .sql(format!("alter table {table} disable trigger {}", escape_identifier(trigger))),
        );
    }
    for rule in &found.rules {
        findings.push(
            RULE.found(format!("rule {rule:?} rewrites insertions into {table}"))
                .sql(format!("drop rule {} on {table}", escape_identifier(rule))),
        );
    }
    if found.row_security {
        findings.push(
            ROW_SECURITY
                .found(format!("table {table} has row-level security"))
                .sql(format!("alter table {table} disable row level security")),
        );
    }
    for (role, schema) in &found.writers {
        findings.push(
            WRITERS
                .found(format!("role {role} may insert into {table}, but not use schema {schema:?}"))
                // The name was quoted by the server where it has to be.
                .sql(format!("grant usage on schema {} to {role}", escape_identifier(schema))),
        );
    }
    findings
}

fn columns(outbox: &Outbox, found: &TableFound) -> Vec<Finding> {
    let table = outbox.table.quoted();
    let mut findings = Vec::new();
    for column in &outbox.columns {
        let name = &column.name;
        let Some(place) = found.columns.iter().position(|found| found == name) else {
            let finding =
                COLUMN_MISSING.found(format!("table {table} has no column {name:?}, which `{}` names", column.key));
            findings.push(match column.optional {
                true => finding.configuration(&column.key, "\"\""),
                false => finding.words(format!(
                    "name the right one of its columns in `{}`: {}",
                    column.key,
                    found.columns.join(", ")
                )),
            });
            continue;
        };
        let type_name = found.types[place].as_str();
        if !column.holds.fits(type_name) {
            let quoted = escape_identifier(name);
            let finding = COLUMN_TYPE.found(format!(
                "column {name:?} of {table} is {type_name}, and `{}` needs {}",
                column.key,
                column.holds.wanted()
            ));
            findings.push(match column.holds.cast(type_name, &quoted) {
                Some((to, using)) => {
                    finding.sql(format!("alter table {table} alter column {quoted} type {to} using {using}"))
                }
                None => finding.words(format!("map another column by `{}`", column.key)),
            });
        }
    }
    findings
}

impl Holds {
    fn fits(self, type_name: &str) -> bool {
        match self {
            Self::Anything => true,
            Self::Text => type_name != "bytea",
            Self::Content => matches!(type_name, "json" | "jsonb" | "text" | "character varying" | "bytea" | "xml"),
            Self::Bytes => type_name == "bytea",
            Self::Object => matches!(type_name, "json" | "jsonb" | "text" | "character varying"),
        }
    }

    fn wanted(self) -> &'static str {
        match self {
            Self::Anything => "any value",
            Self::Text => "a value with a text form",
            Self::Content => "json, jsonb, text or bytea",
            Self::Bytes => "bytea",
            Self::Object => "json or jsonb",
        }
    }

    /// What a change of the type may look like, where one exists that keeps every value.
    fn cast(self, from: &str, column: &str) -> Option<(&'static str, String)> {
        match (self, from) {
            (Self::Bytes, "text" | "character varying") => Some(("bytea", format!("convert_to({column}, 'UTF8')"))),
            (Self::Object, "hstore") => Some(("jsonb", format!("{column}::jsonb"))),
            (Self::Text, "bytea") => Some(("text", format!("convert_from({column}, 'UTF8')"))),
            _ => None,
        }
    }
}

/// A plain expectation for the tests of the judging functions.
#[cfg(test)]
pub(super) fn expected() -> Expected {
    use crate::postgres::options::{ConnectOptions, Host};

    Expected {
        connect: ConnectOptions::new(Host::parse("db"), 5432, "shop", "postrider"),
        administrator: None,
        slot: "postrider".to_owned(),
        publication: "postrider".to_owned(),
        has_outbox: true,
        tables: Vec::new(),
        capture: None,
        polling: None,
        parks: false,
        migrations: 4,
        old_after: std::time::Duration::from_secs(600),
    }
}
