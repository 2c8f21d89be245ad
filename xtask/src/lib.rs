//! What the workspace's own commands share with its tests and its demo: the services they all talk to.
//!
//! `services` starts real ones, through Docker where an engine answers and natively where none does; everybody else
//! only ever sees an [`services::Environment`] of addresses.

pub mod services;
