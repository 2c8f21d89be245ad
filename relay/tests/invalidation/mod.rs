//! What the invalidator promises, in a real Redis.

#![expect(clippy::unwrap_used, reason = "what these helpers cannot do is a failure of the test that asks for it")]

mod cluster;
mod fan_out;
mod passes;
mod place;
mod process;
mod strategies;
mod trouble;

pub(crate) use place::reached;
