//! Cuts a plain table by days: the same columns, checks, grants and publications under the same name, partitioned.

use postgres_protocol::escape::{escape_identifier, escape_literal};
use tokio_postgres::Client;

use crate::slots::{
    error::{Error, Refusal},
    outbox::partitions::{
        Care, Outcome, execute,
        found::{self, KEY, Layout},
        run,
    },
    setup::Table,
};

/// How long writers may queue behind the conversion, in milliseconds.
const LOCK_TIMEOUT_MS: u32 = 5_000;

/// What the plain table has beside its columns.
struct Belongings {
    owner: String,
    publications: Vec<String>,
    /// Statements that make its indexes, but for the unique ones.
    indexes: Vec<String>,
    /// What would be lost.
    obstacles: Vec<String>,
}

const BELONGINGS: &str = "
select
  pg_get_userbyid(c.relowner)::text as owner,
  array(
    select p.pubname::text
    from pg_catalog.pg_publication_rel r
    join pg_catalog.pg_publication p on p.oid = r.prpubid
    where r.prrelid = c.oid
    order by p.pubname
  ) as publications,
  array(
    select pg_get_indexdef(indexrelid) from pg_catalog.pg_index where indrelid = c.oid and not indisunique
  ) as indexes,
  array(
    select 'trigger ' || tgname from pg_catalog.pg_trigger where tgrelid = c.oid and not tgisinternal
    union all
    select 'foreign key ' || conname from pg_catalog.pg_constraint where contype = 'f' and c.oid in (conrelid, confrelid)
    union all
    select 'policy ' || polname from pg_catalog.pg_policy where polrelid = c.oid
    union all
    select 'the filter or column list of publication ' || p.pubname
    from pg_catalog.pg_publication_rel r
    join pg_catalog.pg_publication p on p.oid = r.prpubid
    where r.prrelid = c.oid and (r.prqual is not null or r.prattrs is not null)
  ) as obstacles
from pg_catalog.pg_class c
where c.oid = $1::text::regclass";

async fn belongings(client: &Client, table: &Table) -> Result<Belongings, Error> {
    let row = client.query_one(BELONGINGS, &[&table.quoted()]).await.map_err(failed)?;
    Ok(Belongings {
        owner: row.get("owner"),
        publications: row.get("publications"),
        indexes: row.get("indexes"),
        obstacles: row.get("obstacles"),
    })
}

/// Makes the table a partitioned one, if it is plain and empty, and attaches the first days. Nothing is done where it is cut already.
///
/// It all happens in one transaction that holds the table exclusively for a few milliseconds; slots that read its publications go on.
///
/// # Errors
/// [`Error::Refused`] if there are rows in it, or it cannot be cut; [`Error::Database`].
pub async fn convert(client: &Client, care: &Care) -> Result<Vec<Outcome>, Error> {
    let table = &care.table;
    match found::layout(client, table).await? {
        Layout::ByDay => return run(client, care, true).await,
        Layout::Plain => {}
        Layout::Absent => {
            return Err(refused(format!("table {} does not exist", table.quoted()), "run `postrider migrate` first"));
        }
        Layout::Other(what) => return Err(refused(what, "see docs/outbox-table.md for what can be cared for")),
    }
    let belongings = belongings(client, table).await?;
    if !belongings.obstacles.is_empty() {
        let what =
            format!("table {} has what a new table would not: {}", table.quoted(), belongings.obstacles.join(", "));
        return Err(refused(what, "drop it, run this again, and create it anew on the partitioned table"));
    }
    execute(
        client,
        &format!(
            "begin; set local lock_timeout = {LOCK_TIMEOUT_MS}; lock table {} in access exclusive mode",
            table.quoted()
        ),
    )
    .await?;
    // Asked under the lock: nobody adds a row any more.
    let filled = format!("select exists (select from {})", table.quoted());
    if client.query_one(&filled, &[]).await.map_err(failed)?.get(0) {
        execute(client, "rollback").await?;
        return Err(refused(
            format!("table {} holds events", table.quoted()),
            "cut it while it is empty: when all is delivered, `postrider outbox prune --older-than 0s` with services paused; docs/outbox-table.md \
             tells how to keep the rows",
        ));
    }
    client.batch_execute(&rebuild(care, &belongings)).await.map_err(failed)?;
    run(client, care, true).await
}

/// The statements after the lock. Grants go over one by one, as they are; so do comments and the identity.
fn rebuild(care: &Care, belongings: &Belongings) -> String {
    let table = &care.table;
    let plain = Table { schema: table.schema.clone(), name: format!("{}_plain", table.name) };
    let (name, old) = (table.quoted(), plain.quoted());
    let mut sql = format!(
        "alter table {name} rename to {};\n\
         create table {name} (like {old} including defaults including constraints including identity including generated \
         including storage including compression including comments) partition by range ({KEY});\n",
        escape_identifier(&plain.name)
    );
    sql.push_str(&format!("alter table {name} owner to {};\n", escape_identifier(&belongings.owner)));
    sql.push_str(&format!("do {};\n", escape_literal(&carry_over(&name, &old)).trim_start()));
    for publication in &belongings.publications {
        let publication = escape_identifier(publication);
        sql.push_str(&format!(
            "alter publication {publication} drop table {old};\nalter publication {publication} add table {name};\n"
        ));
    }
    sql.push_str(&format!("drop table {old};\n"));
    // The names of the plain table's key and indexes are free again only now.
    for index in &belongings.indexes {
        sql.push_str(&format!("{index};\n"));
    }
    sql.push_str(&format!("alter table {name} add primary key ({}, {KEY});\n", escape_identifier(&care.id_column)));
    sql.push_str("commit");
    sql
}

/// A block that gives the new table the old one's comment, its place in each sequence, and its grants.
fn carry_over(name: &str, old: &str) -> String {
    let (name, old) = (escape_literal(name), escape_literal(old));
    format!(
        "declare
  item record;
begin
  execute format('comment on table %s is %L', {name}, obj_description({old}::regclass, 'pg_class'));
  for item in
    select pg_get_serial_sequence({name}, attname) as ours, pg_get_serial_sequence({old}, attname) as before
    from pg_catalog.pg_attribute
    where attrelid = {name}::regclass and attidentity <> ''
  loop
    execute format('select setval(%L, last_value, is_called) from %s', item.ours, item.before);
  end loop;
  for item in
    select grantee, privilege_type, is_grantable
    from pg_catalog.pg_class c, aclexplode(c.relacl)
    where c.oid = {old}::regclass and grantee <> c.relowner
  loop
    execute format('grant %s on table %s to %s', item.privilege_type, {name},
      case when item.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(item.grantee)) end)
      || case when item.is_grantable then ' with grant option' else '' end;
  end loop;
end"
    )
}

fn refused(what: String, mend: &str) -> Error {
    Error::Refused(vec![Refusal { what, mend: mend.to_owned() }])
}

fn failed(source: tokio_postgres::Error) -> Error {
    Error::Database { action: "cannot cut the table by days".to_owned(), source }
}
