//! PostgreSQL, natively: which binaries there are, and clusters made of them.

pub(crate) mod binaries;
pub(crate) mod cluster;
