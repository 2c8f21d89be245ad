//! What workers give up: the letters in a real Kafka, and the way of a record from a worker into them and back.

#![expect(clippy::unwrap_used, reason = "what these helpers cannot do is a failure of the test that asks for it")]

mod letters;
mod outage;
mod replay;
mod worker;
