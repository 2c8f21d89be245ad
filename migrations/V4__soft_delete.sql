-- A trigger function that turns a soft delete into an event, in the same transaction: postrider.emit_soft_delete.
--
-- To the operator
--   Locks: none here. Attaching it (create trigger) takes SHARE ROW EXCLUSIVE on the table: it waits for open writers, and new ones
--   wait behind it, for a moment; set lock_timeout and try again if it runs out.
--   Rights: CREATE on schema postrider. The function runs with the rights of who deletes: that role needs what emit needs (V2).
--
-- Use
--   create trigger post_deleted
--     after update on posts
--     for each row
--     when (old.deleted_at is null and new.deleted_at is not null)
--     execute function postrider.emit_soft_delete('Post', 'PostDeleted');
--
-- Arguments
--   1  aggregate type
--   2  event type
--   3  column of the id              default: id
--   4  column of the deletion time   default: deleted_at
--   5  'row' to put the whole row into the payload as well; nothing else is taken
-- Payload
--   {"id": …, "deleted_at": …, "deleted_by": …} and, if asked for, "row": {…}. deleted_by is the column of that name, null where the
--   table has none. Times are in UTC. An update of a row that was deleted before is not a second event.

create or replace function postrider.emit_soft_delete()
returns trigger
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
  id_column constant text := coalesce(tg_argv[2], 'id');
  deleted_at_column constant text := coalesce(tg_argv[3], 'deleted_at');
  after jsonb;
  payload jsonb;
begin
  if tg_op <> 'UPDATE' or tg_when <> 'AFTER' or tg_level <> 'ROW' then
    raise exception 'trigger % on %.% must fire after update, for each row', tg_name, tg_table_schema, tg_table_name
      using errcode = 'trigger_protocol_violated';
  elsif tg_nargs not between 2 and 5 or tg_argv[4] <> 'row' then
    raise exception 'trigger % on %.% has wrong arguments', tg_name, tg_table_schema, tg_table_name
      using
        errcode = 'invalid_parameter_value',
        hint = 'They are: aggregate type, event type [, id column [, deleted_at column [, ''row'']]].';
  end if;
  after := to_jsonb(new);
  if not after ?& array[id_column, deleted_at_column] then
    raise exception 'trigger % on %.%: the table has no column "%" or no column "%"',
      tg_name, tg_table_schema, tg_table_name, id_column, deleted_at_column
      using errcode = 'undefined_column';
  end if;
  if after ->> deleted_at_column is null or to_jsonb(old) ->> deleted_at_column is not null then
    return null;
  end if;
  payload := jsonb_build_object(
    'id', after -> id_column,
    'deleted_at', after -> deleted_at_column,
    'deleted_by', after -> 'deleted_by'
  );
  if tg_nargs = 5 then
    payload := payload || jsonb_build_object('row', after);
  end if;
  perform postrider.emit(tg_argv[0], after ->> id_column, tg_argv[1], payload);
  return null;
end
$$;

comment on function postrider.emit_soft_delete() is
  'Trigger function: an update that sets deleted_at becomes an event. Arguments: aggregate type, event type, id column, deleted_at column, ''row''';
