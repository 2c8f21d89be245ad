//! The order in which Java's `HashMap` hands out what was put into it, which is what Debezium publishes of one.

/// Places of a map before anything is put into it.
const PLACES: usize = 16;

/// Sorts by the place of each item's key in a map that once held `most` items, those that share one as they came.
pub(super) fn order<T>(items: &mut [T], most: usize, key: impl Fn(&T) -> &str) {
    // It doubles as soon as it is more than three quarters full, and never shrinks.
    let mut places = PLACES;
    while most > places / 4 * 3 {
        places *= 2;
    }
    items.sort_by_cached_key(|item| {
        let units = key(item).encode_utf16();
        let hash = units.fold(0_u32, |hash, unit| hash.wrapping_mul(31).wrapping_add(u32::from(unit)));
        (hash ^ hash >> 16) as usize & (places - 1)
    });
}
