//! Tables of what is found and what is then done with partitions.

use super::*;

/// Noon of 2026-11-21.
const NOW: i64 = 1_795_219_200 + 43_200;

const SETTINGS: Settings = Settings { ahead_days: 4, retention_days: 7 };

fn day(offset: i64) -> i64 {
    1_795_219_200 + offset * 86_400
}

fn partition(name: &str, lower: i64, upper: Option<i64>) -> Attached {
    Attached {
        name: name.to_owned(),
        lower: Some(day(lower)),
        upper: upper.map(day),
        pending: false,
        filled: false,
        latest: None,
        held: None,
    }
}

fn leaving(name: &str) -> Leaving {
    Leaving { name: name.to_owned(), exists: true, attached: true, pending: false, position: None, held: None }
}

fn found(attached: Vec<Attached>) -> Found {
    let slots = Slots::default();
    Found { root: "outbox".to_owned(), now: NOW, attached, leaving: Vec::new(), slots, slot: "relay".to_owned() }
}

fn told(found: &Found) -> Vec<String> {
    plan(SETTINGS, found).iter().map(|act| act.told(&found.root)).collect()
}

/// Enough days, and the rest behind them.
fn complete() -> Vec<Attached> {
    vec![partition("outbox_p", 0, Some(5)), partition("outbox_rest", 5, None)]
}

#[test]
fn days_are_made_from_today_on_and_the_rest_behind_them() {
    assert_eq!(
        told(&found(Vec::new())),
        ["attach partitions for 2026-11-21 until 2026-11-28, and outbox_rest behind them"]
    );
    assert_eq!(told(&found(complete())), [""; 0]);
}

#[test]
fn days_are_added_before_they_run_out_and_the_rest_gives_way() {
    let few = found(vec![partition("outbox_p", 0, Some(4)), partition("outbox_rest", 4, None)]);
    assert_eq!(
        plan(SETTINGS, &few),
        [Act::Extend {
            from: Day::of(day(4)),
            until: Day::of(day(7)),
            rest: Some(Rest { name: "outbox_rest".to_owned(), lower: day(4), becomes_until: None })
        }]
    );
    // After a pause longer than the retention, days that would leave at once are not made.
    let long_ago = found(vec![partition("outbox_rest", -100, None)]);
    assert!(matches!(plan(SETTINGS, &long_ago)[..], [Act::Extend { from, .. }] if from == Day::of(day(-7))));
}

#[test]
fn a_rest_with_rows_keeps_them_until_the_end_of_today() {
    let rest = Attached { filled: true, latest: Some(NOW), ..partition("outbox_rest", -3, None) };
    assert_eq!(
        told(&found(vec![rest.clone()])),
        ["bound outbox_rest by 2026-11-22, attach partitions for 2026-11-22 until 2026-11-28, and a new outbox_rest"]
    );
    let wrong_clock = Attached { latest: Some(day(30_000)), ..rest };
    assert!(
        told(&found(vec![wrong_clock]))[0].starts_with("outbox_rest stays: it holds events created as late as 2109")
    );
}

#[test]
fn a_partition_leaves_when_its_retention_has_passed_unless_it_is_held() {
    let with = |upper, held: Option<&str>| {
        let held = held.map(str::to_owned);
        let old = Attached { held, ..partition("outbox_old", upper - 1, Some(upper)) };
        told(&found([vec![old], complete()].concat()))
    };
    assert_eq!(with(-6, None), [""; 0]);
    assert_eq!(
        with(-7, None),
        [
            "close outbox_old for further rows",
            "detach outbox_old",
            "record where the log ends after outbox_old was detached"
        ]
    );
    assert_eq!(with(-7, Some("held by audit")), ["outbox_old stays: held by audit"]);
}

#[test]
fn whatever_interrupted_a_removal_the_next_run_goes_on_where_it_stopped() {
    let with = |leaving: Leaving, attached: Option<Attached>| {
        let found = Found { leaving: vec![leaving], ..found(complete().into_iter().chain(attached).collect()) };
        plan(SETTINGS, &found)
    };
    let name = || "old".to_owned();
    let old = partition("old", -9, Some(-8));
    assert_eq!(with(leaving("old"), Some(old.clone())), [Act::Detach(name()), Act::Record(name())]);
    let pending = Attached { pending: true, ..old };
    assert_eq!(
        with(Leaving { pending: true, ..leaving("old") }, Some(pending)),
        [Act::Finalize(name()), Act::Record(name())]
    );
    let detached = Leaving { attached: false, ..leaving("old") };
    assert_eq!(with(detached.clone(), None), [Act::Record(name())]);
    assert_eq!(with(Leaving { exists: false, ..detached }, None), [Act::Forget(name())]);
}

#[test]
fn a_detachment_that_somebody_else_began_is_finished_and_nothing_is_dropped() {
    let pending = Attached { pending: true, ..partition("theirs", -20, Some(-19)) };
    assert_eq!(plan(SETTINGS, &found([complete(), vec![pending]].concat())), [Act::Finalize("theirs".to_owned())]);
}

#[test]
fn nothing_is_dropped_before_every_slot_has_passed_its_detachment_and_nobody_holds_it() {
    let with = |confirmed: &[(&str, u64)], held: Option<&str>| {
        let slots = Slots::of(confirmed);
        let leaving =
            Leaving { attached: false, position: Some(0x100), held: held.map(str::to_owned), ..leaving("old") };
        told(&Found { leaving: vec![leaving], slots, ..found(complete()) })
    };
    assert_eq!(with(&[("relay", 0x100)], None), ["drop old"]);
    assert_eq!(with(&[("relay", 0xff)], None), ["old stays: slot relay has confirmed 0/FF, not yet 0/100"]);
    assert_eq!(
        with(&[("other", 0xff), ("relay", 0x100)], None)[0],
        "old stays: slot other has confirmed 0/FF, not yet 0/100"
    );
    assert!(with(&[], None)[0].starts_with("old stays: slot relay does not exist"));
    assert_eq!(with(&[("relay", 0x100)], Some("2 parked events")), ["old stays: 2 parked events"]);
}
