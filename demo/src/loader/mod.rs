//! The loader alone: a topic of events, `postrider load`, and a ClickHouse of the run's own. [`outage`] takes ClickHouse away for minutes,
//! [`poison`] puts records among the others that no table takes.

mod events;
pub mod outage;
pub mod poison;
mod site;

pub(crate) use site::Metrics;
