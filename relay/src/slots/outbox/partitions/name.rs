//! What partitions are called: the root's name, shortened where it must be, and the day.

use crate::slots::outbox::partitions::day::Day;

/// What a name may take in the server's catalog, in bytes.
const NAME_BYTES_MAX: usize = 63;

/// The longest end that is added to the root's name: `_p20261121`.
const END_BYTES_MAX: usize = 10;

/// The partition of a day.
pub(super) fn of(root: &str, day: Day) -> String {
    format!("{}_p{}", stem(root), day.compact())
}

/// The partition without upper bound.
pub(super) fn rest(root: &str) -> String {
    format!("{}_rest", stem(root))
}

fn stem(root: &str) -> &str {
    &root[..root.floor_char_boundary(NAME_BYTES_MAX - END_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_cut_between_its_letters() {
        assert_eq!(of("outbox_events", Day::of(0)), "outbox_events_p19700101");
        let long = "ü".repeat(31);
        assert_eq!(rest(&long), format!("{}_rest", "ü".repeat(26)));
        assert!(of(&long, Day::of(0)).len() <= NAME_BYTES_MAX);
    }
}
