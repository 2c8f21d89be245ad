//! What the server must be for what is planned: a primary for all but slots, with room for these.

use crate::slots::plan::{Here, Plan, Wanted, refusal};

/// The first standby that takes logical slots of its own.
/// <https://www.postgresql.org/docs/16/release-16.html>
pub(super) const VERSION_STANDBY: i32 = 160_000;

/// The oldest server whose logical decoding has all that is planned with.
const VERSION_MIN: i32 = 150_000;

/// Slots that are made beyond those that are needed, when the bound is to be raised.
const SPARE: i64 = 10;

/// Refuses what this server cannot take.
pub(super) fn plan(wanted: &Wanted, here: &Here, plan: &mut Plan) {
    let server = &here.facts.server;
    let slots = plan.slots.iter().filter(|work| !work.replication).count();
    if wanted.relay.is_none() && server.version < VERSION_MIN {
        plan.refusals.push(refusal("the server is older than PostgreSQL 15", "upgrade it"));
    }
    if wanted.relay.is_none() && slots > 0 && server.wal_level != "logical" {
        plan.refusals.push(refusal(
            format!("wal_level is {}: the log does not hold what logical replication reads", server.wal_level),
            "run `alter system set wal_level = logical` as a superuser, restart the server, then run this again",
        ));
    }
    let own = usize::from(plan.setup.slot.is_some() || plan.setup.backlog.is_some());
    let free = (server.slots_max - count(here.facts.slots.len())).max(0);
    let needed = count(slots + own);
    if needed > free {
        plan.refusals.push(refusal(
            format!(
                "{needed} replication slots are to be made, and {} of {} are free (max_replication_slots)",
                free,
                server.slots_max
            ),
            format!(
                "run `alter system set max_replication_slots = {}` and restart the server, or drop a slot that nobody needs: \
                 `postrider slot list` shows them",
                server.slots_max + needed - free.min(needed) + SPARE
            ),
        ));
    }
    if server.standby {
        standby(here, plan);
    }
}

/// A standby takes slots, and nothing that is written.
fn standby(here: &Here, plan: &mut Plan) {
    let slots = !plan.slots.is_empty() || plan.setup.slot.is_some() || plan.setup.backlog.is_some();
    if here.facts.server.version < VERSION_STANDBY {
        // The relay's own part has said so already.
        if here.relay.is_none() && slots {
            plan.refusals.push(refusal(
                "the server is a standby, and before PostgreSQL 16 a standby has no logical slots",
                "connect to its primary",
            ));
        }
        return;
    }
    if let Some(first) = plan.setup.transaction.first() {
        let more = match plan.setup.transaction.len() - 1 {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        plan.refusals.push(refusal(
            format!(
                "the server is a standby, which takes no changes, and what is wanted needs some: {}{more}",
                first.what
            ),
            "run this with its primary first, and here again when it has come over",
        ));
    }
    if plan.setup.backlog.is_some() {
        plan.refusals.push(refusal(
            "the server is a standby, where the rows that are older than the slot cannot be published anew",
            "run this with --backlog skip, and publish them at the primary: delete and insert them again",
        ));
    }
}

fn count(items: usize) -> i64 {
    i64::try_from(items).unwrap_or(i64::MAX)
}
