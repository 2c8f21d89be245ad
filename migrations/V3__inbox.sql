-- The inbox of idempotent consumers: which events a consumer has handled, recorded in the transaction of its own work.
--
-- To the operator
--   Locks: only on what is created here. Run it while services are up; it takes milliseconds.
--   Rights: CREATE on schema postrider. A consumer needs
--     grant usage on schema postrider to consumer;
--     grant insert on postrider.inbox to consumer;
--   and whoever prunes, SELECT, UPDATE and DELETE on it.
--   From any language: insert into postrider.inbox (consumer, event_id) values (…) on conflict do nothing;
--   one row inserted: do the work; none: it was done before. Both in one transaction.

create table if not exists postrider.inbox (
  consumer text not null,
  event_id uuid not null,
  received_at timestamptz not null default now(),
  constraint inbox_pkey
    primary key (consumer, event_id),
  constraint inbox_consumer
    check (octet_length(consumer) between 1 and 255)
);

comment on table postrider.inbox is 'Events that a consumer has handled; prune by age, beyond the retention of the topics';

-- Pruning takes the oldest entries in batches.
create index if not exists inbox_received_at
  on postrider.inbox (received_at);

-- As for the outbox: rows come and are deleted in bulk, so the thresholds are rows, not shares.
alter table postrider.inbox set (
  autovacuum_vacuum_scale_factor = 0,
  autovacuum_vacuum_threshold = 10000,
  autovacuum_vacuum_insert_scale_factor = 0,
  autovacuum_vacuum_insert_threshold = 100000,
  autovacuum_analyze_scale_factor = 0,
  autovacuum_analyze_threshold = 50000
);
