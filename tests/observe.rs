//! What an operator sees: metrics, status, alerts, traces and logs of a relay at work.

mod alerts;
mod collector;
mod secrets;
mod stages;
mod traces;
