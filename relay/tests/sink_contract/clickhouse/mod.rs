//! The ClickHouse sink: under the contract of every sink, and what it alone promises.

mod append;
mod checks;
mod current;
mod evolve;
mod moved;
mod once;
mod parts;
pub(super) mod place;

use postrider_relay::pipeline::Progress;
use postrider_relay::sinks::clickhouse::{ClickHouse, From, Part};
use serde_json::Value;
use tokio::sync::OnceCell;

use self::place::{Place, append as appending};
use super::Rig;
use super::topic::Delivered;

/// A table that takes records as they are, whatever they are.
const RECORDS: &str = "create table records (
    key Nullable(String), value Nullable(String), headers Array(Tuple(String, Nullable(String))),
    at DateTime64(3, 'UTC'), place UInt64, arrived DateTime64(9) default now64(9)
) engine = MergeTree order by tuple() settings non_replicated_deduplication_window = 1000";

/// That table in a database of its own.
#[derive(Default)]
pub(super) struct Records(OnceCell<Place>);

impl Records {
    async fn place(&self) -> &Place {
        self.0.get_or_init(|| Place::with(&[RECORDS])).await
    }
}

impl Rig for Records {
    type Sink = ClickHouse;

    async fn open(&self) -> (ClickHouse, Option<Progress>) {
        let from = [
            ("key", From::Part(Part::Key)),
            ("value", From::Part(Part::Value)),
            ("headers", From::Part(Part::Headers)),
            ("at", From::Part(Part::Timestamp)),
            ("place", From::Part(Part::Offset)),
        ];
        let mut feed = appending("records", &from);
        feed.columns = Some(Vec::new());
        (self.place().await.open(&[feed]).await, None)
    }

    fn topic(&self) -> &str {
        "t"
    }

    async fn delivered(&self) -> Option<Vec<Delivered>> {
        let sql = "select key, value, headers, toUnixTimestamp64Milli(at) from records order by arrived, place";
        let text = |value: &Value| value.as_str().map(|text| text.as_bytes().to_vec());
        let header = |pair: &Value| (pair[0].as_str().unwrap().to_owned(), text(&pair[1]));
        let rows = self.place().await.rows(sql).await;
        let delivered = rows.iter().map(|row| Delivered {
            partition: 0,
            key: text(&row[0]),
            value: text(&row[1]),
            headers: row[2].as_array().unwrap().iter().map(header).collect(),
            timestamp_ms: row[3].as_i64(),
        });
        Some(delivered.collect())
    }

    fn keeps_progress(&self) -> bool {
        false
    }
}
