//! The spill: while no broker takes events, the slot is read into files of the relay's disk, so that the server may remove its WAL;
//! whatever ends the relay, all of it is delivered, in order, before the slot is read again.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use harness::{Launch, PATIENCE, Relay, Site, TopicReader, shared, until};
use serde_json::Value;
use xtask::services::PrivateKafka;

/// A broker that is not there.
const NO_BROKER: &str = "127.0.0.1:1";

/// What is written by [`write`] at a time.
const EVENTS: u64 = 400;

/// A folder for spills; removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(site: &Site) -> Self {
        Self(std::env::temp_dir().join(format!("{}_spill", site.name())))
    }

    /// The segments in it, oldest first.
    fn segments(&self, site: &Site) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.0.join(site.name())).expect("the relay made it");
        let paths = entries.map(|entry| entry.expect("it can be listed").path());
        let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some_and(|end| end == "spill")).collect();
        paths.sort();
        paths
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// A relay with a budget of 4 MiB, which spills what is beyond.
fn spilling(site: &Site, folder: &Folder) -> Launch {
    site.relay()
        .with("POSTRIDER_GUARD_ACTION", "spill")
        .with("POSTRIDER_GUARD_SPILL_DIR", folder.0.to_str().expect("a path of letters"))
        .with("POSTRIDER_GUARD_WAL_BYTES_MAX", "4194304")
        .with("POSTRIDER_GUARD_INTERVAL_MS", "100")
}

fn without_broker(launch: Launch) -> Launch {
    launch.with("POSTRIDER_KAFKA_BOOTSTRAP_SERVERS", NO_BROKER)
}

/// Writes WAL beside the outbox.
async fn write_wal(site: &Site, mib: u64) {
    let write = format!(
        "select pg_logical_emit_message(false, 'ballast', repeat('x', 1048576)) from generate_series(1, {mib})"
    );
    site.sql(&write).await;
}

/// Writes 8 MiB of WAL beside the outbox, and then events of 20 keys, half a MiB of them, each in a transaction of its own.
async fn write(site: &Site) {
    write_wal(site, 8).await;
    let events = format!(
        "do $$ declare before bigint := (select count(*) from outbox_events); begin
           for i in before .. before + {EVENTS} - 1 loop
             insert into outbox_events (id, aggregate_type, aggregate_id, event_type, payload)
             values (gen_random_uuid(), 'order', 'key' || i % 20, 'Grown', jsonb_build_object('n', 1 + i / 20, 'text', repeat('x', 1000)));
             commit;
           end loop;
         end $$"
    );
    site.sql(&events).await;
}

/// Waits until all that is committed is confirmed to the server, and the server may remove the WAL before it.
async fn all_confirmed(site: &Site) {
    let end = site.wal_end().await;
    until("all is confirmed", PATIENCE, async || (site.confirmed().await >= end).then_some(())).await;
    let retained = format!(
        "select (pg_current_wal_lsn() - restart_lsn)::bigint from pg_replication_slots where slot_name = '{}'",
        site.name()
    );
    let shrinks = async || {
        // From a checkpoint on, the server knows that no transaction needs more.
        site.sql("checkpoint").await;
        let bytes: i64 = site.db().query_one(&retained, &[]).await.expect("slots can be read").get(0);
        (bytes < 4 << 20).then_some(())
    };
    until("the retained WAL shrinks below the budget", PATIENCE, shrinks).await;
}

/// Waits until nothing is spilled any more, and the slot is read by the source.
async fn over(site: &Site, relay: &Relay, folder: &Folder) {
    until("the spill is delivered", PATIENCE, async || {
        let segments = relay.metric("postrider_spill_segments").await + relay.metric("postrider_spilling").await;
        (segments < 0.5 && folder.segments(site).is_empty()).then_some(())
    })
    .await;
    until("the slot is read", PATIENCE, async || site.walsender().await.map(drop)).await;
}

/// A place with a relay that has delivered something, and is gone.
async fn begun(promise: &str) -> (Site, Folder, TopicReader) {
    let site = Site::new(promise).await;
    let (folder, reader) = (Folder::new(&site), site.reader());
    let mut relay = spilling(&site, &folder).start();
    relay.ready().await;
    site.sql(r#"select postrider.emit('order', 'first', 'Placed', '{"n": 1}')"#).await;
    site.assert_all_arrived(&reader).await;
    relay.terminate().await.expect(0, &[]);
    (site, folder, reader)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_spilled_and_delivered_in_order_by_the_same_process() {
    let mut kafka = PrivateKafka::start(&[]).expect("a broker of our own");
    let site = Site::between("spilled", &shared().postgres, &kafka.bootstrap()).await;
    site.create_topics().await;
    let (folder, reader) = (Folder::new(&site), site.reader());
    let mut relay = spilling(&site, &folder).start();
    relay.ready().await;
    write(&site).await;
    site.assert_all_arrived(&reader).await;
    // What is delivered, but kept by the server until its next look at the transactions, hides no outage.
    write_wal(&site, 64).await;
    let end = site.wal_end().await;
    until("all is confirmed", PATIENCE, async || (site.confirmed().await >= end).then_some(())).await;

    kafka.stop();
    write(&site).await;
    relay.logs(&["is being spilled to this disk"]).await;
    all_confirmed(&site).await;
    write(&site).await;
    all_confirmed(&site).await;
    assert!(relay.metric("postrider_spill_bytes").await > 2.0 * 400_000.0);
    assert_eq!(relay.metric("postrider_spilling").await, 1.0);
    let mode = |path: &PathBuf| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert!(folder.segments(&site).iter().all(|segment| mode(segment) == 0o600));

    kafka.start_again().expect("the broker comes back");
    site.assert_all_arrived(&reader).await;
    over(&site, &relay, &folder).await;
    // And the slot is read on.
    site.sql(r#"select postrider.emit('order', 'after', 'Late', '{"n": 1}')"#).await;
    site.assert_all_arrived(&reader).await;
    relay.terminate().await.expect(0, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_killed_while_it_spills_or_delivers_loses_nothing() {
    let (site, folder, reader) = begun("spillkill").await;
    for torn in [false, true] {
        let relay = without_broker(spilling(&site, &folder)).start();
        write(&site).await;
        all_confirmed(&site).await;
        assert!(relay.metric("postrider_spill_bytes").await > 400_000.0);
        relay.kill();
        let segments = folder.segments(&site);
        let last = segments.last().expect("something was spilled");
        if torn {
            // A write that did not come to its end, as after a power cut.
            let mut last = OpenOptions::new().append(true).open(last).expect("it is there");
            last.write_all(&[7; 4000]).expect("it can be written");
        }
    }
    for point in ["pump.recorded", "source.acknowledged=3"] {
        let relay = spilling(&site, &folder).with("POSTRIDER_FAILPOINT", point).start();
        let ended = relay.ended().await;
        assert_ne!(ended.code(), Some(0), "{point}");
    }
    let mut relay = spilling(&site, &folder).start();
    relay.ready().await;
    site.assert_all_arrived(&reader).await;
    over(&site, &relay, &folder).await;
    relay.terminate().await.expect(0, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spill_ends_at_its_bound_and_goes_on_as_an_alert() {
    let (site, folder, reader) = begun("spillfull").await;
    let bound = |launch: Launch| launch.with("POSTRIDER_GUARD_SPILL_BYTES_MAX", "1048576");
    let relay = bound(without_broker(spilling(&site, &folder))).start();
    for _ in 0..4 {
        write(&site).await;
    }
    relay.logs(&["is full"]).await;
    let bytes = relay.metric("postrider_spill_bytes").await;
    assert!(bytes > 500_000.0 && bytes <= 1_048_576.0, "{bytes}");
    assert_eq!(relay.metric("postrider_guard_releases_total").await, 0.0);
    relay.kill();
    let mut relay = bound(spilling(&site, &folder)).start();
    relay.ready().await;
    site.assert_all_arrived(&reader).await;
    over(&site, &relay, &folder).await;
    relay.terminate().await.expect(0, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spill_that_is_full_may_be_followed_by_a_release() {
    let (site, folder, reader) = begun("spillthen").await;
    site.initialiser().with("POSTRIDER_GUARD_ACTION", "release").complete("init").expect(0, &[]);
    let bound = |launch: Launch| {
        launch.with("POSTRIDER_GUARD_SPILL_BYTES_MAX", "1048576").with("POSTRIDER_GUARD_SPILL_THEN", "release")
    };
    let relay = bound(without_broker(spilling(&site, &folder))).start();
    for _ in 0..4 {
        write(&site).await;
    }
    relay.logs(&["is full", "was released"]).await;
    assert!(!folder.segments(&site).is_empty());
    relay.kill();
    let mut relay = bound(spilling(&site, &folder)).start();
    relay.ready().await;
    site.assert_all_arrived(&reader).await;
    over(&site, &relay, &folder).await;
    relay.terminate().await.expect(0, &["the slot is there again"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_takes_no_more_ends_the_spill_and_nothing_that_it_did_not_take_is_confirmed() {
    let (site, folder, reader) = begun("spillnospace").await;
    let before = site.confirmed().await;
    let relay = without_broker(spilling(&site, &folder)).file_bytes_max(128 << 10).start();
    write_wal(&site, 8).await;
    site.sql(r#"select postrider.emit('order', 'little', 'Placed', '{"n": 1}')"#).await;
    all_confirmed(&site).await;
    assert!(site.confirmed().await > before && !folder.segments(&site).is_empty());
    write(&site).await;
    relay.logs(&["cannot be written", "Is the disk full?", "nothing more was confirmed"]).await;
    relay.kill();
    let mut relay = spilling(&site, &folder).start();
    relay.ready().await;
    site.assert_all_arrived(&reader).await;
    over(&site, &relay, &folder).await;
    relay.terminate().await.expect(0, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_hangs_while_it_spills_leaves_all_of_it_to_the_one_that_takes_over() {
    let (site, folder, reader) = begun("spillzombie").await;
    let launch = spilling(&site, &folder).with("POSTRIDER_STANDBY_LEASE_MS", "3000");
    let mut first = without_broker(launch.clone()).start();
    write(&site).await;
    all_confirmed(&site).await;
    let mut second = launch.start();
    second.stands_by().await;
    first.freeze();
    // Its files are its own as long as it may write to them.
    second.logs(&["it was not renewed in time", "is used by another process"]).await;
    first.thaw();
    second.ready().await;
    first.stands_by().await;
    // It has no broker: if it took over again, nothing would be delivered.
    first.terminate().await.expect(0, &[]);
    write(&site).await;
    site.assert_all_arrived(&reader).await;
    over(&site, &second, &folder).await;
    second.terminate().await.expect(0, &[]);
}

/// What a relay or a verb is told of the captured table of a place.
fn capturing(site: &Site, launch: Launch) -> Launch {
    // Segments of 256 KiB.
    site.capturing(launch).with("POSTRIDER_GUARD_SPILL_BYTES_MAX", "4194304")
}

/// Changes each of 20 rows so many times, each in a transaction of its own.
async fn change(site: &Site, times: usize) {
    site.sql(&format!(
        "do $$ begin
           for i in 1 .. {times} loop
             for k in 1 .. 20 loop
               update items set n = n + 1, text = repeat('x', 1000) where id = k;
               commit;
             end loop;
           end loop;
         end $$"
    ))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn captured_changes_come_from_any_segment_in_order_and_once() {
    let site = Site::bare("spillcdc", &shared().postgres, &shared().kafka.bootstrap).await;
    let folder = Folder::new(&site);
    site.migrate();
    site.sql("create table items (id int primary key, n int, text text)").await;
    capturing(&site, site.initialiser()).complete("init").expect(0, &[]);
    site.create_topics().await;
    let items = TopicReader::start(site.bootstrap(), [(format!("{}.cdc.items", site.name()), 0)]);
    let launch = || capturing(&site, spilling(&site, &folder));
    let mut relay = launch().start();
    relay.ready().await;
    site.sql("insert into items select i, 0, 'first' from generate_series(1, 20) i").await;
    until("the first changes arrive", PATIENCE, async || (items.count() == 20).then_some(())).await;
    relay.terminate().await.expect(0, &[]);

    let relay = without_broker(launch()).start();
    write(&site).await;
    all_confirmed(&site).await;
    change(&site, 20).await;
    site.sql("alter table items add column late int not null default 7").await;
    change(&site, 20).await;
    all_confirmed(&site).await;
    relay.kill();
    let before = folder.segments(&site).len();
    assert!(before > 3, "{before}");
    // The next process but one begins in the middle of the session, as a rule: unless all is delivered at once.
    let relay = launch().with("POSTRIDER_SOURCE_IN_FLIGHT_BYTES_MAX", "65536").start();
    until("a segment is delivered", PATIENCE, async || (folder.segments(&site).len() < before).then_some(())).await;
    relay.kill();
    let mut relay = launch().start();
    relay.ready().await;
    over(&site, &relay, &folder).await;
    relay.terminate().await.expect(0, &[]);

    items.read_to_the_end().await;
    let mut newest = BTreeMap::new();
    for record in items.records() {
        let value: Value = serde_json::from_slice(record.value.as_deref().expect("a change")).expect("JSON");
        let after = &value["after"];
        let (id, n) = (after["id"].as_i64().expect("an id"), after["n"].as_i64().expect("a number"));
        assert_eq!(after.get("late").is_some(), n > 20, "{after}");
        let seen = newest.entry(id).or_insert(-1);
        assert!(n <= *seen + 1, "row {id}: {n} came after {seen}");
        *seen = n.max(*seen);
    }
    assert_eq!(newest, (1..=20).map(|id| (id, 40)).collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_spilled_elsewhere_is_not_passed_over() {
    let (site, folder, reader) = begun("spillgone").await;
    let relay = without_broker(spilling(&site, &folder)).start();
    write(&site).await;
    all_confirmed(&site).await;
    relay.kill();
    let elsewhere = Folder(folder.0.with_extension("elsewhere"));
    // Nor is more spilled elsewhere, by a relay that has nobody to ask what was delivered.
    write(&site).await;
    let other = without_broker(spilling(&site, &elsewhere)).start();
    other
        .logs(&["was spilled by the relay on host", folder.0.to_str().expect("letters"), "the server keeps the WAL"])
        .await;
    assert!(elsewhere.segments(&site).is_empty());
    other.kill();
    let ended = spilling(&site, &elsewhere).start().ended().await;
    let path = folder.0.join(site.name());
    let path = path.to_str().expect("letters");
    ended.expect(1, &["was spilled by the relay on host", path, "postrider slot recover"]);
    // Nor is it given up while it is there.
    let administrator = site
        .administrator()
        .with("POSTRIDER_GUARD_ACTION", "spill")
        .with("POSTRIDER_GUARD_SPILL_DIR", folder.0.to_str().expect("letters"));
    administrator.argument("recover").argument("--yes").complete("slot").expect(1, &[path, "Start the relay"]);
    // Where it is, it is delivered.
    let mut relay = spilling(&site, &folder).start();
    relay.ready().await;
    site.assert_all_arrived(&reader).await;
    relay.terminate().await.expect(0, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_spilled_elsewhere_before_anything_was_delivered_is_not_passed_over_either() {
    let site = Site::new("spillfirst").await;
    let (folder, reader) = (Folder::new(&site), site.reader());
    let relay = without_broker(spilling(&site, &folder)).start();
    write(&site).await;
    all_confirmed(&site).await;
    relay.kill();
    let elsewhere = Folder(folder.0.with_extension("elsewhere"));
    let path = folder.0.to_str().expect("letters");
    let words = ["was spilled by the relay on host", path, "nothing is recorded as delivered", "--accept-gap"];
    spilling(&site, &elsewhere).start().ended().await.expect(1, &words);
    // Nor by a relay that spills nothing.
    site.relay().start().ended().await.expect(1, &words);
    let mut relay = spilling(&site, &folder).start();
    relay.ready().await;
    site.assert_all_arrived(&reader).await;
    over(&site, &relay, &folder).await;
    relay.terminate().await.expect(0, &[]);
    // All of that is delivered, and known to be: whoever comes next may begin anew.
    let relay = without_broker(spilling(&site, &elsewhere)).start();
    write(&site).await;
    all_confirmed(&site).await;
    assert!(!elsewhere.segments(&site).is_empty());
    relay.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_cannot_be_written_to_is_a_mistake_of_the_configuration() {
    let site = Site::new("spillro").await;
    let launch = spilling(&site, &Folder(PathBuf::from("/proc/spill")));
    launch.start().ended().await.expect(1, &["/proc/spill", "[guard] spill_dir"]);
}
