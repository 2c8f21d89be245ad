-- Snapshots of captured tables beside the stream: postrider.snapshots, by which they are asked for and tell how far they came.
--
-- To the operator
--   Locks: only on what is created here. Run it while services and relays are up; it takes milliseconds. A relay that runs
--   already looks for requests within a minute.
--   Rights: CREATE on schema postrider. The relay's role needs
--     grant usage on schema postrider to relay;
--     grant select, insert, update, delete on postrider.snapshots to relay;
--   which `postrider init` does. Who may insert here lets the relay read the tables that it captures, and evaluate the
--   condition with the relay's rights in a read-only transaction.
--   Ask by `postrider snapshot start|status|stop`. Rows of snapshots that ended may be deleted at any time.

create table if not exists postrider.snapshots (
  id bigint generated always as identity,
  slot text not null,
  schema_name text not null,
  table_name text not null,
  condition text,
  state text not null default 'requested',
  origin text not null default 'command',
  -- Where in the stream it was asked for, so that a signal that is read twice is one request.
  signal_position text collate "C",
  -- The values of the last key that was delivered, as a JSON array.
  position text,
  rows bigint not null default 0,
  estimated_rows bigint,
  chunks bigint not null default 0,
  rereads bigint not null default 0,
  sent bigint not null default 0,
  error text,
  help text,
  requested_by text not null default session_user,
  requested_at timestamptz not null default clock_timestamp(),
  started_at timestamptz,
  progress_at timestamptz,
  ended_at timestamptz,
  constraint snapshots_pkey
    primary key (id),
  constraint snapshots_state
    check (state in ('requested', 'running', 'paused', 'done', 'stopped', 'failed')),
  constraint snapshots_origin
    check (origin in ('command', 'signal', 'rewrite'))
);

create unique index if not exists snapshots_signal
  on postrider.snapshots (slot, signal_position, schema_name, table_name)
  where signal_position is not null;

create index if not exists snapshots_open
  on postrider.snapshots (slot, id)
  where state in ('requested', 'running', 'paused');

comment on table postrider.snapshots is
  'Snapshots of captured tables that are taken beside the stream: requested, running or paused; and what became of them (done, stopped, failed)';
comment on column postrider.snapshots.position is 'the values of the last key that was delivered, as a JSON array: a relay that is started again goes on behind it';
comment on column postrider.snapshots.rereads is 'chunks that were read again, because the stream was ahead of them or told too little';
comment on column postrider.snapshots.sent is 'rows that the snapshots of the slot have sent so far: counted in the positions of rows';
