//! The rights each role gets: what it needs and nothing more.

use postgres_protocol::escape::{escape_identifier, escape_literal};

use crate::slots::setup::{OUR_SCHEMA, Table, Wanted, polling};

/// One right of one role.
pub(in crate::slots) struct Grant {
    /// The role that gets it.
    pub(in crate::slots) role: String,
    /// What is granted, as a fragment.
    pub(in crate::slots) what: String,
    /// The statement.
    pub(in crate::slots) sql: String,
    /// An expression that is true if the role has the right already, by itself, by membership or as everybody.
    pub(in crate::slots) check: String,
}

/// Every right that is needed, in the order of the statements. `our_schema` tells whether `postrider migrate` was run.
///
/// The relay reads the log, for which its REPLICATION attribute is enough; SELECT is for looking up what the log no
/// longer has. It parks what it cannot deliver, and takes it out again. Writers insert, and never read or change what they wrote.
///
/// Of the `captured` tables the relay reads what is there before the first change; the log shows it every row anyway.
pub(super) fn grants<'t>(
    wanted: &'t Wanted,
    our_schema: bool,
    captured: impl Iterator<Item = &'t Table> + Clone,
) -> Vec<Grant> {
    let (relay, writer) = (&wanted.relay_role, &wanted.writer_role);
    let schemas = schemas_of(wanted.tables());
    let read = schemas_of(wanted.tables().chain(captured.clone()));
    let mut grants = vec![on_database(relay, &wanted.database)];
    grants.extend(read.iter().map(|schema| on_schema(relay, schema)));
    grants.extend(wanted.tables().chain(captured).map(|table| on_table(relay, "select", table)));
    if wanted.republishes {
        grants.extend(wanted.tables().map(|table| on_table(relay, "insert, delete", table)));
    }
    grants.extend(schemas.iter().map(|schema| on_schema(writer, schema)));
    grants.extend(wanted.tables().map(|table| on_table(writer, "insert", table)));
    if our_schema {
        if wanted.outbox.is_some() {
            if !schemas.contains(&OUR_SCHEMA) {
                grants.push(on_schema(writer, OUR_SCHEMA));
            }
            grants.push(on_functions(writer));
        }
        if !schemas.contains(&OUR_SCHEMA) {
            grants.push(on_schema(relay, OUR_SCHEMA));
        }
        grants.push(on_our_table(relay, "select, insert, update, delete", "parked"));
        grants.push(on_our_table(relay, "select, insert", "parked_log"));
        grants.push(on_our_table(relay, "select, insert, update, delete", "snapshots"));
        grants.push(on_our_table(relay, "select, insert, update", "leases"));
    }
    if let Some(polling) = &wanted.polling {
        grants.extend(polling::grants(wanted, polling, our_schema));
    }
    grants
}

/// What a role needs that reads these tables by ordinary SQL, as a subscriber does for its first copy.
pub(in crate::slots) fn reader_grants<'t>(
    role: &str,
    database: &str,
    tables: impl Iterator<Item = &'t Table> + Clone,
) -> Vec<Grant> {
    let mut grants = vec![on_database(role, database)];
    grants.extend(schemas_of(tables.clone()).into_iter().map(|schema| on_schema(role, schema)));
    grants.extend(tables.map(|table| on_table(role, "select", table)));
    grants
}

/// The schemas of the tables, each once.
fn schemas_of<'t>(tables: impl Iterator<Item = &'t Table>) -> Vec<&'t str> {
    let mut schemas: Vec<&str> = Vec::new();
    for table in tables {
        if !schemas.contains(&table.schema.as_str()) {
            schemas.push(&table.schema);
        }
    }
    schemas
}

fn on_database(role: &str, database: &str) -> Grant {
    grant(
        role,
        "connect",
        &format!("database {}", escape_identifier(database)),
        format!("has_database_privilege({}, {}, 'connect')", escape_literal(role), escape_literal(database)),
    )
}

fn on_schema(role: &str, schema: &str) -> Grant {
    grant(
        role,
        "usage",
        &format!("schema {}", escape_identifier(schema)),
        format!("has_schema_privilege({}, {}, 'usage')", escape_literal(role), escape_literal(schema)),
    )
}

fn on_table(role: &str, right: &str, table: &Table) -> Grant {
    let table = table.quoted();
    // Any one of several rights would do for `has_table_privilege`.
    let checks = right
        .split(", ")
        .map(|right| format!("has_table_privilege({}, {}, '{right}')", escape_literal(role), escape_literal(&table)));
    grant(role, right, &format!("table {table}"), checks.collect::<Vec<_>>().join(" and "))
}

/// A table that an older version of `postrider migrate` did not make: then there is nothing to grant. The catalog is asked
/// by names, because a role without rights on the schema may not resolve them.
fn on_our_table(role: &str, rights: &str, name: &str) -> Grant {
    let table = format!("{}.{}", escape_identifier(OUR_SCHEMA), escape_identifier(name));
    // Any one of several rights would do for `has_table_privilege`.
    let checks: Vec<String> = rights
        .split(", ")
        .map(|right| format!("has_table_privilege({}, c.oid, '{right}')", escape_literal(role)))
        .collect();
    let check = format!(
        "coalesce((select {}\n\
         from pg_catalog.pg_class c\n\
         join pg_catalog.pg_namespace n on n.oid = c.relnamespace\n\
         where n.nspname = {} and c.relname = {}), true)",
        checks.join(" and "),
        escape_literal(OUR_SCHEMA),
        escape_literal(name),
    );
    grant(role, rights, &format!("table {table}"), check)
}

fn on_functions(role: &str) -> Grant {
    let schema = escape_literal(OUR_SCHEMA);
    grant(
        role,
        "execute",
        &format!("all functions in schema {}", escape_identifier(OUR_SCHEMA)),
        format!(
            "(select coalesce(bool_and(has_function_privilege({}, oid, 'execute')), true)\n\
             from pg_catalog.pg_proc\n\
             where pronamespace = to_regnamespace({schema}))",
            escape_literal(role)
        ),
    )
}

fn grant(role: &str, right: &str, object: &str, check: String) -> Grant {
    Grant {
        role: role.to_owned(),
        what: format!("grant {right} on {} to {role}", object.replace('"', "")),
        sql: format!("grant {right} on {object} to {}", escape_identifier(role)),
        check,
    }
}
