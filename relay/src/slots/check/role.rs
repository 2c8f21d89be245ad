//! The relay's role: what it lacks, and what it has too much.

use postgres_protocol::escape::escape_identifier;
use tokio_postgres::Client;

use crate::finding::{Finding, Rule, Severity};
use crate::slots::check::Expected;

static REPLICATION: Rule = Rule {
    code: "role-replication",
    severity: Severity::Error,
    why: "Only a role with the REPLICATION attribute may read a slot.",
    mend: "`alter role … replication`; on Amazon RDS and Aurora `grant rds_replication to …`",
};
static SUPERUSER: Rule = Rule {
    code: "role-superuser",
    severity: Severity::Warning,
    why: "A relay that is taken over would then own every database of the server; it needs REPLICATION and SELECT.",
    mend: "`alter role … nosuperuser replication`",
};
static SELECT: Rule = Rule {
    code: "role-select",
    severity: Severity::Warning,
    why: "The stream itself needs no more than REPLICATION, but what is looked up in the outbox table would be refused.",
    mend: "`grant usage on schema … to …`; `grant select on table … to …`",
};

static PARKED_MISSING: Rule = Rule {
    code: "parked-missing",
    severity: Severity::Error,
    why: "An event that can never be delivered has nowhere to go, and the relay looks for those that are parked before it starts.",
    mend: "`postrider migrate`, then `postrider init`; or `outbox.on_refusal = \"block\"`.",
};
static PARKED_GRANTS: Rule = Rule {
    code: "parked-grants",
    severity: Severity::Error,
    why: "The relay's role may not do with parked events what parking takes.",
    mend: "`grant select, insert, update, delete on postrider.parked to …`, `grant select, insert on postrider.parked_log to …`",
};

pub(super) const RULES: &[&Rule] = &[&REPLICATION, &SUPERUSER, &SELECT, &PARKED_MISSING, &PARKED_GRANTS];

/// What the role may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Role {
    replication: bool,
    /// Whether members of `rds_replication` have what no role is given there.
    rds: bool,
    superuser: bool,
    /// For each outbox table: nothing where it is not there, else whether schema and table may be read.
    reads: Vec<Option<(bool, bool)>>,
    /// Whether the tables of parked events are there, and whether all that is needed may be done with them.
    parks: (bool, bool),
}

const PARKS: &str = "
select
  count(*) = 2,
  coalesce(
    bool_and(
      has_schema_privilege($1::name, n.oid, 'usage')
        and has_table_privilege($1::name, c.oid, 'select')
        and has_table_privilege($1::name, c.oid, 'insert')
        and (c.relname = 'parked_log' or (
          has_table_privilege($1::name, c.oid, 'update') and has_table_privilege($1::name, c.oid, 'delete')
        ))
    ),
    false
  )
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname = 'postrider' and c.relname in ('parked', 'parked_log')";

/// On Amazon RDS and Aurora no role can be given the attribute: there members of `rds_replication` may replicate.
const ROLE: &str = "
select
  rolreplication or exists (
    select from pg_catalog.pg_roles managed
    where managed.rolname = 'rds_replication' and pg_has_role(role.oid, managed.oid, 'member')
  ) as replication,
  exists (select from pg_catalog.pg_roles where rolname = 'rds_replication') as rds,
  rolsuper as superuser
from pg_catalog.pg_roles role
where rolname = $1";

const READS: &str = "
select has_schema_privilege($3::name, n.oid, 'usage'), has_table_privilege($3::name, c.oid, 'select')
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname = $1 and c.relname = $2";

pub(super) async fn read(client: &Client, expected: &Expected) -> Result<Role, tokio_postgres::Error> {
    let name = &expected.connect.user;
    let role = client.query_one(ROLE, &[name]).await?;
    let mut reads = Vec::new();
    for outbox in &expected.tables {
        let row = client.query_opt(READS, &[&outbox.table.schema, &outbox.table.name, name]).await?;
        reads.push(row.map(|row| (row.get(0), row.get(1))));
    }
    let parks = client.query_one(PARKS, &[name]).await?;
    Ok(Role {
        replication: role.get("replication"),
        rds: role.get("rds"),
        superuser: role.get("superuser"),
        reads,
        parks: (parks.get(0), parks.get(1)),
    })
}

pub(super) fn examine(expected: &Expected, role: &Role) -> Vec<Finding> {
    let name = &expected.connect.user;
    let quoted = escape_identifier(name);
    let mut findings = Vec::new();
    if !role.replication && !role.superuser {
        let (lack, mend) = if role.rds {
            ("is no member of rds_replication", format!("grant rds_replication to {quoted}"))
        } else {
            ("has no REPLICATION attribute", format!("alter role {quoted} replication"))
        };
        findings.push(REPLICATION.found(format!("role {name:?} {lack}")).sql(mend));
    }
    if role.superuser {
        findings.push(
            SUPERUSER
                .found(format!("role {name:?} is a superuser"))
                .sql(format!("alter role {quoted} nosuperuser replication")),
        );
    }
    for (outbox, reads) in expected.tables.iter().zip(&role.reads) {
        let Some((usage, select)) = *reads else { continue };
        if usage && select {
            continue;
        }
        let table = &outbox.table;
        let mut finding = SELECT.found(format!("role {name:?} may not read {}", table.quoted()));
        if !usage {
            finding = finding.sql(format!("grant usage on schema {} to {quoted}", escape_identifier(&table.schema)));
        }
        if !select {
            finding = finding.sql(format!("grant select on table {} to {quoted}", table.quoted()));
        }
        findings.push(finding);
    }
    findings.extend(parking(expected, role, &quoted));
    findings
}

fn parking(expected: &Expected, role: &Role, quoted: &str) -> Option<Finding> {
    match role.parks {
        _ if !expected.parks => None,
        (true, true) => None,
        (false, _) => Some(
            PARKED_MISSING
                .found("the tables postrider.parked and postrider.parked_log are not there")
                .command("postrider migrate")
                .command("postrider init"),
        ),
        (true, false) => Some(
            PARKED_GRANTS
                .found(format!("role {:?} may not use the tables of parked events", expected.connect.user))
                .sql(format!("grant usage on schema postrider to {quoted}"))
                .sql(format!("grant select, insert, update, delete on postrider.parked to {quoted}"))
                .sql(format!("grant select, insert on postrider.parked_log to {quoted}")),
        ),
    }
}
