//! What the process tells about itself: metrics, logs and traces.

pub mod failpoint;
pub mod logging;
pub mod metrics;
mod process;
pub mod traces;

pub use logging::{LogFormat, LoggingError};
pub use metrics::Metrics;
pub use traces::Traces;
