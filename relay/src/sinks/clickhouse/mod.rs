//! ClickHouse.
//!
//! [`Client`] is the way there, [`Failure`] what goes wrong on it, [`Table`] what stands there already.

mod client;
mod errors;
mod table;
mod tls;

pub use client::{ClickHouseOptions, Client, TableName, quoted};
pub use errors::{Class, Failure};
pub use table::{Table, TableColumn, View};
