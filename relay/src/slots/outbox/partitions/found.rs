//! Reads from the catalog and from postrider.partitions what the plan is made of. Changes nothing.

use postgres_protocol::escape::escape_identifier;
use tokio_postgres::{Client, Row};

use crate::slots::{
    error::{Error, Refusal},
    outbox::{
        delivered::Slots,
        partitions::{
            Care,
            plan::{Attached, Found, Leaving},
        },
    },
    setup::Table,
};

/// The column that the table is cut by.
pub(super) const KEY: &str = "created_at";

/// What kind of table it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Layout {
    /// Not there.
    Absent,
    /// A table in one piece.
    Plain,
    /// Cut by [`KEY`], with one partition at most without upper bound.
    ByDay,
    /// Anything else; why it cannot be cared for.
    Other(String),
}

const LAYOUT: &str = "
select
  c.relkind::text,
  coalesce(p.partstrat::text, ''),
  coalesce(p.partnatts, 0)::integer,
  coalesce(p.partdefid, 0) <> 0,
  coalesce(a.attname::text, ''),
  coalesce(format_type(a.atttypid, null), '')
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
left join pg_catalog.pg_partitioned_table p on p.partrelid = c.oid
left join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum = p.partattrs[0]
where n.nspname = $1 and c.relname = $2";

/// Tells whether the table is one that partitions can be cared for.
pub(super) async fn layout(client: &Client, table: &Table) -> Result<Layout, Error> {
    let row = client.query_opt(LAYOUT, &[&table.schema, &table.name]).await.map_err(failed)?;
    let Some(row) = row else { return Ok(Layout::Absent) };
    let text = |index: usize| row.get::<_, String>(index);
    if text(0) == "r" {
        return Ok(Layout::Plain);
    }
    let name = table.quoted();
    Ok(if text(0) != "p" {
        Layout::Other(format!("{name} is not a table"))
    } else if text(1) != "r" || row.get::<_, i32>(2) != 1 || text(4) != KEY || text(5) != "timestamp with time zone" {
        Layout::Other(format!("{name} is not partitioned by range of {KEY} alone, a timestamp with time zone"))
    } else if row.get(3) {
        Layout::Other(format!("{name} has a default partition, beside which no other can be detached concurrently"))
    } else {
        Layout::ByDay
    })
}

/// Bounds are read from the text that the server prints, in the session's pinned time zone and date style.
const ATTACHED: &str = r"
select
  c.relname::text as name,
  c.oid::regclass::text as sql_name,
  extract(epoch from nullif(b[1], 'MINVALUE')::timestamptz)::bigint as lower,
  extract(epoch from nullif(b[2], 'MAXVALUE')::timestamptz)::bigint as upper,
  i.inhdetachpending as pending
from pg_catalog.pg_inherits i
join pg_catalog.pg_class c on c.oid = i.inhrelid
cross join lateral regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \(''?([^'')]+)''?\) TO \(''?([^'')]+)''?\)') b
where i.inhparent = $1::text::regclass
order by lower nulls first, name";

const LEAVING: &str = "
select
  p.name,
  c.oid is not null as exists,
  coalesce(c.relispartition, false) as attached,
  coalesce((select inhdetachpending from pg_catalog.pg_inherits where inhrelid = c.oid), false) as pending,
  (p.detached_lsn - '0/0')::bigint as position,
  extract(epoch from p.lower)::bigint as lower,
  extract(epoch from p.upper)::bigint as upper
from postrider.partitions p
left join pg_catalog.pg_namespace n on n.nspname = p.schema
left join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = p.name
where p.schema = $1 and p.root = $2
order by p.lower nulls first, p.name";

/// Reads all that the plan needs.
///
/// # Errors
/// [`Error::Refused`] if the migrations are not there yet; [`Error::Database`].
pub(super) async fn read(client: &Client, care: &Care) -> Result<Found, Error> {
    let Care { table, slot, .. } = care;
    let known = "select to_regclass('postrider.partitions') is not null, extract(epoch from now())::bigint";
    let row = client.query_one(known, &[]).await.map_err(failed)?;
    if !row.get::<_, bool>(0) {
        return Err(Error::Refused(vec![Refusal {
            what: "table postrider.partitions, which records partitions that leave, does not exist".to_owned(),
            mend: "run `postrider migrate`".to_owned(),
        }]));
    }
    let now = row.get(1);
    let parked = parked(client).await?;
    let mut attached = Vec::new();
    for row in client.query(ATTACHED, &[&table.quoted()]).await.map_err(failed)? {
        let upper = row.get("upper");
        let (filled, latest) = match upper {
            Some(_) => (false, None),
            None => latest(client, row.get("sql_name")).await?,
        };
        let held = if care.settings.expired(upper, now) { held(client, care, &row, parked).await? } else { None };
        let (name, lower, pending) = (row.get("name"), row.get("lower"), row.get("pending"));
        attached.push(Attached { name, lower, upper, pending, filled, latest, held });
    }
    let mut leaving = Vec::new();
    for row in client.query(LEAVING, &[&table.schema, &table.name]).await.map_err(failed)? {
        let exists = row.get("exists");
        leaving.push(Leaving {
            name: row.get("name"),
            exists,
            attached: row.get("attached"),
            pending: row.get("pending"),
            position: row.get::<_, Option<i64>>("position").map(i64::unsigned_abs),
            held: if exists { held(client, care, &row, parked).await? } else { None },
        });
    }
    let slots = Slots::read(client).await?;
    Ok(Found { root: table.name.clone(), now, attached, leaving, slots, slot: slot.clone() })
}

/// Whether any event is parked that is not settled yet.
async fn parked(client: &Client) -> Result<bool, Error> {
    let exists = "select to_regclass('postrider.parked') is not null";
    if !client.query_one(exists, &[]).await.map_err(failed)?.get::<_, bool>(0) {
        return Ok(false);
    }
    let any = format!("select exists (select from postrider.parked p where {UNSETTLED})");
    Ok(client.query_one(&any, &[]).await.map_err(failed)?.get(0))
}

/// The rows of the rest are few or none, unless nobody made days in time.
async fn latest(client: &Client, partition: &str) -> Result<(bool, Option<i64>), Error> {
    let sql = format!("select count(*) > 0, extract(epoch from max({KEY}))::bigint from {partition}");
    let row = client.query_one(&sql, &[]).await.map_err(failed)?;
    Ok((row.get(0), row.get(1)))
}

const HOLDS: &str = "
select name
from postrider.holds
where created_from < coalesce(to_timestamp($2::bigint), 'infinity') and created_to > coalesce(to_timestamp($1::bigint), '-infinity')
order by name
limit 1";

const UNSETTLED: &str = "p.state in ('parked', 'waiting', 'retry')";

/// Why the rows of a partition must stay, if they must: a hold on its days, or a parked event that it holds the original of.
async fn held(client: &Client, care: &Care, row: &Row, parked: bool) -> Result<Option<String>, Error> {
    let (lower, upper): (Option<i64>, Option<i64>) = (row.get("lower"), row.get("upper"));
    if let Some(hold) = client.query_opt(HOLDS, &[&lower, &upper]).await.map_err(failed)? {
        return Ok(Some(format!("the hold {:?} in postrider.holds covers its days", hold.get::<_, String>(0))));
    }
    if !parked {
        return Ok(None);
    }
    let partition = Table { schema: care.table.schema.clone(), name: row.get("name") };
    let sql = format!(
        "select count(*) from postrider.parked p join {} o on o.{}::text = p.event_id where {UNSETTLED}",
        partition.quoted(),
        escape_identifier(&care.id_column)
    );
    let count: i64 = client.query_one(&sql, &[]).await.map_err(failed)?.get(0);
    Ok((count > 0).then(|| format!("{count} of its events are parked: see `postrider parked list`")))
}

fn failed(source: tokio_postgres::Error) -> Error {
    Error::Database { action: "cannot read the partitions".to_owned(), source }
}
