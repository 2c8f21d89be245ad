//! Tables of slots and of what is then done with them, or refused.

use super::*;
use crate::postgres::lsn::EndLsn;
use crate::slots::facts;

fn at(place: u64) -> EndLsn {
    EndLsn::new(place)
}

/// A slot that has confirmed 0x1000 of a log that ends at 0x9000.
fn found() -> Found {
    Found {
        slot: SlotFacts {
            restart_lsn: Some(at(0x800)),
            confirmed_flush_lsn: Some(at(0x1000)),
            retained_bytes: Some(0x8800),
            lag_bytes: Some(0x8000),
            ..facts::plain("orders")
        },
        server: ServerFacts { position: at(0x9000), ..facts::plain_server() },
    }
}

fn reader() -> Reader {
    Reader {
        pid: 4711,
        role: Some("etl".to_owned()),
        application: Some("loader".to_owned()),
        client: None,
        since: None,
        publications: None,
    }
}

const NOT_ALLOWED: Owner = Owner::Foreign { allowed: false };
const ALLOWED: Owner = Owner::Foreign { allowed: true };

#[test]
fn a_slot_that_nobody_reads_is_dropped_and_what_is_lost_is_said() {
    let plan = drop(&found(), Owner::Declared, false).unwrap();
    let sql: Vec<_> = plan.steps.iter().map(|step| step.sql.as_str()).collect();
    assert_eq!(sql, ["select pg_drop_replication_slot('orders')"]);
    assert_eq!((plan.reader, plan.retained_bytes), (None, 0x8800));
    assert!(plan.lost.contains("has not confirmed 32 KiB of log after 0/1000"), "{}", plan.lost);
    let own = drop(&found(), Owner::Relay, false).unwrap().lost;
    assert!(own.contains("postrider slot recover"), "{own}");
    let mut given_up = found();
    given_up.slot.wal_status = Some("lost".to_owned());
    assert!(drop(&given_up, ALLOWED, false).unwrap().lost.starts_with("nothing"));
    let mut physical = found();
    (physical.slot.plugin, physical.slot.database) = (None, None);
    assert!(drop(&physical, ALLOWED, false).unwrap().lost.contains("a standby"));
}

#[test]
fn a_slot_in_use_is_dropped_only_by_force_and_its_reader_is_named_and_ended_first() {
    let mut used = found();
    used.slot.reader = Some(reader());
    let refusals = drop(&used, Owner::Declared, false).unwrap_err();
    assert!(refusals[0].what.contains("process 4711, role etl, application \"loader\""), "{refusals:?}");
    let plan = drop(&used, Owner::Declared, true).unwrap();
    let sql: Vec<_> = plan.steps.iter().map(|step| step.sql.as_str()).collect();
    assert_eq!(sql, ["select pg_terminate_backend(4711, 10000)", "select pg_drop_replication_slot('orders')"]);
    let again = plan.again.expect("its reader may come back");
    assert!(
        again.contains("s.slot_name = 'orders' and a.usename = 'etl' and a.application_name = 'loader'"),
        "{again}"
    );
    used.slot.temporary = true;
    assert_eq!(drop(&used, Owner::Declared, true).unwrap().steps.len(), 1, "it goes with its session");
}

#[test]
fn a_slot_of_somebody_else_is_left_alone_unless_that_is_said() {
    let mut physical = found();
    (physical.slot.plugin, physical.slot.database) = (None, None);
    for (found, what) in [(found(), "not declared here, and of the plugin pgoutput"), (physical, "a physical slot")] {
        for refusals in [
            drop(&found, NOT_ALLOWED, true).unwrap_err(),
            advance(&found, NOT_ALLOWED, Target::Now, &Witness::NotOurs, None).unwrap_err(),
        ] {
            assert!(refusals[0].what.contains(what) && refusals[0].mend.contains("--foreign"), "{refusals:?}");
        }
        assert!(drop(&found, ALLOWED, false).is_ok());
    }
    let mut copy = found();
    (copy.slot.synced, copy.server.standby) = (true, true);
    assert!(drop(&copy, Owner::Declared, false).unwrap_err()[0].mend.contains("at the primary"));
}

#[test]
fn a_slot_goes_forward_and_nowhere_else() {
    let advance = |target| advance(&found(), Owner::Declared, target, &Witness::NotOurs, None);
    let now = advance(Target::Now).unwrap();
    assert_eq!((now.from, now.to, now.skipped_bytes), (at(0x1000), at(0x9000), 0x8000));
    assert_eq!(now.step.sql, "select end_lsn::text from pg_replication_slot_advance('orders', '0/9000')");
    assert!(now.lost.contains("never sees"), "{}", now.lost);
    assert_eq!(advance(Target::At(at(0x1000))).unwrap().skipped_bytes, 0);
    assert!(advance(Target::At(at(0xfff))).unwrap_err()[0].what.contains("never goes back"));
    assert!(advance(Target::At(at(0x9001))).unwrap_err()[0].what.contains("the log ends at 0/9000"));
}

#[test]
fn the_relay_s_slot_is_never_moved_past_what_was_delivered() {
    let advance = |witness, rows| advance(&found(), Owner::Relay, Target::At(at(0x5000)), &witness, rows);
    let plan = advance(Witness::Up(at(0x5000)), Some(7)).unwrap();
    assert!(plan.lost.starts_with("nothing"), "{}", plan.lost);
    for (witness, rows, what) in [
        (
            Witness::Up(at(0x4000)),
            Some(3),
            "only what lies before 0/4000 is delivered: to advance slot orders to 0/5000 would leave a gap of 4096 bytes of log, at \
             most 3 rows",
        ),
        (Witness::Up(at(0x200)), Some(1), "a gap of 16 KiB of log, at most 1 row of the outbox"),
        (Witness::Nothing, None, "no progress record says"),
        (Witness::OtherHistory, None, "another server or timeline"),
        (Witness::Unknown("no broker".to_owned()), None, "cannot be read (no broker)"),
        (Witness::Up(at(0x4000)), Some(1_000_001), "more than 1000000 rows"),
    ] {
        let refusals = advance(witness, rows).unwrap_err();
        let [refusal] = refusals.as_slice() else { panic!("{refusals:?}") };
        assert!(refusal.what.contains(what), "{}", refusal.what);
        assert!(refusal.mend.contains("postrider run"), "{}", refusal.mend);
    }
}

#[test]
fn what_cannot_be_advanced_says_why() {
    type Change = fn(&mut Found);
    let cases: &[(Change, &str)] = &[
        (|f| (f.slot.plugin, f.slot.confirmed_flush_lsn) = (None, None), "is a physical slot"),
        (|f| f.slot.temporary = true, "is temporary"),
        (|f| f.slot.invalidation_reason = Some("wal_removed".to_owned()), "is lost"),
        (|f| f.slot.reader = Some(reader()), "is being read: process 4711"),
        (|f| f.slot.confirmed_flush_lsn = None, "still being made"),
        (|f| (f.slot.synced, f.server.standby) = (true, true), "this standby's copy"),
    ];
    for (change, what) in cases {
        let mut found = found();
        change(&mut found);
        let refusals = advance(&found, Owner::Declared, Target::Now, &Witness::NotOurs, None).unwrap_err();
        let [refusal] = refusals.as_slice() else { panic!("{what}: {refusals:?}") };
        assert!(refusal.what.contains(what), "{}", refusal.what);
    }
}
