//! Captured tables: every change, in Debezium's envelope, in the order of the commits, through schema changes and kills.

mod changes;
mod mistakes;
mod scene;
mod schema;
mod state;
