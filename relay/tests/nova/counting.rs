//! What Nova's tables count: every event once, however it is delivered. The same as what is computed anew from what happened.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::nova::database::Database;

/// The first moment of the tests, in microseconds: a full hour.
const START: u64 = 1_790_000_000_000_000 / 3_600_000_000 * 3_600_000_000;

/// Numbers that look random and are the same each time (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// A version of a row of likes.
#[derive(Debug, Clone, Copy)]
struct Like {
    post: u64,
    user: u64,
    created: u64,
    deleted: Option<u64>,
    /// The row is gone.
    removed: Option<u64>,
    version: u64,
}

fn uuid(n: u64) -> String {
    format!("'00000000-0000-4000-8000-{n:012x}'")
}

fn moment(micros: u64) -> String {
    format!("fromUnixTimestamp64Micro({micros}, 'UTC')")
}

async fn insert(database: &Database, token: &str, likes: &[Like]) {
    let mut sql = format!(
        "insert into likes (post_id, user_id, created_at, deleted_at, _committed_at, _version, _deleted) \
         settings async_insert = 0, insert_deduplication_token = '{token}' values "
    );
    for like in likes {
        let created = if like.removed.is_some() { moment(0) } else { moment(like.created) };
        let [deleted, committed] = [like.deleted, like.removed].map(|at| at.map_or("null".to_owned(), moment));
        let is_gone = u8::from(like.removed.is_some());
        let row = [uuid(like.post), uuid(like.user), created, deleted, committed].join(", ");
        write!(sql, "({row}, {}, {is_gone}),", like.version).expect("a text takes it");
    }
    database.run(sql.trim_end_matches(',')).await;
}

/// A history of likes, unlikes, likes again and rows that go, in the order of their versions.
fn history(numbers: &mut Numbers) -> Vec<Like> {
    let mut rows: BTreeMap<(u64, u64), Like> = BTreeMap::new();
    let mut told = Vec::new();
    for version in 1..400 {
        let (post, user) = (numbers.below(7), numbers.below(9));
        let now = START + version * 37_000_001;
        let new = Like { post, user, created: now, deleted: None, removed: None, version };
        let next = match rows.get(&(post, user)) {
            None | Some(Like { removed: Some(_), .. }) => new,
            Some(like) if like.deleted.is_some() => new,
            Some(like) if numbers.below(4) == 0 => Like { removed: Some(now), version, ..*like },
            Some(like) => Like { deleted: Some(now), version, ..*like },
        };
        rows.insert((post, user), next);
        told.push(next);
    }
    told
}

/// Users, each with a moment.
type Moments = BTreeSet<(u64, u64)>;

/// `hour post likes unlikes` as they are computed from the history itself.
fn computed(history: &[Like]) -> String {
    let mut likes: BTreeMap<(u64, u64), (Moments, Moments)> = BTreeMap::new();
    for like in history {
        if like.removed.is_none() {
            let hour = like.created / 3_600_000_000;
            likes.entry((hour, like.post)).or_default().0.insert((like.user, like.created));
        }
        if let Some(at) = like.deleted.or(like.removed) {
            likes.entry((at / 3_600_000_000, like.post)).or_default().1.insert((like.user, at));
        }
    }
    let lines = likes.iter().map(|((hour, post), (likes, unlikes))| {
        format!("{}\t{}\t{}\t{}", hour * 3_600, uuid(*post).trim_matches('\''), likes.len(), unlikes.len())
    });
    lines.collect::<Vec<_>>().join("\n")
}

async fn counted(database: &Database) -> String {
    let sql =
        "select toUnixTimestamp(hour), post_id, likes, unlikes from post_engagement_hourly order by hour, post_id";
    database.ask(sql).await
}

#[tokio::test]
async fn likes_that_are_delivered_again_in_other_cuts_or_read_again_count_once() {
    let database = Database::of_nova("likes").await;
    let mut numbers = Numbers(5);
    let history = history(&mut numbers);
    let expected = computed(&history);
    for (batch, likes) in history.chunks(50).enumerate() {
        insert(&database, &format!("a{batch}"), likes).await;
    }
    assert_eq!(counted(&database).await, expected);
    // The same batch with the same token, other cuts, an older part after a newer one.
    insert(&database, "a3", &history[150..200]).await;
    for (batch, likes) in history.chunks(33).enumerate().collect::<Vec<_>>().into_iter().rev() {
        insert(&database, &format!("b{batch}"), likes).await;
    }
    assert_eq!(counted(&database).await, expected);
    // A snapshot reads the rows that are there, with positions of its own.
    let mut rows: BTreeMap<(u64, u64), Like> = BTreeMap::new();
    rows.extend(history.iter().map(|like| ((like.post, like.user), *like)));
    let read: Vec<Like> =
        rows.values().filter(|like| like.removed.is_none()).map(|like| Like { version: 1_000_000, ..*like }).collect();
    insert(&database, "snapshot", &read).await;
    assert_eq!(counted(&database).await, expected);
    database.run("optimize table post_engagement_states final").await;
    assert_eq!(counted(&database).await, expected);
    let live = rows.values().filter(|like| like.removed.is_none()).count();
    assert_eq!(database.ask("select count() from likes__current").await, live.to_string());
    let distinct = "select count() = uniqExact(event_id) from post_events__current";
    assert_eq!(database.ask(distinct).await, "1");
}

#[tokio::test]
async fn a_like_again_counts_again_and_an_unlike_is_its_own_kind() {
    let database = Database::of_nova("again").await;
    let (first, second, third) = (START + 1, START + 2_000_000, START + 3_000_000);
    let like = Like { post: 1, user: 2, created: first, deleted: None, removed: None, version: 1 };
    let unlike = Like { deleted: Some(second), version: 2, ..like };
    let again = Like { created: third, version: 3, ..like };
    insert(&database, "a", &[like, unlike, again]).await;
    let score = "select likes, unlikes, score from post_engagement_hourly";
    assert_eq!(database.ask(score).await, "2\t1\t4");
    assert_eq!(database.ask("select count() from likes__current where deleted_at is null").await, "1");
}

#[tokio::test]
async fn what_a_client_says_is_recorded_and_only_what_it_alone_knows_is_counted() {
    let database = Database::of_nova("events").await;
    let mut rows = String::new();
    for (n, action) in ["view", "view", "impression", "like", "comment", "share", "hover"].into_iter().enumerate() {
        let row =
            [moment(START + 5), uuid(n as u64), uuid(2), uuid(3), format!("'{action}'"), moment(START)].join(", ");
        write!(rows, "({row}),").expect("a text takes it");
    }
    let columns = "event_time, event_id, user_id, post_id, action, received_at";
    // The second time with other cuts, as if no window remembered anything.
    for token in ["a", "b"] {
        let settings = format!("settings async_insert = 0, insert_deduplication_token = '{token}'");
        database
            .run(&format!("insert into post_events ({columns}) {settings} values {}", rows.trim_end_matches(',')))
            .await;
    }
    let counts = "select views, impressions, likes, comments, shares, score from post_engagement_hourly";
    assert_eq!(database.ask(counts).await, "2\t1\t0\t0\t1\t5.2");
    let kinds =
        "select event_type, count() from post_events__current group by event_type order by toString(event_type)";
    assert_eq!(
        database.ask(kinds).await,
        "client_comment\t1\nclient_hover\t1\nclient_like\t1\npost_impression\t1\npost_share\t1\npost_view\t2"
    );
    // A record of the first version of the schema: no time and no id, and the same one however often it comes.
    for token in ["c", "d"] {
        let row = [uuid(2), uuid(9), "'view'".to_owned(), moment(START)].join(", ");
        let settings = format!("settings async_insert = 0, insert_deduplication_token = '{token}'");
        database
            .run(&format!("insert into post_events (user_id, post_id, action, received_at) {settings} values ({row})"))
            .await;
    }
    let views = format!("select views from post_engagement_hourly where post_id = {}", uuid(9));
    assert_eq!(database.ask(&views).await, "1");
}

#[tokio::test]
async fn who_follows_whom_is_what_is_active_now() {
    let database = Database::of_nova("follows").await;
    let mut rows = String::new();
    for (followee, status, version, is_gone) in [
        (2, "active", 1, 0),
        (3, "active", 1, 0),
        (3, "ended", 2, 0),
        (4, "active", 1, 0),
        (4, "", 2, 1),
        (5, "active", 9, 0),
    ] {
        let (follower, followee, at) = (uuid(1), uuid(followee), moment(START));
        write!(rows, "({follower}, {followee}, '{status}', {at}, {version}, {is_gone}),").expect("a text takes it");
    }
    let columns = "follower_id, followee_id, status, created_at, _version, _deleted";
    database.run(&format!("insert into follows ({columns}) values {}", rows.trim_end_matches(','))).await;
    let [two, five] = [2, 5].map(|n| uuid(n).trim_matches('\'').to_owned());
    let now = "select followee_id from user_relationships order by followee_id";
    assert_eq!(database.ask(now).await, format!("{two}\n{five}"));
    let all = "select followees, followee_count from user_relationships_agg";
    assert_eq!(database.ask(all).await, format!("['{two}','{five}']\t2"));
}

#[tokio::test]
async fn what_is_talked_of_is_refreshed_by_the_server_and_is_what_counting_now_says() {
    let database = Database::of_nova("trending").await;
    // 70 posts in the last half hour, one that is older, one of the future.
    let columns = "event_time, event_id, user_id, post_id, action, received_at";
    let recent = format!(
        "insert into post_events ({columns}) select now64(6) - interval 1 + number % 1700 second as at, generateUUIDv4(), \
         generateUUIDv4(), toUUID('00000000-0000-4000-8000-' || leftPad(toString(sipHash64(number) % 70), 12, '0')), \
         ['view', 'share', 'impression'][number % 3 + 1], at from numbers(5000)"
    );
    database.run(&recent).await;
    for (post, at) in [(998, "now64(6) - interval 2 hour"), (999, "now64(6) + interval 1 hour")] {
        let values = format!(
            "insert into post_events ({columns}) select {at} as at, generateUUIDv4(), generateUUIDv4(), toUUID({}), 'share', at from numbers(900)",
            uuid(post)
        );
        database.run(&values).await;
    }
    let fresh = "select count() from system.view_refreshes where database = currentDatabase() and exception = '' and last_success_time is not null";
    database.run("system refresh view post_engagement_1h_refresh").await;
    database.run("system wait view post_engagement_1h_refresh").await;
    assert_eq!(database.ask(fresh).await, "1");
    let top = |view: &str| format!("select * except (as_of) from {view} order by rank");
    let kept = database.ask(&top("trending_1h")).await;
    assert_eq!(kept.lines().count(), 50);
    assert_eq!(kept, database.ask(&top("trending_live")).await);
    assert!(!kept.contains("-8000-00000000099"), "{kept}");
}
