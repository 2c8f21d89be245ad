//! `postrider outbox verify` tells what Kafka holds of the outbox, and nothing else; `postrider outbox replay` publishes events once
//! more as they were.

use std::time::Duration;

use harness::{Ended, Launch, PATIENCE, Record, Site, TopicReader, shared, until};
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;
use uuid::Uuid;

const POSITION: &str = "postrider-position";
const REPLAY: &str = "postrider-replay";

fn run(launch: Launch, arguments: &[&str]) -> Ended {
    arguments.iter().fold(launch, |launch, argument| launch.argument(argument)).complete("outbox")
}

/// What `verify` says of the only outbox, and whether it is content.
fn verify(site: &Site, arguments: &[&str]) -> (Value, bool) {
    let ended = run(site.relay(), &[&["verify", "--output", "json", "--wait", "30s"], arguments].concat());
    let said = ended.said().split("error: ").next().unwrap();
    let reports: Value = serde_json::from_str(said).unwrap_or_else(|error| panic!("{error}: {}", ended.said()));
    let ok = reports[0]["ok"].as_bool().unwrap();
    assert_eq!(ended.code(), Some(i32::from(!ok)), "{}", ended.said());
    (reports[0].clone(), ok)
}

/// How many rows of each class there are, as `class n, class n`.
fn classes(report: &Value) -> String {
    let classes = report["classes"].as_object().unwrap().iter();
    classes.map(|(class, count)| format!("{class} {count}")).collect::<Vec<_>>().join(", ")
}

/// The id and class of each fault.
fn faults(report: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    report["faults"].as_array().unwrap().iter().map(|fault| (text(&fault["id"]), text(&fault["class"]))).collect()
}

fn replay(site: &Site, arguments: &[&str]) -> Value {
    let ended = run(site.relay(), &[&["replay", "--output", "json"], arguments].concat());
    ended.expect(0, &[]);
    let said = ended.said();
    // Progress stands behind the report, on standard error.
    let end = said.rfind("\n}").unwrap() + 2;
    serde_json::from_str(&said[..end]).unwrap()
}

/// Writes events of a key, of counters from 1 on; the ids in their order.
async fn write(site: &Site, key: &str, events: i64) -> Vec<Uuid> {
    let emit =
        "select postrider.emit('order', $1, 'Changed', jsonb_build_object('n', $2::bigint), '{\"tenant\": \"a\"}')";
    let mut ids = Vec::new();
    for n in 1..=events {
        ids.push(site.db().query_one(emit, &[&key, &n]).await.unwrap().get(0));
    }
    ids
}

/// A producer of a record that no relay wrote.
fn produce(site: &Site, record: &Record, value: &[u8]) {
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", site.bootstrap()).create().unwrap();
    let mut headers = OwnedHeaders::new();
    for (key, value) in &record.headers {
        headers = headers.insert(Header { key, value: value.as_deref() });
    }
    let key = record.key.as_deref().unwrap();
    let base = BaseRecord::to(&record.topic).partition(record.partition).key(key).payload(value).headers(headers);
    producer.send(base).map_err(|(error, _)| error).unwrap();
    tokio::task::block_in_place(|| producer.flush(PATIENCE)).unwrap();
}

/// The records of the relay that carry an event, and those of replays.
fn of(reader: &TopicReader, id: Uuid) -> (Vec<Record>, Vec<Record>) {
    let records = reader.records().into_iter().filter(|record| record.id() == Some(id));
    records.partition(|record| record.header(REPLAY).is_none())
}

/// Topic aside, a record is as the relay wrote it; the position is only there if it could be known.
fn assert_same(original: &Record, again: &Record, run: &str, positioned: bool) {
    let kept = |record: &Record| {
        let own = |name: &str| name == REPLAY || (name == POSITION && !positioned);
        record.headers.iter().filter(|(name, _)| !own(name)).cloned().collect::<Vec<_>>()
    };
    assert_eq!((&original.key, &original.value, original.partition), (&again.key, &again.value, again.partition));
    assert_eq!(kept(original), kept(again));
    assert_eq!((again.header(REPLAY), again.header(POSITION).is_some()), (Some(run), positioned));
}

/// A site whose relay delivered events of three keys and has ended; with the ids of the first key.
async fn delivered(promise: &str) -> (Site, TopicReader, Vec<Uuid>) {
    let site = Site::new(promise).await;
    let reader = site.reader();
    let mut relay = site.relay().start();
    relay.ready().await;
    let first = write(&site, "a", 4).await;
    write(&site, "b", 3).await;
    write(&site, "c", 3).await;
    reader.distinct(10).await;
    let end = site.wal_end().await;
    until("the slot follows", PATIENCE, async || (site.confirmed().await >= end).then_some(())).await;
    relay.terminate().await.expect(0, &[]);
    (site, reader, first)
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_finds_nothing_while_the_relay_runs_and_then_exactly_what_is_wrong() {
    let site = Site::new("verify").await;
    let reader = site.reader();
    let (none, ok) = verify(&site, &[]);
    assert_eq!((classes(&none), ok), (String::new(), true), "{none:#}");
    let mut relay = site.relay().start();
    relay.ready().await;
    let (a, b) = (write(&site, "a", 4).await, write(&site, "b", 4).await);
    // Not everything is delivered when it begins: it waits for the slot.
    let (clean, ok) = verify(&site, &[]);
    assert_eq!((classes(&clean), ok), ("delivered 8".to_owned(), true), "{clean:#}");
    relay.terminate().await.expect(0, &[]);

    // A record once more, another one with other bytes.
    reader.distinct(8).await;
    let record = |id| of(&reader, id).0.remove(0);
    produce(&site, &record(a[0]), record(a[0]).value.as_deref().unwrap());
    produce(&site, &record(b[1]), b"{}");
    // What nobody delivered yet awaits that.
    let late = write(&site, "late", 2).await;
    let (report, ok) = verify(&site, &["--since", "1h"]);
    assert_eq!((classes(&report), ok), ("awaiting 2, delivered 6, differing 1, duplicated 1".to_owned(), false));
    let expected = [(a[0].to_string(), "duplicated".to_owned()), (b[1].to_string(), "differing".to_owned())];
    assert_eq!(faults(&report), expected, "{report:#}");

    // What a slot was moved past is lost, and so said.
    site.db().execute("select pg_replication_slot_advance($1, pg_current_wal_lsn())", &[&site.name()]).await.unwrap();
    let mut relay = site.relay().argument("--accept-gap").start();
    relay.ready().await;
    let ids = [late[0].to_string(), late[1].to_string(), a[1].to_string(), Uuid::nil().to_string()];
    let ids: Vec<&str> = ids.iter().flat_map(|id| ["--id", id]).collect();
    let (report, _) = verify(&site, &ids);
    assert_eq!(classes(&report), "delivered 1, missing 2", "{report:#}");
    assert_eq!(report["gone"], serde_json::json!([Uuid::nil().to_string()]));
    run(site.relay(), &["verify"])
        .expect(1, &["missing            2", "has no record of it", "2 are missing, 1 differ"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_tells_order_by_positions_and_does_not_call_missing_what_a_topic_forgot() {
    let (site, reader, ids) = delivered("verifyorder").await;
    let topic = of(&reader, ids[0]).0[0].topic.clone();
    // The topic's records go, and come back in another order; one does not.
    let records: Vec<Record> = ids.iter().map(|id| of(&reader, *id).0.remove(0)).collect();
    let partition = records[0].partition;
    forget(&site, &topic, partition).await;
    for record in [&records[1], &records[0], &records[2]] {
        produce(&site, record, record.value.as_deref().unwrap());
    }
    let mut relay = site.relay().start();
    relay.ready().await;
    let ids: Vec<String> = ids.iter().map(Uuid::to_string).collect();
    let wanted: Vec<&str> = ids.iter().flat_map(|id| ["--id", id]).collect();
    let (report, ok) = verify(&site, &wanted);
    assert_eq!((classes(&report), ok), ("cannot_tell 1, delivered 2, out_of_order 1".to_owned(), false), "{report:#}");
    assert_eq!(faults(&report), [(ids[0].clone(), "out_of_order".to_owned())]);
    assert_eq!(report["topics_cut"], serde_json::json!([topic]));
    relay.terminate().await.expect(0, &[]);
}

/// Deletes every record of a partition that is there now, as retention would.
async fn forget(site: &Site, topic: &str, partition: i32) {
    use rdkafka::admin::{AdminClient, AdminOptions};
    use rdkafka::client::DefaultClientContext;
    use rdkafka::{Offset, TopicPartitionList};

    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", site.bootstrap()).create().unwrap();
    let mut all = TopicPartitionList::new();
    all.add_partition_offset(topic, partition, Offset::End).unwrap();
    admin.delete_records(&all, &AdminOptions::new()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_set_aside_is_no_fault_and_what_somebody_gave_up_is_missing() {
    let site = Site::new("verifyparked").await;
    let mut relay = site.relay().with("POSTRIDER_KAFKA_PROPERTIES", "message.max.bytes=20000").start();
    relay.ready().await;
    let large = "select postrider.emit('order', 'k', 'Large', jsonb_build_object('text',
                   (select string_agg(md5(random()::text), '') from generate_series(1, 4000))))";
    let large: Uuid = site.db().query_one(large, &[]).await.unwrap().get(0);
    write(&site, "k", 1).await;
    write(&site, "other", 1).await;
    let (report, ok) = verify(&site, &[]);
    assert_eq!((classes(&report), ok), ("delivered 1, parked 2".to_owned(), true), "{report:#}");
    site.relay().argument("discard").argument("--all").complete("parked").expect(0, &["discard: "]);
    let settled = async || {
        let sql = "select from postrider.parked where state in ('parked', 'waiting') limit 1";
        site.db().query_opt(sql, &[]).await.unwrap().is_none().then_some(())
    };
    until("what waited behind it went on", PATIENCE, settled).await;
    let (report, ok) = verify(&site, &[]);
    assert_eq!((classes(&report), ok), ("delivered 2, missing 1".to_owned(), false), "{report:#}");
    assert_eq!(faults(&report), [(large.to_string(), "missing".to_owned())]);
    relay.terminate().await.expect(0, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_by_id_key_time_or_position_gives_the_same_records_in_order() {
    let (site, reader, ids) = delivered("replay").await;
    let before = reader.count();
    let key = ["--key", "a", "--aggregate-type", "order"];
    let planned = replay(&site, &key);
    assert_eq!((&planned["published"], &planned["done"]), (&Value::from(4), &Value::Bool(false)), "{planned:#}");
    assert_eq!(planned["first"]["id"].as_str(), Some(&*ids[0].to_string()));
    reader.read_to_the_end().await;
    let audit = "select count(*) from postrider.parked_log where verb like 'replay%'";
    assert_eq!(site.db().query_one(audit, &[]).await.unwrap().get::<_, i64>(0), 0);
    assert_eq!(reader.count(), before, "a plan publishes nothing");

    // Into the other topic of this place, which no event of these tests belongs to.
    let elsewhere = site.topics().names().find(|topic| topic.ends_with("parcel")).unwrap();
    let position = of(&reader, ids[2]).0[0].header(POSITION).unwrap().to_owned();
    let lsn = of(&reader, ids[3]).0[0].commit_lsn().unwrap();
    let lsn = format!("{:X}/{:X}", lsn >> 32, lsn & 0xffff_ffff);
    let one = ids[1].to_string();
    let ways: [(&[&str], &[Uuid]); 5] = [
        (&["--id", &one], &ids[1..2]),
        (&key, &ids),
        (&["--since", "1h", "--key", "a"], &ids),
        (&["--from-position", &position, "--to-position", &lsn], &ids[2..4]),
        (&["--key", "a", "--after", &one], &ids[2..4]),
    ];
    for (way, expected) in ways {
        let done = replay(&site, &[way, &["--yes", "--topic", &elsewhere, "--by", "ann"]].concat());
        assert_eq!((&done["published"], &done["done"]), (&Value::from(expected.len()), &Value::Bool(true)), "{done:#}");
        assert_eq!(done["topics"][&elsewhere], Value::from(expected.len()), "{done:#}");
        reader.read_to_the_end().await;
        let run = done["run"].as_str().unwrap();
        let records: Vec<Record> =
            reader.records().into_iter().filter(|record| record.header(REPLAY) == Some(run)).collect();
        let order: Vec<Uuid> = records.iter().filter_map(Record::id).collect();
        assert_eq!(order, expected, "{way:?}");
        for record in &records {
            assert_eq!(record.topic, elsewhere);
            assert_same(&of(&reader, record.id().unwrap()).0[0], record, run, way[0] == "--from-position");
        }
    }
    let audit = "select string_agg(distinct concat_ws(' ', verb, by_whom), ', ') from postrider.parked_log";
    let audit: String = site.db().query_one(audit, &[]).await.unwrap().get(0);
    assert_eq!(audit, "replay ann, replayed ann");
    // Elsewhere is no second delivery; to its own topic it is one that was wanted.
    let (report, ok) = verify(&site, &[]);
    assert_eq!((classes(&report), &report["replayed"], ok), ("delivered 10".to_owned(), &Value::from(0), true));
    let done = replay(&site, &["--key", "b", "--yes"]);
    assert_eq!(done["published"], Value::from(3), "{done:#}");
    let (report, ok) = verify(&site, &[]);
    assert_eq!((classes(&report), &report["replayed"], ok), ("delivered 10".to_owned(), &Value::from(3), true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_keeps_its_rate_and_goes_on_where_it_was_stopped() {
    let (site, reader, _) = delivered("replayrate").await;
    let before = reader.count();
    let launch = ["replay", "--since", "1h", "--yes", "--rate", "4"];
    let launch = launch.iter().fold(site.relay(), |launch, argument| launch.argument(argument));
    let began = std::time::Instant::now();
    let running = launch.start_as("outbox");
    until("some are published", PATIENCE, async || (reader.count() >= before + 4).then_some(())).await;
    // Four a second, the first at once.
    assert!(began.elapsed() >= Duration::from_millis(740), "{:?}", began.elapsed());
    running.terminate().await.expect(1, &["stopped before the end"]);
    reader.read_to_the_end().await;
    let published = reader.count() - before;
    assert!((4..10).contains(&published), "{published}");
    let last = reader.records().into_iter().filter(|record| record.header(REPLAY).is_some());
    let last = last.max_by_key(|record| record.timestamp_ms).unwrap();
    let (run, after) = (last.header(REPLAY).unwrap().to_owned(), last.id().unwrap().to_string());
    let arguments = ["--since", "1h", "--yes", "--rate", "100000", "--run", &run, "--after", &after];
    let done = replay(&site, &arguments);
    assert_eq!(done["published"], Value::from(10 - published), "{done:#}");
    reader.read_to_the_end().await;
    let ids: Vec<_> = reader.records().into_iter().filter(|record| record.header(REPLAY) == Some(&run)).collect();
    assert_eq!(ids.len(), 10, "all of one run, none twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_is_said_before_anything_is() {
    let (site, reader, ids) = delivered("replaybad").await;
    let (before, id) = (reader.count(), ids[0].to_string());
    let verify = |arguments: &[&str]| run(site.relay(), &[&["verify"], arguments].concat());
    let replay = |arguments: &[&str]| run(site.relay(), &[&["replay"], arguments].concat());
    verify(&["--id", "17"]).expect(1, &["\"17\" is no id", "UUIDs"]);
    verify(&["--since", "yesterday"]).expect(2, &["a moment is"]);
    verify(&["--outbox", "nobody"]).expect(1, &["no outbox with a table is called nobody"]);
    verify(&["--until", "2001-01-01"]).expect(0, &["no row fits"]);
    replay(&[]).expect(2, &["required"]);
    replay(&["--id", "17"]).expect(1, &["\"17\" is no id"]);
    replay(&["--key", "nothing has it", "--yes"]).expect(0, &["no row fits", "nothing to publish"]);
    replay(&["--from-position", "12"]).expect(2, &["32 hexadecimal digits"]);
    replay(&["--from-position", "0/1", "--key", "a"]).expect(2, &["cannot be used with"]);
    replay(&["--key", "a", "--rate", "0"]).expect(2, &["--rate"]);
    replay(&["--key", "a", "--after", &Uuid::nil().to_string()]).expect(1, &["is not among the rows"]);
    replay(&["--key", "a", "--yes", "--topic", "no such topic"]).expect(1, &["refused", &id]);
    let away = site.relay().with("POSTRIDER_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1");
    let away = away.with("POSTRIDER_KAFKA_REQUEST_TIMEOUT_MS", "1000");
    run(away.clone(), &["verify"]).expect(1, &["127.0.0.1:1"]);
    run(away, &["replay", "--key", "a", "--yes"]).expect(1, &["127.0.0.1:1"]);
    // What is pruned cannot come back.
    site.db().execute("delete from outbox_events where id = $1", &[&ids[0]]).await.unwrap();
    replay(&["--id", &id, "--yes"]).expect(0, &["gone from the table: 1", &id, "nothing to publish"]);
    let position = of(&reader, ids[0]).0[0].header(POSITION).unwrap().to_owned();
    replay(&["--from-position", &position, "--to-position", &position]).expect(0, &["gone from the table: 1", &id]);
    reader.read_to_the_end().await;
    assert_eq!(reader.count(), before, "nothing was published");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_polled_outbox_goes_by_its_marks_and_its_order() {
    let site = Site::bare("verifypolled", &shared().postgres, &shared().kafka.bootstrap).await;
    site.migrate();
    let polling = |launch: Launch| launch.with("POSTRIDER_SOURCE_MODE", "polling");
    polling(site.initialiser()).complete("init").expect(0, &[]);
    site.create_topics().await;
    let verify = || run(polling(site.relay()), &["verify"]);
    let ids = write(&site, "a", 3).await;
    verify().expect(0, &["awaiting delivery  3", "missing            0"]);
    let mut relay = polling(site.relay()).start();
    relay.ready().await;
    let marked = async || {
        let waits = "select from outbox_events where published_at is null limit 1";
        site.db().query_opt(waits, &[]).await.unwrap().is_none().then_some(())
    };
    until("all are marked", PATIENCE, marked).await;
    relay.terminate().await.expect(0, &[]);
    verify().expect(0, &["delivered once     3"]);
    site.db().execute("update outbox_events set published_at = null where id = $1", &[&ids[0]]).await.unwrap();
    write(&site, "b", 1).await;
    site.sql("update outbox_events set published_at = now() where aggregate_id = 'b'").await;
    verify().expect(1, &["delivered once     3", "missing            1"]);
}
