//! Care of the outbox table beside a running relay: what was there before it is published first, and nothing leaves undelivered.

use std::time::Duration;

use harness::{Load, PATIENCE, Site, shared, until};

/// Attaches a partition for a day long past, with events in it, as if they had been written then.
async fn add_old_day(site: &Site, events: i64) -> String {
    let day = "(date_trunc('day', now() at time zone 'UTC') - interval '30 days')";
    let row = site
        .db()
        .query_one(
            &format!(
                "select to_char({day}, 'YYYYMMDD'), {day}::text || '+00', ({day} + interval '1 day')::text || '+00'"
            ),
            &[],
        )
        .await
        .unwrap();
    let (compact, from, to): (String, String, String) = (row.get(0), row.get(1), row.get(2));
    let name = format!("outbox_events_p{compact}");
    site.sql(&format!(
        "create table {name} (like outbox_events including defaults including constraints);
         alter table outbox_events attach partition {name} for values from ('{from}') to ('{to}');
         insert into outbox_events (aggregate_type, aggregate_id, event_type, payload, headers, created_at)
         select 'order', 'old', 'Changed', jsonb_build_object('n', i), '{{}}', '{from}' from generate_series(1, {events}) i"
    ))
    .await;
    name
}

async fn exists(site: &Site, table: &str) -> bool {
    site.db().query_one("select to_regclass($1) is not null", &[&table]).await.unwrap().get(0)
}

async fn cut(promise: &str) -> Site {
    let site = Site::new(promise).await;
    site.administrator().argument("--partition-by").argument("day").complete("migrate").expect(0, &["done: attach"]);
    site
}

/// A verb below `outbox`, as the administrator.
fn outbox(site: &Site, arguments: &[&str]) -> harness::Launch {
    arguments.iter().fold(site.administrator(), |launch, argument| launch.argument(argument))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_is_published_in_order_and_once_while_writers_go_on() {
    let site = Site::bare("backlog", &shared().postgres, &shared().kafka.bootstrap).await;
    site.create_topics().await;
    site.migrate();
    let load = Load::start(&site, 4, Duration::from_millis(2)).await;
    until("there is a backlog", PATIENCE, async || (site.committed().await > 300).then_some(())).await;
    site.initialiser().complete("init").expect(1, &["that the new slot would never see", "--backlog publish"]);
    site.initialiser()
        .argument("--backlog")
        .argument("publish")
        .complete("init")
        .expect(0, &["done: publish the rows"]);
    let reader = site.reader();
    let relay = site.relay().start();
    let before = site.committed().await;
    until("writers go on", PATIENCE, async || (site.committed().await > before + 200).then_some(())).await;
    load.stop().await;
    let findings = site.assert_all_arrived(&reader).await;
    assert_eq!(findings.duplicated, 0);
    relay.terminate().await.expect(0, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_relay_cuts_over_to_a_partitioned_table_and_loses_nothing() {
    let site = Site::new("cutover").await;
    let reader = site.reader();
    let mut relay = site.relay().start();
    relay.ready().await;
    site.sql(r#"select postrider.emit('order', 'k', 'Changed', '{"n": 1}')"#).await;
    reader.distinct(1).await;
    outbox(&site, &["prune", "--older-than", "0s"]).complete("outbox").expect(0, &["1 events deleted"]);
    site.administrator().argument("--partition-by").argument("day").complete("migrate").expect(0, &["done: attach"]);
    site.sql(r#"select postrider.emit('order', 'k', 'Changed', '{"n": 2}')"#).await;
    reader.distinct(2).await;
    relay.terminate().await.expect(0, &[]);
    site.sql(r#"select postrider.emit('order', 'k', 'Changed', '{"n": 3}')"#).await;
    let relay = site.relay().start();
    reader.distinct(3).await;
    relay.terminate().await.expect(0, &[]);
    assert_eq!(reader.count(), 3, "each came once");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undelivered_event_in_an_old_partition_keeps_it_until_a_relay_has_delivered_it() {
    let site = cut("oldday").await;
    let old = add_old_day(&site, 500).await;
    let care = || outbox(&site, &["partitions", "--apply"]).complete("outbox");
    // Nobody delivers: it is detached, and no run drops it.
    care().expect(0, &["done: detach", "waiting", "has confirmed"]);
    care().expect(0, &["waiting"]);
    assert!(exists(&site, &old).await);
    // Its events are in the log all the same, and the relay, which looks after it now, drops it then.
    let reader = site.reader();
    let relay =
        site.relay().with("POSTRIDER_PARTITIONS_MANAGE", "true").with("POSTRIDER_PARTITIONS_INTERVAL_MS", "100");
    let owner: String = site
        .db()
        .query_one("select pg_get_userbyid(relowner)::text from pg_class where relname = 'outbox_events'", &[])
        .await
        .unwrap()
        .get(0);
    let running = relay.start();
    // The superuser owns the table, whose member the relay's role is not: it says so, and goes on delivering.
    running.logs(&["could not be looked after", "may not change table", "grant"]).await;
    reader.distinct(500).await;
    assert!(exists(&site, &old).await);
    site.sql(&format!("grant \"{owner}\" to \"{}\"", site.role())).await;
    until("the old day is gone", PATIENCE, async || (!exists(&site, &old).await).then_some(())).await;
    site.sql(&format!("revoke \"{owner}\" from \"{}\"", site.role())).await;
    running.terminate().await.expect(0, &[]);
    assert_eq!(reader.count(), 500, "each came once, in spite of the detachment");
}
