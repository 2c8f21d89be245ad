//! Rows of an outbox that somebody chose, read from its table again, whatever was delivered of them.
//!
//! Guarantee: a row becomes the same topic, key, value and headers as when the relay delivered it, for one and the same code shapes it.
//! Nothing is changed in the database, and no transaction outlasts the reading of the rows' names.

use postgres_protocol::escape::{escape_identifier as identifier, escape_literal as literal};
use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryRow};
use uuid::Uuid;

use crate::pipeline::times::now_us;
use crate::pipeline::{End, Error, Kind, Messages};
use crate::postgres::session;
use crate::shape::outbox::{Committed, Shaped};
use crate::shape::position::EventPosition;
use crate::sources::polling::options::{PolledOutbox, PollingOptions};
use crate::sources::polling::reader::PAGE_BYTES;
use crate::sources::polling::rows::{Found, Shaper};
use crate::sources::polling::session::{SETTINGS, failed, number, unreachable, value};
use crate::sources::polling::statement::{Statements, describe};
use crate::sources::polling::{WHOLE_NUMBERS, XID8, found};
use crate::telemetry::Metrics;

/// Names of rows that are fetched at once.
const FETCH: usize = 10_000;

/// What replaces the settings of a queue in a question about the whole table.
const WHOLE: &str = "set local statement_timeout = '10min';
set local enable_seqscan = on;
set local enable_bitmapscan = on;
";

/// OIDs of the types of times: without and with a zone.
const TIMES: [u32; 2] = [1114, 1184];

/// The OID of `uuid`.
const UUID: u32 = 2950;

/// Which rows are meant: those that fit everything that is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// Their ids; none means all that fit the rest.
    pub ids: Vec<String>,
    /// The thing that they are about.
    pub aggregate_id: Option<String>,
    /// The kind of thing.
    pub aggregate_type: Option<String>,
    /// Written then or later, in milliseconds since 1970.
    pub since_ms: Option<i64>,
    /// Written before then.
    pub until_ms: Option<i64>,
}

/// A row by name, and what tells whether it was delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChosenRow {
    /// The event's id.
    pub id: Box<str>,
    /// When it was written, in milliseconds since 1970, if the table tells.
    pub created_ms: Option<i64>,
    /// The transaction that wrote it, if the table tells.
    pub xid: Option<u64>,
    /// Whether it is marked as published, if the table has such a mark.
    pub published: Option<bool>,
}

/// The rows that fit, in the order of their insertion as far as the table tells it.
#[derive(Debug, Clone, Default)]
pub struct Chosen {
    /// The rows.
    pub rows: Vec<ChosenRow>,
    /// Where the log ended after they were visible: all of them are committed before.
    pub log_end: u64,
    /// Whether the table tells their order.
    pub ordered: bool,
}

/// What became of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is the message at this place.
    Message(usize),
    /// The outbox' filter leaves it out.
    Filtered,
    /// It cannot become a record; why, without any byte of it.
    Unfit(String),
    /// The table has it no more.
    Gone,
}

/// Messages of chosen rows.
#[derive(Debug)]
pub struct Page {
    /// The messages, in the order of the rows.
    pub messages: Messages,
    /// What became of each row that was asked for, from the first on; at least one, and not all where they are large.
    pub fates: Vec<Fate>,
}

/// Reads chosen rows of one outbox.
pub struct Rows {
    client: Client,
    user: String,
    statements: Statements,
    shaper: Shaper,
    id: String,
    id_type: String,
    id_is_uuid: bool,
    order: Vec<String>,
    time: Option<(String, bool)>,
    xid: Option<String>,
    published_at: Option<String>,
    aggregate_id: Option<String>,
    aggregate_type: Option<String>,
}

impl Rows {
    /// Looks at the table of `outbox`. `time` names columns with the time of writing; the first that the table has counts.
    ///
    /// # Errors
    /// `Unavailable` if the server cannot be reached; `Setup` if table, columns or rights are not as they must be.
    pub async fn open(options: &PollingOptions, outbox: &PolledOutbox, time: &[String]) -> Result<Self, Error> {
        let source = &outbox.source;
        let Some(table) = &source.table else {
            let context =
                format!("the outbox {:?} has no table, and messages in the log cannot be read again", source.name);
            return Err(Error::new(End::Source, Kind::Setup, context));
        };
        let connect = &options.connect;
        let client = session::connect(connect).await.map_err(|error| unreachable(connect, error))?;
        let user = connect.user.clone();
        let columns = found(table, ask(&client, &user, &describe(&table.schema, &table.name)).await?.iter())?;
        let find = |name: &str| columns.iter().find(|column| column.name == name);
        let statements = Statements::new(options, outbox, |name| find(name).is_some());
        let shaper = Shaper::new(options, outbox, &statements, &columns, &Metrics::new())?;
        let Some(id) = source.columns.id.as_deref().and_then(find) else {
            let context = format!("the table of the outbox {:?} has no column with the event's id", source.name);
            return Err(Error::new(End::Source, Kind::Setup, context).with_help("Map it by [outbox.columns] id."));
        };
        let type_of = format!("select format_type({}, null)", id.oid);
        let id_type = ask(&client, &user, &type_of).await?;
        let id_type = id_type.first().and_then(|row| value(row, 0)).unwrap_or("text").to_owned();
        let mapped = |name: &Option<String>| name.as_deref().and_then(find).map(|column| identifier(&column.name));
        let is_time = |column: &&Found| TIMES.contains(&column.oid);
        let time = time.iter().filter_map(|name| find(name)).find(is_time);
        let number = find(&options.columns.order).filter(|column| WHOLE_NUMBERS.contains(&column.oid));
        let order = number.or(time).map(|column| identifier(&column.name));
        Ok(Self {
            id: identifier(&id.name),
            id_type,
            id_is_uuid: id.oid == UUID,
            order: order.into_iter().collect(),
            time: time.map(|column| (identifier(&column.name), column.oid == TIMES[1])),
            xid: options
                .columns
                .xid
                .as_deref()
                .and_then(find)
                .filter(|of| of.oid == XID8)
                .map(|of| identifier(&of.name)),
            published_at: mapped(&options.columns.published_at),
            aggregate_id: mapped(&source.columns.aggregate_id),
            aggregate_type: mapped(&source.columns.aggregate_type),
            client,
            user,
            statements,
            shaper,
        })
    }

    /// The names of the rows that fit, of one moment; at most `rows_max`.
    ///
    /// # Errors
    /// `Setup` if the choice does not fit the table, or if more rows fit.
    pub async fn choose(&self, choice: &Choice, rows_max: usize) -> Result<Chosen, Error> {
        let null = |column: Option<String>| column.unwrap_or_else(|| "null".to_owned());
        let created = self.time.as_ref().map(|(column, _)| format!("(extract(epoch from {column}) * 1000)::bigint"));
        let published = self.published_at.as_ref().map(|column| format!("({column} is not null)::text"));
        let order: Vec<&str> = self.order.iter().chain([&self.id]).map(String::as_str).collect();
        let begin = format!(
            "begin isolation level repeatable read read only;\nset local row_security = off;\n{SETTINGS}{WHOLE}\
             declare chosen no scroll cursor for select {}::text, {}, {}, {} from {} where {} order by {};\n\
             select ((case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_insert_lsn() end) - '0/0')::bigint",
            self.id,
            null(created),
            null(self.xid.clone()),
            null(published),
            self.statements.table,
            self.condition(choice)?,
            order.join(", "),
        );
        // The cursor has its snapshot before the end of the log is read.
        let told = self.ask(&begin).await?;
        let log_end = told.last().and_then(|row| number(row, 0)).unwrap_or(0);
        let mut chosen = Chosen { rows: Vec::new(), log_end, ordered: !self.order.is_empty() };
        loop {
            let rows = self.ask(&format!("fetch {FETCH} from chosen")).await?;
            chosen.rows.extend(rows.iter().filter_map(row_of));
            if chosen.rows.len() > rows_max {
                let context = format!("more than {rows_max} rows of {} fit", self.statements.table);
                return Err(Error::new(End::Source, Kind::Setup, context)
                    .with_help("Take them in parts, by --since and --until."));
            }
            if rows.len() < FETCH {
                break;
            }
        }
        self.ask("commit").await?;
        Ok(chosen)
    }

    /// The condition that a choice is.
    fn condition(&self, choice: &Choice) -> Result<String, Error> {
        let table = &self.statements.table;
        let lacks = |what: &str, help: &str| {
            Err(Error::new(End::Source, Kind::Setup, format!("table {table} has no column {what}")).with_help(help))
        };
        let mut all = Vec::new();
        if !choice.ids.is_empty() {
            if let Some(id) = choice.ids.iter().find(|id| self.id_is_uuid && Uuid::try_parse(id).is_err()) {
                let context = format!("{id:?} is no id of an event in {table}: they are UUIDs");
                return Err(Error::new(End::Source, Kind::Setup, context));
            }
            let ids: Vec<String> = choice.ids.iter().map(|id| literal(id)).collect();
            all.push(format!("{} in ({})", self.id, ids.join(", ")));
        }
        let mapped = [
            (
                &choice.aggregate_id,
                &self.aggregate_id,
                "with the aggregate's id",
                "Map it by [outbox.columns] aggregate_id.",
            ),
            (
                &choice.aggregate_type,
                &self.aggregate_type,
                "with the aggregate's type",
                "Map it by [outbox.columns] aggregate_type.",
            ),
        ];
        for (wanted, column, what, help) in mapped {
            match (wanted, column) {
                (Some(wanted), Some(column)) => all.push(format!("{column}::text = {}", literal(wanted))),
                (Some(_), None) => return lacks(what, help),
                (None, _) => {}
            }
        }
        for (moment, operator) in [(choice.since_ms, ">="), (choice.until_ms, "<")] {
            let Some(ms) = moment else { continue };
            let Some((column, zoned)) = &self.time else {
                return lacks(
                    "with the time of writing",
                    "Name it by [polling] created_at_column, or choose rows by --id.",
                );
            };
            let zone = if *zoned { "" } else { " at time zone 'UTC'" };
            all.push(format!("{column} {operator} (to_timestamp({ms} / 1000.0){zone})"));
        }
        Ok(if all.is_empty() { "true".to_owned() } else { all.join(" and ") })
    }

    /// The messages of the first of these rows, which are named by id; `positions` has the position of each, or any number that no
    /// other row has where none is known. The record's time is that of writing.
    ///
    /// # Errors
    /// `Unavailable` if the server cannot be reached any more.
    pub async fn shape(&mut self, ids: &[&str], positions: &[u128]) -> Result<Page, Error> {
        let names: Vec<String> = ids.iter().map(|id| literal(id)).collect();
        let columns = self.statements.parts.iter().enumerate();
        let columns: Vec<String> =
            columns.map(|(n, (column, _))| format!(", {} as p{n}", identifier(column))).collect();
        let parts: Vec<String> = (0..columns.len()).map(|n| format!(", p{n}")).collect();
        let created = self.time.as_ref().map(|(column, _)| format!("(extract(epoch from {column}) * 1000000)::bigint"));
        // The first four columns are those that a page of the polling source has: the shaper counts on it.
        let sql = format!(
            "begin isolation level repeatable read read only;\nset local row_security = off;\n{SETTINGS}\
             select n, c, 0, t{parts} from (select f.*, count(*) over () as t, \
             sum(s) over (order by n rows unbounded preceding) - s as before from \
             (select postrider_n as n, {created} as c, {size} as s{columns} \
             from unnest(array[{names}]::{id_type}[]) with ordinality as chosen (postrider_id, postrider_n) join {table} on {id} = postrider_id) f) q \
             where before < {PAGE_BYTES} order by n;\ncommit",
            parts = parts.concat(),
            created = created.as_deref().unwrap_or("null::bigint"),
            size = self.statements.size,
            columns = columns.concat(),
            names = names.join(", "),
            id_type = self.id_type,
            table = self.statements.table,
            id = self.id,
        );
        let rows = self.ask(&sql).await?;
        let places: Vec<usize> = rows.iter().filter_map(|row| number::<usize>(row, 0)?.checked_sub(1)).collect();
        let there = rows.first().and_then(|row| number(row, 3)).unwrap_or(0_usize);
        // What is not shown behind the last row is gone only if nothing was held back.
        let told = if rows.len() == there { ids.len() } else { places.last().map_or(0, |last| last + 1) };
        let now = now_us();
        let committed = rows.iter().zip(&places).map(|(row, place)| {
            let position = EventPosition::of(positions.get(*place).copied().unwrap_or_default());
            let timestamp_ms = number(row, 1).unwrap_or(now).div_euclid(1000);
            (row, Committed { position, timestamp_ms })
        });
        let (messages, shaped) = self.shaper.again(committed);
        let mut fates = vec![Fate::Gone; told];
        let mut message = 0;
        for (place, shaped) in places.iter().zip(shaped) {
            let fate = match shaped {
                Shaped::Filtered => Fate::Filtered,
                Shaped::Unfit(why) => Fate::Unfit(why.to_string()),
                Shaped::Whole | Shaped::HeadersMalformed => Fate::Message(message),
            };
            message += usize::from(fate != Fate::Filtered);
            if let Some(known) = fates.get_mut(*place) {
                *known = fate;
            }
        }
        Ok(Page { messages, fates })
    }

    async fn ask(&self, sql: &str) -> Result<Vec<SimpleQueryRow>, Error> {
        ask(&self.client, &self.user, sql).await
    }
}

fn row_of(row: &SimpleQueryRow) -> Option<ChosenRow> {
    Some(ChosenRow {
        id: value(row, 0)?.into(),
        created_ms: number(row, 1),
        xid: number(row, 2),
        published: value(row, 3).map(|text| text == "true"),
    })
}

/// The rows of all statements.
async fn ask(client: &Client, user: &str, sql: &str) -> Result<Vec<SimpleQueryRow>, Error> {
    let answer = client.simple_query(sql).await.map_err(|error| failed("read the outbox table", user, &error))?;
    let row = |message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    };
    Ok(answer.into_iter().filter_map(row).collect())
}
