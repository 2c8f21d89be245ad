-- Writing events from plain SQL: postrider.emit, postrider.emit_bytes, postrider.emit_tombstone.
--
-- To the operator
--   Locks: none. Functions only; run it while services are up.
--   Rights: CREATE on schema postrider. The functions run with the caller's rights: a service needs
--     grant usage on schema postrider to service;
--     grant insert on public.outbox_events to service;
--   (EXECUTE is PUBLIC's by default; where it was revoked, grant it on all functions in schema postrider.)

-- The limits are those of the Rust library (src/limits.rs), the messages too. No message repeats a value.

create or replace function postrider.check_text(field text, value text, bytes_max integer)
returns void
language plpgsql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
begin
  if value is null then
    raise exception '% is null', field
      using errcode = 'null_value_not_allowed';
  elsif value = '' then
    raise exception '% is empty', field
      using errcode = 'invalid_parameter_value';
  elsif octet_length(value) > bytes_max then
    raise exception '%: % bytes; at most % are allowed', field, octet_length(value), bytes_max
      using errcode = 'invalid_parameter_value';
  end if;
end
$$;

comment on function postrider.check_text(text, text, integer) is 'Internal: refuses a null, empty or too long text';

-- The form of https://www.w3.org/TR/trace-context/#traceparent-header-field-values
create or replace function postrider.is_traceparent(value text)
returns boolean
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select
    value ~ '^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-|$)'
    and value !~ '^ff'
    and value !~ '^..-0{32}'
    and value !~ '^..-.{32}-0{16}'
    and not (value ~ '^00' and length(value) > 55)
$$;

comment on function postrider.is_traceparent(text) is 'Whether a text has the form of a W3C traceparent';

create or replace function postrider.checked_headers(headers jsonb)
returns jsonb
language plpgsql
stable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
  -- Headers that a service may set once for a transaction, with `set local`. A header that is given wins.
  result jsonb := coalesce(
    (
      select jsonb_object_agg(setting.header, setting.value)
      from (
        values
          ('correlation-id', current_setting('postrider.correlation_id', true)),
          ('causation-id', current_setting('postrider.causation_id', true)),
          ('traceparent', current_setting('postrider.traceparent', true)),
          ('tracestate', current_setting('postrider.tracestate', true)),
          ('baggage', current_setting('postrider.baggage', true))
      ) as setting (header, value)
      where setting.value <> ''
    ),
    '{}'
  );
  header record;
  headers_count integer := 0;
  headers_bytes integer := 0;
begin
  if headers is null then
    raise exception 'headers is null'
      using errcode = 'null_value_not_allowed';
  elsif jsonb_typeof(headers) <> 'object' then
    raise exception 'headers is not a JSON object'
      using errcode = 'invalid_parameter_value';
  end if;
  result := result || headers;
  for header in select key as name, jsonb_typeof(value) as type, result ->> key as value from jsonb_each(result) loop
    perform postrider.check_text('the name of a header', header.name, 255);
    if header.name in ('id', 'event_type') or starts_with(header.name, 'postrider-') then
      raise exception 'header "%" is reserved: the relay writes it', header.name
        using errcode = 'invalid_parameter_value';
    elsif header.type <> 'string' then
      raise exception 'header "%" is not a string', header.name
        using errcode = 'invalid_parameter_value';
    elsif octet_length(header.value) > 8192 then
      raise exception 'header "%": % bytes; at most 8192 are allowed', header.name, octet_length(header.value)
        using errcode = 'invalid_parameter_value';
    elsif header.name = 'traceparent' and not postrider.is_traceparent(header.value) then
      raise exception 'header "traceparent" is not a W3C traceparent'
        using errcode = 'invalid_parameter_value';
    end if;
    headers_count := headers_count + 1;
    headers_bytes := headers_bytes + octet_length(header.name) + octet_length(header.value);
  end loop;
  if headers_count > 64 then
    raise exception 'headers: % headers; at most 64 are allowed', headers_count
      using errcode = 'invalid_parameter_value';
  elsif headers_bytes > 32768 then
    raise exception 'headers: % bytes; at most 32768 are allowed', headers_bytes
      using errcode = 'invalid_parameter_value';
  end if;
  return result;
end
$$;

comment on function postrider.checked_headers(jsonb) is 'Internal: adds the headers that settings give, and checks them all';

create or replace function postrider.insert_event(
  aggregate_type text,
  aggregate_id text,
  event_type text,
  payload jsonb,
  payload_bytes bytea,
  headers jsonb
)
returns uuid
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  event_id constant uuid := postrider.uuid_v7();
  payload_size constant integer := coalesce(octet_length(payload::text), octet_length(payload_bytes), 0);
begin
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
  if payload_size > 1000000 then
    raise exception 'payload: % bytes; at most 1000000 are allowed', payload_size
      using errcode = 'invalid_parameter_value';
  end if;
  insert into public.outbox_events (id, aggregate_type, aggregate_id, event_type, payload, payload_bytes, headers)
  values (
    event_id,
    insert_event.aggregate_type,
    insert_event.aggregate_id,
    insert_event.event_type,
    insert_event.payload,
    insert_event.payload_bytes,
    postrider.checked_headers(insert_event.headers)
  );
  return event_id;
end
$$;

comment on function postrider.insert_event(text, text, text, jsonb, bytea, jsonb) is 'Internal: checks and inserts an event';

-- The event becomes part of the caller's transaction: it is published if, and only if, that transaction commits.
create or replace function postrider.emit(
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
        hint = 'Call postrider.emit_tombstone for a record without value, or pass the JSON ''null''.';
  end if;
  return postrider.insert_event(aggregate_type, aggregate_id, event_type, payload, null, headers);
end
$$;

comment on function postrider.emit(text, text, text, jsonb, jsonb) is
  'Writes an event with a JSON payload into the outbox and returns its id';

-- A name of its own, because a payload given as a plain literal could be either jsonb or bytea.
create or replace function postrider.emit_bytes(
  aggregate_type text,
  aggregate_id text,
  event_type text,
  payload bytea,
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
        hint = 'Call postrider.emit_tombstone for a record without value.';
  end if;
  return postrider.insert_event(aggregate_type, aggregate_id, event_type, null, payload, headers);
end
$$;

comment on function postrider.emit_bytes(text, text, text, bytea, jsonb) is
  'Writes an event whose payload is bytes of any format into the outbox and returns its id';

create or replace function postrider.emit_tombstone(
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
  return postrider.insert_event(aggregate_type, aggregate_id, event_type, null, null, headers);
end
$$;

comment on function postrider.emit_tombstone(text, text, text, jsonb) is
  'Writes an event without payload, which removes its key from a compacted topic, into the outbox and returns its id';
