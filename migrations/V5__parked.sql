-- Events that could not be delivered, and those of their keys that wait behind them: postrider.parked and its audit, postrider.parked_log.
--
-- To the operator
--   Locks: only on what is created here. Run it while services and relays are up; it takes milliseconds. A relay that runs
--   already begins to park when it next meets an event that it cannot deliver.
--   Rights: CREATE on schema postrider. The relay's role needs
--     grant usage on schema postrider to relay;
--     grant select, insert, update, delete on postrider.parked to relay;
--     grant select, insert on postrider.parked_log to relay;
--   which `postrider init` does.
--   Change rows by `postrider parked …` only: it writes the audit, and the relay goes by the states.

create table if not exists postrider.parked (
  slot text not null,
  position text collate "C" not null,
  route text not null,
  topic text not null,
  key bytea,
  -- Topic and key in one short text: what is held together.
  key_hash text collate "C",
  -- The partition of the topic, where something else than the key chose it.
  partition integer,
  value bytea,
  -- In order: [name, value]; a value that is no text is {"hex": …}.
  headers json not null,
  committed_at timestamptz not null,
  event_id text,
  event_type text,
  bytes bigint not null,
  state text not null,
  reason text,
  help text,
  unfit boolean not null default false,
  order_broken boolean not null default false,
  -- Another topic to try, once.
  reroute text,
  attempts integer not null default 0,
  parked_at timestamptz not null default clock_timestamp(),
  changed_at timestamptz not null default clock_timestamp(),
  constraint parked_pkey
    primary key (slot, position),
  constraint parked_position
    check (position ~ '^[0-9a-f]{32}$'),
  constraint parked_key
    check ((key is null) = (key_hash is null)),
  constraint parked_state
    check (state in ('parked', 'waiting', 'retry', 'delivered', 'skipped', 'discarded'))
);

comment on table postrider.parked is
  'Events that the relay could not deliver (parked), that wait behind one of their key (waiting) or shall be tried again (retry); and for a while what became of them (delivered, skipped, discarded)';
comment on column postrider.parked.position is 'epoch, commit LSN and ordinal in hexadecimal, as in the header postrider-position: sorts in the order of delivery';
comment on column postrider.parked.order_broken is 'a later event of its key had been delivered before it was refused';
comment on column postrider.parked.unfit is 'the row could not be made into a message: what is kept here may not be all of it';

-- What is held, by key and in order.
create index if not exists parked_unsettled
  on postrider.parked (slot, key_hash, position)
  include (state, bytes)
  where state in ('parked', 'waiting', 'retry');

-- What is settled goes after a while.
create index if not exists parked_settled
  on postrider.parked (slot, changed_at)
  where state in ('delivered', 'skipped', 'discarded');

create table if not exists postrider.parked_log (
  id bigint not null generated always as identity,
  at timestamptz not null default clock_timestamp(),
  role text not null default session_user,
  -- Who it was by their own word, where several share a role.
  by_whom text,
  verb text not null,
  slot text not null,
  position text collate "C" not null,
  note text,
  constraint parked_log_pkey
    primary key (id)
);

comment on table postrider.parked_log is
  'Who did what to a parked event: park, wait, deliver and refuse by the relay; retry, skip and discard by people. Never pruned by Postrider';

create index if not exists parked_log_event
  on postrider.parked_log (slot, position, id);
