//! What recovery must know of the database. Changes nothing but requests for snapshots.

use postgres_protocol::escape::{escape_identifier, escape_literal};
use tokio_postgres::Client;

use crate::leases;
use crate::pipeline::Kind;
use crate::slots::error::Error;
use crate::slots::facts;
use crate::slots::recover::{Look, Outbox, Requested, Suspects, failed};
use crate::slots::setup::Table;
use crate::slots::snapshots::{self, Target};

/// Hours by which a time without a zone may differ from what it means.
const ZONES_MS: i64 = 14 * 3_600_000;

/// The table of an outbox.
#[derive(Debug, Clone)]
pub struct TableLook {
    /// Its name.
    pub table: Table,
    /// Whether it is there.
    pub exists: bool,
    /// The column with the event's id.
    pub id: String,
    /// The header that holds it in a record, if one does.
    pub id_header: Option<String>,
    /// Whether it has our column `xid` with the writing transaction.
    pub has_xid: bool,
    /// Whether a column `published_at` tells what a polling relay has published.
    pub has_published_at: bool,
    /// When rows were written, if there is such a column.
    pub written: Option<Written>,
    /// The column that orders the rows, if there is one.
    pub order: Option<String>,
    /// Whether this session may delete and insert.
    pub may_write: bool,
    /// What would notice that rows are deleted and inserted again.
    pub obstacles: Vec<String>,
    /// Whether there is a table of parked events.
    pub has_parked: bool,
}

/// The column that tells when a row was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Its name.
    pub column: String,
    /// Whether its values say in which zone.
    pub zoned: bool,
}

impl TableLook {
    /// The condition on rows, called `t`, that may not have been delivered.
    pub(super) fn condition(&self, slot: &str, suspects: &Suspects) -> String {
        let mut all = vec![self.doubtful(suspects)];
        if self.has_published_at {
            all.push("t.published_at is null".to_owned());
        }
        if self.has_parked {
            let (slot, id) = (escape_literal(slot), escape_identifier(&self.id));
            let is_parked =
                format!("select from postrider.parked p where p.slot = {slot} and p.event_id = t.{id}::text");
            all.push(format!("not exists ({is_parked})"));
            // What is parked shows the id of the usual header.
            if let Some(header) = self.id_header.as_deref().filter(|header| *header != "id") {
                all.push(format!(
                    "not exists (select from postrider.parked p cross join json_array_elements(p.headers) h \
                     where p.slot = {slot} and h ->> 0 = {} and h ->> 1 = t.{id}::text)",
                    escape_literal(header)
                ));
            }
        }
        all.join(" and ")
    }

    /// On the same history the transaction tells; on another one it does for rows that were copied, and time for those written since.
    fn doubtful(&self, suspects: &Suspects) -> String {
        let by_number = suspects.below.and_then(|below| match (self.has_xid, suspects.same_history) {
            (true, _) => Some(format!("t.xid >= '{below}'::xid8")),
            // The system's own column counts with 32 bits; which of two is later is told within half a turn.
            (false, true) => {
                let low = below & 0xffff_ffff;
                Some(format!("((t.xmin::text::bigint - {low}) & 4294967295) < 2147483648"))
            }
            (false, false) => None,
        });
        let by_time = match (&self.written, suspects.from_ms) {
            (Some(written), Some(from_ms)) => {
                let (column, from) = (escape_identifier(&written.column), written.earliest(from_ms));
                Some(format!("t.{column} >= {from}"))
            }
            _ => None,
        };
        match (by_number, by_time) {
            (Some(number), _) if suspects.same_history => number,
            (Some(number), Some(time)) => format!("({number} or {time})"),
            (None, Some(time)) => time,
            (_, None) => "true".to_owned(),
        }
    }

    /// What orders its rows, as SQL.
    pub(super) fn ordered_by(&self) -> String {
        self.order.as_deref().map_or_else(|| "1".to_owned(), escape_identifier)
    }
}

impl Written {
    /// The earliest value of a row that was written at `ms`.
    fn earliest(&self, ms: i64) -> String {
        if self.zoned {
            format!("to_timestamp({ms} / 1000.0)")
        } else {
            format!("(to_timestamp({} / 1000.0) at time zone 'UTC')", ms.saturating_sub(ZONES_MS))
        }
    }
}

const SERVER: &str = "
select
  pg_is_in_recovery() as standby,
  current_setting('server_version_num')::integer as version,
  current_database()::text as database,
  current_setting('max_replication_slots')::bigint - (select count(*) from pg_catalog.pg_replication_slots) as free,
  case when not pg_is_in_recovery() then pg_snapshot_xmax(pg_current_snapshot())::text::bigint else 0 end as next_xid,
  exists (select from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
          where n.nspname = 'postrider' and c.relname = 'leases') as has_leases";

pub(super) async fn look(
    client: &Client,
    slot: &str,
    publications: &[String],
    outboxes: &[Outbox],
) -> Result<Look, Error> {
    let server = client.query_one(SERVER, &[]).await.map_err(failed("cannot look at the server"))?;
    let mut tables = Vec::new();
    for outbox in outboxes {
        tables.push(table(client, outbox).await?);
    }
    let missing = "select name from unnest($1::text[]) name where not exists \
                   (select from pg_catalog.pg_publication where pubname = name)";
    let missing = client.query(missing, &[&publications]).await.map_err(failed("cannot look at the publications"))?;
    Ok(Look {
        slot: facts::slot(client, slot).await.map_err(failed("cannot look at the slot"))?,
        standby: server.get("standby"),
        version: server.get("version"),
        database: server.get("database"),
        slots_free: server.get("free"),
        next_xid: server.get::<_, i64>("next_xid").unsigned_abs(),
        lease: if server.get("has_leases") { lease(client, slot).await? } else { None },
        tables,
        unpublished: missing.iter().map(|row| row.get(0)).collect(),
    })
}

/// Who holds the slot's lease, or one of those by which the outbox is polled, as far as it says.
async fn lease(client: &Client, slot: &str) -> Result<Option<String>, Error> {
    let asked = match leases::holder(client, &format!("slot/{slot}")).await {
        Ok(Some(held)) if !held.left.is_zero() => Ok(Some(held)),
        Ok(_) => leases::holder_among(client, &format!("poll/{slot}/")).await,
        Err(error) => Err(error),
    };
    match asked {
        Ok(held) => Ok(held.map(|held| format!("{} ({})", held.holder, held.detail))),
        // Where leases may not be looked at, nobody goes by them.
        Err(error) if error.kind() == Kind::Setup => Ok(None),
        Err(error) => Err(Error::Refused(vec![crate::slots::error::Refusal {
            what: error.chain(),
            mend: "run it again when the server answers".to_owned(),
        }])),
    }
}

const TABLE: &str = "
select
  c.oid is not null as exists,
  coalesce((select array_agg(attname::text) from pg_catalog.pg_attribute
            where attrelid = c.oid and attnum > 0 and not attisdropped), '{}') as columns,
  exists (select from pg_catalog.pg_attribute
          where attrelid = c.oid and attname = 'xid' and atttypid = 'xid8'::regtype) as has_xid,
  (select json_object_agg(attname, atttypid = 'timestamptz'::regtype) from pg_catalog.pg_attribute
   where attrelid = c.oid and attnum > 0 and not attisdropped
     and atttypid in ('timestamptz'::regtype, 'timestamp'::regtype))::text as times,
  coalesce(has_table_privilege(c.oid, 'insert') and has_table_privilege(c.oid, 'delete'), false) as may_write,
  exists (select from pg_catalog.pg_class p join pg_catalog.pg_namespace s on s.oid = p.relnamespace
          where s.nspname = 'postrider' and p.relname = 'parked' and has_schema_privilege(s.oid, 'usage')
            and has_table_privilege(p.oid, 'select')) as has_parked,
  array(
    select 'trigger ' || tgname
    from pg_catalog.pg_trigger
    join pg_catalog.pg_proc f on f.oid = tgfoid
    where tgrelid = c.oid and not tgisinternal and tgenabled <> 'D' and f.pronamespace::regnamespace::text <> 'postrider'
    union all
    select 'the foreign key of ' || conrelid::regclass
    from pg_catalog.pg_constraint
    where confrelid = c.oid and contype = 'f'
    union all
    select 'rule ' || rulename
    from pg_catalog.pg_rewrite
    where ev_class = c.oid
  ) as obstacles
from (select 1) one
left join (pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace)
  on n.nspname = $1 and c.relname = $2 and c.relkind in ('r', 'p')";

async fn table(client: &Client, outbox: &Outbox) -> Result<TableLook, Error> {
    let Table { schema, name } = &outbox.table;
    let row = client.query_one(TABLE, &[schema, name]).await.map_err(failed("cannot look at the outbox"))?;
    let columns: Vec<String> = row.get("columns");
    let has = |column: &str| columns.iter().any(|own| own == column);
    let times: serde_json::Map<String, serde_json::Value> =
        row.get::<_, Option<String>>("times").and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let written = outbox.time.iter().map(String::as_str).chain(["created_at"]).find_map(|column| {
        let zoned = times.get(column)?.as_bool()?;
        Some(Written { column: column.to_owned(), zoned })
    });
    let order = match &outbox.order {
        Some(column) => Some(column.clone()).filter(|column| has(column)),
        None if has("seq") => Some("seq".to_owned()),
        None => written.as_ref().map(|written| written.column.clone()),
    };
    Ok(TableLook {
        table: outbox.table.clone(),
        exists: row.get("exists"),
        id: outbox.id.clone(),
        id_header: outbox.id_header.clone(),
        has_xid: row.get("has_xid"),
        has_published_at: has("published_at"),
        written,
        order,
        may_write: row.get("may_write"),
        obstacles: row.get("obstacles"),
        has_parked: row.get("has_parked"),
    })
}

pub(super) async fn oldest_ms(
    client: &Client,
    table: &TableLook,
    slot: &str,
    suspects: &Suspects,
) -> Result<Option<i64>, Error> {
    let Some(written) = &table.written else { return Ok(None) };
    let (column, zone) = (escape_identifier(&written.column), if written.zoned { "" } else { " at time zone 'UTC'" });
    let sql = format!(
        "select floor(extract(epoch from min(t.{column}){zone}) * 1000)::bigint from {} t where {}",
        table.table.quoted(),
        table.condition(slot, suspects)
    );
    let oldest = client.query_one(&sql, &[]).await.map_err(failed("cannot find the oldest event to bridge"))?;
    let oldest: Option<i64> = oldest.get(0);
    Ok(oldest.map(|ms| if written.zoned { ms } else { ms.saturating_sub(ZONES_MS) }))
}

pub(super) async fn captured(client: &Client, publication: &str, besides: &[Table]) -> Result<Vec<Table>, Error> {
    let sql = "select schemaname::text, tablename::text from pg_catalog.pg_publication_tables where pubname = $1 \
               order by 1, 2";
    let rows = client.query(sql, &[&publication]).await.map_err(failed("cannot look at the captured tables"))?;
    let tables = rows.iter().map(|row| Table { schema: row.get(0), name: row.get(1) });
    Ok(tables.filter(|table| !besides.contains(table)).collect())
}

/// What was asked for, and not begun, need not be asked for again: a run before may have ended half way.
pub(super) async fn read_again(
    client: &mut Client,
    slot: &str,
    publication: &str,
    tables: &[Table],
) -> Result<Requested, Error> {
    let mut requested = Requested { tables: Vec::new(), refused: Vec::new() };
    for table in tables {
        let (name, waiting) = (
            format!("{}.{}", table.schema, table.name),
            "select exists (select from postrider.snapshots where slot = $1 and schema_name = $2 and table_name = $3 \
             and state = 'requested' and condition is null)",
        );
        let row = client.query_one(waiting, &[&slot, &table.schema, &table.name]).await;
        if row.map_err(failed("cannot look at the snapshots"))?.get(0) {
            requested.tables.push(name);
            continue;
        }
        let target = Target { schema: table.schema.clone(), name: table.name.clone() };
        match snapshots::start(client, slot, Some(publication), &[target], None).await {
            Ok(_) => requested.tables.push(name),
            Err(Error::Refused(refusals)) => {
                requested.refused.extend(refusals.into_iter().map(|refusal| refusal.what));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(requested)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(has_xid: bool, written: bool) -> TableLook {
        TableLook {
            table: Table { schema: "public".into(), name: "outbox".into() },
            exists: true,
            id: "id".into(),
            id_header: Some("id".into()),
            has_xid,
            has_published_at: false,
            written: written.then(|| Written { column: "created_at".into(), zoned: true }),
            order: None,
            may_write: true,
            obstacles: Vec::new(),
            has_parked: false,
        }
    }

    #[test]
    fn on_the_same_history_the_transaction_alone_tells() {
        let suspects = Suspects { below: Some(0x1_0000_0010), same_history: true, from_ms: Some(5) };
        assert_eq!(table(true, true).condition("s", &suspects), "t.xid >= '4294967312'::xid8");
        let condition = table(false, true).condition("s", &suspects);
        assert_eq!(condition, "((t.xmin::text::bigint - 16) & 4294967295) < 2147483648");
    }

    #[test]
    fn on_another_history_what_was_copied_and_what_came_since_are_both_suspect() {
        let suspects = Suspects { below: Some(7), same_history: false, from_ms: Some(1500) };
        let condition = table(true, true).condition("s", &suspects);
        assert_eq!(condition, "(t.xid >= '7'::xid8 or t.\"created_at\" >= to_timestamp(1500 / 1000.0))");
        assert_eq!(table(false, true).condition("s", &suspects), "t.\"created_at\" >= to_timestamp(1500 / 1000.0)");
    }

    #[test]
    fn what_nothing_tells_of_is_suspect() {
        let nothing = Suspects { below: None, same_history: true, from_ms: None };
        assert_eq!(table(true, true).condition("s", &nothing), "true");
        let since = Suspects { below: Some(7), same_history: false, from_ms: Some(0) };
        assert_eq!(table(true, false).condition("s", &since), "true", "rows that came since have no time");
        let known = TableLook { has_published_at: true, has_parked: true, ..table(true, true) };
        let condition = known.condition("it's", &nothing);
        assert!(condition.starts_with("true and t.published_at is null and not exists"), "{condition}");
        assert!(condition.contains("p.slot = 'it''s' and p.event_id = t.\"id\"::text"), "{condition}");
        assert!(!condition.contains("p.headers"), "{condition}");
        let other = TableLook { id_header: Some("event-id".into()), ..known };
        let condition = other.condition("s", &nothing);
        assert!(condition.contains("h ->> 0 = 'event-id' and h ->> 1 = t.\"id\"::text"), "{condition}");
    }
}
