//! Which partition a key belongs to: the one that Kafka's own client for Java chooses.
//!
//! Chosen here and not by librdkafka, so that one count of partitions holds for all that is in flight: librdkafka would use
//! a new count from the moment it hears of it, and a key's next record could arrive before the last one.

/// The partition of `key` among `partitions`, of which there is at least one.
pub(super) fn partition_of(key: &[u8], partitions: usize) -> usize {
    // Java clears the sign, rather than taking the absolute value.
    (murmur2(key) & 0x7fff_ffff) as usize % partitions
}

/// MurmurHash2 with the seed by which Kafka's own client [chooses a partition].
///
/// [chooses a partition]: https://kafka.apache.org/documentation/#producerconfigs_partitioner.class
fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const MULTIPLIER: u32 = 0x5bd1_e995;
    let (words, rest) = data.as_chunks::<4>();
    let mut hash = SEED ^ data.len() as u32;
    for word in words {
        let mut mixed = u32::from_le_bytes(*word).wrapping_mul(MULTIPLIER);
        mixed ^= mixed >> 24;
        hash = hash.wrapping_mul(MULTIPLIER) ^ mixed.wrapping_mul(MULTIPLIER);
    }
    if !rest.is_empty() {
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        hash = (hash ^ u32::from_le_bytes(last)).wrapping_mul(MULTIPLIER);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MULTIPLIER);
    hash ^ hash >> 15
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_hash_as_in_kafkas_own_client() {
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
            ("", 275_646_681),
        ] {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
    }

    #[test]
    fn a_negative_hash_loses_its_sign() {
        assert_eq!(partition_of(b"21", 31), ((-973_932_308_i32) & i32::MAX) as usize % 31);
        assert_eq!(partition_of(b"anything", 1), 0);
    }
}
