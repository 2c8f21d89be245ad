//! Why a text is not written as a value.

/// Why a text is not written as a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Misfit {
    /// No output function of its type prints it.
    NotOfType,
    /// It is a value, but the form that was chosen has no place for it: not a number as a decimal, a time beyond 64 bits.
    NoPlace,
}
