-- Care of a partitioned outbox: postrider.partitions (which partitions are on their way out) and postrider.holds (which days stay).
--
-- To the operator
--   Locks: only on what is created here. Run it while services and relays are up; it takes milliseconds.
--   Rights: CREATE on schema postrider. Who removes partitions acts as the owner of the outbox table; if that is another role than
--   runs this, it needs
--     grant usage on schema postrider to owner;
--     grant select, insert, update, delete on postrider.partitions to owner;
--     grant select on postrider.holds, postrider.parked to owner;
--   Keep events for as long as you need them, whatever the retention says:
--     insert into postrider.holds (name, created_from, created_to, reason) values ('audit', '2026-11-01', '2026-12-01', 'case 17');

create table if not exists postrider.partitions (
  schema name not null,
  name name not null,
  root name not null,
  -- Its bounds; null is none.
  lower timestamptz,
  upper timestamptz,
  closed_at timestamptz not null default clock_timestamp(),
  detached_at timestamptz,
  -- Where the log ended after it was detached: what every slot must have passed before it is dropped.
  detached_lsn pg_lsn,
  constraint partitions_pkey
    primary key (schema, name)
);

comment on table postrider.partitions is
  'Partitions of an outbox on their way out: closed for further rows, then detached, then dropped when everything in them was delivered';

create table if not exists postrider.holds (
  name text not null,
  created_from timestamptz not null default '-infinity',
  created_to timestamptz not null default 'infinity',
  reason text,
  constraint holds_pkey
    primary key (name),
  constraint holds_range
    check (created_from < created_to)
);

comment on table postrider.holds is
  'Days whose partitions stay although their retention has passed: events created from created_from to before created_to';
