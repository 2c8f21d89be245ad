//! One poison event in a thousand, and kills: only its key waits, the slot follows, and the retry delivers in order.

use std::collections::HashSet;

use demo::findings::Defect;
use harness::{PATIENCE, Relay, Site, TopicReader, pace, until, until_or};

use crate::parking::lot::act;
use crate::parking::{NARROW, PROPERTIES, slot_follows};

/// Events in all, and how many of them the topic takes for each that it does not.
const EVERY: i64 = 1000;
/// No multiple of [`EVERY`] is one of it, so that each poison event has a key of its own.
const KEYS: i64 = 1009;
/// Events of a transaction.
const TOGETHER: i64 = 100;

/// Writes the events numbered from `from` on, `TOGETHER` of them in each transaction.
async fn write(client: &tokio_postgres::Client, from: i64, to: i64) {
    let insert = format!(
        "insert into outbox_events (id, aggregate_type, aggregate_id, event_type, payload)
         select gen_random_uuid(), case i % {KEYS} % 2 when 0 then 'order' else 'parcel' end, format('k%s', i % {KEYS}), 'Changed',
                jsonb_build_object('n', 1 + i / {KEYS}, 'text', case i % {EVERY} when {EVERY} / 2
                  then (select string_agg(md5(random()::text || g), '') from generate_series(1, 1000) g)
                  else repeat('x', 100) end)
         from generate_series($1::bigint, $2::bigint) i"
    );
    let mut first = from;
    while first < to {
        client.execute(insert.as_str(), &[&first, &(first + TOGETHER - 1)]).await.unwrap();
        first += TOGETHER;
    }
}

async fn number(site: &Site, sql: &str) -> u64 {
    site.db().query_one(sql, &[]).await.unwrap().get::<_, i64>(0).unsigned_abs()
}

/// Kills the relay again and again while the events are written, and leaves a running one.
async fn under_kills(site: &Site, reader: &TopicReader, events: i64, kills: i64) -> Relay {
    let client = site.connect().await;
    let writer = tokio::spawn(async move { write(&client, 0, events).await });
    for kill in 1..=kills {
        let relay = site.relay().with(PROPERTIES, NARROW).start();
        let enough = (events * kill / (kills + 1)) as usize;
        let reached = async || (reader.count() >= enough).then_some(());
        until_or(4 * PATIENCE, reached, || format!("{} of {enough} records\n{}", reader.count(), relay.log())).await;
        relay.kill();
    }
    writer.await.unwrap();
    site.relay().with(PROPERTIES, NARROW).start()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_poison_event_in_a_thousand_holds_only_its_key_whatever_is_killed() {
    let (events, kills) = (pace(20_000, 100_000), pace(3, 20));
    let poison = (events / EVERY) as u64;
    let site = Site::new("poison").await;
    let reader = site.reader();
    let mut relay = under_kills(&site, &reader, events, kills).await;
    relay.ready().await;

    // Everything is either delivered or parked, and the slot has passed all of it.
    let unsettled = "select count(*) from postrider.parked where state in ('parked', 'waiting')";
    let done = async || (reader.ids().len() as u64 + number(&site, unsettled).await >= events as u64).then_some(());
    until("all events are delivered or parked", 4 * PATIENCE, done).await;
    slot_follows(&site).await;
    assert_eq!(number(&site, "select count(*) from postrider.parked where state = 'parked'").await, poison);
    let findings = site.judge(&reader).await;
    assert_eq!(findings.delivered + number(&site, unsettled).await, events as u64, "{findings:#?}");
    assert_eq!((findings.count(Defect::Reordered), findings.count(Defect::Phantom)), (0, 0), "{findings:#?}");

    // Only events of the keys of the poison wait, and of those only what came after it.
    let sql = "select distinct convert_from(key, 'utf8') from postrider.parked where state = 'parked'";
    let held: HashSet<String> = site.db().query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(held.len() as u64, poison);
    let astray = "select count(*) from postrider.parked w where state = 'waiting' and not exists
                    (select from postrider.parked p where p.key_hash = w.key_hash and p.state = 'parked' and p.position < w.position)";
    assert_eq!(number(&site, astray).await, 0);
    let waiting = number(&site, "select count(*) from postrider.parked where state = 'waiting'").await;
    let duplicated = findings.duplicated;

    // After the mend, a relay that is killed in the middle of it delivers them in order.
    relay.kill();
    act(&site, &["retry", "--all", "--by", "the operator"], &["retry: "]);
    let relay = site.relay().start();
    let some = "select count(*) from postrider.parked where state = 'delivered'";
    until("a part is delivered", 4 * PATIENCE, async || (number(&site, some).await > 0).then_some(())).await;
    relay.kill();
    let mut relay = site.relay().start();
    relay.ready().await;
    let client = site.connect().await;
    let more = (events + TOGETHER * 20 - 1) / TOGETHER * TOGETHER;
    write(&client, events, more).await;
    // What was written meanwhile of a key that is still held waits as well, and goes with it.
    let left = "select count(*) from postrider.parked where state <> 'delivered'";
    let all = async || (number(&site, left).await == 0).then_some(());
    let log = || format!("the rest is delivered\n{}", relay.log());
    until_or(8 * PATIENCE, all, log).await;
    let delivered = number(&site, some).await;
    until("the keys are free", PATIENCE, async || (relay.metric("postrider_held_keys").await < 0.5).then_some(()))
        .await;
    let findings = settled_after_the_mend(&site, &reader).await;

    let audit = "select verb, count(*) from postrider.parked_log group by verb order by verb";
    let audit = site.db().query(audit, &[]).await.unwrap();
    let audit: Vec<(String, i64)> = audit.iter().map(|row| (row.get(0), row.get(1))).collect();
    let count = |verb: &str| audit.iter().find(|(known, _)| known == verb).map_or(0, |(_, count)| count.unsigned_abs());
    assert_eq!((count("park"), count("retry"), count("deliver")), (poison, poison, delivered), "{audit:?}");
    assert_eq!(count("park") + count("wait"), delivered, "{audit:?}");
    report(&format!(
        "{events} events, {poison} poison, {kills} kills and one in the retry: {waiting} waited behind, 0 lost, 0 reordered, \
         {duplicated} repeated before the retry and {} in all; audit {audit:?}",
        findings.duplicated
    ));
    relay.terminate().await.expect(0, &[]);
}

/// Everything arrived, in order. New poison (the limit is raised) is none any more.
async fn settled_after_the_mend(site: &Site, reader: &TopicReader) -> demo::findings::Findings {
    site.assert_all_arrived(reader).await
}

/// The figures of a soak, for whoever runs one.
#[expect(clippy::print_stdout, reason = "a test's figures, shown with --nocapture or if it fails")]
fn report(text: &str) {
    println!("{text}");
}
