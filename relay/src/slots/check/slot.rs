//! The slot: whether it is there, whether it can be read, who holds it, and what it costs.

use tokio_postgres::Client;

use crate::finding::{Finding, Rule, Severity};
use crate::postgres::lsn::EndLsn;
use crate::slots::check::Expected;
use crate::slots::check::connect::literal;
use crate::slots::check::server::Server;
use crate::slots::facts;

/// Retained WAL that is worth a look, where no limit is set: a gibibyte, the default of `max_wal_size`.
const RETAINED_BYTES_MAX: i64 = 1 << 30;

/// The first server whose slots a failover can keep.
const VERSION_FAILOVER: i32 = 170_000;

/// Creates a slot, and publishes what the table holds already.
pub(super) const INIT: &str = "postrider init --backlog publish";

/// The other way to treat what the table holds.
pub(super) const SKIP: &str = "with `--backlog skip` instead, where every row of the table was published before";

static MISSING: Rule = Rule {
    code: "slot-missing",
    severity: Severity::Error,
    why: "Without its slot the relay does not start, and the server keeps nothing for it.",
    mend: "`postrider init`",
};
static EXHAUSTED: Rule = Rule {
    code: "slots-exhausted",
    severity: Severity::Warning,
    why: "No further slot can be created on this server: not the missing one, and not one in place of a lost one.",
    mend: "`alter system set max_replication_slots = …`, then restart the server; or drop a slot that nobody needs.",
};
static PLUGIN: Rule = Rule {
    code: "slot-plugin",
    severity: Severity::Error,
    why: "The relay reads logical slots of the plugin pgoutput and no others.",
    mend: "Name another slot in `source.slot`, then `postrider init`.",
};
static DATABASE: Rule = Rule {
    code: "slot-database",
    severity: Severity::Error,
    why: "A slot belongs to one database, and only sessions of that database can read it.",
    mend: "Name another slot in `source.slot`, then `postrider init`; or correct `postgres.database`.",
};
static TEMPORARY: Rule = Rule {
    code: "slot-temporary",
    severity: Severity::Error,
    why: "The slot goes with the session that made it, and what it kept goes with it.",
    mend: "Name another slot in `source.slot`, then `postrider init`.",
};
static TWO_PHASE: Rule = Rule {
    code: "slot-two-phase",
    severity: Severity::Error,
    why: "Such a slot hands a prepared transaction over before it is committed, which the relay does not read.",
    mend: "Name another slot in `source.slot`, then `postrider init`.",
};
static LOST: Rule = Rule {
    code: "slot-lost",
    severity: Severity::Error,
    why: "The server no longer has the log that the slot needs: what was committed since is only in the outbox table.",
    mend: "`postrider slot recover`; where nothing was delivered through it, `select pg_drop_replication_slot(…)` and `postrider init`.",
};
static ENDANGERED: Rule = Rule {
    code: "slot-endangered",
    severity: Severity::Error,
    why: "The next checkpoint may remove the log that the slot needs, which is a gap.",
    mend: "`alter system set max_slot_wal_keep_size = …`, `select pg_reload_conf()`, and let the relay catch up.",
};
static HELD: Rule = Rule {
    code: "slot-held",
    severity: Severity::Error,
    why: "One program at a time reads a slot, and what it confirms, the relay never sees: events would be missing.",
    mend: "Stop that program for good; `select pg_terminate_backend(…)` ends its session.",
};
static RETAINS: Rule = Rule {
    code: "slot-retains",
    severity: Severity::Warning,
    why: "Nobody reads the slot, or not fast enough: the log grows until the disk is full or the slot is lost.",
    mend: "`postrider run`; or, if nobody needs the slot, `select pg_drop_replication_slot(…)`.",
};
static FAILOVER: Rule = Rule {
    code: "slot-failover",
    severity: Severity::Warning,
    why: "The server has standbys, and after a failover the slot is not there: what was not delivered is then a gap.",
    mend: "With the relay stopped: `ALTER_REPLICATION_SLOT … (FAILOVER true)` over a replication connection.",
};
static SPILL: Rule = Rule {
    code: "decoding-spill",
    severity: Severity::Note,
    why: "Transactions that are larger than logical_decoding_work_mem are written to the server's disk while they are decoded.",
    mend: "`alter role … set logical_decoding_work_mem = …`",
};

pub(super) const RULES: &[&Rule] = &[
    &MISSING,
    &EXHAUSTED,
    &PLUGIN,
    &DATABASE,
    &TEMPORARY,
    &TWO_PHASE,
    &LOST,
    &ENDANGERED,
    &HELD,
    &RETAINS,
    &FAILOVER,
    &SPILL,
];

/// A slot as the catalog shows it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Slot {
    plugin: Option<String>,
    database: Option<String>,
    temporary: bool,
    two_phase: bool,
    pub(super) failover: bool,
    wal_status: Option<String>,
    invalidation: Option<String>,
    retained_bytes: Option<i64>,
    pub(super) confirmed: Option<EndLsn>,
    holder: Option<Holder>,
    spilled: i64,
    work_mem: String,
    /// The publications that were made or changed after the oldest catalog that the slot still needs.
    pub(super) older_than: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Holder {
    pid: i32,
    role: String,
    application: String,
    since: Option<String>,
}

impl Slot {
    pub(super) fn is_free(&self) -> bool {
        self.holder.is_none()
    }

    /// Whether this relay could read it, were it free.
    pub(super) fn is_ours(&self, expected: &Expected) -> bool {
        self.plugin.as_deref() == Some("pgoutput")
            && self.database.as_ref() == Some(&expected.connect.database)
            && !self.temporary
            && self.wal_status.as_deref() != Some("lost")
    }
}

/// What is asked beyond what every reader of slots asks.
const BESIDE: &str = "
select
  current_setting('logical_decoding_work_mem') as work_mem,
  array(
    select p.pubname::text
    from pg_catalog.pg_publication p
    where p.pubname = any ($2::text[]) and age(p.xmin) < age(s.catalog_xmin)
    order by 1
  ) as older_than
from pg_catalog.pg_replication_slots s
where s.slot_name = $1";

pub(super) async fn read(client: &Client, expected: &Expected) -> Result<Option<Slot>, tokio_postgres::Error> {
    let Some(slot) = facts::slot(client, &expected.slot).await? else { return Ok(None) };
    let row = client.query_opt(BESIDE, &[&expected.slot, &expected.publications()]).await?;
    Ok(row.map(|row| Slot {
        plugin: slot.plugin,
        database: slot.database,
        temporary: slot.temporary,
        two_phase: slot.two_phase,
        failover: slot.failover,
        wal_status: slot.wal_status,
        invalidation: slot.invalidation_reason,
        retained_bytes: slot.retained_bytes,
        confirmed: slot.confirmed_flush_lsn,
        holder: slot.reader.map(|reader| Holder {
            pid: reader.pid,
            role: reader.role.unwrap_or_default(),
            application: reader.application.unwrap_or_default(),
            since: reader.since,
        }),
        spilled: slot.decoded.map_or(0, |decoded| decoded.spill_txns),
        work_mem: row.get("work_mem"),
        older_than: row.get("older_than"),
    }))
}

pub(super) fn examine(expected: &Expected, server: &Server, slot: Option<&Slot>) -> Vec<Finding> {
    let name = &expected.slot;
    let full = server.slots >= server.slots_max;
    let exhausted = || {
        let severity = if slot.is_none() { Severity::Error } else { Severity::Warning };
        EXHAUSTED
            .found(format!("all {} replication slots are taken (max_replication_slots)", server.slots_max))
            .as_bad_as(severity)
            .sql(format!("alter system set max_replication_slots = {}", server.slots_max + 10))
            .words("restart the server; or drop a slot that nobody needs: see pg_replication_slots")
    };
    let mut findings: Vec<Finding> = full.then(exhausted).into_iter().collect();
    let Some(slot) = slot else {
        findings.push(
            MISSING
                .found(format!("slot {name:?} does not exist"))
                .command(INIT)
                .words(SKIP)
                .words("if events were delivered through it before: `postrider slot recover` instead, which publishes what is missing"),
        );
        return findings;
    };
    let kind = unreadable(expected, slot);
    let is_readable = kind.is_empty();
    findings.extend(kind);
    if is_readable {
        findings.extend(held(expected, slot));
        findings.extend(retained(expected, server, slot));
        findings.extend(failover(expected, server, slot));
    }
    if slot.spilled > 0 {
        let role = postgres_protocol::escape::escape_identifier(&expected.connect.user);
        findings.push(
            SPILL
                .found(format!(
                    "{} transactions were larger than logical_decoding_work_mem ({})",
                    slot.spilled, slot.work_mem
                ))
                .sql(format!("alter role {role} set logical_decoding_work_mem = '256MB'"))
                .sql(format!("select pg_stat_reset_replication_slot({})", literal(name))),
        );
    }
    findings
}

/// What makes the slot none that the relay can read.
fn unreadable(expected: &Expected, slot: &Slot) -> Vec<Finding> {
    let name = &expected.slot;
    let other = |rule: &'static Rule, what: String| {
        // A slot's name is ASCII, of at most 63 bytes.
        let better = format!("{}_2", &name[..name.len().min(61)]);
        rule.found(what).configuration("source.slot", &format!("\"{better}\"")).command(INIT).words(SKIP)
    };
    let mut findings = Vec::new();
    match slot.plugin.as_deref() {
        Some("pgoutput") => {}
        Some(plugin) => {
            findings.push(other(&PLUGIN, format!("slot {name:?} is of the plugin {plugin:?}, not pgoutput")));
        }
        None => return vec![other(&PLUGIN, format!("slot {name:?} is a physical slot"))],
    }
    if let Some(database) = slot.database.as_ref().filter(|database| **database != expected.connect.database) {
        let here = &expected.connect.database;
        findings.push(other(&DATABASE, format!("slot {name:?} belongs to database {database:?}, not {here:?}")));
    }
    if slot.temporary {
        findings.push(other(&TEMPORARY, format!("slot {name:?} is temporary")));
    }
    if slot.two_phase {
        findings.push(other(&TWO_PHASE, format!("slot {name:?} decodes prepared transactions")));
    }
    if slot.wal_status.as_deref() == Some("lost") {
        let reason = slot.invalidation.as_deref().map_or(String::new(), |reason| format!(" ({reason})"));
        findings.push(
            LOST.found(format!("slot {name:?} was invalidated{reason}"))
                .sql(format!("select pg_drop_replication_slot({})", literal(name)))
                .command(INIT)
                .words(SKIP)
                .words("if events were delivered through it: `postrider slot recover` instead, which publishes what is missing"),
        );
    }
    findings
}

fn held(expected: &Expected, slot: &Slot) -> Option<Finding> {
    let holder = slot.holder.as_ref()?;
    // The relay itself, or its stand-by that waits for it, is no stranger.
    if holder.role == expected.connect.user && holder.application == expected.connect.application_name {
        return None;
    }
    let since = holder.since.as_ref().map_or(String::new(), |since| format!(" since {since}"));
    let what = format!(
        "slot {:?} is being read by {:?} as role {:?} (pid {}){since}",
        expected.slot, holder.application, holder.role, holder.pid
    );
    Some(
        HELD.found(what)
            .words("stop that program for good: it would come back")
            .sql(format!("select pg_terminate_backend({}, 10000)", holder.pid)),
    )
}

fn retained(expected: &Expected, server: &Server, slot: &Slot) -> Vec<Finding> {
    let name = &expected.slot;
    let mut findings = Vec::new();
    let retained = slot.retained_bytes.unwrap_or_default();
    if slot.wal_status.as_deref() == Some("unreserved") {
        findings.push(
            ENDANGERED
                .found(format!("slot {name:?} retains {} MiB, more than max_slot_wal_keep_size", retained >> 20))
                .sql(format!("alter system set max_slot_wal_keep_size = '{}MB'", 4 * (retained >> 20).max(256)))
                .sql("select pg_reload_conf()")
                .command("postrider run"),
        );
        return findings;
    }
    let bound = server.keep_limit().map_or(RETAINED_BYTES_MAX, |limit| limit / 2);
    if retained > bound {
        let of = server.keep_limit().map_or(String::new(), |limit| format!(" of {} MiB allowed", limit >> 20));
        let reader = if slot.is_free() { "and nobody reads it" } else { "though it is being read" };
        findings.push(
            RETAINS
                .found(format!("slot {name:?} retains {} MiB of WAL{of}, {reader}", retained >> 20))
                .command("postrider run")
                .words(format!("if nobody needs the slot: select pg_drop_replication_slot({})", literal(name))),
        );
    }
    findings
}

fn failover(expected: &Expected, server: &Server, slot: &Slot) -> Option<Finding> {
    if server.version < VERSION_FAILOVER || !server.has_standbys || slot.failover {
        return None;
    }
    let name = &expected.slot;
    Some(
        FAILOVER
            .found(format!("the server has standbys, and slot {name:?} is not kept over a failover"))
            .words("stop the relay for a moment")
            .command(format!(
                "psql \"dbname={} replication=database\" --command 'ALTER_REPLICATION_SLOT {name} (FAILOVER true)'",
                expected.connect.database
            )),
    )
}
