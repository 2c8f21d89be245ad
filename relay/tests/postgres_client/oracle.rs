//! The decoder against `pg_walstream`'s, on generated messages.

use pg_walstream::LogicalReplicationParser;
use postrider_relay::postgres::pgoutput::decode;
use proptest::prelude::*;

use crate::postgres_client::encode::any_message;
use crate::postgres_client::model::Said;

/// Both decoders on the same bytes; they must understand the same.
pub(crate) fn agreed(bytes: &[u8]) -> Said {
    let ours = Said::by_us(&decode(bytes).expect("a whole message decodes"));
    let theirs = LogicalReplicationParser::with_protocol_version(1)
        .parse_wal_message(bytes)
        .expect("the oracle decodes what a server sent");
    assert_eq!(ours, Said::by_the_oracle(theirs.message), "the two decoders differ on {bytes:?}");
    ours
}

proptest! {
    #[test]
    fn both_decoders_understand_a_generated_message_alike(said in any_message()) {
        prop_assert_eq!(agreed(&said.encode()), said);
    }
}
