//! A running relay seen from outside: its admin endpoint asked, its answers put into words or into a live picture.
//!
//! `endpoint` asks, `report` and `sample` read the answers, `picture` makes figures of two samples, `screen` draws them, and
//! `live` does so again and again on a terminal. Nothing here links the pipeline: a relay on another machine shows the same.

mod endpoint;
mod live;
mod picture;
mod report;
mod sample;
mod screen;
pub(crate) mod unit;

pub use endpoint::{Endpoint, EndpointError};
pub use live::{frame, watch};
pub use report::{Report, Reports};
