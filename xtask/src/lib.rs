//! What the workspace's own commands share with its tests and its demo: the services they all talk to.
//!
//! `services` starts real ones, through Docker where an engine answers and natively where none does; everybody else
//! only ever sees an [`services::Environment`] of addresses.

pub mod services;

/// The workspace's root: the parent of this package.
#[must_use]
pub fn root() -> &'static std::path::Path {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this package lies below the workspace's root")
}
