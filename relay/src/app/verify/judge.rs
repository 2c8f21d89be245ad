//! What is to be said of a row, from what was seen of it. Pure.

use crate::kafka::ledger::Tally;

/// How much older a record may be than its row, and younger than it seems, in milliseconds: clocks differ.
pub(super) const SLACK_MS: i64 = 5 * 60_000;

/// What is said of a row; exactly one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// It was delivered once, as it is.
    Delivered,
    /// It was delivered more than once, each time as it is.
    Duplicated,
    /// It was not delivered, and will not be.
    Missing,
    /// A record of it has another topic, key, value or headers than the relay would write.
    Differing,
    /// A later event of its key was delivered before it.
    OutOfOrder,
    /// It is held in `postrider.parked`, or went to another topic from there, or to the topic for what is given up.
    Parked,
    /// It is not delivered yet.
    Awaiting,
    /// The outbox' filter leaves it out.
    Filtered,
    /// No record of it is there, and its topic no longer holds all that it held.
    CannotTell,
}

impl Class {
    /// Whether somebody has to look.
    pub(super) fn is_fault(self) -> bool {
        matches!(self, Self::Missing | Self::Differing | Self::OutOfOrder)
    }
}

/// What else is known of a row.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Evidence<'e> {
    /// Its state in `postrider.parked`, and the topic that it was sent to from there.
    pub(super) parked: Option<(&'e str, Option<&'e str>)>,
    /// Why it cannot become a record.
    pub(super) unfit: Option<&'e str>,
    /// Whether all rows that were looked at are delivered, as the slot confirms.
    pub(super) confirmed: bool,
    /// Whether it is marked as published, where a mark is what counts.
    pub(super) published: Option<bool>,
    /// The transaction that wrote it, and the one below which all are delivered.
    pub(super) xid: Option<u64>,
    pub(super) below: Option<u64>,
    /// When it was written.
    pub(super) created_ms: Option<i64>,
    /// The topic that it belongs to.
    pub(super) topic: &'e str,
    pub(super) topic_exists: bool,
    pub(super) topic_compacted: bool,
    /// Up to when records of it may have been deleted.
    pub(super) topic_begins_ms: Option<i64>,
}

/// What is said of a row, and why where that needs words; no word of it is the row's.
pub(super) fn judge(tally: Tally, evidence: &Evidence<'_>) -> (Class, String) {
    let differing: Vec<&str> = [
        (tally.topic_differs, "topic"),
        (tally.key_differs, "key"),
        (tally.value_differs, "value"),
        (tally.headers_differ, "headers"),
    ]
    .into_iter()
    .filter_map(|(differs, part)| differs.then_some(part))
    .collect();
    if !differing.is_empty() {
        return (Class::Differing, format!("its record has another {}", differing.join(" and ")));
    }
    if tally.out_of_order {
        return (Class::OutOfOrder, "a later event of its key was delivered before it".to_owned());
    }
    match tally.delivered {
        0 if tally.replayed > 0 => (Class::Delivered, "only by a replay".to_owned()),
        0 => undelivered(tally, evidence),
        1 => (Class::Delivered, String::new()),
        times => (Class::Duplicated, format!("delivered {times} times")),
    }
}

fn undelivered(tally: Tally, evidence: &Evidence<'_>) -> (Class, String) {
    match evidence.parked {
        Some((state @ ("parked" | "waiting" | "retry"), _)) => return (Class::Parked, state.to_owned()),
        Some(("delivered", Some(topic))) => return (Class::Parked, format!("sent to topic {topic} from there")),
        _ => {}
    }
    if tally.given_up {
        return (Class::Parked, "in the topic for what is given up".to_owned());
    }
    if let Some((state @ ("skipped" | "discarded"), _)) = evidence.parked {
        return (Class::Missing, format!("somebody gave it up: {state}, as `postrider parked` was told"));
    }
    if !is_delivered(evidence) {
        return (Class::Awaiting, String::new());
    }
    if let Some(why) = evidence.unfit {
        return (Class::Missing, format!("it cannot become a record: {why}"));
    }
    let topic = evidence.topic;
    if !evidence.topic_exists {
        return (Class::Missing, format!("there is no topic {topic}"));
    }
    if evidence.topic_compacted {
        return (Class::CannotTell, format!("topic {topic} is compacted"));
    }
    let may_be_deleted = evidence.topic_begins_ms.is_some_and(|begins_ms| {
        evidence.created_ms.is_none_or(|created_ms| created_ms.saturating_sub(SLACK_MS) <= begins_ms)
    });
    if may_be_deleted {
        return (Class::CannotTell, format!("topic {topic} no longer holds records of that time"));
    }
    (Class::Missing, format!("topic {topic} has no record of it"))
}

/// Whether the relay counts it as delivered.
fn is_delivered(evidence: &Evidence<'_>) -> bool {
    if let Some(published) = evidence.published {
        return published;
    }
    evidence.confirmed || evidence.xid.zip(evidence.below).is_some_and(|(xid, below)| xid < below)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing<'e>() -> Evidence<'e> {
        Evidence {
            confirmed: true,
            topic: "t",
            topic_exists: true,
            created_ms: Some(10 * SLACK_MS),
            ..Evidence::default()
        }
    }

    fn class(tally: Tally, evidence: &Evidence<'_>) -> Class {
        judge(tally, evidence).0
    }

    #[test]
    fn what_was_seen_decides_before_anything_else() {
        let seen = |delivered| Tally { delivered, ..Tally::default() };
        assert_eq!(class(seen(1), &missing()), Class::Delivered);
        assert_eq!(class(seen(3), &missing()), Class::Duplicated);
        assert_eq!(class(Tally { replayed: 1, ..seen(0) }, &missing()), Class::Delivered);
        let (class, why) = judge(Tally { value_differs: true, headers_differ: true, ..seen(2) }, &missing());
        assert_eq!((class, &*why), (Class::Differing, "its record has another value and headers"));
        assert_eq!(self::class(Tally { out_of_order: true, ..seen(1) }, &missing()), Class::OutOfOrder);
    }

    #[test]
    fn what_was_not_seen_is_missing_only_if_it_should_have_been() {
        let none = Tally::default();
        assert_eq!(class(none, &missing()), Class::Missing);
        assert_eq!(class(none, &Evidence { confirmed: false, ..missing() }), Class::Awaiting);
        // The record of what was delivered speaks where the slot cannot.
        let lagging = Evidence { confirmed: false, below: Some(7), ..missing() };
        assert_eq!(class(none, &Evidence { xid: Some(6), ..lagging }), Class::Missing);
        assert_eq!(class(none, &Evidence { xid: Some(7), ..lagging }), Class::Awaiting);
        // Where rows are marked, only the mark counts.
        assert_eq!(class(none, &Evidence { published: Some(false), ..missing() }), Class::Awaiting);
        assert_eq!(class(none, &Evidence { published: Some(true), confirmed: false, ..missing() }), Class::Missing);
    }

    #[test]
    fn what_is_held_is_no_fault_and_what_somebody_gave_up_is_missing() {
        let none = Tally::default();
        let parked = |state, topic| Evidence { parked: Some((state, topic)), ..missing() };
        for state in ["parked", "waiting", "retry"] {
            assert_eq!(class(none, &parked(state, None)), Class::Parked, "{state}");
        }
        assert_eq!(class(none, &parked("delivered", Some("other"))), Class::Parked);
        assert_eq!(class(none, &parked("delivered", None)), Class::Missing);
        assert_eq!(class(none, &parked("discarded", None)), Class::Missing);
        assert_eq!(class(Tally { given_up: true, ..none }, &missing()), Class::Parked);
    }

    #[test]
    fn nothing_is_called_missing_that_a_topic_may_have_forgotten() {
        let none = Tally::default();
        assert_eq!(class(none, &Evidence { topic_compacted: true, ..missing() }), Class::CannotTell);
        let begins = |ms| Evidence { topic_begins_ms: Some(ms), ..missing() };
        assert_eq!(class(none, &begins(10 * SLACK_MS)), Class::CannotTell);
        assert_eq!(class(none, &begins(8 * SLACK_MS)), Class::Missing);
        assert_eq!(class(none, &begins(i64::MAX)), Class::CannotTell);
        assert_eq!(class(none, &Evidence { created_ms: None, ..begins(0) }), Class::CannotTell);
        assert_eq!(class(none, &Evidence { topic_exists: false, ..missing() }), Class::Missing);
    }
}
