//! The verdict on aggregates: each must be, row by row, what a recomputation from the sources gives. Those are the outbox, the tables and
//! what the clients reported: none of them came through Kafka.

use std::collections::BTreeMap;

use tokio_postgres::Client;

use crate::chain::clickhouse::ClickHouse;
use crate::error::{Doing, Result};
use crate::nova::Reported;
use crate::state::compare::{Comparison, Values};

/// How many views, impressions, likes, unlikes, comments and shares there were.
type Counts = [u64; 6];

/// The names of [`Counts`] in ClickHouse.
const NAMES: &str = "views, impressions, likes, unlikes, comments, shares";

/// Counts by hour since 1970 and post.
type Hourly = BTreeMap<(i64, String), Counts>;

/// Every like and unlike, each in the hour of its transaction: its row has no memory of those before.
const LIKES: &str = "
select floor(extract(epoch from created_at) / 3600)::bigint, payload ->> 'post_id', event_type, count(*)
from outbox_events
where event_type in ('PostLiked', 'PostUnliked')
group by 1, 2, 3";

/// Every comment that was ever written.
const COMMENTS: &str = "
select floor(extract(epoch from created_at) / 3600)::bigint, post_id::text, 'Comment', count(*)
from comments
group by 1, 2";

const RELATIONSHIPS: &str = "select follower_id::text, followee_id::text from follows where status = 'active'";

const FOLLOWEES: &str = r#"
select follower_id::text, string_agg(followee_id::text, ',' order by followee_id::text collate "C"), count(*)::text
from follows where status = 'active' group by 1"#;

/// Compares every aggregate.
pub(super) async fn compare(postgres: &Client, clickhouse: &ClickHouse, reported: &Reported) -> Result<Comparison> {
    let hourly = recomputed(postgres, reported).await?;
    let mut posts: BTreeMap<String, Counts> = BTreeMap::new();
    for ((_, post), counts) in &hourly {
        let sum = posts.entry(post.clone()).or_default();
        sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }
    let by_hour = hourly.iter().map(|((hour, post), counts)| row(&[&hour.to_string(), post], *counts));
    let by_post: Vec<Values> = posts.iter().map(|(post, counts)| row(&[post], *counts)).collect();
    let mut beside = Beside { clickhouse, comparison: Comparison::default() };
    let hour = "toString(intDiv(toUnixTimestamp(hour), 3600)), toString(post_id)";
    beside.compare("post_engagement_hourly", hour, by_hour.collect()).await?;
    beside.compare("post_stats_24h", "toString(post_id)", by_post.clone()).await?;
    clickhouse.run("system refresh view post_engagement_1h_refresh").await?;
    clickhouse.run("system wait view post_engagement_1h_refresh").await?;
    beside.compare("post_engagement_1h", "toString(post_id)", by_post).await?;
    beside.trending(posts.values().map(|counts| score(*counts)).collect()).await?;
    beside.relationships(postgres).await?;
    Ok(beside.comparison)
}

/// The counts of each hour and post, from the sources.
async fn recomputed(postgres: &Client, reported: &Reported) -> Result<Hourly> {
    let mut hourly = Hourly::new();
    for ((hour, post, action), count) in &reported.hourly {
        let place = match *action {
            "view" => 0,
            "impression" => 1,
            "share" => 5,
            _ => continue,
        };
        hourly.entry((*hour, post.to_string())).or_default()[place] += count;
    }
    for query in [LIKES, COMMENTS] {
        for found in postgres.query(query, &[]).await.doing("recomputing what posts were given")? {
            let (hour, post, kind, count): (i64, String, String, i64) =
                (found.get(0), found.get(1), found.get(2), found.get(3));
            let place = match kind.as_str() {
                "PostLiked" => 2,
                "PostUnliked" => 3,
                _ => 4,
            };
            hourly.entry((hour, post)).or_default()[place] += count.unsigned_abs();
        }
    }
    Ok(hourly)
}

/// Ten times the score, which is a whole number: views 0.1, likes 2, comments 3, shares 5.
fn score([views, _, likes, _, comments, shares]: Counts) -> u64 {
    views + 20 * likes + 30 * comments + 50 * shares
}

fn row(key: &[&str], counts: Counts) -> Values {
    let key = key.iter().map(|part| Some((*part).to_owned()));
    let counts = counts.iter().copied().chain([score(counts)]).map(|count| Some(count.to_string()));
    key.chain(counts).collect()
}

struct Beside<'a> {
    clickhouse: &'a ClickHouse,
    comparison: Comparison,
}

impl Beside<'_> {
    /// Compares a view of counts, whose rows are named by `key`.
    async fn compare(&mut self, view: &str, key: &str, wanted: Vec<Values>) -> Result<()> {
        let counts: Vec<String> = NAMES.split(", ").map(|name| format!("toString({name})")).collect();
        let any = NAMES.replace(", ", " + ");
        let sql = format!(
            "select {key}, {}, toString(toUInt64(round(score * 10))) from {view} where {any} > 0",
            counts.join(", ")
        );
        self.rows(view, &sql, wanted).await
    }

    /// Compares the fifty highest scores: which of several posts with the last one is shown is nobody's promise.
    async fn trending(&mut self, mut scores: Vec<u64>) -> Result<()> {
        scores.sort_unstable_by(|a, b| b.cmp(a));
        scores.truncate(50);
        let wanted = scores.iter().filter(|score| **score > 0).map(|score| vec![Some(score.to_string())]);
        let sql = "select toString(toUInt64(round(score * 10))) from trending_1h where score > 0";
        self.rows("trending_1h", sql, wanted.collect()).await
    }

    async fn relationships(&mut self, postgres: &Client) -> Result<()> {
        let followees = "arrayStringConcat(arraySort(arrayMap(id -> toString(id), followees)), ',')";
        let views = [
            (
                "user_relationships",
                RELATIONSHIPS,
                "select toString(follower_id), toString(followee_id) from user_relationships".to_owned(),
            ),
            (
                "user_relationships_agg",
                FOLLOWEES,
                format!(
                    "select toString(follower_id), {followees}, toString(followee_count) from user_relationships_agg"
                ),
            ),
        ];
        for (view, query, sql) in views {
            let held = postgres.query(query, &[]).await.doing(format!("recomputing {view}"))?;
            let wanted = held.iter().map(|row| (0..row.len()).map(|at| row.get(at)).collect());
            self.rows(view, &sql, wanted.collect()).await?;
        }
        Ok(())
    }

    async fn rows(&mut self, view: &str, sql: &str, wanted: Vec<Values>) -> Result<()> {
        let found = self.clickhouse.rows(sql).await?;
        let shown = |values: &Values| {
            let parts: Vec<&str> = values.iter().map(|value| value.as_deref().unwrap_or("null")).collect();
            parts.join(" ").chars().take(200).collect()
        };
        self.comparison.sides(view, "ClickHouse has", wanted.into_iter(), found.into_iter(), shown);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::chain::aggregates::{row, score};

    #[test]
    fn the_score_is_that_of_the_formula() {
        assert_eq!(score([3, 1000, 2, 1000, 1, 4]), 3 + 40 + 30 + 200);
        assert_eq!(row(&["7"], [1, 0, 0, 0, 0, 0]).last().cloned().flatten().as_deref(), Some("1"));
    }
}
