//! The lot in Postgres: the table `postrider.parked`, beside the outbox, with an audit of every act.
//!
//! Guarantee: what [`Lot::park`] was given is committed, flushed to disk, when it returns. Nothing is overwritten: a
//! position that is in the table stays what it is.

use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::types::ToSql;

use crate::pipeline::parking::{Entry, HeldRow, Holding, Loaded, Lot, Returned, RunLimit, Settled};
use crate::pipeline::{End, Error, Kind, Messages};
use crate::postgres::options::ConnectOptions;
use crate::sinks::lots::rows::{Columns, messages, parse_position, plain, position, read};
use crate::sinks::lots::session::{Session, within};
use crate::sinks::lots::watch::{Bell, Watch};

/// Settled rows that one look removes at most: a large number of them goes bit by bit.
const PRUNED_AT_ONCE: i64 = 10_000;

/// Whether the tables are there, and whether the role may use them.
const USABLE: &str = "
select
  has_schema_privilege(n.oid, 'usage')
  and has_table_privilege(c.oid, 'select')
  and has_table_privilege(c.oid, 'insert')
  and has_table_privilege(c.oid, 'update')
  and has_table_privilege(c.oid, 'delete')
  and has_table_privilege(l.oid, 'insert')
from pg_catalog.pg_namespace n
join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = 'parked'
join pg_catalog.pg_class l on l.relnamespace = n.oid and l.relname = 'parked_log'
where n.nspname = 'postrider'";

const UNSETTLED: &str = "
select position, topic, key, bytes, (extract(epoch from committed_at) * 1000)::bigint as committed_ms
from postrider.parked
where slot = $1 and state in ('parked', 'waiting', 'retry')
order by position";

const NEWEST_SETTLED: &str = "
select position
from postrider.parked
where slot = $1 and state in ('delivered', 'skipped', 'discarded')
order by position desc
limit 1";

const PRUNE: &str = "
delete from postrider.parked
where ctid = any (array(
  select ctid
  from postrider.parked
  where slot = $1
    and state in ('delivered', 'skipped', 'discarded')
    and changed_at < now() - $2::float8 * interval '1 second'
  limit $3
))";

const SETTLED: &str = "
select position, (extract(epoch from committed_at) * 1000)::bigint as committed_ms
from postrider.parked
where slot = $1 and position >= $2 and state in ('delivered', 'skipped', 'discarded')";

/// What is parked is in the audit with its reason; of what waits it says so.
const PARK: &str = "
with new as (
  insert into postrider.parked (
    slot, position, route, topic, key, key_hash, value, headers, committed_at, event_id, event_type, bytes, state, reason,
    help, unfit, order_broken, partition
  )
  select
    $1, position, route, topic, key, key_hash, value, headers::json,
    timestamptz 'epoch' + committed_ms * interval '1 millisecond', event_id, event_type, bytes, state, reason, help, unfit,
    order_broken, partition
  from unnest(
    $2::text[], $3::text[], $4::text[], $5::bytea[], $6::text[], $7::bytea[], $8::text[], $9::bigint[], $10::text[],
    $11::text[], $12::bigint[], $13::text[], $14::text[], $15::text[], $16::boolean[], $17::boolean[],
    $18::integer[]
  ) as given (
    position, route, topic, key, key_hash, value, headers, committed_ms, event_id, event_type, bytes, state, reason, help,
    unfit, order_broken, partition
  )
  on conflict (slot, position) do nothing
  returning position, state, reason
), logged as (
  insert into postrider.parked_log (verb, slot, position, note)
  select case state when 'parked' then 'park' else 'wait' end, $1, position, reason
  from new
)
select position from new";

/// Those of the given positions that another event has.
const OTHERS: &str = "
select p.position
from postrider.parked p
join unnest($2::text[], $3::bigint[]) as given (position, committed_ms) on given.position = p.position
where p.slot = $1 and p.committed_at <> timestamptz 'epoch' + given.committed_ms * interval '1 millisecond'
limit 1";

/// What nothing stands in the way of: before the first row of its key that is parked itself.
const DUE: &str = "
with firsts as (
  select key_hash, min(position) as first
  from postrider.parked
  where slot = $1 and state = 'parked' and key_hash is not null
  group by key_hash
), due as (
  select p.position, p.bytes, sum(p.bytes) over (order by p.position) as total
  from postrider.parked p
  left join firsts f on f.key_hash = p.key_hash
  where p.slot = $1 and p.state in ('waiting', 'retry') and (f.first is null or p.position < f.first)
  order by p.position
  limit $2
)
select
  p.position,
  coalesce(p.reroute, p.topic) as topic,
  p.key,
  p.value,
  p.headers::text as headers,
  case when p.reroute is null then p.partition end as partition,
  (extract(epoch from p.committed_at) * 1000)::bigint as committed_ms
from due
join postrider.parked p on p.slot = $1 and p.position = due.position
where due.total - due.bytes < $3::bigint
order by p.position";

/// What was delivered is that, whatever was asked for meanwhile; what was refused waits again unless it was settled.
const CONCLUDE: &str = "
with delivered as (
  update postrider.parked
  set state = 'delivered', attempts = attempts + 1, changed_at = clock_timestamp()
  where slot = $1 and position = any ($2::text[])
  returning position, coalesce(reroute, topic) as topic
), given as (
  select * from unnest($3::text[], $4::text[], $5::text[], $6::boolean[]) as given (position, reason, help, overtaken)
), refused as (
  update postrider.parked p
  set
    state = 'parked', reason = given.reason, help = given.help, order_broken = p.order_broken or given.overtaken,
    reroute = null, attempts = attempts + 1, changed_at = clock_timestamp()
  from given
  where p.slot = $1 and p.position = given.position and p.state in ('waiting', 'retry')
  returning p.position, p.reason
)
insert into postrider.parked_log (verb, slot, position, note)
select 'deliver', $1, position, 'to topic ' || topic from delivered
union all
select 'refuse', $1, position, reason from refused";

/// Where the lot is, and whose.
#[derive(Debug, Clone)]
pub struct PostgresLotOptions {
    /// How to reach the database of the outbox, for ordinary SQL.
    pub connect: ConnectOptions,
    /// The slot whose events are parked; others of the same database keep theirs in the same table.
    pub slot: String,
    /// How often to look whether something was asked for, while anything is parked.
    pub poll_interval: Duration,
    /// How long to keep what was settled.
    pub keep: Duration,
}

/// The lot of one slot.
pub struct PostgresLot {
    options: PostgresLotOptions,
    session: Session,
    bell: Arc<Bell>,
    watch: Option<Watch>,
}

impl PostgresLot {
    /// A lot that connects when it is first asked.
    #[must_use]
    pub fn new(options: PostgresLotOptions) -> Self {
        Self { session: Session::new(options.connect.clone()), options, bell: Arc::default(), watch: None }
    }

    /// Why nothing can be parked, if so.
    async fn obstacle(&mut self) -> Result<Option<Loaded>, Error> {
        let client = self.session.client().await?;
        let usable = within("look for the table of parked events", client.query(USABLE, &[])).await?;
        Ok(match usable.first().map(|row| row.get::<_, bool>(0)) {
            Some(true) => None,
            // Without knowing what is in it, a newer event could overtake one that waits there.
            Some(false) => {
                let user = &self.options.connect.user;
                let context = format!("role {user:?} may not use the table postrider.parked, where events may wait");
                return Err(Error::new(End::Sink, Kind::Setup, context)
                    .with_help("Run `postrider init`, which grants the rights."));
            }
            None => Some(Loaded::Absent {
                why: "the database has no table postrider.parked".to_owned(),
                mend: "`postrider migrate` makes it, and `postrider init` grants the rights.".to_owned(),
            }),
        })
    }

    /// Looks on while something is parked, else lets go of the session.
    async fn watch(&mut self, unsettled: usize) -> Result<(), Error> {
        self.bell.believe(i64::try_from(unsettled).unwrap_or(i64::MAX));
        if unsettled == 0 {
            self.watch = None;
            self.session.close();
        } else {
            self.keep_watching().await?;
        }
        Ok(())
    }

    async fn keep_watching(&mut self) -> Result<(), Error> {
        if self.watch.as_ref().is_none_or(Watch::is_over) {
            let client = self.session.client().await?;
            let PostgresLotOptions { slot, poll_interval, .. } = &self.options;
            self.watch = Some(Watch::begin(client, slot.clone(), *poll_interval, Arc::clone(&self.bell)));
        }
        Ok(())
    }

    /// Insists that those that were in the table already are the same events.
    async fn insist_on_same(&mut self, positions: &[String], committed_ms: &[i64]) -> Result<(), Error> {
        let client = self.session.client().await?;
        let parameters: [&(dyn ToSql + Sync); 3] = [&self.options.slot, &positions, &committed_ms];
        let others = within("compare parked events", client.query(OTHERS, &parameters)).await?;
        let Some(other) = others.first() else { return Ok(()) };
        let context = format!("another event is parked at position {}", read::<&str>(other, "position")?);
        Err(Error::new(End::Sink, Kind::Refused, context).with_help(
            "The table postrider.parked is from another server or an older copy: settle what is in it, and delete the \
             rows of this slot.",
        ))
    }
}

impl Lot for PostgresLot {
    async fn load(&mut self) -> Result<Loaded, Error> {
        if let Some(absent) = self.obstacle().await? {
            self.session.close();
            return Ok(absent);
        }
        let client = self.session.client().await?;
        let slot = &self.options.slot;
        let keep = self.options.keep.as_secs_f64();
        within("remove what was settled long ago", client.query(PRUNE, &[slot, &keep, &PRUNED_AT_ONCE])).await?;
        // In this order: what is settled in between is then known as both, and never as neither.
        let unsettled = within("read the parked events", client.query(UNSETTLED, &[slot])).await?;
        let settled = within("read what was settled", client.query(NEWEST_SETTLED, &[slot])).await?;
        let newest_settled = settled.first().map(|row| parse_position(read(row, "position")?)).transpose()?;
        let held = unsettled.iter().map(|row| {
            Ok(HeldRow {
                position: parse_position(read(row, "position")?)?,
                timestamp_ms: read(row, "committed_ms")?,
                topic: read(row, "topic")?,
                key: read(row, "key")?,
                bytes: read::<i64>(row, "bytes")?.unsigned_abs(),
            })
        });
        let held = held.collect::<Result<Vec<_>, Error>>()?;
        self.watch(held.len()).await?;
        Ok(Loaded::Ready(Holding { rows: held, newest_settled }))
    }

    async fn settled(&mut self, from: u128) -> Result<Vec<Settled>, Error> {
        let client = self.session.client().await?;
        let from = position(from);
        let found = within("read what was settled", client.query(SETTLED, &[&self.options.slot, &from])).await?;
        let settled = found.iter().map(|row| {
            let position = parse_position(read(row, "position")?)?;
            Ok(Settled { position, timestamp_ms: read(row, "committed_ms")? })
        });
        settled.collect()
    }

    async fn park(&mut self, entries: &[Entry<'_>]) -> Result<(), Error> {
        let client = self.session.client().await?;
        let columns = Columns::of(entries);
        let parameters: [&(dyn ToSql + Sync); 18] = [
            &self.options.slot,
            &columns.position,
            &columns.route,
            &columns.topic,
            &columns.key,
            &columns.key_hash,
            &columns.value,
            &columns.headers,
            &columns.committed_ms,
            &columns.event_id,
            &columns.event_type,
            &columns.bytes,
            &columns.state,
            &columns.reason,
            &columns.help,
            &columns.unfit,
            &columns.order_broken,
            &columns.partition,
        ];
        let inserted = within("park events", client.query(PARK, &parameters)).await?;
        self.bell.believe_more(i64::try_from(inserted.len()).unwrap_or(i64::MAX));
        if inserted.len() < entries.len() {
            self.insist_on_same(&columns.position, &columns.committed_ms).await?;
            // What is in the lot is not what was believed.
            self.bell.ring();
        }
        self.keep_watching().await
    }

    async fn asked(&mut self) {
        self.bell.heard().await;
    }

    async fn due(&mut self, limit: RunLimit) -> Result<Messages, Error> {
        self.keep_watching().await?;
        let client = self.session.client().await?;
        let events_max = i64::try_from(limit.events_max).unwrap_or(i64::MAX);
        let bytes_max = i64::try_from(limit.bytes_max).unwrap_or(i64::MAX);
        let parameters: [&(dyn ToSql + Sync); 3] = [&self.options.slot, &events_max, &bytes_max];
        messages(&within("read what shall be delivered", client.query(DUE, &parameters)).await?)
    }

    async fn conclude(&mut self, delivered: &[u128], refused: &[Returned]) -> Result<(), Error> {
        let client = self.session.client().await?;
        let delivered: Vec<String> = delivered.iter().copied().map(position).collect();
        let positions: Vec<String> = refused.iter().map(|returned| position(returned.position)).collect();
        let reasons: Vec<_> = refused.iter().map(|returned| plain(&returned.refused.reason)).collect();
        let help: Vec<_> = refused.iter().map(|returned| returned.refused.help.as_deref().map(plain)).collect();
        let overtaken: Vec<bool> = refused.iter().map(|returned| returned.refused.overtaken).collect();
        let parameters: [&(dyn ToSql + Sync); 6] =
            [&self.options.slot, &delivered, &positions, &reasons, &help, &overtaken];
        within("note what became of parked events", client.query(CONCLUDE, &parameters)).await?;
        Ok(())
    }
}
