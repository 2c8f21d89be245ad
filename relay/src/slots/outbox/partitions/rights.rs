//! Whoever changes partitions must own the table: becomes its owner for the session, or says which grant is missing.

use postgres_protocol::escape::escape_identifier;
use tokio_postgres::Client;

use crate::slots::{
    error::{Error, Refusal},
    setup::Table,
};

const RIGHTS: &str = "
select
  current_user::text as role,
  pg_get_userbyid(c.relowner)::text as owner,
  pg_has_role(c.relowner, 'member') as member,
  has_schema_privilege(c.relowner, n.oid, 'create') as may_create,
  to_regclass('postrider.partitions') is null
    or has_table_privilege(c.relowner, 'postrider.partitions', 'select, insert, update, delete') as may_record
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname = $1 and c.relname = $2";

/// Makes the session's role the table's owner, so that what is created belongs to the owner too.
///
/// Detaching concurrently is not allowed inside a function, so no function of the owner's could lend the right.
///
/// # Errors
/// [`Error::Refused`] with every grant that is missing; [`Error::Database`].
pub(super) async fn assume(client: &Client, table: &Table) -> Result<(), Error> {
    let row = client.query_one(RIGHTS, &[&table.schema, &table.name]).await.map_err(failed)?;
    let (role, owner): (String, String) = (row.get("role"), row.get("owner"));
    let [role_quoted, owner_quoted] = [&role, &owner].map(|name| escape_identifier(name));
    let mut refusals = Vec::new();
    if !row.get::<_, bool>("member") {
        refusals.push(Refusal {
            what: format!("role {role} may not change table {}, which belongs to role {owner}", table.quoted()),
            mend: format!(
                "run `grant {owner_quoted} to {role_quoted}`, best with an owner that owns nothing but the outbox; or run `postrider outbox \
                 partitions --apply` as the owner with --admin-url, from cron, instead of `partitions.manage`"
            ),
        });
    }
    if !row.get::<_, bool>("may_create") {
        refusals.push(Refusal {
            what: format!("role {owner}, which owns table {}, may not create tables beside it", table.quoted()),
            mend: format!("run `grant create on schema {} to {owner_quoted}`", escape_identifier(&table.schema)),
        });
    }
    if !row.get::<_, bool>("may_record") {
        refusals.push(Refusal {
            what: format!("role {owner} may not write to postrider.partitions"),
            mend: format!(
                "run `grant usage on schema postrider to {owner_quoted}` and `grant select, insert, update, delete on \
                 postrider.partitions to {owner_quoted}; grant select on postrider.holds, postrider.parked to {owner_quoted}`"
            ),
        });
    }
    if !refusals.is_empty() {
        return Err(Error::Refused(refusals));
    }
    client.batch_execute(&format!("set role {owner_quoted}")).await.map_err(failed)
}

fn failed(source: tokio_postgres::Error) -> Error {
    Error::Database { action: "cannot become the owner of the table".to_owned(), source }
}
