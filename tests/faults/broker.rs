//! Faults of the broker: away, frozen, unwilling; topics that vanish or refuse.

use std::sync::Arc;

use harness::{PATIENCE, Site, admin, alter_topic, shared, until};
use rdkafka::admin::{AdminOptions, NewPartitions};
use xtask::services::PrivateKafka;

use crate::faults::book::{Book, Kind, Then};
use crate::faults::scene::Scene;

/// A broker of the scene's own, which goes away in several ways.
pub(crate) async fn connection(book: Arc<Book>) {
    let mut kafka = PrivateKafka::start(&[]).expect("a broker of our own");
    let site = Site::between("faultbroker", &shared().postgres, &kafka.bootstrap()).await;
    site.create_topics().await;
    let mut scene = Scene::of(site);
    let fault = |what, then| book.fault(Kind::Connection, what, then);
    let brokers = kafka.bootstrap();
    let launch = scene.site.relay().with("POSTRIDER_KAFKA_REQUEST_TIMEOUT_MS", "1000");
    let mut relay = launch.start();
    scene.settle(&mut relay).await;

    kafka.stop();
    scene.write().await;
    let stopped = fault("a broker that is shut down", Then::GoesOn);
    scene.goes_on(stopped, &relay, &["broker unreachable", &brokers], &["delivery will go on when it is back"]).await;
    kafka.start_again().unwrap();
    scene.settle(&mut relay).await;

    kafka.kill();
    scene.write().await;
    let killed = fault("a broker that crashes", Then::GoesOn);
    until("it is noticed", PATIENCE, async || (relay.metric("postrider_kafka_reachable").await < 0.5).then_some(()))
        .await;
    scene.goes_on(killed, &relay, &["broker unreachable", &brokers], &["delivery will go on when it is back"]).await;
    kafka.start_again().unwrap();
    scene.settle(&mut relay).await;

    kafka.pause();
    scene.write().await;
    let frozen = fault("a broker that answers nothing", Then::Waits);
    scene
        .waits(frozen, &mut relay, &["a broker does not answer", &brokers], &["delivery will go on when it is back"])
        .await;
    kafka.resume();
    scene.settle(&mut relay).await;
    relay.terminate().await.expect(0, &[]);

    kafka.stop();
    scene.write().await;
    let mut relay = launch.start();
    let away = fault("a broker that is away at the start", Then::Waits);
    scene.waits(away, &mut relay, &["no kafka broker answers at", &brokers], &["will go on", "retry_in_ms"]).await;
    kafka.start_again().unwrap();
    scene.settle(&mut relay).await;
    relay.terminate().await.expect(0, &[]);

    let nowhere = launch.clone().with("POSTRIDER_KAFKA_BOOTSTRAP_SERVERS", "no-such-broker.invalid:9092");
    scene.write().await;
    let mut relay = nowhere.start();
    let unknown = fault("a broker whose name is not known", Then::Waits);
    scene.waits(unknown, &mut relay, &["no kafka broker answers at no-such-broker.invalid"], &["will go on"]).await;
    relay.terminate().await;
    scene.settle_with(&launch).await;
}

/// Topics on the shared broker.
pub(crate) async fn topics(book: Arc<Book>) {
    let mut scene = Scene::of(Site::new("faulttopic").await);
    let fault = |what, then| book.fault(Kind::Broker, what, then);
    let topic = format!("{}.outbox.event.order", scene.site.name());
    let mut relay = scene.site.relay().start();
    scene.settle(&mut relay).await;

    let partitions = fault("a topic that gets more partitions while the relay runs", Then::GoesOn);
    let admin = admin(scene.site.bootstrap());
    let grown = admin.create_partitions([&NewPartitions::new(&topic, 9)], &AdminOptions::new()).await.unwrap();
    grown.into_iter().for_each(|outcome| drop(outcome.unwrap()));
    scene.goes_on(partitions, &relay, &[], &[]).await;
    scene.settle(&mut relay).await;
    relay.terminate().await.expect(0, &[]);
}

pub(crate) async fn alter(scene: &Scene, topic: &str, name: &str, value: &str) {
    alter_topic(scene.site.bootstrap(), topic, name, value).await;
}
