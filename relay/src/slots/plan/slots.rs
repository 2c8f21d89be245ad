//! Slots: after the publications, each by itself, since a slot cannot be made in a transaction that has written.

use postgres_protocol::escape::{escape_identifier, escape_literal};

use crate::slots::error::Refusal;
use crate::slots::facts::SlotFacts;
use crate::slots::plan::{Here, Plan, Slot, Wanted, Work, refusal};
use crate::slots::setup::{SlotExpected, SlotFound, Step, unusable_slot};

/// The first server that keeps a slot over a failover.
const VERSION_FAILOVER: i32 = 170_000;

/// The plugin that reads publications.
const PGOUTPUT: &str = "pgoutput";

/// Plans the slots beside the relay's own, and what its own needs beyond `postrider init`.
pub(super) fn plan(wanted: &Wanted, here: &Here, plan: &mut Plan) {
    if let Some(relay) = &wanted.relay {
        let name = &relay.setup.slot;
        if relay.setup.outbox.is_some() && here.preceding.contains(&(name.clone(), relay.setup.publication.clone())) {
            plan.refusals.push(preceding(
                name,
                &relay.setup.publication,
                "run `postrider slot recover --anew --yes`, which makes the slot anew and publishes what is missing from the table",
            ));
        }
        if let Some(slot) = here.facts.slots.iter().find(|slot| slot.name == *name) {
            failover(slot, relay.failover, here.facts.server.version, plan);
        }
    }
    for slot in &wanted.slots {
        match here.facts.slots.iter().find(|found| found.name == slot.name) {
            None => match create(slot, here, &published(wanted, here)) {
                Ok(step) => plan.slots.push(Work::sql(step)),
                Err(refusals) => plan.refusals.extend(refusals),
            },
            Some(found) => {
                let unusable = unusable(wanted, slot, found);
                if unusable.is_empty() {
                    plan.refusals.extend(older(wanted, here, slot));
                    failover(found, slot.failover, here.facts.server.version, plan);
                }
                plan.refusals.extend(unusable);
            }
        }
    }
}

/// The publications that will be there before the slots.
fn published(wanted: &Wanted, here: &Here) -> Vec<String> {
    let own = wanted.relay.iter().flat_map(|relay| {
        let capture = relay.setup.capture.as_ref().map(|capture| capture.publication.clone());
        relay.setup.outbox.as_ref().map(|_| relay.setup.publication.clone()).into_iter().chain(capture)
    });
    let declared = wanted.publications.iter().map(|publication| publication.carries.publication.clone());
    own.chain(declared).chain(here.carried.keys().cloned()).collect()
}

/// The statement that makes a slot, or why it cannot be made. `published` are the publications that are there by then.
fn create(slot: &Slot, here: &Here, published: &[String]) -> Result<Step, Vec<Refusal>> {
    let name = &slot.name;
    let mut refusals = Vec::new();
    if let Some(publication) = slot.publication.as_ref().filter(|publication| !published.contains(publication)) {
        let quoted = escape_identifier(publication);
        refusals.push(refusal(
            format!(
                "slot {name} is to be read with publication {publication}, which does not exist: a slot cannot see a publication \
                 younger than itself"
            ),
            format!(
                "run `create publication {quoted} for table …`, or write a section [publications.NAME] and run `postrider slot apply`"
            ),
        ));
    }
    let keeps = slot.failover == Some(true);
    if keeps && here.facts.server.version < VERSION_FAILOVER {
        refusals.push(refusal(
            format!("slot {name} is to be kept over a failover, which needs PostgreSQL 17 or later"),
            format!("leave `failover` out for slot {name}"),
        ));
    }
    if !refusals.is_empty() {
        return Err(refusals);
    }
    let failover = if keeps { ", failover => true" } else { "" };
    let sql = format!(
        "select pg_create_logical_replication_slot({}, {}{failover})",
        escape_literal(name).trim_start(),
        escape_literal(&slot.plugin).trim_start()
    );
    Ok(Step::new(format!("create slot {name}"), sql))
}

fn unusable(wanted: &Wanted, slot: &Slot, found: &SlotFacts) -> Vec<Refusal> {
    let name = &slot.name;
    let other = format!("give the section [slots.{name}] another name, or correct it");
    let expected = SlotExpected {
        name,
        database: &wanted.database,
        plugin: &slot.plugin,
        two_phase: true,
        other: &other,
        lost: format!(
            "what was committed since is not in the log any more: run `postrider slot drop {name} --yes`, then this again, and have \
             its reader begin anew"
        ),
    };
    let found = SlotFound {
        plugin: found.plugin.clone(),
        database: found.database.clone(),
        temporary: found.temporary,
        two_phase: found.two_phase,
        failover: found.failover,
        lost: found.is_lost(),
    };
    unusable_slot(&expected, &found)
}

/// A slot that is there and must read what is older than its publication.
fn older(wanted: &Wanted, here: &Here, slot: &Slot) -> Option<Refusal> {
    let (name, publication) = (&slot.name, slot.publication.as_ref().filter(|_| slot.plugin == PGOUTPUT)?);
    let again = if published(wanted, here).contains(publication) {
        "then this again, which makes both in their order"
    } else {
        "create the publication, then run this again"
    };
    if !here.carried.contains_key(publication) {
        return Some(refusal(
            format!(
                "slot {name} exists and publication {publication} does not: a slot cannot see a publication younger than itself"
            ),
            format!("where nobody needs what the slot holds, run `postrider slot drop {name} --yes`, {again}"),
        ));
    }
    let precedes = here.preceding.contains(&(name.clone(), publication.clone()));
    precedes.then(|| {
        preceding(
            name,
            publication,
            &format!(
                "where nobody needs what it holds from before, run `postrider slot advance {name} --to-now --yes`; its reader then \
                 begins here"
            ),
        )
    })
}

fn preceding(slot: &str, publication: &str, mend: &str) -> Refusal {
    refusal(
        format!(
            "slot {slot} has still to read what was written before publication {publication} existed: its stream ends there, or \
             skips what was written"
        ),
        mend,
    )
}

/// Changes whether a slot is kept over a failover; only the replication protocol can.
fn failover(slot: &SlotFacts, wanted: Option<bool>, version: i32, plan: &mut Plan) {
    let Some(keep) = wanted.filter(|keep| *keep != slot.failover) else { return };
    let name = &slot.name;
    if version < VERSION_FAILOVER {
        plan.refusals.push(refusal(
            format!("slot {name} is to be kept over a failover, which needs PostgreSQL 17 or later"),
            format!("leave `failover` out of [slots.{name}]"),
        ));
        return;
    }
    if let Some(reader) = &slot.reader {
        plan.refusals.push(refusal(
            format!(
                "whether slot {name} is kept over a failover can only be changed while nobody reads it, and the process {} does",
                reader.pid
            ),
            "stop its reader for a moment, and run this again",
        ));
        return;
    }
    let what = match keep {
        true => format!("keep slot {name} over a failover"),
        false => format!("keep slot {name} over a failover no more"),
    };
    plan.slots.push(Work { step: Step::new(what, failover_command(name, keep)), replication: true });
}

/// The replication command that changes whether a slot is kept over a failover.
/// <https://www.postgresql.org/docs/current/protocol-replication.html#PROTOCOL-REPLICATION-ALTER-REPLICATION-SLOT>
fn failover_command(slot: &str, keep: bool) -> String {
    format!("ALTER_REPLICATION_SLOT {} (FAILOVER {keep})", escape_identifier(slot))
}
