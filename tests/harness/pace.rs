//! How long the outages of a test last: short by default, in full for a soak.

use std::time::Duration;

/// Set to 1 by `cargo xtask soak`.
const VARIABLE: &str = "POSTRIDER_SOAK";

/// `short`, or `full` if this is a soak.
#[must_use]
pub fn pace(short: Duration, full: Duration) -> Duration {
    if std::env::var_os(VARIABLE).is_some_and(|value| value == "1") { full } else { short }
}
