//! ClickHouse's `Native` format: columns that are filled from JSON values, and written as one block.
//!
//! <https://clickhouse.com/docs/interfaces/formats/Native>
//!
//! A [`Block`] has the columns of an insert; a [`Column`] takes one value a row, as [`Column::push_json`] reads it from the JSON
//! of a change or an event, with what is known about it ([`Reading`]). [`Block::write`] makes the bytes.
//!
//! Guarantee: a value is stored as it is, or it is a [`Misfit`]: null stays null, no number is cut or rounded, no time is moved into a
//! range, and no value takes the place of one that is missing unless the caller says so. A misfit names the column, its type
//! and what is wrong, never the value; it leaves the column as it was.

mod base64;
mod block;
mod calendar;
mod column;
mod connect;
pub mod derive;
mod fields;
mod fixed;
mod float;
mod misfit;
mod number;
mod parse;
mod reading;
mod shape;
mod store;
mod temporal;
mod text;
mod types;
mod unavailable;
mod value;
mod wide;
mod wkt;

pub use block::Block;
pub use column::Column;
pub use connect::{Schema, SchemaError};
pub use misfit::{Misfit, What};
pub use reading::{Reading, Unit};
pub use types::{Type, UnknownType};
pub use unavailable::Unavailable;
