-- The outbox: schema postrider and table public.outbox_events.
--
-- To the operator
--   Locks: only on what is created here. Run it while services are up; it takes milliseconds.
--   If public.outbox_events is there already with these columns, it is kept as it is, rows included; the step that creates a
--   missing index then blocks writers of that table while it builds. To avoid that, run first, outside a transaction:
--     create index concurrently outbox_events_unpublished on public.outbox_events (seq) where published_at is null;
--   Rights: CREATE on the database and on schema public. A service that writes events needs
--     grant usage on schema postrider to service;
--     grant insert on public.outbox_events to service;
--   PostgreSQL 15 and later.

create schema if not exists postrider;

comment on schema postrider is 'Postrider, the outbox relay: functions, inbox and migration history';

-- A UUID of version 7 (RFC 9562, section 5.7): 48 bits of Unix milliseconds, 12 bits of the microseconds within it, 62 random bits.
-- Ids of one session rise with the clock, which keeps insertions at the right edge of the primary key.
-- They are no order of commits: that is what the relay's position is for.
create or replace function postrider.uuid_v7()
returns uuid
language plpgsql
volatile
parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
  micros constant bigint := floor(extract(epoch from clock_timestamp()) * 1000000);
  -- 28672 is version 7 in the four bits below the milliseconds. 4096/1000 spreads the microseconds over the next twelve.
  first_half constant bigint := ((micros / 1000) << 16) | 28672 | (micros % 1000 * 4096 / 1000);
begin
  -- The last eight bytes of a version 4 UUID carry the variant already.
  return encode(int8send(first_half) || substring(uuid_send(gen_random_uuid()) from 9), 'hex')::uuid;
end
$$;

comment on function postrider.uuid_v7() is 'A new UUID of version 7';

-- The limits are those of the Rust library (src/limits.rs) and of postrider.emit: whoever writes, the relay never meets a row
-- that it could not publish to a broker with default limits.
create table if not exists public.outbox_events (
  id uuid not null default postrider.uuid_v7(),
  aggregate_type text not null,
  aggregate_id text not null,
  event_type text not null,
  payload jsonb,
  payload_bytes bytea,
  headers jsonb not null default '{}',
  created_at timestamptz not null default now(),
  published_at timestamptz,
  seq bigint not null generated always as identity,
  xid xid8 not null default pg_current_xact_id(),
  constraint outbox_events_pkey
    primary key (id),
  constraint outbox_events_aggregate_type
    check (aggregate_type ~ '^[A-Za-z0-9._-]{1,200}$' and aggregate_type not in ('.', '..')),
  constraint outbox_events_aggregate_id
    check (octet_length(aggregate_id) between 1 and 512),
  constraint outbox_events_event_type
    check (octet_length(event_type) between 1 and 255),
  constraint outbox_events_one_payload
    check (num_nonnulls(payload, payload_bytes) <= 1),
  constraint outbox_events_payload_size
    check (octet_length(payload::text) <= 1000000 and octet_length(payload_bytes) <= 1000000),
  constraint outbox_events_headers
    check (jsonb_typeof(headers) = 'object' and not headers @? 'strict $.* ? (@.type() != "string")')
);

-- A table that was there before must have these columns: a relay that guesses would lose events.
do $$
declare
  wrong text;
begin
  select string_agg(format('%s %s', expected.name, expected.type), ', ')
  into wrong
  from (
    values
      ('id', 'uuid'), ('aggregate_type', 'text'), ('aggregate_id', 'text'), ('event_type', 'text'),
      ('payload', 'jsonb'), ('payload_bytes', 'bytea'), ('headers', 'jsonb'),
      ('created_at', 'timestamp with time zone'), ('published_at', 'timestamp with time zone'),
      ('seq', 'bigint'), ('xid', 'xid8')
  ) as expected (name, type)
  where not exists (
    select
    from pg_catalog.pg_attribute
    where attrelid = 'public.outbox_events'::regclass
      and attname = expected.name
      and format_type(atttypid, null) = expected.type
      and not attisdropped
  );
  if wrong is not null then
    raise exception 'table public.outbox_events exists, but not with the expected columns'
      using
        errcode = 'invalid_table_definition',
        detail = format('Missing, or of another type: %s.', wrong),
        hint = 'Move that table out of the way (alter table … set schema …) or give it these columns, and run the migration again.';
  end if;
end
$$;

comment on table public.outbox_events is 'Events to publish, each written in the transaction of the change that it tells of';
comment on column public.outbox_events.id is 'The event''s id, UUID v7: consumers recognise a repeated delivery by it';
comment on column public.outbox_events.aggregate_type is 'The kind of thing that changed; names the topic';
comment on column public.outbox_events.aggregate_id is 'The thing that changed; the record''s key, within which order is kept';
comment on column public.outbox_events.event_type is 'What happened; a header of the record';
comment on column public.outbox_events.payload is 'The payload as JSON. Without payload and payload_bytes the event is a tombstone: a record with a null value';
comment on column public.outbox_events.payload_bytes is 'The payload as bytes, published as they are';
comment on column public.outbox_events.headers is 'Headers of the record: one flat object of strings';
comment on column public.outbox_events.created_at is 'The start of the writing transaction';
comment on column public.outbox_events.published_at is 'When a polling relay saw the broker''s acknowledgement; a relay on the log never sets it';
comment on column public.outbox_events.seq is 'Order of insertion, in which a polling relay reads';
comment on column public.outbox_events.xid is 'The writing transaction: a polling relay tells by it what may still appear';

-- For the polling relay, which looks for nothing else. A published row leaves the index.
create index if not exists outbox_events_unpublished
  on public.outbox_events (seq)
  where published_at is null;

-- Rows come, are published, and are deleted in bulk: what is dead does not depend on how large the table once was, so the
-- thresholds are rows, not shares. Insert-driven runs keep the visibility map fresh (cheap pruning and polling) and freeze early,
-- instead of leaving it all to one anti-wraparound run.
alter table public.outbox_events set (
  autovacuum_vacuum_scale_factor = 0,
  autovacuum_vacuum_threshold = 10000,
  autovacuum_vacuum_insert_scale_factor = 0,
  autovacuum_vacuum_insert_threshold = 100000,
  autovacuum_analyze_scale_factor = 0,
  autovacuum_analyze_threshold = 50000,
  toast.autovacuum_vacuum_scale_factor = 0,
  toast.autovacuum_vacuum_threshold = 10000
);
