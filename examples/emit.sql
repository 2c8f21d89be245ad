-- Writing events from plain SQL, in any language that reaches Postgres.
--
--   postrider migrate
--   psql "$DATABASE_URL" --file examples/emit.sql

-- The row and its event, in one transaction: both exist after the commit, or neither does.
begin;

create table if not exists orders (id uuid primary key, total_cents bigint not null);

-- Headers that every event of this transaction gets, typically set where the request enters the service.
-- The others are postrider.causation_id, postrider.tracestate and postrider.baggage.
set local postrider.correlation_id = '8f1c6a52';
set local postrider.traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';

with placed as (
  insert into orders (id, total_cents)
  values (gen_random_uuid(), 1999)
  returning id, total_cents
)
select
  postrider.emit(
    aggregate_type => 'Order',            -- names the topic
    aggregate_id => placed.id::text,      -- the key, within which order is kept
    event_type => 'OrderPlaced',
    payload => jsonb_build_object('order_id', placed.id, 'total_cents', placed.total_cents),
    headers => '{"tenant": "acme"}'       -- text to text; wins over the settings
  ) as event_id
from placed;

commit;

-- Bytes of any format: Avro, Protobuf. A name of its own, because a plain literal could be either.
select postrider.emit_bytes('Thumbnail', '42', 'ThumbnailMade', '\x89504e47');

-- No payload: a record with a null value, which removes its key from a compacted topic.
select postrider.emit_tombstone('Session', '42', 'SessionEnded');

-- A soft delete that becomes an event by itself. Drop the last argument to leave the row out of the payload.
create table if not exists posts (id uuid primary key, title text not null, deleted_at timestamptz, deleted_by uuid);

create or replace trigger post_deleted
  after update on posts
  for each row
  when (old.deleted_at is null and new.deleted_at is not null)
  execute function postrider.emit_soft_delete('Post', 'PostDeleted', 'id', 'deleted_at', 'row');

insert into posts (id, title)
values (gen_random_uuid(), 'Hello');

update posts
set deleted_at = now()
where deleted_at is null;

-- What was written. The relay reads the log, not this table: rows may be deleted at any time once they are delivered.
select aggregate_type, event_type, payload, payload_bytes, headers
from public.outbox_events
order by seq desc
limit 4;
