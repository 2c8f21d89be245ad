//! A key's partition is the one that Java's clients choose: their murmur2 over the key's bytes.

use postrider_relay::pipeline::{Durable, Sink};

use super::batch::{Text, batch};
use super::kafka::Shared;
use super::topic::{self, unique};
use super::{Rig, durable};

/// Keys with what `org.apache.kafka.common.utils.Utils.murmur2` of kafka-clients 4.3.1 makes of their UTF-8 bytes.
const HASHES: [(&str, i32); 12] = [
    ("", 275_646_681),
    ("a", -1_563_381_124),
    ("ab", 316_155_434),
    ("abc", 479_470_107),
    ("abcd", -1_323_649_548),
    ("key-1", 193_331_640),
    ("order-1234567", -728_454_695),
    ("0190a1b2-c3d4-7e5f-8a6b-000000000001", -1_950_249_372),
    ("0190a1b2-c3d4-7e5f-8a6b-000000000002", 1_317_570_542),
    ("größe", 588_164_084),
    ("42", 417_700_972),
    ("a-little-bit-long-string", -985_981_536),
];

/// Odd, so that partitions tell more than the hash's lowest bits.
const PARTITIONS: i32 = 31;

#[tokio::test]
async fn a_key_goes_to_the_partition_that_javas_clients_choose() {
    let rig = Shared::new();
    let topic = unique("partitions");
    topic::create(&rig.options.bootstrap_servers, &topic, PARTITIONS, &[]).await;
    let (mut sink, _) = rig.open().await;
    let texts: Vec<Text> = HASHES.iter().map(|(key, _)| Text { key: Some((*key).into()), ..Text::default() }).collect();
    let receipt = sink.send(batch(&topic, &texts)).await.unwrap();
    assert_eq!(durable(receipt).await, Durable::default());

    let delivered = topic::read(&rig.options.bootstrap_servers, &topic).await;
    assert_eq!(delivered.len(), HASHES.len());
    for (key, hash) in HASHES {
        let message = delivered.iter().find(|message| message.key.as_deref() == Some(key.as_bytes())).unwrap();
        // Java clears the sign, rather than taking the absolute value.
        assert_eq!(message.partition, (hash & i32::MAX) % PARTITIONS, "{key:?}");
    }
}
