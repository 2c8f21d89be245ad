//! How an order is written as a record: its name is the key, JSON the value. Pure.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::pipeline::dead_letters::{Order, Returned, Stays, Step, Verb};

/// The version of the form.
const VERSION: u32 = 1;

const VERBS: [Verb; 3] = [Verb::Replay, Verb::Release, Verb::Drop];
const STEPS: [Step; 3] = [Step::Asked, Step::Running, Step::Done];
const STAYS: [Stays; 5] = [Stays::Refused, Stays::Behind, Stays::Settled, Stays::Gone, Stays::Moved];

/// An order in JSON.
#[derive(Debug, Serialize, Deserialize)]
struct Written {
    version: u32,
    job: String,
    verb: String,
    step: String,
    topic: String,
    partition: i32,
    offsets: Vec<i64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    again: bool,
    by: String,
    at_ms: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    done_at_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    stays: Vec<WrittenReturn>,
}

/// A letter that stays one, in JSON.
#[derive(Debug, Serialize, Deserialize)]
struct WrittenReturn {
    offset: i64,
    why: String,
    reason: String,
}

/// The key of an order's record: its name in 32 hexadecimal digits.
pub(super) fn key(order: &Order) -> String {
    format!("{:032x}", order.id)
}

/// The value of an order's record.
pub(super) fn value(order: &Order, job: &str) -> Vec<u8> {
    let written = Written {
        version: VERSION,
        job: job.to_owned(),
        verb: order.verb.word().to_owned(),
        step: order.step.word().to_owned(),
        topic: order.topic.to_string(),
        partition: order.partition,
        offsets: order.offsets.clone(),
        again: order.again,
        by: order.by.clone(),
        at_ms: order.at_ms,
        done_at_ms: order.done_at_ms,
        stays: (order.returned.iter())
            .map(|returned| WrittenReturn {
                offset: returned.offset,
                why: returned.why.word().to_owned(),
                reason: returned.reason.clone(),
            })
            .collect(),
    };
    serde_json::to_vec(&written).expect("texts and numbers always have a JSON form")
}

/// Reads an order's record; `None` if it is none of the job's, or one of a form that this version does not know.
pub(super) fn parse(key: &[u8], value: &[u8], job: &str) -> Option<Order> {
    let id = u128::from_str_radix(std::str::from_utf8(key).ok()?, 16).ok().filter(|id| *id != 0)?;
    let written: Written = serde_json::from_slice(value).ok()?;
    if written.version != VERSION || written.job != job {
        return None;
    }
    let returned = |stays: WrittenReturn| {
        let why = STAYS.into_iter().find(|why| why.word() == stays.why)?;
        Some(Returned { offset: stays.offset, why, reason: stays.reason })
    };
    Some(Order {
        id,
        verb: VERBS.into_iter().find(|verb| verb.word() == written.verb)?,
        step: STEPS.into_iter().find(|step| step.word() == written.step)?,
        topic: Arc::from(written.topic),
        partition: written.partition,
        offsets: written.offsets,
        again: written.again,
        by: written.by,
        at_ms: written.at_ms,
        done_at_ms: written.done_at_ms,
        returned: written.stays.into_iter().map(returned).collect::<Option<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_reads_back_as_it_was_written_and_anything_else_is_none() {
        for verb in VERBS {
            for step in STEPS {
                let order = Order {
                    id: 7,
                    verb,
                    step,
                    topic: Arc::from("cdc.users"),
                    partition: 3,
                    offsets: vec![1, 2, 9],
                    again: step == Step::Asked,
                    by: "anna".to_owned(),
                    at_ms: 5,
                    done_at_ms: (step == Step::Done).then_some(6),
                    returned: STAYS.map(|why| Returned { offset: 2, why, reason: "a \"b\"".to_owned() }).to_vec(),
                };
                assert_eq!(parse(key(&order).as_bytes(), &value(&order, "j"), "j"), Some(order.clone()));
                assert_eq!(parse(key(&order).as_bytes(), &value(&order, "j"), "another"), None);
            }
        }
        for (key, value) in [("", "{}"), ("0", "{}"), ("7", ""), ("7", "[]"), ("7", r#"{"version":2}"#)] {
            assert_eq!(parse(key.as_bytes(), value.as_bytes(), "j"), None);
        }
    }
}
