//! What happens behind Kafka belongs to what was written before it: one correlation id leads from the outbox to both workers.

use demo::chain::ClickHouse;
use demo::state::reader::TableTopics;
use harness::{PATIENCE, Site, shared, until};

/// A table for the events of orders, which keeps where each came from.
const ORDERS: &str = "create table orders (id UUID, total Int64, correlation_id String, part Int32, at Int64)
    engine = MergeTree order by id settings non_replicated_deduplication_window = 1000";

/// What both workers are told.
fn common(site: &Site, role: &str) -> String {
    format!(
        "[kafka]\nbootstrap_servers = '{}'\n[admin]\nlisten = '127.0.0.1:0'\n[log]\nlevel = 'debug'\n\
         [consumer]\nbatch_age_ms = 50\n[{role}]\ngroup = '{}.{role}'\n",
        site.bootstrap(),
        site.name()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn one_correlation_id_is_in_the_outbox_the_record_the_row_and_the_log_lines_of_both_workers() {
    let site = Site::new("traced").await;
    let (name, topic) = (site.name(), format!("{}.outbox.event.order", site.name()));
    let url = shared().clickhouse_url.as_deref().expect("ClickHouse runs");
    let redis = shared().redis_url.as_deref().expect("Redis runs");
    let clickhouse = ClickHouse::new(url, name);
    clickhouse.create().await.unwrap();
    clickhouse.run(ORDERS).await.unwrap();
    let load = format!(
        "{}[clickhouse]\nurl = '{url}'\ndatabase = '{name}'\n[load.tables.orders]\ntopic = '{topic}'\nkind = 'append'\n\
         from = {{ id = 'header:id', correlation_id = 'header:correlation-id', part = 'record:partition', at = 'record:offset' }}\n",
        common(&site, "load")
    );
    let invalidate = format!(
        "{}[redis]\nurl = '{redis}'\n[invalidate.rules.orders]\ntopic = '{topic}'\nstrategy = 'generation'\n\
         targets = ['{name}:{{total}}']\n",
        common(&site, "invalidate")
    );
    let mut workers =
        [("load", load), ("invalidate", invalidate)].map(|(role, toml)| site.worker(role, &toml).start_as(role));
    let mut relay = site.relay().start();
    relay.ready().await;
    for worker in &mut workers {
        worker.ready().await;
    }

    let correlation_id = format!("trace-{name}");
    let emit = "select postrider.emit('order', '42', 'OrderPaid', '{\"total\": 1999}', jsonb_build_object('correlation-id', $1::text))::text";
    let id: String = site.db().query_one(emit, &[&correlation_id]).await.unwrap().get(0);
    let find = format!(
        "select toString(id), toString(part), toString(at) from orders where correlation_id = '{correlation_id}'"
    );
    let row = until("the row is in ClickHouse", PATIENCE, async || clickhouse.rows(&find).await.unwrap().pop()).await;
    let [Some(found), Some(partition), Some(offset)] = &row[..] else { panic!("{row:?}") };
    assert_eq!(found, &id);
    for worker in &workers {
        worker.logs(&[&correlation_id]).await;
        let log = worker.log();
        let line = log.lines().find(|line| line.contains(&correlation_id)).unwrap_or_default();
        for part in [&topic, partition, offset] {
            assert!(line.contains(part.as_str()), "{part} is not in: {line}");
        }
    }
    for worker in workers {
        worker.terminate().await.expect(0, &[]);
    }
    clickhouse.drop().await.unwrap();
    let letters =
        ["load", "invalidate"].map(|role| [format!("{name}.{role}-dlq"), format!("{name}.{role}-dlq-orders")]);
    TableTopics::new(site.bootstrap(), "", &letters.concat()).delete().await.unwrap();
}
