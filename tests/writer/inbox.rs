//! The inbox: an event's work is done once, whatever is delivered again and whoever crashes.

use std::time::Duration;

use postrider::{Error, inbox};
use uuid::Uuid;

use crate::writer::Database;

#[tokio::test]
async fn an_event_is_new_once_for_each_consumer() {
    let database = Database::migrated().await;
    let mut client = database.client().await;
    let pool = database.pool().await;
    let event = Uuid::now_v7();

    let mut transaction = client.transaction().await.unwrap();
    assert!(inbox::first_time(&mut transaction, "billing", event).await.unwrap());
    assert!(!inbox::first_time(&mut transaction, "billing", event).await.unwrap());
    transaction.commit().await.unwrap();

    let mut transaction = pool.begin().await.unwrap();
    assert!(!inbox::first_time(&mut transaction, "billing", event).await.unwrap());
    assert!(inbox::first_time(&mut transaction, "shipping", event).await.unwrap());
    assert!(inbox::first_time(&mut transaction, "billing", Uuid::now_v7()).await.unwrap());
    transaction.commit().await.unwrap();
}

#[tokio::test]
async fn work_that_was_rolled_back_is_done_at_the_next_delivery() {
    let database = Database::migrated().await;
    let mut client = database.client().await;
    let event = Uuid::now_v7();
    let mut transaction = client.transaction().await.unwrap();
    assert!(inbox::first_time(&mut transaction, "billing", event).await.unwrap());
    transaction.rollback().await.unwrap();
    let mut transaction = client.transaction().await.unwrap();
    assert!(inbox::first_time(&mut transaction, "billing", event).await.unwrap());
}

#[tokio::test]
async fn of_two_concurrent_deliveries_the_second_waits_for_the_first() {
    let database = Database::migrated().await;
    let (mut one, mut two) = (database.client().await, database.client().await);
    for first_commits in [true, false] {
        let event = Uuid::now_v7();
        let mut first = one.transaction().await.unwrap();
        assert!(inbox::first_time(&mut first, "billing", event).await.unwrap());
        let mut second = two.transaction().await.unwrap();
        let answer = inbox::first_time(&mut second, "billing", event);
        let finish = async {
            wait_until_one_waits(&database).await;
            if first_commits { first.commit().await } else { first.rollback().await }
        };
        let (answer, finished) = tokio::join!(answer, finish);
        finished.unwrap();
        assert_eq!(answer.unwrap(), !first_commits);
        second.commit().await.unwrap();
    }
}

/// Returns once a session of this database waits for another's transaction.
async fn wait_until_one_waits(database: &Database) {
    let client = database.client().await;
    let waiting = "select count(*) from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock' and wait_event = 'transactionid'";
    while client.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) == 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn pruning_removes_what_is_old_in_batches() {
    let database = Database::migrated().await;
    let mut client = database.client().await;
    let entries = "insert into postrider.inbox (consumer, event_id, received_at)
        select 'billing', postrider.uuid_v7(), now() - n * interval '1 day' from generate_series(0, 9) as n";
    client.batch_execute(entries).await.unwrap();
    let day = Duration::from_secs(24 * 3600);
    let mut removed = Vec::new();
    loop {
        let mut transaction = client.transaction().await.unwrap();
        let rows = inbox::prune(&mut transaction, day * 3 / 2, 3).await.unwrap();
        transaction.commit().await.unwrap();
        removed.push(rows);
        if rows < 3 {
            break;
        }
    }
    assert_eq!(removed, [3, 3, 2]);
    let kept = "select count(*) from postrider.inbox where received_at > now() - interval '36 hours'";
    assert_eq!(client.query_one(kept, &[]).await.unwrap().get::<_, i64>(0), 2);

    let mut transaction = client.transaction().await.unwrap();
    assert_eq!(inbox::prune(&mut transaction, Duration::MAX, 10).await.unwrap(), 0);
    assert_eq!(inbox::prune(&mut transaction, Duration::ZERO, 0).await.unwrap(), 0);
}

#[tokio::test]
async fn a_consumer_needs_no_right_but_to_insert_and_a_name() {
    let database = Database::migrated().await;
    let mut service = database.service().await;
    let mut transaction = service.transaction().await.unwrap();
    let event = Uuid::now_v7();
    assert!(inbox::first_time(&mut transaction, &"c".repeat(255), event).await.unwrap());
    assert!(!inbox::first_time(&mut transaction, &"c".repeat(255), event).await.unwrap());
    // Refused before the server hears of it: the transaction stays usable.
    let too_long = inbox::first_time(&mut transaction, &"c".repeat(256), event).await;
    assert!(matches!(too_long, Err(Error::TooLarge { .. })));
    let empty = inbox::first_time(&mut transaction, "", event).await;
    assert!(matches!(empty, Err(Error::Empty { .. })));
    transaction.commit().await.unwrap();
}
