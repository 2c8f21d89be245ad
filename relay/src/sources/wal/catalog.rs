//! What a captured table is: what the stream says of it, and from the catalog what the stream does not say.
//!
//! A RELATION message carries names, type OIDs, modifiers and the replica identity as they were when the change was made;
//! from it these are taken. Primary key, nullability, defaults, labels and the makings of types are asked of the catalog
//! when the message arrives, and may be newer than the change: what no longer fits the message's columns is left aside.
//! <https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html>

use std::collections::HashMap;

use crate::pipeline::{End, Error, Kind};
use crate::postgres::connection::{Connection, Row};
use crate::postgres::pgoutput::{Relation, ReplicaIdentity};
use crate::shape::change::table::{Column, DataType, Field, Identity, Table, TypeKind};
use crate::sources::wal::lookout::Identified;
use crate::sources::wal::visible;

/// Types within types at most; Postgres has no limit, and nobody nests this deep.
const DEPTH_MAX: usize = 32;

/// A relation as the stream describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Described {
    pub(super) oid: u32,
    pub(super) schema: String,
    pub(super) name: String,
    /// What tells its rows apart in the stream.
    pub(super) identified: Identified,
    identity: ReplicaIdentity,
    columns: Vec<ColumnDescribed>,
    /// The transaction in which it is described; the catalog is asked when that is visible.
    xid: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct ColumnDescribed {
    name: String,
    type_oid: u32,
    modifier: i32,
    identifies: bool,
}

impl Described {
    pub(super) fn of(relation: &Relation<'_>, xid: Option<u32>) -> Self {
        let column = |column: crate::postgres::pgoutput::RelationColumn<'_>| ColumnDescribed {
            name: column.name.to_owned(),
            type_oid: column.type_oid,
            modifier: column.type_modifier,
            identifies: column.key,
        };
        Self {
            oid: relation.oid,
            schema: relation.namespace.to_owned(),
            name: relation.name.to_owned(),
            identified: Identified::of(relation),
            identity: relation.replica_identity,
            columns: relation.columns().map(column).collect(),
            xid,
        }
    }
}

/// Asks the catalog about a relation that the stream described.
///
/// # Errors
/// `Unavailable` or `Broken` if the server does not answer. A table that is gone by now is no error: what the stream says is
/// enough to publish its rows.
pub(super) fn complete(sql: &mut Connection, described: &Described) -> Result<Table, Error> {
    if let Some(xid) = described.xid {
        visible::wait(sql, xid)?;
    }
    let rows = ask(sql, &columns_query(described.oid))?;
    let catalog = rows.iter().map(|row| (text(row, 0), InCatalog::read(row))).collect::<HashMap<_, _>>();
    let oids = described.columns.iter().map(|column| column.type_oid);
    let types = Types::read(&ask(sql, &types_query(oids))?);
    let unique = match described.identity {
        ReplicaIdentity::Index => Vec::new(),
        _ if catalog.values().any(|column| column.key > 0) => Vec::new(),
        _ => unique_index(sql, described.oid)?,
    };
    let key = key(described, &catalog, &unique);
    let column = |column: &ColumnDescribed| {
        // A column of another type by now is another column.
        let known = catalog.get(column.name.as_str()).filter(|known| known.type_oid == column.type_oid);
        Column {
            name: column.name.clone(),
            of: types.get(column.type_oid, 0),
            modifier: column.modifier,
            optional: !known.is_some_and(|known| known.not_null),
            default: known.and_then(|known| known.default.as_deref().and_then(constant)),
            has_default: known.is_some_and(|known| known.default.as_deref().is_some_and(has_placed_default)),
            generated: known.is_some_and(|known| known.generated),
        }
    };
    Ok(Table {
        schema: described.schema.clone(),
        name: described.name.clone(),
        columns: described.columns.iter().map(column).collect(),
        key,
        identity: match described.identity {
            ReplicaIdentity::Default => Identity::Default,
            ReplicaIdentity::Full => Identity::Full,
            ReplicaIdentity::Index => Identity::Index,
            ReplicaIdentity::Nothing => Identity::Nothing,
        },
    })
}

/// Describes a table that no message of the stream described, as for a snapshot: the columns that `publication` carries of it.
///
/// # Errors
/// `Setup` if there is no such table in the publication; `Unavailable` or `Broken` if the server does not answer.
pub(crate) fn table(sql: &mut Connection, publication: &str, schema: &str, name: &str) -> Result<Table, Error> {
    use postgres_protocol::escape::escape_literal;

    let query = format!(
        "select c.oid, c.relreplident, a.attname, a.atttypid, a.atttypmod,
                coalesce(a.attnum = any (case when c.relreplident = 'i' then (ri.indkey::int2[])[0:ri.indnkeyatts - 1]
                                              else (pk.indkey::int2[])[0:pk.indnkeyatts - 1] end), false)
         from pg_catalog.pg_publication_tables t
         join pg_catalog.pg_namespace n on n.nspname = t.schemaname
         join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = t.tablename
         join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
                                       and a.attname = any (t.attnames)
         left join pg_catalog.pg_index pk on pk.indrelid = c.oid and pk.indisprimary
         left join pg_catalog.pg_index ri on ri.indrelid = c.oid and ri.indisreplident
         where t.pubname = {} and t.schemaname = {} and t.tablename = {}
         order by a.attnum",
        escape_literal(publication),
        escape_literal(schema),
        escape_literal(name)
    );
    let rows = ask(sql, &query)?;
    let Some(first) = rows.first() else {
        let context = format!("publication {publication:?} does not carry the table {schema}.{name}");
        return Err(Error::new(End::Source, Kind::Setup, context)
            .with_help("Run `postrider init`, which adds the tables of [capture], or correct [capture] tables."));
    };
    let identity = match text(first, 1) {
        "f" => ReplicaIdentity::Full,
        "i" => ReplicaIdentity::Index,
        "n" => ReplicaIdentity::Nothing,
        _ => ReplicaIdentity::Default,
    };
    let column = |row: &Row| ColumnDescribed {
        name: text(row, 2).to_owned(),
        type_oid: number(row, 3),
        modifier: number(row, 4),
        identifies: identity == ReplicaIdentity::Full || text(row, 5) == "t",
    };
    let columns: Vec<_> = rows.iter().map(column).collect();
    let oid = number(first, 0);
    let identifying = columns.iter().map(|column| (column.name.clone(), column.identifies));
    let described = Described {
        oid,
        identified: Identified::new(oid, identity == ReplicaIdentity::Full, identifying),
        schema: schema.to_owned(),
        name: name.to_owned(),
        identity,
        columns,
        xid: None,
    };
    complete(sql, &described)
}

/// The places of the key's columns: the primary key; without one, the index that identifies rows, or else the first unique one.
fn key(described: &Described, catalog: &HashMap<&str, InCatalog>, unique: &[String]) -> Vec<usize> {
    let place = |name: &str| described.columns.iter().position(|column| column.name == name);
    let mut primary: Vec<_> =
        catalog.iter().filter(|(_, column)| column.key > 0).map(|(name, column)| (column.key, *name)).collect();
    primary.sort_unstable();
    let primary: Option<Vec<_>> = primary.into_iter().map(|(_, name)| place(name)).collect();
    let unique = || unique.iter().map(|name| place(name)).collect::<Option<_>>().unwrap_or_default();
    let identifying = || {
        let columns = described.columns.iter().enumerate();
        columns.filter(|(_, column)| column.identifies).map(|(place, _)| place).collect::<Vec<_>>()
    };
    match described.identity {
        // The message marks just the primary key, as it was; the catalog only knows its order.
        ReplicaIdentity::Default => {
            let marked = identifying();
            let same = |primary: &Vec<usize>| {
                primary.len() == marked.len() && primary.iter().all(|place| marked.contains(place))
            };
            match marked.is_empty() {
                true => unique(),
                false => primary.filter(same).unwrap_or(marked),
            }
        }
        ReplicaIdentity::Index => primary.filter(|key| !key.is_empty()).unwrap_or_else(identifying),
        ReplicaIdentity::Full => match primary {
            Some(key) if !key.is_empty() => key,
            _ => unique(),
        },
        ReplicaIdentity::Nothing => primary.filter(|key| !key.is_empty()).unwrap_or_else(unique),
    }
}

/// What only the catalog knows of a column.
struct InCatalog {
    type_oid: u32,
    not_null: bool,
    generated: bool,
    default: Option<String>,
    /// Its place in the primary key, from 1; 0 if it is not part of it.
    key: usize,
}

impl InCatalog {
    fn read(row: &Row) -> Self {
        Self {
            type_oid: number(row, 1),
            not_null: text(row, 2) == "t",
            generated: text(row, 3) == "t",
            default: row.get(4).cloned().flatten(),
            key: number(row, 5),
        }
    }
}

/// Defaults are printed for no table in particular, since they name no columns: printing one for its table takes a lock, which
/// a migration can hold for hours.
/// Columns that an index only includes are no part of a key.
fn columns_query(oid: u32) -> String {
    format!(
        "select a.attname, a.atttypid, a.attnotnull, a.attgenerated <> '' or a.attidentity <> '',
                case when a.attgenerated = '' then pg_catalog.pg_get_expr(d.adbin, 0) end,
                coalesce(array_position((i.indkey::int2[])[0:i.indnkeyatts - 1], a.attnum), 0)
         from pg_catalog.pg_attribute a
         left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
         left join pg_catalog.pg_index i on i.indrelid = a.attrelid and i.indisprimary
         where a.attrelid = {oid} and a.attnum > 0 and not a.attisdropped"
    )
}

/// The columns of the first unique index: what names a row where there is no primary key.
fn unique_index(sql: &mut Connection, oid: u32) -> Result<Vec<String>, Error> {
    let query = format!(
        "select a.attname
         from (select i.indrelid, (i.indkey::int2[])[0:i.indnkeyatts - 1] as columns
               from pg_catalog.pg_index i
               where i.indrelid = {oid} and i.indisunique and i.indisvalid and i.indpred is null and i.indexprs is null
               order by i.indexrelid limit 1) i
         cross join lateral unnest(i.columns) with ordinality k(attnum, place)
         join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
         order by k.place"
    );
    let rows = ask(sql, &query)?;
    Ok(rows.iter().map(|row| text(row, 0).to_owned()).collect())
}

/// The types with these OIDs, and all that they are made of.
fn types_query(oids: impl Iterator<Item = u32>) -> String {
    let oids = oids.map(|oid| oid.to_string()).collect::<Vec<_>>().join(",");
    format!(
        "with recursive wanted(oid) as (
           select unnest('{{{oids}}}'::oid[])
           union
           select part.oid
           from wanted w
           join pg_catalog.pg_type t on t.oid = w.oid
           cross join lateral (
             select t.typelem where t.typcategory = 'A'
             union all select t.typbasetype where t.typtype = 'd'
             union all select r.rngsubtype from pg_catalog.pg_range r where r.rngtypid = t.oid
             union all select r.rngtypid from pg_catalog.pg_range r where r.rngmultitypid = t.oid
             union all select a.atttypid from pg_catalog.pg_attribute a
                       where t.typtype = 'c' and a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped
           ) part(oid)
         )
         select t.oid, n.nspname, t.typname, t.typtype,
                case when t.typcategory = 'A' and t.typlen = -1 and t.typdelim = ',' and t.oid not in (22, 30)
                     then t.typelem else 0 end,
                t.typbasetype, t.typtypmod,
                (select r.rngsubtype from pg_catalog.pg_range r where r.rngtypid = t.oid),
                (select r.rngtypid from pg_catalog.pg_range r where r.rngmultitypid = t.oid),
                (select pg_catalog.json_agg(e.enumlabel order by e.enumsortorder)
                 from pg_catalog.pg_enum e where e.enumtypid = t.oid),
                (select pg_catalog.json_agg(pg_catalog.json_build_array(a.attname, a.atttypid::int8, a.atttypmod)
                                            order by a.attnum)
                 from pg_catalog.pg_attribute a
                 where t.typtype = 'c' and a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped)
         from (select distinct oid from wanted) w
         join pg_catalog.pg_type t on t.oid = w.oid
         join pg_catalog.pg_namespace n on n.oid = t.typnamespace"
    )
}

/// Types by OID, as the catalog lists them.
struct Types(HashMap<u32, TypeRow>);

struct TypeRow {
    schema: String,
    name: String,
    letter: String,
    element: u32,
    base: u32,
    base_modifier: i32,
    subtype: u32,
    range: u32,
    labels: Vec<String>,
    fields: Vec<(String, u32, i32)>,
}

impl Types {
    fn read(rows: &[Row]) -> Self {
        let json = |row: &Row, index: usize| row.get(index).cloned().flatten().unwrap_or_else(|| "[]".to_owned());
        let row = |row: &Row| TypeRow {
            schema: text(row, 1).to_owned(),
            name: text(row, 2).to_owned(),
            letter: text(row, 3).to_owned(),
            element: number(row, 4),
            base: number(row, 5),
            base_modifier: number(row, 6),
            subtype: number(row, 7),
            range: number(row, 8),
            labels: serde_json::from_str(&json(row, 9)).unwrap_or_default(),
            fields: serde_json::from_str(&json(row, 10)).unwrap_or_default(),
        };
        Self(rows.iter().map(|of| (number(of, 0), row(of))).collect())
    }

    /// The type with this OID, with all that it is made of. One that is gone by now is known by its OID only.
    fn get(&self, oid: u32, depth: usize) -> DataType {
        let Some(row) = self.0.get(&oid).filter(|_| depth < DEPTH_MAX) else {
            return DataType { oid, schema: String::new(), name: String::new(), kind: TypeKind::Base };
        };
        let part = |oid| Box::new(self.get(oid, depth + 1));
        let kind = match row.letter.as_str() {
            "e" => TypeKind::Enum { labels: row.labels.clone() },
            "d" => TypeKind::Domain { base: part(row.base), modifier: row.base_modifier },
            "r" => TypeKind::Range { subtype: part(row.subtype) },
            "m" => TypeKind::Multirange { range: part(row.range) },
            "p" => TypeKind::Pseudo,
            "c" => {
                let field = |(name, oid, modifier): &(String, u32, i32)| Field {
                    name: name.clone(),
                    of: self.get(*oid, depth + 1),
                    modifier: *modifier,
                };
                TypeKind::Composite { fields: row.fields.iter().map(field).collect() }
            }
            _ if row.element != 0 => TypeKind::Array { element: part(row.element) },
            _ => TypeKind::Base,
        };
        DataType { oid, schema: row.schema.clone(), name: row.name.clone(), kind }
    }
}

/// The value of a default that is a constant, in its type's output form; `None` for anything that has to be computed.
///
/// Postgres prints a constant as a number, a truth value, or a quoted text with its type:
/// <https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-INFO-CATALOG>.
fn constant(expression: &str) -> Option<String> {
    let bare = expression.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).unwrap_or(expression);
    match bare {
        "true" => return Some("t".to_owned()),
        "false" => return Some("f".to_owned()),
        _ => {}
    }
    if let Some(rest) = bare.strip_prefix('\'') {
        let mut value = String::new();
        let mut rest = rest;
        loop {
            let (before, after) = rest.split_once('\'')?;
            value.push_str(before);
            match after.strip_prefix('\'') {
                Some(more) => {
                    value.push('\'');
                    rest = more;
                }
                // Only a type may follow: more than that is an expression.
                None if is_cast(after) => return Some(value),
                None => return None,
            }
        }
    }
    let digits = bare.strip_prefix('-').unwrap_or(bare);
    let numeric = digits.bytes().all(|b| b.is_ascii_digit() || b == b'.') && digits.bytes().any(|b| b.is_ascii_digit());
    numeric.then(|| bare.to_owned())
}

/// Whether Debezium takes the expression for a default: a constant or the call of a function. Of what is computed by operators,
/// which Postgres prints in brackets, it reads none.
fn has_placed_default(expression: &str) -> bool {
    let Some(bracketed) = expression.strip_prefix('(').filter(|_| constant(expression).is_none()) else { return true };
    let rest = bracketed.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'));
    rest.len() < bracketed.len() && rest.starts_with('(')
}

/// Whether this is nothing, or a cast to a type and nothing beside.
fn is_cast(rest: &str) -> bool {
    let Some(of) = rest.strip_prefix("::") else { return rest.is_empty() };
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | ' ' | '.' | '"' | '(' | ')' | ',' | '[' | ']');
    !of.is_empty() && of.chars().all(plain)
}

fn text(row: &Row, index: usize) -> &str {
    row.get(index).and_then(Option::as_deref).unwrap_or_default()
}

fn number<T: std::str::FromStr + Default>(row: &Row, index: usize) -> T {
    text(row, index).parse().unwrap_or_default()
}

pub(super) fn ask(sql: &mut Connection, query: &str) -> Result<Vec<Row>, Error> {
    sql.simple_query(query).map_err(unanswered)
}

/// A question about a captured table that the server did not answer.
pub(super) fn unanswered(error: crate::postgres::error::Error) -> Error {
    let kind = if error.is_transient() { Kind::Unavailable } else { Kind::Broken };
    Error::new(End::Source, kind, "Postgres was asked about a captured table and did not answer").because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_constants_have_a_value() {
        let some = |text: &str| Some(text.to_owned());
        for (expression, value) in [
            ("0", some("0")),
            ("'-1'::integer", some("-1")),
            ("(-1)", some("-1")),
            ("1.50", some("1.50")),
            ("true", some("t")),
            ("'it''s'::text", some("it's")),
            ("''::character varying", some("")),
            ("'{1,2}'::integer[]", some("{1,2}")),
            ("'2020-01-01 00:00:00'::timestamp without time zone", some("2020-01-01 00:00:00")),
            ("'a'::public.\"Mood\"", some("a")),
            ("now()", None),
            ("nextval('s'::regclass)", None),
            ("('a'::text || 'b'::text)", None),
            ("(1 + 1)", None),
            ("CURRENT_DATE", None),
            ("NULL::text", None),
            ("'open", None),
            (".", None),
        ] {
            assert_eq!(constant(expression), value, "{expression}");
        }
    }
    #[test]
    fn of_what_operators_compute_there_is_no_default() {
        for expression in ["0", "(-1)", "'a'::text", "now()", "CURRENT_DATE", "(random())::numeric(10,2)", "a.f(1)"] {
            assert!(has_placed_default(expression), "{expression}");
        }
        for expression in ["(1 + 1)", "('a'::text || 'b'::text)", "((1))", "(now() + '1 day'::interval)"] {
            assert_eq!(has_placed_default(expression), expression.starts_with("(now()"), "{expression}");
        }
    }
}
