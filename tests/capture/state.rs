//! What the records of captured tables make, folded by a consumer, is what Postgres holds.

use demo::state::compare::Comparison;
use demo::state::reader::{Reader, TableTopics};
use demo::state::workload::Workload;
use harness::{PATIENCE, Site, shared, until, until_or};

#[tokio::test(flavor = "multi_thread")]
async fn what_the_records_make_is_what_postgres_holds_although_the_relay_is_killed() {
    const OPERATIONS: u64 = 1_500;
    let site = Site::bare("state", &shared().postgres, &shared().kafka.bootstrap).await;
    site.create_topics().await;
    site.migrate();
    let workload = Workload::create(site.db()).await.unwrap();
    let prefix = format!("{}.cdc.", site.name());
    let capture = |launch: harness::Launch| {
        launch
            .with("POSTRIDER_CAPTURE_TABLES", "public.*")
            .with("POSTRIDER_CAPTURE_TOPIC", &format!("{prefix}{{table}}"))
            .with("POSTRIDER_CAPTURE_SNAPSHOT_MODE", "no_data")
    };
    capture(site.initialiser()).complete("init").expect(0, &[]);
    let topics = TableTopics::new(site.bootstrap(), &prefix, &workload.names());
    topics.create().await.unwrap();
    let reader = Reader::start(&topics).unwrap();

    let relay = capture(site.relay()).start();
    let mut writing = workload.start(site.database(), OPERATIONS, 7).await.unwrap();
    let half =
        async || (workload.done().operations() > OPERATIONS / 2 && reader.read().records() > 2_500).then_some(());
    until_or(PATIENCE, half, || format!("half is read: {} records", reader.read().records())).await;
    relay.kill();
    let relay = capture(site.relay()).start();
    until("the writers are done", PATIENCE, async || writing.ended().await.unwrap().then_some(())).await;
    workload.fence(site.db()).await.unwrap();
    until("the last row is read", PATIENCE, async || (reader.read().fences() == 1).then_some(())).await;
    relay.terminate().await.expect(0, &[]);

    let (folded, flaws) = reader.finish().unwrap().fold();
    let comparison = Comparison::of(site.db(), &workload.tables(), &folded).await.unwrap();
    topics.delete().await.unwrap();
    assert!(flaws.none(), "{flaws:#?}");
    assert_eq!(comparison.differences, 0, "{comparison:#?}");
    assert!(comparison.rows > 1_000 && workload.done().alterations() > 0, "{comparison:?}");
}
