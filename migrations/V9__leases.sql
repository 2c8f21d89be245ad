-- Leases: who of several relays does what, such as reading a slot; postrider.leases.
--
-- To the operator
--   Locks: only on what is created here. Run it while services and relays are up; it takes milliseconds. A relay that runs
--   already goes on without a lease until it is started again.
--   Rights: CREATE on schema postrider. The relay's role needs
--     grant usage on schema postrider to relay;
--     grant select, insert, update on postrider.leases to relay;
--   which `postrider init` does. Who may update here can make a relay stand back.
--   The table is unlogged: renewing a lease writes no WAL and waits for no disk, and no publication carries it. A crash of the
--   server empties it, as does a failover; every session that held a lease ended with it, and relays claim anew.
--   Rows may be deleted at any time: who held that lease stands back and claims it again.

create unlogged table if not exists postrider.leases (
  name text not null,
  -- Null: nobody holds it.
  holder uuid,
  token bigint not null,
  claimed_at timestamptz not null,
  expires_at timestamptz not null,
  detail jsonb not null default '{}',
  constraint leases_pkey
    primary key (name)
) with (fillfactor = 50);

comment on table postrider.leases is
  'Who of several relays does what, for how long: slot/NAME is held by the relay that reads the slot';
comment on column postrider.leases.token is 'rises with each claim: whoever shows an older one has lost the lease; made of the clock, so that it rises over a crash that empties the table';
comment on column postrider.leases.expires_at is 'by the clock of this server, which alone decides';
comment on column postrider.leases.detail is 'who the holder is: host, process, and the backends by which it reads';
