//! The questions. A column that only later versions have is a field of the row as JSON, and null where it is absent.

/// Where the log ends now, for what is kept: on a standby the end of what it has got. One row, one column.
macro_rules! here {
    () => {
        "(
  select case when pg_is_in_recovery()
    then greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
    else pg_current_wal_lsn()
  end
)"
    };
}

/// A moment as text, in UTC.
macro_rules! moment {
    ($column:literal) => {
        concat!("to_char(", $column, " at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')")
    };
}

/// The server. The log's end for the rate is where the next record goes, which moves before anything is written out.
pub(super) const SERVER: &str = concat!(
    "
select
  current_database()::text as database,
  current_user::text as role,
  current_setting('server_version_num')::integer as version,
  pg_is_in_recovery() as standby,
  extract(epoch from pg_postmaster_start_time())::float8 as started,
  current_setting('port')::integer as port,
  current_setting('wal_level') as wal_level,
  current_setting('max_replication_slots')::bigint as slots_max,
  pg_size_bytes(current_setting('max_slot_wal_keep_size')) as keep_bytes,
  pg_size_bytes(current_setting('wal_keep_size')) as wal_keep_bytes,
  pg_size_bytes(current_setting('wal_segment_size')) as segment_bytes,
  extract(epoch from current_setting('idle_replication_slot_timeout', true)::interval)::float8 as idle_timeout,
  extract(epoch from clock_timestamp())::float8 as clock,
  (case when pg_is_in_recovery()
    then greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
    else pg_current_wal_insert_lsn()
  end - '0/0')::bigint as position,
  ",
    moment!("clock_timestamp()"),
    " as now,
  pg_has_role(current_user, 'pg_read_all_stats', 'usage') as sees_all"
);

/// The oldest transaction that has written something and is not over, in any database: the log is kept from its beginning on.
pub(super) const OLDEST: &str = "
select *
from (
  select
    pid,
    usename::text as role,
    application_name as application,
    state,
    null::text as prepared,
    datname::text as database,
    age(backend_xid)::bigint as transactions,
    extract(epoch from clock_timestamp() - xact_start)::float8 as seconds
  from pg_catalog.pg_stat_activity
  where backend_xid is not null and pid <> pg_backend_pid()
  union all
  select
    null, owner::text, null, null, gid, database::text, age(transaction)::bigint,
    extract(epoch from clock_timestamp() - prepared)::float8
  from pg_catalog.pg_prepared_xacts
) unfinished
order by transactions desc, seconds desc
limit 1";

/// Every slot, or the one of that name. The command of a walsender names the publications that its client asked for; it is
/// hidden from a role that may not see the statistics of others.
pub(super) const SLOTS: &str = concat!(
    "
select
  s.slot_name::text as name,
  s.plugin::text,
  s.database::text,
  s.temporary,
  s.two_phase,
  coalesce((j.slot ->> 'failover')::boolean, false) as failover,
  coalesce((j.slot ->> 'synced')::boolean, false) as synced,
  s.active_pid,
  a.usename::text as role,
  a.application_name as application,
  host(a.client_addr) as client,
  ",
    moment!("a.backend_start"),
    " as since,
  replace(substring(a.query from 'publication_names ''((?:[^'']|'''')*)'''), '''''', '''') as publications,
  (s.restart_lsn - '0/0')::bigint as restart,
  (s.confirmed_flush_lsn - '0/0')::bigint as confirmed,
  pg_wal_lsn_diff(here.lsn, s.restart_lsn)::bigint as retained,
  pg_wal_lsn_diff(here.lsn, s.confirmed_flush_lsn)::bigint as lag,
  s.wal_status,
  s.safe_wal_size,
  ",
    moment!("(j.slot ->> 'inactive_since')::timestamptz"),
    " as inactive_since,
  extract(epoch from clock_timestamp() - (j.slot ->> 'inactive_since')::timestamptz)::float8 as inactive_seconds,
  j.slot ->> 'invalidation_reason' as invalidation,
  (j.slot ->> 'conflicting')::boolean as conflicting,
  age(s.xmin)::bigint as xmin_age,
  age(s.catalog_xmin)::bigint as catalog_xmin_age,
  coalesce(t.total_txns, 0) as total_txns,
  coalesce(t.total_bytes, 0) as total_bytes,
  coalesce(t.spill_txns, 0) as spill_txns,
  coalesce(t.spill_count, 0) as spill_count,
  coalesce(t.spill_bytes, 0) as spill_bytes,
  coalesce(t.stream_txns, 0) as stream_txns,
  coalesce(t.stream_bytes, 0) as stream_bytes,
  ",
    moment!("t.stats_reset"),
    " as stats_since
from pg_catalog.pg_replication_slots s
cross join lateral (select to_jsonb(s)) j (slot)
cross join ",
    here!(),
    " here (lsn)
left join pg_catalog.pg_stat_activity a on a.pid = s.active_pid
left join pg_catalog.pg_stat_replication_slots t on t.slot_name = s.slot_name
where $1 is null or s.slot_name = $1
order by s.slot_name"
);

/// The publications of the database.
pub(super) const PUBLICATIONS: &str = "
select
  p.pubname::text as name,
  pg_get_userbyid(p.pubowner)::text as owner,
  case
    when not p.puballtables and not exists (select from pg_catalog.pg_publication_namespace where pnpubid = p.oid)
    then (select count(*) from pg_catalog.pg_publication_rel where prpubid = p.oid)
  end as tables
from pg_catalog.pg_publication p
order by p.pubname";
