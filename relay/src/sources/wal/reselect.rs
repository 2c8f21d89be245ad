//! Large values that an update left as they were are not sent; on request they are read from the table.
//!
//! A value that was read so is that of the newest version of the row, which may be newer than the change. A row that is gone, or
//! has another key by now, keeps what stands for the value; so does one of a table that cannot be read.

use postgres_protocol::escape::{escape_identifier, escape_literal};
use tracing::warn;

use crate::pipeline::Error;
use crate::postgres::connection::Connection;
use crate::postgres::error::Kind;
use crate::shape::change::row::{Change, Old, Value};
use crate::shape::change::table::Table;
use crate::sources::wal::{catalog, visible};

/// Values of a row, by the places of their columns; `None` is SQL null.
pub(super) type Found = Vec<(usize, Option<String>)>;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reselect {
    table: String,
    places: Vec<usize>,
    query: String,
    /// The transaction of the change; the table is asked when that is visible.
    xid: u32,
}

impl Reselect {
    /// The question for the columns at `places` of a changed row; `None` if there is none, or nothing that the row can be found by.
    pub(super) fn of(table: &Table, places: Vec<usize>, change: &Change<'_>, xid: u32) -> Option<Self> {
        let (Change::Update { new, .. }, false, false) = (change, places.is_empty(), table.key.is_empty()) else {
            return None;
        };
        let column = |place: &usize| Some(escape_identifier(&table.columns.get(*place)?.name));
        let condition = |place: &usize| {
            let Value::Text(text) = new.get(*place)? else { return None };
            Some(format!("{} = {}", column(place)?, escape_literal(str::from_utf8(text).ok()?)))
        };
        let columns = places.iter().map(column).collect::<Option<Vec<_>>>()?.join(", ");
        let conditions = table.key.iter().map(condition).collect::<Option<Vec<_>>>()?.join(" and ");
        let name = format!("{}.{}", escape_identifier(&table.schema), escape_identifier(&table.name));
        let query = format!("select {columns} from {name} where {conditions} limit 1");
        Some(Self { table: format!("{}.{}", table.schema, table.name), places, query, xid })
    }

    /// Asks the database.
    ///
    /// # Errors
    /// The server does not answer. That it refuses is none: nothing is found then.
    pub(super) fn ask(&self, sql: &mut Connection) -> Result<Found, Error> {
        visible::wait(sql, self.xid)?;
        let rows = match sql.simple_query(&self.query) {
            Ok(rows) => rows,
            Err(error) if error.kind() == Kind::Rejected => {
                let (table, sqlstate) = (self.table.as_str(), error.sqlstate());
                warn!(table, sqlstate, "a value that was not sent cannot be read from the table: it stays unknown");
                return Ok(Found::new());
            }
            Err(error) => return Err(catalog::unanswered(error)),
        };
        Ok(rows.into_iter().next().map(|row| self.places.iter().copied().zip(row).collect()).unwrap_or_default())
    }
}

/// Shapes a change with what was found in the place of what was not sent.
pub(super) fn with_found<T>(change: Change<'_>, found: &Found, shape: impl FnOnce(Change<'_>) -> T) -> T {
    let Change::Update { old, new } = change else { return shape(change) };
    let mut new: Vec<Value<'_>> = new.to_vec();
    for (place, value) in found {
        if let Some(unsent @ Value::Unchanged) = new.get_mut(*place) {
            *unsent = value.as_ref().map_or(Value::Null, |text| Value::Text(text.as_bytes()));
        }
    }
    let old = old.map(|Old { values, whole }| Old { values, whole });
    shape(Change::Update { old, new: &new })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::change::table::{Column, DataType, Identity, TypeKind};

    fn documents() -> Table {
        let column = |name: &str| Column {
            name: name.to_owned(),
            of: DataType { oid: 25, schema: "pg_catalog".into(), name: "text".into(), kind: TypeKind::Base },
            modifier: -1,
            optional: true,
            default: None,
            has_default: false,
            generated: false,
        };
        let columns = ["tenant", "bo\"dy", "id"].map(column).into();
        Table { schema: "s".into(), name: "T".into(), columns, key: vec![2, 0], identity: Identity::Default }
    }

    #[test]
    fn a_row_is_asked_for_by_its_key() {
        let new = [Value::Text(b"o'neil"), Value::Unchanged, Value::Text(b"7")];
        let change = Change::Update { old: None, new: &new };
        let asked = Reselect::of(&documents(), vec![1], &change, 5).expect("something is missing");
        let query = r#"select "bo""dy" from "s"."T" where "id" = '7' and "tenant" = 'o''neil' limit 1"#;
        assert_eq!(asked.query, query);
        assert_eq!(Reselect::of(&documents(), vec![], &change, 5), None);
        let keyless = Table { key: vec![], ..documents() };
        assert_eq!(Reselect::of(&keyless, vec![1], &change, 5), None);
        let unknown = [Value::Text(b"x"), Value::Unchanged, Value::Unchanged];
        assert_eq!(Reselect::of(&documents(), vec![1], &Change::Update { old: None, new: &unknown }, 5), None);
    }

    #[test]
    fn what_was_found_stands_only_where_nothing_was_sent() {
        let new = [Value::Text(b"a"), Value::Unchanged, Value::Unchanged];
        let found = vec![(0, Some("other".to_owned())), (1, Some("found".to_owned())), (9, None)];
        let values = with_found(Change::Update { old: None, new: &new }, &found, |change| match change {
            Change::Update { new, .. } => format!("{new:?}"),
            other => format!("{other:?}"),
        });
        assert_eq!(values, format!("{:?}", [Value::Text(b"a"), Value::Text(b"found"), Value::Unchanged]));
    }
}
