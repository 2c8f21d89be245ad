//! The statements by which an outbox is polled. Pure: names and numbers in, text out.
//!
//! Guarantee: none of them walks what was delivered before. A page goes on behind the last row of the page before it, and what is
//! new is found by its transaction; both by partial indexes, which hold only rows that wait.

use postgres_protocol::escape::{escape_identifier as identifier, escape_literal as literal};

use crate::sources::polling::moment::Moment;
use crate::sources::polling::options::{After, KeyPart, PolledOutbox, PollingOptions};
use crate::sources::wal::Part;

/// Columns that stand before the parts of an event: the order, the time in microseconds, the bucket, and how many rows there were.
pub(super) const PARTS_BEGIN: usize = 4;

/// Which rows a page is of.
#[derive(Debug, Clone, Copy)]
pub(super) enum Page<'a> {
    /// Those that `until` shows and `since` does not, behind the row `after`, in order.
    Behind {
        /// The moment that a look before reached; none: there was none.
        since: Option<&'a Moment>,
        /// The moment that this look reaches.
        until: &'a Moment,
        /// The order of the last row of the page before.
        after: Option<i64>,
    },
    /// All that the moment `since` does not show, by their transactions; more than the limit is too many.
    Since(&'a Moment),
    /// The oldest that wait: where rows do not tell their transaction.
    Oldest {
        /// Rows on their way, which still seem to wait.
        claimed: usize,
    },
}

/// One outbox table in the terms of SQL.
#[derive(Debug, Clone)]
pub(super) struct Statements {
    pub(super) table: String,
    order: String,
    xid: Option<String>,
    published_at: Option<String>,
    created_at: Option<String>,
    key: String,
    pub(super) size: String,
    buckets: u16,
    after: After,
    /// What is selected for each part of an event, in the order of reading.
    pub(super) parts: Vec<(String, Part)>,
}

impl Statements {
    /// `has` tells whether the table has a column.
    pub(super) fn new(options: &PollingOptions, outbox: &PolledOutbox, has: impl Fn(&str) -> bool) -> Self {
        let columns = &options.columns;
        let name = |column: &Option<String>| column.as_deref().filter(|column| has(column)).map(identifier);
        let table = outbox.source.table.as_ref();
        let table = table.map(|table| format!("{}.{}", identifier(&table.schema), identifier(&table.name)));
        let source = &outbox.source.columns;
        let sizes: Vec<String> = [&source.payload, &source.payload_bytes, &source.headers]
            .into_iter()
            .flatten()
            .map(|column| format!("coalesce(pg_column_size({}), 0)", identifier(column)))
            .collect();
        let key = outbox.key.iter().map(|part| match part {
            KeyPart::Text(text) => literal(text),
            KeyPart::Column(column) => format!("coalesce({}::text, '')", identifier(column)),
        });
        let key: Vec<String> = key.collect();
        Self {
            table: table.unwrap_or_default(),
            order: identifier(&columns.order),
            xid: name(&columns.xid),
            published_at: name(&columns.published_at),
            created_at: name(&columns.created_at),
            key: if key.is_empty() { "''".to_owned() } else { key.join(" || ") },
            size: if sizes.is_empty() { "0".to_owned() } else { sizes.join(" + ") },
            buckets: options.buckets,
            after: options.after,
            parts: source
                .columns()
                .filter(|(column, _, required)| *required || has(column))
                .map(|(column, part, _)| (column.to_owned(), part))
                .collect(),
        }
    }

    /// The parts of an event in the order in which a row has them, from [`PARTS_BEGIN`] on.
    pub(super) fn parts(&self) -> impl Iterator<Item = Part> + '_ {
        self.parts.iter().map(|(_, part)| *part)
    }

    /// Whether rows tell their transaction.
    pub(super) fn tells_transactions(&self) -> bool {
        self.xid.is_some()
    }

    fn bucket(&self) -> String {
        format!("(hashtextextended({}, 0) & {})", self.key, self.buckets - 1)
    }

    /// The rows that wait, of these buckets.
    fn waiting(&self, buckets: &[u16]) -> String {
        let mut terms = Vec::new();
        if let Some(published_at) = &self.published_at {
            terms.push(format!("{published_at} is null"));
        }
        if buckets.len() < usize::from(self.buckets) {
            terms.push(format!("{} = any('{{{}}}'::bigint[])", self.bucket(), list(buckets)));
        }
        if terms.is_empty() { "true".to_owned() } else { terms.join(" and ") }
    }

    /// A page of at most `rows` rows, and not many more than `bytes` bytes as they are stored, in order. Every row tells how many
    /// there were before the bytes were limited.
    pub(super) fn page(&self, page: Page<'_>, buckets: &[u16], rows: usize, bytes: usize) -> String {
        let waiting = self.waiting(buckets);
        let parts: Vec<String> =
            self.parts.iter().enumerate().map(|(n, (column, _))| format!("{} as p{n}", identifier(column))).collect();
        let names: Vec<String> = (0..self.parts.len()).map(|n| format!("p{n}")).collect();
        let created = match &self.created_at {
            Some(column) => format!("(extract(epoch from {column}) * 1000000)::bigint"),
            None => "null::bigint".to_owned(),
        };
        let select = format!(
            "select {order} as o, {created} as c, {bucket} as b, {size} as s{comma}{parts} from {table} where {waiting}",
            order = self.order,
            bucket = self.bucket(),
            size = self.size,
            comma = if parts.is_empty() { "" } else { ", " },
            parts = parts.join(", "),
            table = self.table,
        );
        let found = self.found(page, &select, rows);
        format!(
            "select o, c, b, t{comma}{names} from (select f.*, count(*) over () as t, \
             sum(s) over (order by o rows unbounded preceding) - s as before from ({found}) f) q \
             where before < {bytes} order by o",
            comma = if names.is_empty() { "" } else { ", " },
            names = names.join(", "),
        )
    }

    fn found(&self, page: Page<'_>, select: &str, rows: usize) -> String {
        let order = &self.order;
        match (page, &self.xid) {
            (Page::Behind { since, until, after }, Some(xid)) => {
                let visible = |moment: &Moment| format!("pg_visible_in_snapshot({xid}, '{moment}'::pg_snapshot)");
                // A number from the future is another server's: the row was restored, and is as old as can be.
                let mut conditions =
                    format!(" and ({} or {xid} >= pg_snapshot_xmax(pg_current_snapshot()))", visible(until));
                if let Some(since) = since {
                    conditions.push_str(&format!(" and not {}", visible(since)));
                }
                if let Some(after) = after {
                    conditions.push_str(&format!(" and {order} > {after}"));
                }
                format!("{select}{conditions} order by {order} limit {rows}")
            }
            (Page::Since(since), Some(xid)) => {
                let limit = rows + 1;
                let newer = format!("({select} and {xid} >= '{}'::xid8 order by {xid} limit {limit})", since.xmax());
                if since.open().is_empty() {
                    return newer;
                }
                let open = list(since.open());
                format!(
                    "{newer} union all ({select} and {xid} = any('{{{open}}}'::xid8[]) order by {xid} limit {limit})"
                )
            }
            (Page::Oldest { claimed }, _) => format!("{select} order by {order} limit {}", rows + claimed),
            (Page::Behind { .. } | Page::Since(_), None) => format!("{select} order by {order} limit {rows}"),
        }
    }

    /// Notes that the rows were delivered, if `holds` is true; what it gives is whether it was, and how many rows waited.
    pub(super) fn deliver(&self, orders: &[i64], holds: &str) -> String {
        let orders = list(orders);
        let waiting = self.published_at.as_ref().map(|column| format!(" and {column} is null")).unwrap_or_default();
        let (table, order) = (&self.table, &self.order);
        let condition = format!("{order} = any('{{{orders}}}'::bigint[]){waiting} and (select ok from lease)");
        let change = match (self.after, &self.published_at) {
            (After::Mark, Some(column)) => {
                format!("update {table} set {column} = clock_timestamp() where {condition} returning 1")
            }
            (After::Delete | After::Mark, _) => format!("delete from {table} where {condition} returning 1"),
        };
        format!(
            "with lease as materialized (select {holds} as ok), done as ({change}) \
             select (select ok from lease), (select count(*) from done)"
        )
    }

    /// The rows of transactions below `xid` that wait are delivered already: a slot did it. At most `rows` of them.
    pub(super) fn deliver_below(&self, xid: u64, rows: usize) -> Option<String> {
        let (column, published_at) = (self.xid.as_ref()?, self.published_at.as_ref()?);
        let (table, order) = (&self.table, &self.order);
        let which = format!(
            "{order} in (select {order} from {table} where {published_at} is null and {column} < '{xid}'::xid8 \
             order by {column} limit {rows}) and {published_at} is null and {column} < '{xid}'::xid8"
        );
        Some(match self.after {
            After::Mark => format!("update {table} set {published_at} = clock_timestamp() where {which}"),
            After::Delete => format!("delete from {table} where {which}"),
        })
    }
}

/// The columns of a table: name, type and whether it can be null.
pub(super) fn describe(schema: &str, table: &str) -> String {
    format!(
        "select a.attname, a.atttypid::int8, not a.attnotnull from pg_attribute a \
         where a.attrelid = to_regclass({}) and a.attnum > 0 and not a.attisdropped",
        literal(&format!("{}.{}", identifier(schema), identifier(table)))
    )
}

/// Numbers in a row, for an array.
pub(super) fn list<N: ToString>(numbers: &[N]) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::postgres::options::{ConnectOptions, Host};
    use crate::shape::outbox::OutboxOptions;
    use crate::sources::polling::options::PollingColumns;
    use crate::sources::wal::{OutboxColumns, OutboxSource, OutboxTable};

    fn statements(after: After, has: impl Fn(&str) -> bool) -> Statements {
        let column = |name: &str| Some(name.to_owned());
        let outbox = PolledOutbox {
            source: OutboxSource {
                name: "outbox".to_owned(),
                table: Some(OutboxTable { schema: "public".to_owned(), name: "it's \"mine\"".to_owned() }),
                message_prefix: None,
                columns: OutboxColumns { id: column("id"), payload: column("payload"), ..OutboxColumns::default() },
                shape: OutboxOptions::usual("t"),
            },
            key: vec![KeyPart::Column("tenant".to_owned()), KeyPart::Text("-".to_owned())],
        };
        let options = PollingOptions {
            connect: ConnectOptions::new(Host::parse("db"), 5432, "shop", "postrider"),
            slot: "s".to_owned(),
            outboxes: Vec::new(),
            columns: PollingColumns {
                order: "seq".to_owned(),
                xid: column("xid"),
                published_at: column("published_at"),
                created_at: column("created_at"),
            },
            after,
            buckets: 4,
            lease: Duration::from_secs(1),
            idle_min: Duration::from_secs(1),
            idle_max: Duration::from_secs(1),
            sweep_interval: Duration::from_secs(1),
            batch_rows_max: 10,
            channel: None,
            handed: None,
            base: (0, 0),
        };
        Statements::new(&options, &outbox, has)
    }

    #[test]
    fn what_a_look_did_not_show_is_found_by_its_transaction() {
        let statements = statements(After::Mark, |_| true);
        let since = Moment::parse("10:20:10,14").expect("a snapshot");
        let sql = statements.page(Page::Since(&since), &[0, 2], 10, 99);
        assert!(sql.contains("\"xid\" >= '20'::xid8 order by \"xid\" limit 11"), "{sql}");
        assert!(sql.contains("\"xid\" = any('{10,14}'::xid8[])"), "the transactions that were open then: {sql}");
        assert!(
            sql.contains("(hashtextextended(coalesce(\"tenant\"::text, '') || '-', 0) & 3) = any('{0,2}'::bigint[])")
        );
        let all = statements.page(Page::Since(&Moment::below(7)), &[0, 1, 2, 3], 10, 99);
        assert!(!all.contains("any("), "whoever has all buckets asks for none: {all}");
    }

    #[test]
    fn a_page_is_of_one_moment_and_goes_on_behind_the_one_before() {
        let statements = statements(After::Mark, |_| true);
        let (since, until) = (Moment::below(5), Moment::parse("10:20:10").expect("a snapshot"));
        let page = Page::Behind { since: Some(&since), until: &until, after: Some(77) };
        let sql = statements.page(page, &[0], 10, 99);
        for part in [
            "pg_visible_in_snapshot(\"xid\", '10:20:10'::pg_snapshot)",
            "and not pg_visible_in_snapshot(\"xid\", '5:5:'::pg_snapshot)",
            "and \"seq\" > 77",
            "\"published_at\" is null",
            "order by \"seq\" limit 10",
            "where before < 99",
            "from \"public\".\"it's \"\"mine\"\"\"",
        ] {
            assert!(sql.contains(part), "{part}\n{sql}");
        }
    }

    #[test]
    fn a_delivery_is_noted_only_while_the_lease_holds() {
        let sql = statements(After::Mark, |_| true).deliver(&[3, 4], "true");
        assert!(
            sql.contains("set \"published_at\" = clock_timestamp() where \"seq\" = any('{3,4}'::bigint[])"),
            "{sql}"
        );
        assert!(sql.contains("and \"published_at\" is null and (select ok from lease)"), "{sql}");
        let sql = statements(After::Delete, |name| name != "published_at").deliver(&[3], "true");
        assert!(sql.contains("delete from") && !sql.contains("published_at"), "{sql}");
    }

    #[test]
    fn a_table_that_tells_no_transaction_is_read_from_its_oldest_row() {
        let statements = statements(After::Mark, |name| name != "xid" && name != "created_at");
        assert!(!statements.tells_transactions());
        let sql = statements.page(Page::Oldest { claimed: 5 }, &[0], 10, 99);
        assert!(sql.contains("null::bigint as c") && sql.contains("order by \"seq\" limit 15"), "{sql}");
        assert_eq!(statements.deliver_below(7, 10), None);
    }
}
