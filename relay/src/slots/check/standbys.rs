//! The standbys: whether the slot would survive the promotion of one, and whether the relay could be ahead of them.
//!
//! A slot that is kept over a failover is copied to a standby again and again. The copy stays temporary until the standby has all
//! that the primary's slot may still read, and goes with a promotion until then:
//! <https://www.postgresql.org/docs/current/logicaldecoding-explanation.html#LOGICALDECODING-REPLICATION-SLOTS-SYNCHRONIZATION>

use tokio_postgres::Client;

use crate::finding::{Finding, Rule, Severity};
use crate::postgres::options::{ConnectOptions, Target};
use crate::postgres::session;
use crate::slots::check::Expected;
use crate::slots::check::connect::{literal, said};
use crate::slots::facts::{self, SlotFacts};

static AWAY: Rule = Rule {
    code: "standby-unreachable",
    severity: Severity::Warning,
    why: "After a failover to that host the relay could not go on there, and whether the slot is kept there is not known.",
    mend: "Start the server (with `hot_standby = on`), or correct `postgres.host`.",
};
static MISSING: Rule = Rule {
    code: "standby-slot-missing",
    severity: Severity::Warning,
    why: "After a promotion of that standby the slot is not there: what was not delivered is then a gap.",
    mend: "On the standby: `sync_replication_slots = on`, `hot_standby_feedback = on`, `primary_slot_name`, and a `dbname` in `primary_conninfo`.",
};
static TEMPORARY: Rule = Rule {
    code: "standby-slot-temporary",
    severity: Severity::Warning,
    why: "The standby does not yet have all that the slot may read: a promotion of it now loses the slot.",
    mend: "Let the relay deliver, then `select pg_log_standby_snapshot()` on the primary, and check again before a promotion.",
};
static AHEAD: Rule = Rule {
    code: "standby-not-awaited",
    severity: Severity::Warning,
    why: "The relay may publish what no standby has yet: a failover then loses in the database what consumers have, and the relay refuses to go on.",
    mend: "`alter system set synchronized_standby_slots = …`, then `select pg_reload_conf()`; on the standby too, with the slots that it will have.",
};
static AWAITED: Rule = Rule {
    code: "standby-awaited-away",
    severity: Severity::Error,
    why: "The server hands the relay nothing that the standby of that slot does not have, and there is no such standby: nothing is published.",
    mend: "Bring the standby back; or take its slot out of synchronized_standby_slots, then `select pg_reload_conf()`.",
};

pub(super) const RULES: &[&Rule] = &[&AWAY, &MISSING, &TEMPORARY, &AHEAD, &AWAITED];

/// The physical slots of a server: whether somebody reads it, and whether the server waits for that reader.
const PHYSICAL: &str = "
select coalesce(s.slot_name::text, w.name) as name, coalesce(s.active, false) as active, w.name is not null as awaited
from (
  select distinct btrim(name, ' \"') as name
  from unnest(string_to_array(coalesce(current_setting('synchronized_standby_slots', true), ''), ',')) t (name)
  where btrim(name) <> ''
) w
full join (
  select slot_name, active from pg_catalog.pg_replication_slots where slot_type = 'physical' and not temporary
) s on s.slot_name = w.name::name
order by 1";

/// A physical slot, or the name of one that is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Physical {
    name: String,
    is_active: bool,
    is_awaited: bool,
}

/// Looks at a primary whose slot is kept over a failover, and at the standbys that the configuration names beside it.
pub(super) async fn check(client: &Client, expected: &Expected) -> Result<Vec<Finding>, tokio_postgres::Error> {
    let rows = client.query(PHYSICAL, &[]).await?;
    let physical = rows.iter().map(|row| Physical {
        name: row.get("name"),
        is_active: row.get("active"),
        is_awaited: row.get("awaited"),
    });
    let mut findings = waited_for(&physical.collect::<Vec<_>>());
    // One host alone is the one that was just asked.
    for server in expected.connect.servers.iter().filter(|_| expected.connect.servers.len() > 1) {
        let alone = ConnectOptions { servers: vec![server.clone()], target: Target::Any, ..expected.connect.clone() };
        let found = match session::connect(&alone).await {
            Ok(standby) => on_standby(&standby, &expected.slot).await?,
            Err(error) => {
                let what = format!("the configured host {server} cannot be used: {}", said(&error));
                findings.push(AWAY.found(what).words(AWAY.mend));
                continue;
            }
        };
        findings.extend(found.and_then(|copy| kept(&expected.slot, &server.to_string(), copy.as_ref())));
    }
    Ok(findings)
}

/// The slot as a standby has it; nothing at all if this is no standby.
async fn on_standby(client: &Client, slot: &str) -> Result<Option<Option<SlotFacts>>, tokio_postgres::Error> {
    let row = client.query_one("select pg_is_in_recovery()", &[]).await?;
    if row.get::<_, bool>(0) { facts::slot(client, slot).await.map(Some) } else { Ok(None) }
}

/// Whether that copy of the slot outlives a promotion.
fn kept(slot: &str, standby: &str, copy: Option<&SlotFacts>) -> Option<Finding> {
    let missing = |why: &str| MISSING.found(format!("the standby {standby} {why}")).words(MISSING.mend);
    let Some(copy) = copy else {
        return Some(missing(&format!("does not keep slot {slot:?}")));
    };
    if !copy.synced {
        let finding = missing(&format!("has a slot {slot:?} of its own, which is no copy of the primary's"));
        return Some(finding.words(format!("on the standby: `select pg_drop_replication_slot({})`", literal(slot))));
    }
    if copy.is_lost() {
        return Some(missing(&format!("has given its copy of slot {slot:?} up")));
    }
    copy.temporary.then(|| {
        TEMPORARY
            .found(format!("the copy of slot {slot:?} on the standby {standby} is still temporary"))
            .command("postrider run")
            .sql("select pg_log_standby_snapshot()")
    })
}

/// Whether the server waits for the standbys that read it, and for none that does not.
fn waited_for(physical: &[Physical]) -> Vec<Finding> {
    let names = |wanted: fn(&&Physical) -> bool| {
        let names: Vec<&str> = physical.iter().filter(wanted).map(|slot| slot.name.as_str()).collect();
        names.join(", ")
    };
    let set = |names: &str| format!("alter system set synchronized_standby_slots = {}", literal(names));
    let away = names(|slot| slot.is_awaited && !slot.is_active);
    let mut findings = Vec::new();
    if !away.is_empty() {
        findings.push(
            AWAITED
                .found(format!("synchronized_standby_slots names {away}, and no standby reads it"))
                .words("bring the standby back; or go on without it:")
                .sql(set(&names(|slot| slot.is_awaited && slot.is_active)))
                .sql("select pg_reload_conf()"),
        );
    }
    let active = names(|slot| slot.is_active);
    if !active.is_empty() && !physical.iter().any(|slot| slot.is_awaited) {
        findings.push(
            AHEAD
                .found(format!("synchronized_standby_slots is empty, and standbys read {active}"))
                .sql(set(&active))
                .sql("select pg_reload_conf()")
                .words("name the slots of those standbys only that may be promoted; on each of them set what it shall wait for itself"),
        );
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn physical(name: &str, is_active: bool, is_awaited: bool) -> Physical {
        Physical { name: name.to_owned(), is_active, is_awaited }
    }

    fn codes(physical: &[Physical]) -> Vec<&'static str> {
        waited_for(physical).iter().map(Finding::code).collect()
    }

    #[test]
    fn a_server_waits_for_the_standbys_that_are_there_and_for_no_other() {
        assert_eq!(codes(&[]), [""; 0]);
        assert_eq!(codes(&[physical("gone", false, false)]), [""; 0], "nobody would be lost by a failover");
        assert_eq!(codes(&[physical("a", true, true), physical("archive", true, false)]), [""; 0]);
        assert_eq!(codes(&[physical("a", true, false)]), ["standby-not-awaited"]);
        let away = waited_for(&[physical("a", true, true), physical("b", false, true)]);
        assert_eq!(away[0].code(), "standby-awaited-away");
        assert!(away[0].to_string().contains("names b,"), "{}", away[0]);
    }
}
