//! What a lease promises, on a real Postgres: one holder at a time, a token that rises with each claim, and errors that say
//! what is missing.

#![expect(clippy::unwrap_used, reason = "what these helpers cannot do is a failure of the test that asks for it")]

use std::time::Duration;

use postrider_relay::leases::{self, Lease};
use postrider_relay::pipeline::Kind;
use serde_json::{Value, json};
use tokio_postgres::Client;
use uuid::Uuid;

use crate::lot_contract::database::Database;

/// Longer than a test takes.
const LONG: Duration = Duration::from_secs(600);

/// Over before the next statement.
const OVER: Duration = Duration::ZERO;

async fn claim(client: &Client, holder: u128, ttl: Duration) -> Option<Lease> {
    leases::claim(client, Uuid::from_u128(holder), "slot/a", ttl, &json!({"host": "one"})).await.unwrap()
}

#[tokio::test]
async fn a_name_has_one_holder_and_every_claim_a_larger_token() {
    let database = Database::migrated("lease_claims").await;
    let client = database.connect().await;
    assert_eq!(leases::holder(&client, "slot/a").await.unwrap(), None);
    let first = claim(&client, 1, LONG).await.expect("free");
    assert_eq!(claim(&client, 2, LONG).await, None);
    let held = leases::holder(&client, "slot/a").await.unwrap().unwrap();
    assert_eq!((held.holder, held.token, &held.detail["host"]), (first.holder, first.token, &Value::from("one")));
    assert!(held.left > LONG / 2 && held.left <= LONG, "{held:?}");
    let other = leases::claim(&client, Uuid::from_u128(2), "slot/b", LONG, &Value::Null).await.unwrap();
    assert!(other.is_some(), "another name is another lease");

    let again = claim(&client, 1, LONG).await.expect("one's own");
    assert!(again.token > first.token);
    assert!(!leases::release(&client, &first).await.unwrap(), "an older claim gives nothing back");
    assert!(leases::release(&client, &again).await.unwrap());
    assert_eq!(leases::holder(&client, "slot/a").await.unwrap(), None);
    let next = claim(&client, 2, LONG).await.expect("given back");
    assert!(next.token > again.token);
}

#[tokio::test]
async fn what_ran_out_is_renewed_until_somebody_claims_it_and_then_it_is_lost() {
    let database = Database::migrated("lease_renewals").await;
    let client = database.connect().await;
    let first = claim(&client, 1, OVER).await.expect("free");
    let detail = json!({"host": "two"});
    let renewed = leases::renew(&client, &first, OVER, Some(&detail)).await.unwrap().expect("nobody claimed it");
    assert!(renewed.token == first.token && renewed.asked_at > first.asked_at);
    let held = leases::holder(&client, "slot/a").await.unwrap().unwrap();
    assert_eq!((held.left, held.detail), (Duration::ZERO, detail));

    let second = claim(&client, 2, LONG).await.expect("it ran out");
    assert!(second.token > first.token);
    assert_eq!(leases::renew(&client, &first, LONG, None).await.unwrap(), None);
    assert!(!leases::release(&client, &first).await.unwrap());
    assert!(leases::renew(&client, &second, LONG, None).await.unwrap().is_some());
    // A crash of the server empties the table.
    database.run("truncate postrider.leases").await;
    assert_eq!(leases::renew(&client, &second, LONG, None).await.unwrap(), None);
    assert!(claim(&client, 1, LONG).await.expect("empty").token > second.token);
}

#[tokio::test]
async fn a_lease_is_taken_from_one_that_is_gone_and_from_no_other() {
    let database = Database::migrated("lease_gone").await;
    let client = database.connect().await;
    let first = claim(&client, 1, LONG).await.unwrap();
    let take = async |token| {
        leases::claim_from(&client, Uuid::from_u128(2), "slot/a", LONG, &Value::Null, token).await.unwrap()
    };
    let second = take(first.token).await.expect("the one that is gone");
    assert!(second.token > first.token);
    assert_eq!(claim(&client, 3, LONG).await, None);
    let third =
        leases::claim_from(&client, Uuid::from_u128(3), "slot/a", LONG, &Value::Null, first.token).await.unwrap();
    assert_eq!(third, None, "another was faster");
}

#[tokio::test]
async fn of_many_that_claim_at_once_one_has_it() {
    let database = Database::migrated("lease_race").await;
    let mut tasks = tokio::task::JoinSet::new();
    for holder in 1..=8 {
        let client = database.connect().await;
        tasks.spawn(async move { claim(&client, holder, LONG).await });
    }
    let won: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    assert_eq!(won.len(), 1, "{won:?}");
}

#[tokio::test]
async fn without_the_table_or_the_right_to_it_a_claim_says_what_to_do() {
    let empty = Database::empty("lease_none").await;
    let refusal = async |client: &Client| {
        let error = leases::claim(client, Uuid::from_u128(1), "slot/a", LONG, &Value::Null).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Setup);
        (error.chain(), error.help().map(str::to_owned).unwrap_or_default())
    };
    let (said, help) = refusal(&empty.connect().await).await;
    assert!(said.contains("slot/a") && help.contains("postrider migrate"), "{said} {help}");

    let database = Database::migrated("lease_right").await;
    let client = database.connect().await;
    let role = format!("{}_poor", database.name());
    client.batch_execute(&format!("create role {role}; set role {role}")).await.unwrap();
    let (said, help) = refusal(&client).await;
    assert!(said.contains("42501") && help.contains("postrider init"), "{said} {help}");
}
