//! Which relations are meant, asked of the catalog.

use tokio_postgres::{Client, Row};

use crate::slots::setup::Table;
use crate::slots::setup::capture::{
    CaptureFound, CapturePublication, CaptureWanted, Identity, Operations, Relation, RelationKind,
};

/// Relations whose names are like `$1` and `$2` and not like `$3` and `$4`, with what the publication `$5` does with them.
const RELATIONS: &str = "
with
  meant as materialized (
    select c.oid, c.relnamespace, n.nspname, c.relname, c.relkind, c.relpersistence, c.relispartition, c.relreplident
    from pg_catalog.pg_class c
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p', 'v', 'm', 'f')
      and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
      and exists (
        select from unnest($1::text[], $2::text[]) named (schema, name)
        where n.nspname like named.schema and c.relname like named.name
      )
      and not exists (
        select from unnest($3::text[], $4::text[]) excepted (schema, name)
        where n.nspname like excepted.schema and c.relname like excepted.name
      )
  ),
  listed as materialized (
    select schemaname, tablename from pg_catalog.pg_publication_tables where pubname = $5
  )
select
  m.nspname::text as schema,
  m.relname::text as name,
  m.relkind::text as kind,
  m.relpersistence = 'p' as logged,
  m.relispartition and exists (
    select
    from pg_partition_ancestors(m.oid) a
    join meant root on root.oid = a.relid and root.oid <> m.oid
  ) as is_partition,
  exists (select from listed l where l.schemaname = m.nspname and l.tablename = m.relname)
    or exists (
      select
      from pg_catalog.pg_publication_rel r
      join pg_catalog.pg_publication p on p.oid = r.prpubid
      where p.pubname = $5 and r.prrelid = m.oid
    )
    or m.relkind = 'p' and exists (
      select
      from pg_catalog.pg_publication p
      where p.pubname = $5
        and (
          p.puballtables
          or exists (
            select from pg_catalog.pg_publication_namespace s where s.pnpubid = p.oid and s.pnnspid = m.relnamespace
          )
        )
    ) as is_published,
  m.relreplident::text as identity,
  array(
    select a.attname::text
    from pg_catalog.pg_index i
    cross join unnest(i.indkey) with ordinality k (attnum, place)
    join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
    where i.indrelid = m.oid and i.indisprimary and k.place <= i.indnkeyatts
    order by k.place
  ) as primary_key,
  array(
    select a.attname::text
    from pg_catalog.pg_index i
    cross join unnest(i.indkey) with ordinality k (attnum, place)
    join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
    where i.indrelid = m.oid and i.indisreplident and k.place <= i.indnkeyatts
    order by k.place
  ) as identity_index,
  array(
    select format('%I.%I', ln.nspname, leaf.relname)
    from pg_catalog.pg_class leaf
    join pg_catalog.pg_namespace ln on ln.oid = leaf.relnamespace
    where leaf.relkind = 'r'
      and (leaf.oid = m.oid or leaf.oid in (select relid from pg_partition_tree(m.oid)))
      and (
        leaf.relreplident = 'n'
        or leaf.relreplident in ('d', 'i') and not exists (
          select
          from pg_catalog.pg_index i
          where i.indrelid = leaf.oid
            and case leaf.relreplident when 'd' then i.indisprimary else i.indisreplident end
        )
      )
    order by 1
  ) as without_identity
from meant m
order by 1, 2";

const PUBLICATION: &str = "
select
  pubinsert,
  pubupdate,
  pubdelete,
  pubtruncate,
  pubviaroot,
  puballtables or exists (select from pg_catalog.pg_publication_namespace where pnpubid = p.oid) as by_rule
from pg_catalog.pg_publication p
where pubname = $1";

/// Reads what there is of what shall be captured. Changes nothing.
pub(crate) async fn read(client: &Client, wanted: &CaptureWanted) -> Result<CaptureFound, tokio_postgres::Error> {
    let publication = client.query_opt(PUBLICATION, &[&wanted.publication]).await?;
    let relations = relations(client, wanted, &wanted.tables, &wanted.except).await?;
    let signal_table = match &wanted.signal_table {
        Some(table) => relations_named(client, wanted, table).await?,
        None => None,
    };
    Ok(CaptureFound {
        relations,
        publication: publication.map(|row| CapturePublication {
            operations: Operations {
                insert: row.get("pubinsert"),
                update: row.get("pubupdate"),
                delete: row.get("pubdelete"),
                truncate: row.get("pubtruncate"),
            },
            via_root: row.get("pubviaroot"),
            by_rule: row.get("by_rule"),
        }),
        signal_table,
    })
}

async fn relations_named(
    client: &Client,
    wanted: &CaptureWanted,
    table: &Table,
) -> Result<Option<Relation>, tokio_postgres::Error> {
    Ok(relations(client, wanted, std::slice::from_ref(table), &[]).await?.pop())
}

async fn relations(
    client: &Client,
    wanted: &CaptureWanted,
    tables: &[Table],
    except: &[Table],
) -> Result<Vec<Relation>, tokio_postgres::Error> {
    let ((schemas, names), (except_schemas, except_names)) = (likes(tables), likes(except));
    let rows =
        client.query(RELATIONS, &[&schemas, &names, &except_schemas, &except_names, &wanted.publication]).await?;
    Ok(rows.iter().map(|row| relation(row, wanted.via_root)).collect())
}

fn relation(row: &Row, via_root: bool) -> Relation {
    let (primary_key, index): (Vec<String>, Vec<String>) = (row.get("primary_key"), row.get("identity_index"));
    let identity = match row.get::<_, &str>("identity") {
        "f" => Identity::Full,
        "d" if !primary_key.is_empty() => Identity::Columns(primary_key.clone()),
        "i" if !index.is_empty() => Identity::Columns(index),
        _ => Identity::Nothing,
    };
    Relation {
        table: Table { schema: row.get("schema"), name: row.get("name") },
        kind: match row.get::<_, &str>("kind") {
            "r" => RelationKind::Table,
            "p" => RelationKind::Partitioned,
            "f" => RelationKind::Foreign,
            _ => RelationKind::View,
        },
        logged: row.get("logged"),
        is_partition: row.get("is_partition"),
        is_covered: via_root && row.get("is_partition"),
        is_published: row.get("is_published"),
        identity,
        primary_key,
        without_identity: row.get("without_identity"),
    }
}

fn likes(tables: &[Table]) -> (Vec<String>, Vec<String>) {
    tables.iter().map(|table| (like(&table.schema), like(&table.name))).unzip()
}

/// A name in which `*` stands for any characters, as LIKE takes it.
fn like(pattern: &str) -> String {
    let mut like = String::new();
    for letter in pattern.chars() {
        match letter {
            '*' => like.push('%'),
            '%' | '_' | '\\' => like.extend(['\\', letter]),
            letter => like.push(letter),
        }
    }
    like
}
