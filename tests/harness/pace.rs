//! How long the outages of a test last, and how often it does a thing: little by default, in full for a soak.

/// Set to 1 by `cargo xtask soak tests`.
const VARIABLE: &str = "POSTRIDER_SOAK";

/// `short`, or `full` if this is a soak.
#[must_use]
pub fn pace<T>(short: T, full: T) -> T {
    if std::env::var_os(VARIABLE).is_some_and(|value| value == "1") { full } else { short }
}
