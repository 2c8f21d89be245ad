//! What workers give up: the letters in a real Kafka, and the way of a record from a worker into them and back.

mod letters;
mod outage;
mod replay;
mod worker;
