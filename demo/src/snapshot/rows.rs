//! The table that is read: rows as an application has them, the same ones in every run.

use std::time::Instant;

use tokio_postgres::Client;

use crate::error::{Doing, Result};
use crate::screen::Screen;
use crate::state::Site;

/// Its name.
pub(super) const TABLE: &str = "posts";

/// A key, numbers, texts that repeat no more than texts do, a time.
const CREATE: &str = "create table posts (
    id bigint primary key,
    author_id bigint not null,
    title text not null,
    body text not null,
    likes int not null,
    score numeric(12, 2),
    draft boolean not null,
    published_at timestamptz not null
)";

/// Rows from $1 to $2.
const FILL: &str = "insert into posts
    select i, i * 7919 % 100003, 'Post number ' || i, md5(i::text) || ' ' || md5((i * 31)::text) || ' ' || md5((i * 37)::text),
           i % 1000, (i % 100000) / 100.0, i % 10 = 0, timestamptz '2026-01-01' + i * interval '1 second'
    from generate_series($1::bigint, $2::bigint) i";

/// How many rows are written at once.
const STEP: u64 = 250_000;

/// A filled table.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) client: Client,
    pub(super) rows: u64,
    /// Bytes of a row as COPY writes it, on average.
    pub(super) row_bytes: f64,
}

impl Rows {
    /// Creates and fills the table, and initialises the relay for it.
    pub(super) async fn create(site: &Site, rows: u64, screen: &Screen) -> Result<Self> {
        let client = site.database.connect().await?;
        site.relay.complete("migrate")?;
        client.batch_execute(CREATE).await.doing("creating the table")?;
        let begun = Instant::now();
        let mut first = 1;
        while first <= rows {
            let last = (first + STEP - 1).min(rows);
            client.execute(FILL, &[&(first as i64), &(last as i64)]).await.doing("filling the table")?;
            first = last + 1;
        }
        // One by one: together they would be a transaction, in which VACUUM cannot run.
        for settle in ["vacuum (analyze) posts", "checkpoint"] {
            client.batch_execute(settle).await.doing("settling the table")?;
        }
        site.init().await?;
        let sample = "select avg(octet_length(concat_ws(E'\\t', id, author_id, title, body, likes, score, draft, published_at)) + 1)::float8
                      from (select * from posts where id <= 10000) sample";
        let row_bytes: f64 = client.query_one(sample, &[]).await.doing("measuring rows")?.get(0);
        screen.say(&format!("{rows} rows of {row_bytes:.0} bytes written in {:.1} s", begun.elapsed().as_secs_f64()));
        Ok(Self { client, rows, row_bytes })
    }
}
