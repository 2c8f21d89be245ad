//! Members to fan out over: asked of Postgres, and kept from the stream.

use postrider_relay::pipeline::{Durable, Kind, Sink};
use postrider_relay::postgres::options::{ConnectOptions, Host};
use postrider_relay::shape::rules::options::{Does, RuleOptions};
use tokio_postgres::NoTls;
use xtask::services;

use super::place::{Place, batch, change, deliver, rule};

const POSTS: &str = "cdc.posts";
const FOLLOWS: &str = "cdc.follows";

/// Feeds of the author's followers, by a query.
fn by_query(prefix: &str, query: &str) -> RuleOptions {
    RuleOptions {
        query: Some(query.to_owned()),
        parameters: vec!["author_id".to_owned()],
        ..rule("feeds", POSTS, Does::Keys, &[format!("{prefix}:{{member}}"), format!("{prefix}:{{author_id}}")])
    }
}

async fn existing(place: &mut Place, users: &[&str]) {
    for user in users {
        let key = place.name(user);
        place.run::<()>(&["SET", &key, "x"]).await;
    }
}

async fn left(place: &mut Place) -> Vec<String> {
    let prefix = place.name("");
    let mut keys: Vec<String> = place.run(&["KEYS", &format!("{prefix}*")]).await;
    keys.sort();
    keys.iter().map(|key| key.trim_start_matches(&prefix).to_owned()).collect()
}

#[tokio::test]
async fn a_query_names_the_members_and_what_it_does_not_take_is_refused() {
    let server = services::current().expect("the services run").postgres;
    let (client, connection) = tokio_postgres::connect(&server.url("postgres"), NoTls).await.unwrap();
    tokio::spawn(connection);
    // The numbers stand in the query: no table is needed, and no database of its own.
    let query = "select follower::text from unnest(array[[1, 10], [2, 10], [3, 11]]) with ordinality as pairs (follower, place) \
                 where place % 2 = 1 and $1::int = 10";
    client.query(query, &[&10_i32]).await.expect("the query runs");
    let mut place = Place::shared(|prefix| vec![by_query(prefix, query)]).await;
    let options = ConnectOptions::new(Host::Socket(server.socket_dir.clone()), server.port, "postgres", &server.user);
    place.options.postgres = Some(ConnectOptions { replication: false, ..options });
    let mut sink = place.sink().await;
    existing(&mut place, &["1", "2", "3", "10", "99"]).await;

    let changes = [
        change(1, "c", "null", r#"{"author_id":10}"#),
        change(2, "c", "null", r#"{"author_id":10}"#),
        change(3, "c", "null", r#"{"author_id":"no number"}"#),
    ];
    let fate = deliver(&mut sink, batch(POSTS, &changes)).await;

    assert_eq!(fate.refused.iter().map(|refused| refused.index).collect::<Vec<_>>(), [2]);
    assert!(fate.refused[0].reason.contains("SQLSTATE 22P02"), "{}", fate.refused[0].reason);
    assert!(!fate.refused[0].reason.contains("no number"), "a value is told");
    assert_eq!(left(&mut place).await, ["10", "99"].map(str::to_owned)[1..].to_vec());
    assert_eq!(place.metrics.redis.fan_out_members.get(), 6);
}

#[tokio::test]
async fn a_query_that_cannot_be_asked_stops_with_the_mend() {
    let server = services::current().expect("the services run").postgres;
    for (query, says) in [("select id from nowhere where a = $1", "nowhere"), ("select $1::int", "is no text")] {
        let mut place = Place::shared(|prefix| vec![by_query(prefix, query)]).await;
        let options =
            ConnectOptions::new(Host::Socket(server.socket_dir.clone()), server.port, "postgres", &server.user);
        place.options.postgres = Some(ConnectOptions { replication: false, ..options });
        let mut sink = place.sink().await;
        let receipt = sink.send(batch(POSTS, &[change(1, "c", "null", r#"{"author_id":10}"#)])).await.unwrap();
        let error = receipt.await.expect_err("it cannot be asked");
        assert_eq!(error.kind(), Kind::Setup);
        assert!(error.chain().contains(says) && error.help().is_some(), "{}", error.chain());
    }
}

#[tokio::test]
async fn a_kept_set_is_as_the_newest_change_of_each_member_says_in_whatever_order_they_come() {
    let keep = RuleOptions {
        key: Some("{followee_id}".to_owned()),
        member: Some("{follower_id}".to_owned()),
        present: vec!["status = active".to_owned()],
        ..rule("followers", FOLLOWS, Does::Keep, &[])
    };
    let mut place = Place::shared(|prefix| {
        // The rule's name is in the key: its own for each run of the test.
        let keep = RuleOptions { name: format!("{prefix}-followers"), ..keep };
        let feeds = RuleOptions {
            kept: Some(keep.name.clone()),
            key: Some("{author_id}".to_owned()),
            ..rule("feeds", POSTS, Does::Keys, &[format!("{prefix}:{{member}}")])
        };
        vec![keep, feeds]
    })
    .await;
    let mut sink = place.sink().await;
    let follow = |position, follower: &str, followee: &str, status: &str| {
        let row = format!(r#"{{"follower_id":"{follower}","followee_id":"{followee}","status":"{status}"}}"#);
        change(position, "u", "null", &row)
    };
    let unfollow = |position, follower: &str| {
        change(position, "d", &format!(r#"{{"follower_id":"{follower}","followee_id":"z","status":"active"}}"#), "null")
    };
    let moved = change(
        9,
        "u",
        r#"{"follower_id":"e","followee_id":"z","status":"active"}"#,
        r#"{"follower_id":"e","followee_id":"y","status":"active"}"#,
    );
    let changes = [
        follow(1, "a", "z", "active"),
        // Unfollowed before the news of the follow comes, and comes again.
        unfollow(5, "b"),
        follow(4, "b", "z", "active"),
        follow(4, "b", "z", "active"),
        follow(6, "c", "z", "blocked"),
        follow(7, "d", "z", "active"),
        follow(8, "e", "z", "active"),
        moved,
    ];
    assert_eq!(deliver(&mut sink, batch(FOLLOWS, &changes)).await, Durable::default());
    existing(&mut place, &["a", "b", "c", "d", "e"]).await;
    deliver(&mut sink, batch(POSTS, &[change(10, "c", "null", r#"{"author_id":"z"}"#)])).await;
    assert_eq!(left(&mut place).await, ["b", "c", "e"]);
    deliver(&mut sink, batch(POSTS, &[change(11, "c", "null", r#"{"author_id":"y"}"#)])).await;
    assert_eq!(left(&mut place).await, ["b", "c"]);
}
