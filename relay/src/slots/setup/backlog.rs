//! Rows that are older than the slot: the log that it reads never shows them, so someone must say what becomes of them.
//!
//! Publishing them needs no second way of delivery: while no writer is in the table, each of them is deleted and inserted again in
//! one transaction, in its order, and the slot begins just before it. What was in the table comes first, what is written later after
//! it, and nothing twice. A temporary slot holds the place until then, so that whatever ends this half way leaves no slot behind:
//! the next run starts over.

use postgres_protocol::escape::{escape_identifier, escape_literal};

use crate::slots::{
    error::Refusal,
    setup::{Found, Step, Table, Wanted},
};

/// More rows than these are not counted but said to be more: counting them all would only delay the answer.
pub(super) const COUNT_MAX: i64 = 1_000_000;

/// Rows of a few hundred bytes that are published anew in a second, for telling how long writers wait. Measured: 60 000.
const ROWS_A_SECOND: i64 = 50_000;

/// What the name of the temporary slot ends with. With it, a slot's name must still have at most 63 bytes.
const SUFFIX: &str = "_backlog";

/// How much of the slot's name the temporary slot's repeats.
const PREFIX_BYTES_MAX: usize = 63 - SUFFIX.len();

/// The setting of the session that carries the position from one statement to the next, in scripts too.
const POSITION: &str = "postrider.backlog_position";

/// The setting of the session that tells how many rows were published anew.
pub(super) const ROWS: &str = "postrider.backlog_rows";

/// What becomes of rows that are older than the slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// They are published, before whatever is written later.
    Publish,
    /// They stay where they are.
    Skip,
}

/// What is wanted for rows older than the slot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BacklogWanted {
    /// What becomes of them; `None` if nobody said, which is only right where there are none.
    pub choice: Option<Choice>,
    /// The column that tells in which order they were written; `None` takes `seq`, or else `created_at`.
    pub order: Option<String>,
    /// How long writers may wait while they are published, in milliseconds; beyond it nothing is done.
    pub block_ms_max: u64,
}

/// What is in the table before the slot is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BacklogFound {
    /// How many rows wait; at most one more than [`COUNT_MAX`].
    pub rows: i64,
    /// Whether a column `published_at` tells which rows a polling relay has published.
    pub has_published_at: bool,
    /// The column that orders the rows, if it exists.
    pub order: Option<String>,
    /// What would notice that rows are deleted and inserted again.
    pub obstacles: Vec<String>,
}

/// The statements that make a slot which begins with the rows that are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BacklogPlan {
    /// Holds the place in the log; waits for transactions that are open.
    pub hold: Step,
    /// A query whether there is any row to publish.
    pub any: String,
    /// Publishes the rows anew, in a transaction of its own.
    pub publish: Step,
    /// Moves the held place to just before them.
    pub advance: Step,
    /// Makes the slot at the held place.
    pub create: Step,
    /// Lets go of the held place.
    pub release: Step,
}

impl BacklogPlan {
    /// Every statement, as a script runs them: there the rows are published whether there are any or not.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        [&self.hold, &self.publish, &self.advance, &self.create, &self.release].into_iter()
    }
}

/// What cannot be decided or done for the rows that are there.
pub(super) fn refusals(wanted: &Wanted, found: &Found) -> Vec<Refusal> {
    let Some((backlog, outbox)) = found.backlog.as_ref().filter(|_| found.slot.is_none()).zip(wanted.outbox.as_ref())
    else {
        return Vec::new();
    };
    let table = outbox.table.quoted();
    let refusal = |what: String, mend: String| Refusal { what, mend };
    match wanted.backlog.choice {
        Some(Choice::Skip) => Vec::new(),
        None if backlog.rows == 0 => Vec::new(),
        None => vec![refusal(
            format!("table {table} holds {} that the new slot would never see", told(backlog.rows)),
            format!(
                "run this again with --backlog publish, which publishes them before anything newer (writers of the table wait \
                 meanwhile, about {} s), or with --backlog skip, which leaves them unpublished",
                (backlog.rows / ROWS_A_SECOND).max(1)
            ),
        )],
        Some(Choice::Publish) => {
            let mut refusals = Vec::new();
            if backlog.order.is_none() {
                refusals.push(refusal(
                    match &wanted.backlog.order {
                        Some(column) => format!("table {table} has no column {column} to order its rows by"),
                        None => format!("table {table} has neither a column seq nor created_at to order its rows by"),
                    },
                    "name the column that tells in which order rows were written with --backlog-order".to_owned(),
                ));
            }
            for obstacle in &backlog.obstacles {
                refusals.push(refusal(
                    format!("{obstacle} would take part when the rows of {table} are published anew, which deletes and inserts them"),
                    "disable or drop it for the time of this command, or run this with --backlog skip".to_owned(),
                ));
            }
            if wanted.failover {
                refusals.push(refusal(
                    "--backlog publish makes the slot as a copy, which PostgreSQL cannot keep over a failover at once".to_owned(),
                    format!(
                        "run this without --failover, then send `ALTER_REPLICATION_SLOT {} (FAILOVER true)` over a replication connection",
                        wanted.slot
                    ),
                ));
            }
            if found.server.slots + 1 >= found.server.slots_max {
                refusals.push(refusal(
                    "--backlog publish needs a second replication slot for a moment, and only one is free".to_owned(),
                    "raise max_replication_slots and restart the server, or drop a slot that nobody needs: see pg_replication_slots"
                        .to_owned(),
                ));
            }
            refusals
        }
    }
}

/// The statements for a slot that begins with the rows that are there. None where no one looks, or wants them to be left.
///
/// Without a choice there were no rows when somebody looked; those that come until the slot is there are published all the same. A slot
/// that is kept over a failover cannot be a copy: then [`create_where_empty`] looks once more.
pub(super) fn plan(wanted: &Wanted, found: &Found) -> Option<BacklogPlan> {
    let backlog = found.backlog.as_ref()?;
    if wanted.backlog.choice == Some(Choice::Skip) || wanted.failover {
        return None;
    }
    let held = held(&wanted.slot);
    let (slot, table) = (&wanted.slot, &wanted.outbox.as_ref()?.table);
    let order = backlog.order.as_deref();
    Some(BacklogPlan {
        hold: Step::new(
            format!("hold the place of slot {slot}"),
            format!("select pg_create_logical_replication_slot({held}, 'pgoutput', true)"),
        ),
        any: any(table, backlog.has_published_at),
        publish: Step::new(
            format!("publish the rows of {} that are older than slot {slot}", table.quoted()),
            publish(table, order, backlog.has_published_at, wanted.backlog.block_ms_max),
        ),
        advance: Step::new(
            format!("begin slot {slot} before them"),
            format!("select pg_replication_slot_advance({held}, current_setting('{POSITION}')::pg_lsn)"),
        ),
        create: Step::new(
            format!("create slot {slot}"),
            format!("select pg_copy_logical_replication_slot({held}, {}, false)", escape_literal(slot)),
        ),
        release: Step::new("let go of the held place", format!("select pg_drop_replication_slot({held})")),
    })
}

/// Creates the slot by `create` and drops it again if a row came meanwhile, of which nobody could tell whether the slot has it.
pub(super) fn create_where_empty(slot: &str, table: &Table, has_published_at: bool, create: &str) -> String {
    // Asked before too: who may not look must not find out when the slot is there.
    let body = format!(
        "begin\n  if ({any}) then\n    raise exception 'rows were written just now'\n      using hint = 'Run it again with --backlog publish or skip.';\n  \
         end if;\n  perform {create};\n  if ({any}) then\n    perform pg_drop_replication_slot({slot});\n    raise exception \
         'rows were written while the slot was created'\n      using hint = 'Run it again with --backlog publish or skip.';\n  end if;\nend",
        any = any(table, has_published_at),
        slot = escape_literal(slot),
    );
    format!("do {}", escape_literal(&body).trim_start())
}

fn held(slot: &str) -> String {
    escape_literal(&held_name(slot))
}

/// What the temporary slot is called that holds the place of this one.
pub(in crate::slots) fn held_name(slot: &str) -> String {
    // A slot's name is ASCII, so any byte is a boundary.
    format!("{}{SUFFIX}", &slot[..slot.len().min(PREFIX_BYTES_MAX)])
}

fn told(rows: i64) -> String {
    match rows {
        1 => "1 event".to_owned(),
        rows if rows > COUNT_MAX => format!("more than {COUNT_MAX} events"),
        rows => format!("{rows} events"),
    }
}

fn waiting(has_published_at: bool) -> &'static str {
    if has_published_at { " where published_at is null" } else { "" }
}

fn any(table: &Table, has_published_at: bool) -> String {
    format!("select exists (select from {}{})", table.quoted(), waiting(has_published_at))
}

/// How many rows wait, counted as far as it matters.
pub(super) fn count(table: &Table, has_published_at: bool) -> String {
    format!(
        "select count(*) from (select from {}{} limit {}) old",
        table.quoted(),
        waiting(has_published_at),
        COUNT_MAX + 1
    )
}

/// Under the lock nobody writes: what is visible is all there is, and all of it was committed before the position that is noted.
/// Rows keep every column but one that records the writing transaction, which is this one now.
fn publish(table: &Table, order: Option<&str>, has_published_at: bool, block_ms_max: u64) -> String {
    let (name, condition) = (table.quoted(), waiting(has_published_at));
    let order = order.map_or_else(|| "created_at".to_owned(), escape_identifier);
    // `format` replaces what follows a percent sign.
    let (literal_name, literal_order) = (name.replace('%', "%%"), order.replace('%', "%%"));
    let again = format!(
        "with old as (delete from {literal_name}{condition} returning %1$s) insert into {literal_name} (%1$s) overriding \
         system value select %1$s from old order by {literal_order}"
    );
    let body = format!(
        "declare\n  columns text;\n  moved bigint;\nbegin\n  select string_agg(quote_ident(attname), ', ' order by attnum)\n  into columns\n  \
         from pg_catalog.pg_attribute\n  where attrelid = {regclass}::regclass and attnum > 0 and not attisdropped\n    and attgenerated = '' \
         and atttypid <> 'xid8'::regtype;\n  execute format({again}, columns);\n  get diagnostics moved = row_count;\n  \
         perform set_config('{ROWS}', moved::text, false);\nend",
        regclass = escape_literal(&name),
        again = escape_literal(&again),
    );
    format!(
        "begin;\nset local lock_timeout = '2s';\nset local statement_timeout = {block_ms_max};\nset local synchronous_commit = local;\n\
         set local row_security = off;\nlock table {name} in share row exclusive mode;\n\
         select set_config('{POSITION}', pg_current_wal_insert_lsn()::text, false);\ndo {};\ncommit",
        escape_literal(&body).trim_start()
    )
}
