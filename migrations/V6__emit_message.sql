-- Writing events without a table: postrider.emit_message and its siblings put the event into the log and nowhere else.
--
-- To the operator
--   Locks: none. Functions only; run it while services are up.
--   Rights: CREATE on schema postrider. The functions run with the caller's rights; pg_logical_emit_message is PUBLIC's by default.
--   Nothing of such an event can be looked up, replayed or pruned afterwards: it is in the log until the relay has delivered it.

-- The limits are those of postrider.emit. The prefix is that of the relay's configuration (`message_prefix`).
create or replace function postrider.write_message(
  prefix text,
  aggregate_type text,
  aggregate_id text,
  event_type text,
  payload jsonb,
  headers jsonb
)
returns uuid
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  event_id constant uuid := postrider.uuid_v7();
begin
  perform postrider.check_text('prefix', prefix, 255);
  perform postrider.check_text('aggregate_type', aggregate_type, 200);
  if aggregate_type in ('.', '..') then
    raise exception 'aggregate_type is ''.'' or ''..'', which a topic''s name must not be'
      using errcode = 'invalid_parameter_value';
  elsif aggregate_type !~ '^[A-Za-z0-9._-]+$' then
    raise exception 'aggregate_type holds more than letters, digits, ''.'', ''_'' and ''-'', of which a topic''s name is made'
      using errcode = 'invalid_parameter_value';
  end if;
  perform postrider.check_text('aggregate_id', aggregate_id, 512);
  perform postrider.check_text('event_type', event_type, 255);
  if octet_length(payload::text) > 1000000 then
    raise exception 'payload: % bytes; at most 1000000 are allowed', octet_length(payload::text)
      using errcode = 'invalid_parameter_value';
  end if;
  -- True: the message is the transaction's, and is published if, and only if, that commits.
  perform pg_logical_emit_message(
    true,
    prefix,
    (
      jsonb_build_object(
        'id', event_id,
        'aggregate_type', write_message.aggregate_type,
        'aggregate_id', write_message.aggregate_id,
        'event_type', write_message.event_type,
        'headers', postrider.checked_headers(write_message.headers)
      )
      || case when write_message.payload is null then '{}' else jsonb_build_object('payload', write_message.payload) end
    )::text
  );
  return event_id;
end
$$;

comment on function postrider.write_message(text, text, text, text, jsonb, jsonb) is 'Internal: checks an event and writes it as a message';

create or replace function postrider.emit_message(
  prefix text,
  aggregate_type text,
  aggregate_id text,
  event_type text,
  payload jsonb,
  headers jsonb default '{}'
)
returns uuid
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  if payload is null then
    raise exception 'payload is null'
      using
        errcode = 'null_value_not_allowed',
        hint = 'Call postrider.emit_message_tombstone for a record without value, or pass the JSON ''null''.';
  end if;
  return postrider.write_message(prefix, aggregate_type, aggregate_id, event_type, payload, headers);
end
$$;

comment on function postrider.emit_message(text, text, text, text, jsonb, jsonb) is
  'Writes an event with a JSON payload as a logical message, without a table, and returns its id';

create or replace function postrider.emit_message_tombstone(
  prefix text,
  aggregate_type text,
  aggregate_id text,
  event_type text,
  headers jsonb default '{}'
)
returns uuid
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  return postrider.write_message(prefix, aggregate_type, aggregate_id, event_type, null, headers);
end
$$;

comment on function postrider.emit_message_tombstone(text, text, text, text, jsonb) is
  'Writes an event without payload as a logical message, without a table, and returns its id';
