//! Which tables a snapshot reads, and how each can be read in pieces.

use postgres_protocol::escape::{escape_identifier, escape_literal};
use serde::Deserialize;

use crate::pipeline::{End, Error, Kind};
use crate::postgres::connection::{Connection, Row};
use crate::sources::snapshot::progress::Key;

/// A captured table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) schema: String,
    pub(super) name: String,
    /// Whether its rows lie in partitions.
    is_partitioned: bool,
    /// The publication's condition on rows.
    filter: Option<String>,
    /// The columns by whose ranges it is read in pieces; none: it is read at once.
    pub(super) key: Vec<KeyColumn>,
    /// How many rows it has, by the statistics; `None` if there are none.
    pub(super) rows: Option<u64>,
}

/// A column of a key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct KeyColumn {
    name: String,
    /// Its type in SQL.
    of: String,
    /// What orders its values beside the type: its collation, and that one's version.
    collation: Option<String>,
}

impl KeyColumn {
    /// What must be the same for bounds to mean the same.
    pub(super) fn order(&self) -> String {
        let collation = self.collation.as_ref().map(|collation| format!(" collate {collation}")).unwrap_or_default();
        format!("{} {}{collation}", self.name, self.of)
    }
}

impl Found {
    /// Its name in SQL.
    pub(super) fn relation(&self) -> String {
        format!("{}.{}", escape_identifier(&self.schema), escape_identifier(&self.name))
    }

    /// Its name for people.
    pub(super) fn title(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// Its key's columns in SQL.
    pub(super) fn key_list(&self) -> String {
        list(self.key.iter().map(|column| &column.name))
    }

    /// `select … from … where …`: what is published of the rows from one key up to another.
    pub(super) fn select(&self, what: &str, from: Option<&Key>, to: Option<&Key>) -> String {
        let bound = |operator: &str, key: &Key| {
            // A bare literal would be read as what the operator takes, which may be another type than the column's.
            let value = |(value, column): (&String, &KeyColumn)| format!("{}::{}", escape_literal(value), column.of);
            let values: Vec<_> = key.iter().zip(&self.key).map(value).collect();
            format!("({}) {operator} ({})", self.key_list(), values.join(","))
        };
        let conditions: Vec<_> = [
            self.filter.as_ref().map(|filter| format!("({filter})")),
            from.map(|key| bound(">=", key)),
            to.map(|key| bound("<", key)),
        ]
        .into_iter()
        .flatten()
        .collect();
        // The rows of a table that inherits from this one are that table's.
        let only = if self.is_partitioned { "" } else { "only " };
        let mut sql = format!("select {what} from {only}{}", self.relation());
        if !conditions.is_empty() {
            sql.push_str(" where ");
            sql.push_str(&conditions.join(" and "));
        }
        sql
    }
}

/// Columns in SQL.
pub(super) fn list<'c>(columns: impl IntoIterator<Item = &'c String>) -> String {
    columns.into_iter().map(|column| escape_identifier(column)).collect::<Vec<_>>().join(",")
}

/// The tables of `publication`, by name.
///
/// A key is the primary key, or the index that identifies rows, if Postgres itself orders values of its types: an operator of an
/// extension could not be named here without knowing it.
pub(super) fn published(sql: &mut Connection, publication: &str) -> Result<Vec<Found>, Error> {
    let query = format!(
        "select t.schemaname, t.tablename, c.relkind = 'p', t.rowfilter,
                (select pg_catalog.json_agg(pg_catalog.json_build_object(
                            'name', a.attname, 'of', pg_catalog.format_type(coalesce(nullif(ty.typbasetype, 0), ty.oid), -1),
                            'collation', nullif(pg_catalog.concat_ws(' ', nullif(a.attcollation, 0)::regcollation,
                                                pg_catalog.pg_collation_actual_version(nullif(a.attcollation, 0))), ''))
                        order by k.place)
                 from (select i.* from pg_catalog.pg_index i
                       where i.indrelid = c.oid and i.indisvalid and (i.indisprimary or i.indisreplident)
                       order by i.indisprimary desc limit 1) i
                 cross join lateral unnest(i.indkey::int2[]) with ordinality k(attnum, place)
                 join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
                 join pg_catalog.pg_type ty on ty.oid = a.atttypid
                 where k.place <= i.indnkeyatts
                   and not exists (select from unnest(i.indclass::oid[]) o(oid)
                                   join pg_catalog.pg_opclass class on class.oid = o.oid
                                   where class.opcnamespace <> 'pg_catalog'::regnamespace or not class.opcdefault)),
                (select case when pg_catalog.min(leaf.reltuples) >= 0 then pg_catalog.sum(leaf.reltuples)::int8 end
                 from pg_catalog.pg_class leaf
                 where leaf.oid = c.oid and c.relkind <> 'p'
                    or c.relkind = 'p' and leaf.oid in (select relid from pg_catalog.pg_partition_tree(c.oid) where isleaf))
         from pg_catalog.pg_publication_tables t
         join pg_catalog.pg_namespace n on n.nspname = t.schemaname
         join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = t.tablename
         where t.pubname = {}
         order by t.schemaname, t.tablename",
        escape_literal(publication)
    );
    let rows = sql.simple_query(&query).map_err(|error| {
        let kind = if error.is_transient() { Kind::Unavailable } else { Kind::Broken };
        let context = format!("Postgres was asked which tables publication {publication:?} has and did not answer");
        Error::new(End::Source, kind, context).because(error)
    })?;
    let text = |row: &Row, index: usize| row.get(index).cloned().flatten();
    let found = |row: &Row| Found {
        schema: text(row, 0).unwrap_or_default(),
        name: text(row, 1).unwrap_or_default(),
        is_partitioned: text(row, 2).as_deref() == Some("t"),
        filter: text(row, 3),
        key: text(row, 4).and_then(|columns| serde_json::from_str(&columns).ok()).unwrap_or_default(),
        rows: text(row, 5).and_then(|rows| rows.parse().ok()),
    };
    Ok(rows.iter().map(found).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str) -> KeyColumn {
        KeyColumn {
            name: name.to_owned(),
            of: if name == "a" { "text" } else { "public.pair" }.into(),
            collation: None,
        }
    }

    fn found(key: &[&str], filter: Option<&str>) -> Found {
        Found {
            schema: "public".into(),
            name: "Odd \"name\"".into(),
            is_partitioned: false,
            filter: filter.map(str::to_owned),
            key: key.iter().map(|name| column(name)).collect(),
            rows: None,
        }
    }

    #[test]
    fn a_piece_is_bounded_by_keys_and_by_the_publications_condition() {
        let from = vec!["1".to_owned(), "it's".to_owned()];
        assert_eq!(
            found(&["a", "b"], Some("a > 0")).select("x", Some(&from), None),
            r#"select x from only "public"."Odd ""name""" where (a > 0) and ("a","b") >= ('1'::text,'it''s'::public.pair)"#
        );
        assert_eq!(
            found(&["a"], None).select("x", Some(&vec!["1".to_owned()]), Some(&vec!["2".to_owned()])),
            r#"select x from only "public"."Odd ""name""" where ("a") >= ('1'::text) and ("a") < ('2'::text)"#
        );
        assert_eq!(found(&[], None).select("x", None, None), r#"select x from only "public"."Odd ""name""""#);
    }

    #[test]
    fn a_key_is_another_one_with_another_type_or_collation() {
        let email = |of: &str, collation: Option<&str>| {
            KeyColumn { name: "email".into(), of: of.into(), collation: collation.map(str::to_owned) }.order()
        };
        assert_eq!(email("integer", None), "email integer");
        assert_eq!(email("text", Some("\"default\" 2.36")), "email text collate \"default\" 2.36");
    }
}
