//! The publication: whether it carries every event whole, and whether it does harm beside that.

use postgres_protocol::escape::escape_identifier;
use tokio_postgres::Client;

use crate::finding::{Finding, Rule, Severity};
use crate::slots::check::table::TableFound;
use crate::slots::check::{Expected, Outbox};

/// Tables that a finding names at most.
const NAMED_MAX: usize = 5;

static MISSING: Rule = Rule {
    code: "publication-missing",
    severity: Severity::Error,
    why: "The relay asks for the changes of one publication, and without it there are none.",
    mend: "`create publication … for table …`, or correct `source.publication`.",
};
static TABLE_MISSING: Rule = Rule {
    code: "publication-table",
    severity: Severity::Error,
    why: "Events of a table that is not in the publication are never sent.",
    mend: "`alter publication … add table …`",
};
static ROOT: Rule = Rule {
    code: "publication-root",
    severity: Severity::Error,
    why: "Rows of a partitioned table otherwise travel under the partitions' names, which the relay does not know.",
    mend: "`alter publication … set (publish_via_partition_root = true)`",
};
static INSERTS: Rule = Rule {
    code: "publication-inserts",
    severity: Severity::Error,
    why: "An event is an inserted row: without insertions nothing is published.",
    mend: "`alter publication … set (publish = 'insert')`",
};
static ROW_FILTER: Rule = Rule {
    code: "publication-row-filter",
    severity: Severity::Error,
    why: "Events that the filter leaves out are lost without a word.",
    mend: "`alter publication … set table …` without a WHERE clause.",
};
static COLUMNS: Rule = Rule {
    code: "publication-columns",
    severity: Severity::Error,
    why: "A column that the list leaves out does not reach the relay, which then stops.",
    mend: "`alter publication … set table …` without a list of columns.",
};
static IDENTITY: Rule = Rule {
    code: "publication-replica-identity",
    severity: Severity::Error,
    why: "The server refuses every UPDATE and DELETE of a table that is published without a replica identity: the application fails.",
    mend: "`alter publication … set (publish = 'insert')`, or `alter table … replica identity full`.",
};
static OPERATIONS: Rule = Rule {
    code: "publication-operations",
    severity: Severity::Warning,
    why: "Updates, deletions and truncations of the outbox are decoded and sent for nothing: pruning then costs as much as publishing.",
    mend: "`alter publication … set (publish = 'insert')`",
};
static ALL_TABLES: Rule = Rule {
    code: "publication-all-tables",
    severity: Severity::Warning,
    why: "The server decodes and sends every change of every table, and the relay throws them away.",
    mend: "Create a publication of the outbox alone, let the relay pass the place in the log, and name it in `source.publication`.",
};
static OTHER_TABLES: Rule = Rule {
    code: "publication-other-tables",
    severity: Severity::Warning,
    why: "The server decodes and sends changes of tables that are no outbox, and the relay throws them away.",
    mend: "`alter publication … drop table …`",
};

pub(super) const RULES: &[&Rule] = &[
    &MISSING,
    &TABLE_MISSING,
    &ROOT,
    &INSERTS,
    &ROW_FILTER,
    &COLUMNS,
    &IDENTITY,
    &OPERATIONS,
    &ALL_TABLES,
    &OTHER_TABLES,
];

/// What a publication publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Publication {
    inserts: bool,
    others: bool,
    via_root: bool,
    all_tables: bool,
    /// For each outbox table that is in it: whether its rows are filtered, and which mapped columns it lacks.
    tables: Vec<Option<Carried>>,
    /// Other tables, as SQL takes their names.
    other_tables: Vec<String>,
    /// Tables whose updates and deletions the server refuses because of it.
    without_identity: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Carried {
    filtered: bool,
    missing: Vec<String>,
}

const PUBLICATION: &str = "
select
  p.pubinsert as inserts,
  p.pubupdate or p.pubdelete or p.pubtruncate as others,
  p.pubviaroot as via_root,
  p.puballtables or exists (
    select from pg_catalog.pg_publication_namespace where pnpubid = p.oid
  ) as all_tables,
  array(
    select format('%I.%I', schemaname, tablename)
    from pg_catalog.pg_publication_tables
    where pubname = p.pubname
    order by 1
  ) as tables,
  case when p.pubupdate or p.pubdelete then array(
    select distinct format('%I.%I', n.nspname, c.relname)
    from pg_catalog.pg_publication_tables t
    join pg_catalog.pg_namespace tn on tn.nspname = t.schemaname
    join pg_catalog.pg_class tc on tc.relnamespace = tn.oid and tc.relname = t.tablename
    left join lateral pg_partition_tree(tc.oid) tree on true
    join pg_catalog.pg_class c on c.oid = coalesce(tree.relid, tc.oid)
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where t.pubname = p.pubname
      and c.relkind = 'r'
      and (
        c.relreplident = 'n'
        or c.relreplident = 'd' and not exists (
          select from pg_catalog.pg_index i where i.indrelid = c.oid and i.indisprimary
        )
      )
    order by 1
  ) else '{}' end as without_identity
from pg_catalog.pg_publication p
where p.pubname = $1";

const CARRIED: &str = "
select t.rowfilter is not null, array(select c from unnest($4::text[]) c where c <> all (t.attnames::text[]))
from pg_catalog.pg_publication_tables t
where t.pubname = $1 and t.schemaname = $2 and t.tablename = $3";

/// A table and its partitions, which belong to it though they are listed by themselves.
const PARTITIONS: &str = "
select format('%I.%I', n.nspname, c.relname)
from pg_catalog.pg_class root
join pg_catalog.pg_namespace rn on rn.oid = root.relnamespace
left join lateral pg_partition_tree(root.oid) tree on true
join pg_catalog.pg_class c on c.oid = coalesce(tree.relid, root.oid)
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where rn.nspname = $1 and root.relname = $2";

pub(super) async fn read(client: &Client, expected: &Expected) -> Result<Option<Publication>, tokio_postgres::Error> {
    let name = &expected.publication;
    let Some(row) = client.query_opt(PUBLICATION, &[name]).await? else { return Ok(None) };
    let mut tables = Vec::new();
    let mut own = Vec::new();
    for outbox in &expected.tables {
        let (schema, table) = (&outbox.table.schema, &outbox.table.name);
        let columns: Vec<&str> = outbox.columns.iter().map(|column| column.name.as_str()).collect();
        let carried = client.query_opt(CARRIED, &[name, schema, table, &columns]).await?;
        tables.push(carried.map(|row| Carried { filtered: row.get(0), missing: row.get(1) }));
        let parts = client.query(PARTITIONS, &[schema, table]).await?;
        own.extend(parts.iter().map(|row| row.get::<_, String>(0)));
    }
    let mut other_tables: Vec<String> = row.get("tables");
    other_tables.retain(|table| !own.contains(table));
    Ok(Some(Publication {
        inserts: row.get("inserts"),
        others: row.get("others"),
        via_root: row.get("via_root"),
        all_tables: row.get("all_tables"),
        tables,
        other_tables,
        without_identity: row.get("without_identity"),
    }))
}

pub(super) fn examine(expected: &Expected, tables: &[Option<TableFound>], found: Option<&Publication>) -> Vec<Finding> {
    let name = &expected.publication;
    let quoted = escape_identifier(name);
    let Some(found) = found else {
        let list: Vec<String> = expected.tables.iter().map(|outbox| outbox.table.quoted()).collect();
        let of = if list.is_empty() { String::new() } else { format!(" for table {}", list.join(", ")) };
        return vec![MISSING.found(format!("publication {name:?} does not exist")).sql(format!(
            "create publication {quoted}{of} with (publish = 'insert', publish_via_partition_root = true)"
        ))];
    };
    let mut findings = Vec::new();
    let only_inserts = format!("alter publication {quoted} set (publish = 'insert')");
    if !found.inserts {
        findings.push(INSERTS.found(format!("publication {name:?} does not publish inserts")).sql(&only_inserts));
    }
    let needs_root = tables.iter().flatten().any(TableFound::is_partitioned) && !found.via_root;
    if needs_root {
        findings.push(
            ROOT.found(format!(
                "the outbox is partitioned, and publication {name:?} does not publish it under its own name"
            ))
            .sql(format!("alter publication {quoted} set (publish_via_partition_root = true)")),
        );
    }
    for ((outbox, table), carried) in expected.tables.iter().zip(tables).zip(&found.tables) {
        // A table that is not there is told by itself; without the option a partitioned one is not listed.
        if let Some(table) = table.as_ref().filter(|_| !needs_root) {
            findings.extend(carried_whole(expected, outbox, table, carried.as_ref()));
        }
    }
    findings.extend(harm(expected, found, &only_inserts));
    findings
}

fn carried_whole(
    expected: &Expected,
    outbox: &Outbox,
    found: &TableFound,
    carried: Option<&Carried>,
) -> Option<Finding> {
    let (name, table) = (&expected.publication, outbox.table.quoted());
    let quoted = escape_identifier(name);
    let Some(carried) = carried else {
        return Some(
            TABLE_MISSING
                .found(format!("publication {name:?} does not carry {table}"))
                .sql(format!("alter publication {quoted} add table {table}")),
        );
    };
    let all: Vec<String> = expected.tables.iter().map(|outbox| outbox.table.quoted()).collect();
    let whole = format!("alter publication {quoted} set table {}", all.join(", "));
    if carried.filtered {
        return Some(ROW_FILTER.found(format!("publication {name:?} filters the rows of {table}")).sql(whole));
    }
    // A column that the table itself lacks is told by the table.
    let missing: Vec<&str> = carried.missing.iter().map(String::as_str).filter(|column| found.has(column)).collect();
    if missing.is_empty() {
        return None;
    }
    let missing = missing.join(", ");
    Some(COLUMNS.found(format!("publication {name:?} leaves out columns of {table}: {missing}")).sql(whole))
}

/// What the publication does to others.
fn harm(expected: &Expected, found: &Publication, only_inserts: &str) -> Vec<Finding> {
    let name = &expected.publication;
    let quoted = escape_identifier(name);
    let mut findings = Vec::new();
    if !found.without_identity.is_empty() {
        let what = format!(
            "publication {name:?} publishes updates or deletions of tables without a replica identity: {}",
            some_of(&found.without_identity)
        );
        findings.push(IDENTITY.found(what).sql(only_inserts));
    } else if found.others {
        findings
            .push(OPERATIONS.found(format!("publication {name:?} publishes more than insertions")).sql(only_inserts));
    }
    if found.all_tables {
        let own = format!("{name}_outbox");
        let list: Vec<String> = expected.tables.iter().map(|outbox| outbox.table.quoted()).collect();
        findings.push(
            ALL_TABLES
                .found(format!("publication {name:?} takes in tables by rule: all of them, or those of a schema"))
                .sql(format!(
                    "create publication {} for table {} with (publish = 'insert', publish_via_partition_root = true)",
                    escape_identifier(&own),
                    list.join(", ")
                ))
                .words("let the relay run until the slot is confirmed beyond this moment")
                .configuration("source.publication", &format!("\"{own}\"")),
        );
    } else if !found.other_tables.is_empty() {
        findings.push(
            OTHER_TABLES
                .found(format!(
                    "publication {name:?} carries tables that are no outbox: {}",
                    some_of(&found.other_tables)
                ))
                .sql(format!("alter publication {quoted} drop table {}", found.other_tables.join(", "))),
        );
    }
    findings
}

fn some_of(names: &[String]) -> String {
    let shown = names.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
    match names.len().checked_sub(NAMED_MAX) {
        None | Some(0) => shown,
        Some(more) => format!("{shown} and {more} more"),
    }
}
