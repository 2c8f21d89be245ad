//! Reads from the catalog what the plan compares with. Changes nothing.

use std::collections::BTreeSet;

use tokio_postgres::{Client, Row, types::ToSql};

use crate::slots::{
    error::Error,
    facts,
    setup::{
        BacklogFound, BacklogWanted, CaptureFound, Choice, Found, FurtherFound, OUR_SCHEMA, OutboxTable,
        PublicationFound, RoleFound, Server, SlotFound, Table, TableFound, Wanted, backlog, capture, grant::grants,
    },
};

/// Reads what is there.
///
/// # Errors
/// [`Error::Database`].
pub async fn read(client: &Client, wanted: &Wanted) -> Result<Found, Error> {
    let first = match &wanted.outbox {
        Some(outbox) => table(client, &outbox.table).await?,
        None => None,
    };
    let capture = match &wanted.capture {
        Some(capture) => Some(capture::read(client, capture).await.map_err(failed)?),
        None => None,
    };
    let our_schema = one(client, OUR_SCHEMA_EXISTS, &[&OUR_SCHEMA]).await?.get(0);
    let relay = optional(client, ROLE, &[&wanted.relay_role]).await?;
    let relay = relay.map(|row| RoleFound { login: row.get("login"), replication: row.get("replication") });
    let writer = optional(client, ROLE, &[&wanted.writer_role]).await?.is_some();
    let mut granted = BTreeSet::new();
    let slot = slot(client, &wanted.slot).await?;
    let look = slot.is_none() && wanted.backlog.choice != Some(Choice::Skip);
    let mut further = Vec::new();
    for wanted in &wanted.further {
        further.push(further_table(client, wanted, look).await?);
    }
    if first.is_some() == wanted.outbox.is_some() && further.iter().all(|found| found.table.is_some()) {
        let captured = capture.iter().flat_map(CaptureFound::published);
        for grant in grants(wanted, our_schema, captured) {
            let exists = if grant.role == wanted.relay_role { relay.is_some() } else { writer };
            if exists && one(client, &format!("select {}", grant.check), &[]).await?.get(0) {
                granted.insert(grant.sql);
            }
        }
    }
    let backlog = match wanted.outbox.as_ref().zip(first.as_ref()) {
        Some((outbox, found)) if slot.is_none() && found.is_table => {
            backlog_of(client, &wanted.backlog, &outbox.table, found).await?
        }
        _ => None,
    };
    Ok(Found {
        server: server(client).await?,
        table: first,
        further,
        our_schema,
        relay,
        writer,
        granted,
        publication: publication(client, &wanted.publication).await?,
        capture,
        slot,
        backlog,
    })
}

const SERVER: &str = "
select
  current_database()::text as database,
  current_setting('server_version_num')::integer as version,
  pg_is_in_recovery() as standby,
  current_setting('wal_level') as wal_level,
  current_setting('max_replication_slots')::bigint as slots_max,
  (select count(*) from pg_catalog.pg_replication_slots) as slots,
  current_setting('max_wal_senders')::bigint as senders_max,
  exists (select from pg_catalog.pg_roles where rolname = 'rds_replication') as rds";

async fn server(client: &Client) -> Result<Server, Error> {
    let row = one(client, SERVER, &[]).await?;
    Ok(Server {
        database: row.get("database"),
        version: row.get("version"),
        standby: row.get("standby"),
        wal_level: row.get("wal_level"),
        slots_max: row.get("slots_max"),
        slots: row.get("slots"),
        senders_max: row.get("senders_max"),
        rds: row.get("rds"),
    })
}

const OUR_SCHEMA_EXISTS: &str = "
select exists (select from pg_catalog.pg_namespace where nspname = $1)";

/// On Amazon RDS and Aurora no role can be given the attribute: there members of `rds_replication` may replicate.
const ROLE: &str = "
select
  rolcanlogin as login,
  rolreplication or rolsuper or exists (
    select from pg_catalog.pg_roles managed
    where managed.rolname = 'rds_replication' and pg_has_role(role.oid, managed.oid, 'member')
  ) as replication
from pg_catalog.pg_roles role
where rolname = $1";

const TABLE: &str = "
select
  c.relkind in ('r', 'p') as is_table,
  c.relpersistence = 'p' as logged,
  c.relispartition as is_partition,
  array(
    select attname::text
    from pg_catalog.pg_attribute
    where attrelid = c.oid and attnum > 0 and not attisdropped
  ) as columns
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname = $1 and c.relname = $2";

async fn table(client: &Client, table: &Table) -> Result<Option<TableFound>, Error> {
    let row = optional(client, TABLE, &[&table.schema, &table.name]).await?;
    Ok(row.map(|row| TableFound {
        is_table: row.get("is_table"),
        logged: row.get("logged"),
        is_partition: row.get("is_partition"),
        columns: row.get("columns"),
    }))
}

/// The table of a further outbox, and, where `look`, how many rows of it wait.
async fn further_table(client: &Client, wanted: &OutboxTable, look: bool) -> Result<FurtherFound, Error> {
    let table = table(client, &wanted.table).await?;
    let rows = match &table {
        Some(found) if look && found.is_table => {
            let has_published_at = found.columns.iter().any(|column| column == "published_at");
            one(client, &backlog::count(&wanted.table, has_published_at), &[]).await?.get(0)
        }
        _ => 0,
    };
    Ok(FurtherFound { table, rows })
}

const PUBLICATION: &str = "
select
  pubinsert and not pubupdate and not pubdelete and not pubtruncate and pubviaroot as options_fit,
  puballtables or exists (select from pg_catalog.pg_publication_namespace where pnpubid = p.oid) as by_rule,
  exists (
    select
    from pg_catalog.pg_publication_rel
    where prpubid = p.oid and (prqual is not null or prattrs is not null)
  ) as narrowed
from pg_catalog.pg_publication p
where pubname = $1";

const PUBLICATION_TABLES: &str = "
select n.nspname::text, c.relname::text
from pg_catalog.pg_publication p
join pg_catalog.pg_publication_rel r on r.prpubid = p.oid
join pg_catalog.pg_class c on c.oid = r.prrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where p.pubname = $1";

async fn publication(client: &Client, name: &str) -> Result<Option<PublicationFound>, Error> {
    let Some(row) = optional(client, PUBLICATION, &[&name]).await? else { return Ok(None) };
    let tables = client.query(PUBLICATION_TABLES, &[&name]).await.map_err(failed)?;
    Ok(Some(PublicationFound {
        options_fit: row.get("options_fit"),
        by_rule: row.get("by_rule"),
        narrowed: row.get("narrowed"),
        tables: tables.iter().map(|row| Table { schema: row.get(0), name: row.get(1) }).collect(),
    }))
}

async fn slot(client: &Client, name: &str) -> Result<Option<SlotFound>, Error> {
    let slot = facts::slot(client, name).await.map_err(failed)?;
    Ok(slot.map(|slot| SlotFound {
        lost: slot.wal_status.as_deref() == Some("lost"),
        plugin: slot.plugin,
        database: slot.database,
        temporary: slot.temporary,
        two_phase: slot.two_phase,
        failover: slot.failover,
    }))
}

const OBSTACLES: &str = "
select 'trigger ' || tgname
from pg_catalog.pg_trigger
where tgrelid = $1::text::regclass and not tgisinternal and tgenabled <> 'D'
union all
select 'the foreign key of ' || conrelid::regclass
from pg_catalog.pg_constraint
where confrelid = $1::text::regclass and contype = 'f'
union all
select 'rule ' || rulename
from pg_catalog.pg_rewrite
where ev_class = $1::text::regclass";

/// Looks at the rows that a new slot would not see. Rows that are to be left need no look.
async fn backlog_of(
    client: &Client,
    wanted: &BacklogWanted,
    name: &Table,
    table: &TableFound,
) -> Result<Option<BacklogFound>, Error> {
    if wanted.choice == Some(Choice::Skip) {
        return Ok(None);
    }
    let has = |column: &str| table.columns.iter().any(|own| own == column);
    let has_published_at = has("published_at");
    let rows = client.query_one(&backlog::count(name, has_published_at), &[]).await;
    let rows = rows.map_err(|source| Error::Database {
        action: format!("cannot count the events of {} that are older than the slot", name.quoted()),
        source,
    })?;
    let rows = rows.get(0);
    let order = match &wanted.order {
        Some(column) => Some(column.as_str()).filter(|column| has(column)),
        None => ["seq", "created_at"].into_iter().find(|column| has(column)),
    };
    let obstacles = client.query(OBSTACLES, &[&name.quoted()]).await.map_err(failed)?;
    Ok(Some(BacklogFound {
        rows,
        has_published_at,
        order: order.map(str::to_owned),
        obstacles: obstacles.iter().map(|row| row.get(0)).collect(),
    }))
}

async fn one(client: &Client, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Row, Error> {
    client.query_one(sql, parameters).await.map_err(failed)
}

async fn optional(client: &Client, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Option<Row>, Error> {
    client.query_opt(sql, parameters).await.map_err(failed)
}

fn failed(source: tokio_postgres::Error) -> Error {
    Error::Database { action: "cannot read the catalog".to_owned(), source }
}
