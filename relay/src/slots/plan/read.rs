//! Reads from the catalog what the plan compares with. Changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::{Client, Row};

use crate::postgres::options::ConnectOptions;
use crate::slots::check::precedes;
use crate::slots::error::Error;
use crate::slots::facts::{self, Facts};
use crate::slots::plan::{Carried, Here, IdentityFound, Wanted};
use crate::slots::session::Direct;
use crate::slots::setup::capture::{self, CaptureFound, Operations};
use crate::slots::setup::{self, Table, reader_grants};

/// Reads what is there. Where a slot may be older than its publication, that slot is read for a moment.
///
/// # Errors
/// [`Error::Database`].
pub async fn read(session: &Direct, wanted: &Wanted) -> Result<Here, Error> {
    let Direct { client, connect } = session;
    let facts = facts::read(client).await?;
    let relay = match &wanted.relay {
        Some(relay) => Some(setup::read(client, &relay.setup).await?),
        None => None,
    };
    let mut found = Vec::new();
    for publication in &wanted.publications {
        found.push(capture::read(client, &publication.carries).await.map_err(failed)?);
    }
    let carried = carried(client).await.map_err(failed)?;
    let identities = identities(client, wanted).await.map_err(failed)?;
    let roles = roles(client, wanted).await.map_err(failed)?;
    let granted = granted(client, wanted, &found, &roles).await.map_err(failed)?;
    let preceding = preceding(client, connect, wanted, &facts).await.map_err(failed)?;
    Ok(Here { facts, relay, carried, found, identities, roles, granted, preceding })
}

const CARRIED: &str = "
select
  p.pubname::text as name,
  p.pubinsert,
  p.pubupdate,
  p.pubdelete,
  p.pubtruncate,
  p.pubviaroot,
  p.puballtables or exists (select from pg_catalog.pg_publication_namespace where pnpubid = p.oid) as by_rule,
  n.nspname::text as schema,
  c.relname::text as table,
  coalesce(r.prqual is not null or r.prattrs is not null, false) as narrowed
from pg_catalog.pg_publication p
left join pg_catalog.pg_publication_rel r on r.prpubid = p.oid
left join pg_catalog.pg_class c on c.oid = r.prrelid
left join pg_catalog.pg_namespace n on n.oid = c.relnamespace";

async fn carried(client: &Client) -> Result<BTreeMap<String, Carried>, tokio_postgres::Error> {
    let mut carried: BTreeMap<String, Carried> = BTreeMap::new();
    for row in client.query(CARRIED, &[]).await? {
        let publication = carried.entry(row.get("name")).or_insert_with(|| Carried {
            operations: Operations {
                insert: row.get("pubinsert"),
                update: row.get("pubupdate"),
                delete: row.get("pubdelete"),
                truncate: row.get("pubtruncate"),
            },
            via_root: row.get("pubviaroot"),
            by_rule: row.get("by_rule"),
            tables: BTreeSet::new(),
            narrowed: BTreeSet::new(),
        });
        let Some((schema, name)) = row.get::<_, Option<String>>("schema").zip(row.get("table")) else { continue };
        let table = Table { schema, name };
        if row.get("narrowed") {
            publication.narrowed.insert(table.clone());
        }
        publication.tables.insert(table);
    }
    Ok(carried)
}

/// Of each table that is named, and of its partitions: by what its rows are told apart, and by what they could be.
const IDENTITIES: &str = "
select
  named.schema,
  named.name,
  n.nspname::text as own_schema,
  c.relname::text as own_name,
  format('%I.%I', n.nspname, c.relname) as label,
  c.relkind = 'p' as is_partitioned,
  c.relreplident::text as by,
  (
    select x.relname::text
    from pg_catalog.pg_index i
    join pg_catalog.pg_class x on x.oid = i.indexrelid
    where i.indrelid = c.oid and i.indisreplident
  ) as index,
  exists (select from pg_catalog.pg_index i where i.indrelid = c.oid and i.indisprimary) as has_primary_key,
  array(
    select x.relname::text
    from pg_catalog.pg_index i
    join pg_catalog.pg_class x on x.oid = i.indexrelid
    where i.indrelid = c.oid
      and i.indisunique and i.indisvalid and i.indimmediate and i.indpred is null and i.indexprs is null
      and not exists (
        select
        from pg_catalog.pg_attribute a
        where a.attrelid = c.oid and a.attnum = any (i.indkey) and not a.attnotnull
      )
    order by 1
  ) as indexes
from unnest($1::text[], $2::text[]) named (schema, name)
join pg_catalog.pg_namespace s on s.nspname = named.schema
join pg_catalog.pg_class t on t.relnamespace = s.oid and t.relname = named.name and t.relkind in ('r', 'p')
cross join lateral (select t.oid as relid union select relid from pg_partition_tree(t.oid)) part
join pg_catalog.pg_class c on c.oid = part.relid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
order by 1, 2, 3, 4";

async fn identities(
    client: &Client,
    wanted: &Wanted,
) -> Result<BTreeMap<Table, Vec<IdentityFound>>, tokio_postgres::Error> {
    let own = wanted.relay.iter().flat_map(|relay| &relay.identities);
    let declared = wanted.publications.iter().flat_map(|publication| &publication.identities);
    let tables: BTreeSet<&Table> = own.chain(declared).map(|identity| &identity.table).collect();
    let (schemas, names): (Vec<&str>, Vec<&str>) =
        tables.into_iter().map(|table| (table.schema.as_str(), table.name.as_str())).unzip();
    let mut found: BTreeMap<Table, Vec<IdentityFound>> = BTreeMap::new();
    for row in client.query(IDENTITIES, &[&schemas, &names]).await? {
        let table = Table { schema: row.get("schema"), name: row.get("name") };
        found.entry(table).or_default().push(identity(&row));
    }
    Ok(found)
}

fn identity(row: &Row) -> IdentityFound {
    IdentityFound {
        table: Table { schema: row.get("own_schema"), name: row.get("own_name") },
        label: row.get("label"),
        is_partitioned: row.get("is_partitioned"),
        by: row.get("by"),
        index: row.get("index"),
        has_primary_key: row.get("has_primary_key"),
        indexes: row.get("indexes"),
    }
}

const ROLES: &str = "select rolname::text from pg_catalog.pg_roles where rolname = any ($1::text[])";

async fn roles(client: &Client, wanted: &Wanted) -> Result<BTreeSet<String>, tokio_postgres::Error> {
    let named: Vec<&String> = wanted.publications.iter().flat_map(|publication| &publication.readers).collect();
    let rows = client.query(ROLES, &[&named]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

async fn granted(
    client: &Client,
    wanted: &Wanted,
    found: &[CaptureFound],
    roles: &BTreeSet<String>,
) -> Result<BTreeSet<String>, tokio_postgres::Error> {
    let mut granted = BTreeSet::new();
    for (publication, found) in wanted.publications.iter().zip(found) {
        for role in publication.readers.iter().filter(|role| roles.contains(*role)) {
            for grant in reader_grants(role, &wanted.database, found.published()) {
                if client.query_one(&format!("select {}", grant.check), &[]).await?.get(0) {
                    granted.insert(grant.sql);
                }
            }
        }
    }
    Ok(granted)
}

/// Publications that may be younger than what a slot of this database has still to read: nothing of them is surely older than the
/// oldest catalog that the slot needs. Every right answer is among them, and wrong ones: a new slot begins with the catalog that
/// another one holds.
const SUSPECTS: &str = "
select s.slot_name::text, p.pubname::text
from unnest($1::text[], $2::text[]) pair (slot, publication)
join pg_catalog.pg_replication_slots s on s.slot_name = pair.slot and s.database = current_database()
join pg_catalog.pg_publication p on p.pubname = pair.publication
where s.active_pid is null and not s.temporary and s.wal_status is distinct from 'lost'
  and age(p.xmin) <= age(s.catalog_xmin)
  and not exists (
    select from pg_catalog.pg_publication_rel r where r.prpubid = p.oid and age(r.xmin) > age(s.catalog_xmin)
  )
  and not exists (
    select from pg_catalog.pg_publication_namespace r where r.pnpubid = p.oid and age(r.xmin) > age(s.catalog_xmin)
  )";

/// Reads each slot for a moment that may be older than its publication.
async fn preceding(
    client: &Client,
    connect: &ConnectOptions,
    wanted: &Wanted,
    facts: &Facts,
) -> Result<BTreeSet<(String, String)>, tokio_postgres::Error> {
    let own = wanted.relay.iter().filter(|relay| relay.setup.outbox.is_some());
    let own = own.map(|relay| (relay.setup.slot.as_str(), relay.setup.publication.as_str()));
    let declared = wanted.slots.iter().filter(|slot| slot.plugin == "pgoutput");
    let declared = declared.filter_map(|slot| Some((slot.name.as_str(), slot.publication.as_deref()?)));
    let (slots, publications): (Vec<&str>, Vec<&str>) = own.chain(declared).unzip();
    let mut preceding = BTreeSet::new();
    for row in client.query(SUSPECTS, &[&slots, &publications]).await? {
        let (slot, publication): (String, String) = (row.get(0), row.get(1));
        let confirmed = facts.slots.iter().find(|found| found.name == slot).and_then(|found| found.confirmed_flush_lsn);
        let Some(confirmed) = confirmed else { continue };
        if precedes(connect, &slot, confirmed, std::slice::from_ref(&publication)).await.is_some() {
            preceding.insert((slot, publication));
        }
    }
    Ok(preceding)
}

fn failed(source: tokio_postgres::Error) -> Error {
    Error::Database { action: "cannot read the catalog".to_owned(), source }
}
