//! What a polling relay needs: rights on the rows, and an index by which it finds those of a transaction. No publication and no slot,
//! unless it polls only when the slot is lost.

use postgres_protocol::escape::{escape_identifier, escape_literal};

use crate::slots::setup::grant::Grant;
use crate::slots::setup::{Table, Wanted};

/// How the outbox is polled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PollingWanted {
    /// Whether delivered rows are deleted.
    pub deletes: bool,
    /// The column that is set when a row is published.
    pub published_at: Option<String>,
    /// The column of the writing transaction, of tables that `postrider migrate` made.
    pub xid: Option<String>,
    /// Whether a slot is read as long as there is one.
    pub falls_back: bool,
}

/// The rights, and the index of our own table; the index is asked for like a right that the relay has or lacks.
pub(super) fn grants(wanted: &Wanted, polling: &PollingWanted, our_schema: bool) -> Vec<Grant> {
    let mut grants = Vec::new();
    for table in wanted.tables() {
        grants.extend(right(&wanted.relay_role, table, polling));
        let is_ours = our_schema && table.schema == "public" && table.name == "outbox_events";
        if let (true, Some(xid), Some(published_at)) = (is_ours, &polling.xid, &polling.published_at) {
            grants.push(index(&wanted.relay_role, table, xid, published_at));
        }
    }
    grants
}

fn right(role: &str, table: &Table, polling: &PollingWanted) -> Option<Grant> {
    let (quoted, name) = (table.quoted(), escape_literal(&table.quoted()));
    let literal = escape_literal(role);
    let (right, check) = match &polling.published_at {
        _ if polling.deletes => ("delete".to_owned(), format!("has_table_privilege({literal}, {name}, 'delete')")),
        Some(column) => (
            format!("update ({})", escape_identifier(column)),
            format!("has_column_privilege({literal}, {name}, {}, 'update')", escape_literal(column)),
        ),
        None => return None,
    };
    Some(Grant {
        role: role.to_owned(),
        what: format!("grant {right} on table {quoted} to {role}").replace('"', ""),
        sql: format!("grant {right} on table {quoted} to {}", escape_identifier(role)),
        check,
    })
}

fn index(role: &str, table: &Table, xid: &str, published_at: &str) -> Grant {
    let name = format!("{}_unpublished_{xid}", table.name);
    let full = format!("{}.{}", escape_identifier(&table.schema), escape_identifier(&name));
    Grant {
        role: role.to_owned(),
        what: format!("create index {name}"),
        sql: format!(
            "create index if not exists {} on {} ({}) where {} is null",
            escape_identifier(&name),
            table.quoted(),
            escape_identifier(xid),
            escape_identifier(published_at)
        ),
        check: format!("to_regclass({}) is not null", escape_literal(&full)),
    }
}
