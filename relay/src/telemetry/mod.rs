//! What the process tells about itself: metrics and logs.

pub mod failpoint;
pub mod logging;
pub mod metrics;
mod process;

pub use logging::{LogFormat, LoggingError};
pub use metrics::Metrics;
