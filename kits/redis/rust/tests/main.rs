//! The readers' scripts and their helpers in three languages, against a real Redis.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod cluster;
mod invalidation;
mod languages;
mod model;
mod reader;
mod server;
