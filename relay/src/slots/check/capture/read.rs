//! What the catalog says of captured tables beside what a set-up asks.

use tokio_postgres::Client;

use crate::slots::check::Expected;
use crate::slots::check::capture::ExpectedCapture;
use crate::slots::setup::Table;
use crate::slots::setup::capture::{self, CaptureFound, Relation};

/// What there is of what is captured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::slots::check) struct Captured {
    pub(in crate::slots::check) found: CaptureFound,
    pub(super) facts: Vec<Facts>,
    /// Whether the table of requests is there, and whether all that is needed may be done with it.
    pub(super) requests: (bool, bool),
    /// Tables of the publication that are not captured, as SQL takes their names.
    pub(super) others: Vec<String>,
    /// Tables of the publication whose updates and deletions the server refuses, as SQL takes their names.
    pub(super) without_identity: Vec<String>,
}

/// What is asked of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) table: Table,
    /// Whether the relay's role may use the schema.
    pub(super) usage: bool,
    /// Whether it may read the table.
    pub(super) select: bool,
    /// Whether policies hide rows from it.
    pub(super) row_security: bool,
    /// The table's columns.
    pub(super) columns: Vec<String>,
    /// Whether the publication carries it by this name.
    pub(super) listed: bool,
    /// Those of its columns that are published.
    pub(super) published: Vec<String>,
    /// Whether its rows are filtered.
    pub(super) filtered: bool,
}

impl Facts {
    pub(super) fn has(&self, column: &str) -> bool {
        self.columns.iter().any(|own| own == column)
    }
}

impl Captured {
    /// What was asked of this relation.
    pub(super) fn of(&self, relation: &Relation) -> Option<&Facts> {
        self.facts.iter().find(|facts| facts.table == relation.table)
    }
}

const FACTS: &str = "
select
  n.nspname::text as schema,
  c.relname::text as name,
  has_schema_privilege($3::name, n.oid, 'usage') as usage,
  has_table_privilege($3::name, c.oid, 'select') as select,
  c.relrowsecurity
    and not exists (select from pg_catalog.pg_roles where rolname = $3 and (rolsuper or rolbypassrls))
    and (c.relforcerowsecurity or not pg_has_role($3::name, c.relowner, 'usage')) as row_security,
  array(
    select attname::text
    from pg_catalog.pg_attribute
    where attrelid = c.oid and attnum > 0 and not attisdropped
    order by attnum
  ) as columns,
  t.tablename is not null as listed,
  coalesce(t.attnames::text[], '{}') as published,
  t.rowfilter is not null as filtered
from unnest($1::text[], $2::text[]) meant (schema, name)
join pg_catalog.pg_namespace n on n.nspname = meant.schema
join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = meant.name
left join (select * from pg_catalog.pg_publication_tables where pubname = $4) t
  on t.schemaname = n.nspname and t.tablename = c.relname";

/// What the publication carries beside the tables `$2`, `$3`, and those of its tables that have no replica identity.
/// A partition of one of those belongs to it.
const BESIDE: &str = "
with listed as materialized (
  select c.oid, t.schemaname, t.tablename
  from pg_catalog.pg_publication_tables t
  join pg_catalog.pg_namespace n on n.nspname = t.schemaname
  join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = t.tablename
  where t.pubname = $1
)
select
  array(
    select format('%I.%I', l.schemaname, l.tablename)
    from listed l
    where not exists (
      select
      from unnest($2::text[], $3::text[]) meant (schema, name)
      join pg_catalog.pg_namespace n on n.nspname = meant.schema
      join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = meant.name
      where c.oid = l.oid or l.oid in (select relid from pg_partition_tree(c.oid))
    )
    order by 1
  ) as others,
  case when p.pubupdate or p.pubdelete then array(
    select distinct format('%I.%I', n.nspname, c.relname)
    from listed l
    left join lateral pg_partition_tree(l.oid) tree on true
    join pg_catalog.pg_class c on c.oid = coalesce(tree.relid, l.oid)
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where c.relkind = 'r'
      and (
        c.relreplident = 'n'
        or c.relreplident in ('d', 'i') and not exists (
          select
          from pg_catalog.pg_index i
          where i.indrelid = c.oid
            and case c.relreplident when 'd' then i.indisprimary else i.indisreplident end
        )
      )
    order by 1
  ) else '{}' end as without_identity
from pg_catalog.pg_publication p
where p.pubname = $1";

const REQUESTS: &str = "
select
  count(*) = 1,
  coalesce(
    bool_and(
      has_schema_privilege($1::name, n.oid, 'usage')
        and has_table_privilege($1::name, c.oid, 'select')
        and has_table_privilege($1::name, c.oid, 'insert')
        and has_table_privilege($1::name, c.oid, 'update')
        and has_table_privilege($1::name, c.oid, 'delete')
    ),
    false
  )
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname = 'postrider' and c.relname = 'snapshots'";

pub(in crate::slots::check) async fn read(
    client: &Client,
    expected: &Expected,
    capture: &ExpectedCapture,
) -> Result<Captured, tokio_postgres::Error> {
    let wanted = &capture.wanted;
    let found = capture::read(client, wanted).await?;
    let (schemas, names): (Vec<&str>, Vec<&str>) =
        found.published().map(|table| (table.schema.as_str(), table.name.as_str())).unzip();
    let rows = client.query(FACTS, &[&schemas, &names, &expected.connect.user, &wanted.publication]).await?;
    let facts = rows.iter().map(|row| Facts {
        table: Table { schema: row.get("schema"), name: row.get("name") },
        usage: row.get("usage"),
        select: row.get("select"),
        row_security: row.get("row_security"),
        columns: row.get("columns"),
        listed: row.get("listed"),
        published: row.get("published"),
        filtered: row.get("filtered"),
    });
    let facts = facts.collect();
    let beside = client.query_opt(BESIDE, &[&wanted.publication, &schemas, &names]).await?;
    let requests = client.query_one(REQUESTS, &[&expected.connect.user]).await?;
    Ok(Captured {
        facts,
        requests: (requests.get(0), requests.get(1)),
        others: beside.as_ref().map(|row| row.get("others")).unwrap_or_default(),
        without_identity: beside.as_ref().map(|row| row.get("without_identity")).unwrap_or_default(),
        found,
    })
}
