//! A table that is read in chunks: how its rows are ordered and told apart, and what is asked for them.

use postgres_protocol::escape::{escape_identifier as identifier, escape_literal as literal};
use serde::de::DeserializeOwned;

use crate::pipeline::{End, Error, Kind};
use crate::postgres::connection::{Connection, Row};
use crate::shape::change::{Capture, Form};
use crate::sources::wal::catalog;
use crate::sources::wal::window::RowKey;

/// What is known of a table, for as long as its signature stays.
#[derive(Debug)]
pub(super) struct Readable {
    pub(super) oid: u32,
    pub(super) schema: String,
    pub(super) name: String,
    /// How its rows are published.
    pub(super) form: Form,
    /// How many columns are published.
    pub(super) width: usize,
    /// The columns by which it is read in order, and that stand behind those that are published.
    pub(super) order: Vec<String>,
    /// Their types in SQL.
    order_types: Vec<String>,
    /// The columns by which the stream tells its rows apart, and that stand behind those.
    pub(super) key: Vec<String>,
    /// Their types in SQL.
    key_types: Vec<String>,
    /// Whether a change may leave out a value that it leaves as it was.
    pub(super) is_told_partly: bool,
    /// Rows, as the planner believes.
    pub(super) estimated_rows: u64,
    /// What changes if anything of this does.
    pub(super) signature: String,
    /// Expressions for the columns, in their order.
    select: String,
    /// What follows FROM, without a condition.
    from: String,
    /// Where the operators of the order are found.
    search_path: String,
}

/// Why a table cannot be read in chunks, and the mend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) why: String,
    pub(super) help: &'static str,
}

/// Which rows are read.
#[derive(Debug, Clone)]
pub(super) enum Which {
    /// So many behind this key in their order; `None`: from the first one.
    Behind(Option<Vec<String>>, u32),
    /// Those of these keys.
    Keys(Vec<RowKey>),
    /// So many behind this key, of which those are wanted that were changed since a transaction, up to another key.
    Changed {
        /// The key; `None`: from the first row.
        behind: Option<Vec<String>>,
        /// The last one.
        up_to: Vec<String>,
        /// The transaction.
        since: u32,
        /// How many.
        rows: u32,
    },
}

impl Readable {
    /// Describes a captured table.
    ///
    /// # Errors
    /// The server does not answer; inside, the table cannot be read.
    pub(super) fn describe(
        sql: &mut Connection,
        capture: &Capture,
        publication: &str,
        (schema, name): (&str, &str),
        condition: Option<&str>,
    ) -> Result<Result<Self, Refusal>, Error> {
        let refuse = |why: String, help| Ok(Err(Refusal { why, help }));
        if !capture.captures(schema, name) {
            return refuse(
                format!("table {schema}.{name} is not captured"),
                "Name it in [capture] tables, run `postrider init`, and start the relay again.",
            );
        }
        let rows = ask(sql, &facts(publication, schema, name))?;
        let Some(row) = rows.first() else {
            return refuse(
                format!("there is no table {schema}.{name} in publication {publication}"),
                "Correct the name, or run `postrider init`, which adds the tables of [capture].",
            );
        };
        let (primary, identity, unique): (Columns, Columns, Columns) = (list(row, 3), list(row, 4), list(row, 5));
        let order = [&primary, &identity, &unique].into_iter().find(|columns| !columns.is_empty());
        let Some(order) = order.cloned() else {
            return refuse(
                format!("table {schema}.{name} has no key by which it could be read piece by piece"),
                "Give it a primary key, or a unique index on columns that are not null; or read it by an initial snapshot.",
            );
        };
        let key = match text(row, 2) {
            "i" => identity,
            _ => order.clone(),
        };
        let ((order, order_types), (key, key_types)) = (order.into_iter().unzip(), key.into_iter().unzip());
        let table = match catalog::table(sql, publication, schema, name) {
            Ok(table) => table,
            Err(error) if error.kind() == Kind::Setup => {
                return refuse(error.to_string(), "Run `postrider init`, which adds the tables of [capture].");
            }
            Err(error) => return Err(error),
        };
        let form = match capture.describe(&table) {
            Ok(form) => form,
            Err(error) => return refuse(error.to_string(), "Mend the table or the configuration, and ask again."),
        };
        let columns = table.columns.iter().map(|column| &column.name).chain(&order).chain(&key);
        let select = columns.map(|column| identifier(column)).collect::<Vec<_>>().join(", ");
        let conditions: Vec<_> = [row.get(6).and_then(Option::as_deref), condition]
            .into_iter()
            .flatten()
            .map(|condition| format!("coalesce(({condition}\n), false)"))
            .collect();
        let wanted = if conditions.is_empty() { "true".to_owned() } else { conditions.join(" and ") };
        let only = if text(row, 1) == "p" { "" } else { "only " };
        Ok(Ok(Self {
            oid: text(row, 0).parse().unwrap_or_default(),
            schema: schema.to_owned(),
            name: name.to_owned(),
            form,
            width: table.columns.len(),
            order,
            order_types,
            key,
            key_types,
            is_told_partly: text(row, 2) != "f" && text(row, 10) == "t",
            estimated_rows: text(row, 7).parse().unwrap_or_default(),
            signature: text(row, 8).to_owned(),
            select: format!("{select}, {wanted}"),
            from: format!("{only}{}.{}", identifier(schema), identifier(name)),
            search_path: search_path(text(row, 9), condition.is_some(), text(row, 11) == "t"),
        }))
    }

    /// Begins the transaction of a chunk. The lock comes before the snapshot: a table that was rewritten or emptied in between
    /// would look empty (<https://www.postgresql.org/docs/current/mvcc-caveats.html>).
    pub(super) fn begin(&self) -> String {
        format!(
            "begin transaction isolation level repeatable read, read only;
             set local search_path = {};
             set local lock_timeout = '5s';
             lock table {} in access share mode",
            self.search_path, self.from
        )
    }

    /// Asks which transactions have changed the table and are not over.
    pub(super) fn writers(&self) -> String {
        format!(
            "select distinct x.transactionid
             from pg_catalog.pg_locks w
             join pg_catalog.pg_locks x on x.virtualtransaction = w.virtualtransaction
             where x.locktype = 'transactionid' and x.mode = 'ExclusiveLock' and x.granted
               and w.locktype = 'relation' and w.mode not in ('AccessShareLock', 'RowShareLock') and w.granted
               and w.database = (select oid from pg_catalog.pg_database where datname = current_database())
               and (w.relation = {oid} or w.relation in (select relid from pg_catalog.pg_partition_tree({oid})))",
            oid = self.oid
        )
    }

    /// Asks for the snapshot of the chunk, the end of the log after it, the size of its pages, and the signature.
    pub(super) fn look(&self, publication: &str) -> String {
        format!(
            "select pg_catalog.pg_current_snapshot(),
                    pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), '0/0'),
                    pg_catalog.current_setting('wal_block_size'),
                    (select {} from pg_catalog.pg_class c
                     join pg_catalog.pg_namespace n on n.oid = c.relnamespace
                     where n.nspname = {} and c.relname = {})",
            signature(publication),
            literal(&self.schema),
            literal(&self.name),
        )
    }

    /// Asks for rows: the published columns, those of the order, those of the key, and whether the row is wanted.
    pub(super) fn copy(&self, which: &Which) -> String {
        let (mut select, from) = (self.select.clone(), &self.from);
        let columns = |names: &[String]| names.iter().map(|name| identifier(name)).collect::<Vec<_>>();
        let order = columns(&self.order).join(", ");
        // A bare literal would be read as what the operator takes, which may be another type than the column's.
        let cast = |value: String, of: &String| format!("{value}::{of}");
        let bound = |than: &str, values: &[String]| {
            let values = values.iter().zip(&self.order_types).map(|(value, of)| cast(literal(value), of));
            format!("({order}) {than} ({})", values.collect::<Vec<_>>().join(", "))
        };
        let rest = match which {
            Which::Behind(behind, rows) => {
                let behind = behind.as_ref().map(|values| format!(" where {}", bound(">", values)));
                format!("{} order by {order} limit {rows}", behind.unwrap_or_default())
            }
            Which::Changed { behind, up_to, since, rows } => {
                // The transaction that wrote a row's version: https://www.postgresql.org/docs/current/ddl-system-columns.html
                select.push_str(&format!(" and pg_catalog.age(xmin) <= pg_catalog.age('{since}'::pg_catalog.xid)"));
                let behind = behind.as_ref().map(|values| format!(" and {}", bound(">", values)));
                let behind = behind.unwrap_or_default();
                format!(" where {}{behind} order by {order} limit {rows}", bound("<=", up_to))
            }
            Which::Keys(keys) => {
                let value = |value: Option<&[u8]>| match value {
                    Some(value) => literal(&String::from_utf8_lossy(value)),
                    None => "null".to_owned(),
                };
                let row = |key: &RowKey| {
                    let values = key.values().zip(&self.key_types).map(|(of_key, of)| cast(value(of_key), of));
                    format!("({})", values.collect::<Vec<_>>().join(", "))
                };
                let keys = keys.iter().map(row).collect::<Vec<_>>().join(", ");
                format!(" where ({}) in ({keys})", columns(&self.key).join(", "))
            }
        };
        format!("copy (select {select} from {from}{rest}) to stdout")
    }
}

/// Columns, each with its type in SQL.
type Columns = Vec<(String, String)>;

/// Where operators are looked for: in the schemas of the columns' types, and for a condition that somebody wrote also where
/// they would expect. Values that print as names print as the stream has them only if there is nothing on the path: then an
/// operator of an extension is not found, and the server says so.
fn search_path(types: &str, has_condition: bool, has_names: bool) -> String {
    if has_names {
        return "pg_catalog".to_owned();
    }
    let types = if types.is_empty() { "pg_catalog".to_owned() } else { format!("pg_catalog, {types}") };
    if has_condition { format!("{types}, public") } else { types }
}

/// Whether a column of `c` holds, at any depth, what prints as a name that depends on the search path.
/// <https://www.postgresql.org/docs/current/datatype-oid.html>
const HAS_NAMES: &str = "(
    with recursive part(oid) as (
        select a.atttypid from pg_catalog.pg_attribute a
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        union
        select inner_type.oid
        from part join pg_catalog.pg_type outer_type on outer_type.oid = part.oid
        cross join lateral (
            select unnest(array[outer_type.typelem, outer_type.typbasetype])
            union all
            select a.atttypid from pg_catalog.pg_attribute a
            where a.attrelid = outer_type.typrelid and outer_type.typtype = 'c' and a.attnum > 0 and not a.attisdropped
        ) inner_type(oid)
        where inner_type.oid <> 0)
    select bool_or(oid in ('regclass'::regtype, 'regproc'::regtype, 'regprocedure'::regtype, 'regoper'::regtype,
                           'regoperator'::regtype, 'regtype'::regtype, 'regconfig'::regtype, 'regdictionary'::regtype,
                           'regcollation'::regtype))
    from part)";

/// What is asked about a table.
fn facts(publication: &str, schema: &str, name: &str) -> String {
    let columns = |which: &str| {
        format!(
            "coalesce((select json_agg(json_build_array(a.attname,
                 pg_catalog.format_type(coalesce(nullif(ty.typbasetype, 0), ty.oid), -1)) order by k.place)
             from (select i.indrelid, i.indkey::int2[] as columns, i.indnkeyatts
                   from pg_catalog.pg_index i
                   where i.indrelid = c.oid and i.indisvalid and i.indpred is null and i.indexprs is null and {which}
                   order by i.indexrelid limit 1) i
             cross join lateral unnest(i.columns) with ordinality k(attnum, place)
             join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
             join pg_catalog.pg_type ty on ty.oid = a.atttypid
             where k.place <= i.indnkeyatts), '[]')"
        )
    };
    let not_null = "i.indisunique and not exists (
        select from pg_catalog.pg_attribute a
        where a.attrelid = i.indrelid and a.attnum = any (i.indkey) and not a.attnotnull)";
    format!(
        "select c.oid, c.relkind, c.relreplident, {primary}, {identity}, {unique}, t.rowfilter,
                greatest(c.reltuples, 0)::bigint, {signature},
                (select pg_catalog.string_agg(distinct pg_catalog.quote_ident(tn.nspname), ', ')
                 from pg_catalog.pg_attribute a
                 join pg_catalog.pg_type ty on ty.oid = a.atttypid
                 join pg_catalog.pg_namespace tn on tn.oid = ty.typnamespace
                 where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped),
                exists (select from pg_catalog.pg_attribute a
                        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attstorage <> 'p'),
                {names}
         from pg_catalog.pg_publication_tables t
         join pg_catalog.pg_namespace n on n.nspname = t.schemaname
         join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = t.tablename
         where t.pubname = {publication} and n.nspname = {schema} and c.relname = {name}",
        primary = columns("i.indisprimary"),
        identity = columns("i.indisreplident"),
        unique = columns(not_null),
        signature = signature(publication),
        names = HAS_NAMES,
        publication = literal(publication),
        schema = literal(schema),
        name = literal(name),
    )
}

/// An expression over `pg_class` as `c` that changes when columns, keys or what is published of them do.
fn signature(publication: &str) -> String {
    format!(
        "pg_catalog.concat_ws('/', c.oid, c.relreplident,
           (select pg_catalog.md5(pg_catalog.string_agg(pg_catalog.concat_ws(' ', a.attnum, a.attname, a.atttypid,
                                                                             a.atttypmod, a.attnotnull), ','
                                                        order by a.attnum))
            from pg_catalog.pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped),
           (select pg_catalog.string_agg(i.indexrelid::text, ',' order by i.indexrelid)
            from pg_catalog.pg_index i where i.indrelid = c.oid and (i.indisprimary or i.indisreplident)),
           (select r.prattrs::text
            from pg_catalog.pg_publication_rel r join pg_catalog.pg_publication p on p.oid = r.prpubid
            where p.pubname = {} and r.prrelid = c.oid))",
        literal(publication)
    )
}

fn list<T: DeserializeOwned>(row: &Row, index: usize) -> Vec<T> {
    serde_json::from_str(text(row, index)).unwrap_or_default()
}

fn text(row: &Row, index: usize) -> &str {
    row.get(index).and_then(Option::as_deref).unwrap_or_default()
}

fn ask(sql: &mut Connection, query: &str) -> Result<Vec<Row>, Error> {
    sql.simple_query(query).map_err(|error| {
        let kind = if error.is_transient() { Kind::Unavailable } else { Kind::Broken };
        Error::new(End::Source, kind, "Postgres was asked about a table to read and did not answer").because(error)
    })
}
