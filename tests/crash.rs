//! The relay ends without a word at every place between reading an event and confirming it: nothing is lost, nothing comes
//! out of order, and only what was unconfirmed comes twice.
//!
//! The places are the failpoints of `relay/src/telemetry/failpoint.rs`; the relay itself lists them, so that none is forgotten,
//! and one that is not reached fails the test.

mod beside;
mod provoke;

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use harness::{Defect, Launch, Load, PATIENCE, Record, Site, TopicReader, pace, until};

use crate::crash::provoke::Provocation;

/// The variable that arms a failpoint.
const VARIABLE: &str = "POSTRIDER_FAILPOINT";

/// Places that work side by side: a crash mostly waits.
const LANES: usize = 3;

/// A crash at a failpoint, reached for the nth time.
#[derive(Debug, Clone)]
struct Crash {
    point: String,
    hit: usize,
    /// With transactions: nothing may come twice.
    exactly_once: bool,
}

/// Where a relay with transactions crashes besides those places that only such a one comes to.
const EXACTLY_ONCE: [(&str, usize); 7] = [
    ("pump.batch", 5),
    ("pump.accepted", 5),
    ("kafka.taken", 50),
    ("kafka.sent", 5),
    ("pump.settled", 5),
    ("pump.acknowledged", 5),
    ("source.acknowledged", 5),
];

/// What turns transactions on.
const DELIVERY: &str = "POSTRIDER_KAFKA_DELIVERY";

impl Crash {
    fn at(point: &str, hit: usize) -> Self {
        Self { point: point.to_owned(), hit, exactly_once: Provocation::of(point).needs_transactions() }
    }

    /// A relay as this crash wants it.
    fn launch(&self, site: &Site) -> Launch {
        if self.exactly_once { site.relay().with(DELIVERY, "exactly-once") } else { site.relay() }
    }
}

/// What became of it.
struct Row {
    crash: Crash,
    written: u64,
    delivered: u64,
    lost: u64,
    reordered: u64,
    repeated: u64,
    repeatable: u64,
    took: Duration,
}

#[test]
fn a_relay_that_crashes_at_any_failpoint_loses_nothing_and_repeats_only_what_was_unconfirmed() {
    let points = failpoints();
    assert!(points.len() >= 20, "{points:?}");
    // Those that are hard to reach first, so that no lane waits for one at the end.
    let mut crashes: Vec<Crash> = points.iter().flat_map(|point| hits(point)).collect();
    let everywhere = EXACTLY_ONCE.iter().map(|(point, hit)| Crash { exactly_once: true, ..Crash::at(point, *hit) });
    crashes.extend(everywhere);
    crashes.sort_by_key(|crash| Provocation::of(&crash.point));
    let (planned, queue) = (crashes.len(), Arc::new(Mutex::new(crashes)));
    let lanes: Vec<_> = (0..LANES).map(|_| lane(Arc::clone(&queue))).collect();
    let mut rows: Vec<Row> =
        lanes.into_iter().flat_map(|lane| lane.join().expect("every crash of this lane is survived")).collect();
    rows.sort_by(|a, b| (&a.crash.point, a.crash.hit).cmp(&(&b.crash.point, b.crash.hit)));
    show(&rows);
    assert_eq!(rows.len(), planned, "each crash has its row");
}

/// Every failpoint that the relay knows, from its own words.
fn failpoints() -> Vec<String> {
    block_on(async {
        let site = Site::new("failpoints").await;
        let ended = site.relay().with(VARIABLE, "?").start().ended().await;
        ended.expect(1, &[VARIABLE, "one of: "]);
        let names = ended.said().split("one of: ").nth(1).and_then(|names| names.lines().next()).unwrap_or_default();
        // `slot recover` comes to those of its own: `tests/recover.rs`.
        names.split(' ').filter(|name| !name.starts_with("recover.")).map(str::to_owned).collect()
    })
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    runtime.block_on(work)
}

/// The first time, and later ones: what an earlier batch left behind is then there too.
fn hits(point: &str) -> Vec<Crash> {
    let once = Provocation::of(point).comes_once();
    let hits: &[usize] = if once { &[1] } else { pace(&[1, 7], &[1, 2, 3, 5, 8, 13, 21, 34, 55, 89]) };
    hits.iter().map(|&hit| Crash::at(point, hit)).collect()
}

/// One place, in a thread of its own, in which crash follows crash until there are no more.
fn lane(queue: Arc<Mutex<Vec<Crash>>>) -> JoinHandle<Vec<Row>> {
    std::thread::spawn(move || {
        block_on(async {
            let site = Site::new("crash").await;
            let reader = site.reader();
            let mut rows = Vec::<Row>::new();
            while let Some(crash) = next(&queue) {
                rows.push(play(&site, &reader, crash, &rows).await);
            }
            rows
        })
    })
}

fn next(queue: &Mutex<Vec<Crash>>) -> Option<Crash> {
    queue.lock().unwrap().pop()
}

/// Writers write while the relay is started, crashes and is started again; then everything must have arrived.
async fn play(site: &Site, reader: &TopicReader, crash: Crash, before: &[Row]) -> Row {
    let began = Instant::now();
    let twice_before = (reader.count() - reader.ids().len()) as u64;
    let armed = crash.launch(site).with(VARIABLE, &format!("{}={}", crash.point, crash.hit));
    // Writers of their own, for a counter that began again would look like a reordering.
    let first = 2 * before.len() as u64;
    let load = Load::of(site, first..first + 2, Duration::from_millis(3)).await;
    let ended = Provocation::of(&crash.point).provoke(site, reader, &armed).await;
    let reached = format!("failpoint=\"{}\"", crash.point);
    assert!(ended.code().is_none() && ended.said().contains(&reached), "{crash:?} was not reached:\n{}", ended.said());
    // A parked event is confirmed; tried again, it may have been delivered without the lot's knowledge.
    let repeatable = unconfirmed(site, reader).await + provoke::unsettled(site).await;
    // What the refusal of a record repeated is not the crash's doing.
    let repeated_before = (reader.count() - reader.ids().len()) as u64;

    let mut relay = crash.launch(site).start();
    relay.ready().await;
    load.stop().await;
    let committed = site.committed().await;
    let arrived = async || {
        // What was refused, and is parked perhaps, would be taken now.
        if provoke::unsettled(site).await > 0 {
            provoke::retry(site);
        }
        (reader.ids().len() as u64 >= committed).then_some(())
    };
    until("everything arrived", PATIENCE, arrived).await;
    let findings = site.assert_all_arrived(reader).await;
    relay.terminate().await.expect(0, &[]);
    let repeated = findings.duplicated - repeated_before;
    assert!(repeated <= repeatable, "{crash:?}: {repeated} came twice, {repeatable} were unconfirmed");
    if crash.exactly_once {
        assert_eq!(findings.duplicated, twice_before, "{crash:?}: something came twice");
    }
    Row {
        crash,
        written: findings.committed - before.iter().map(|row| row.written).sum::<u64>(),
        delivered: findings.delivered - before.iter().map(|row| row.delivered).sum::<u64>(),
        lost: findings.count(Defect::Lost),
        reordered: findings.count(Defect::Reordered),
        repeated,
        repeatable,
        took: began.elapsed(),
    }
}

/// How many records were delivered whose transactions the slot still has.
async fn unconfirmed(site: &Site, reader: &TopicReader) -> u64 {
    // What was on its way to the broker when the relay crashed arrives within moments.
    reader.read_to_the_end().await;
    let confirmed = site.confirmed().await;
    let is_unconfirmed = |record: &Record| record.commit_lsn().is_none_or(|commit_lsn| commit_lsn >= confirmed);
    reader.records().iter().filter(|record| is_unconfirmed(record)).count() as u64
}

/// Past the test runner, which would show it only if the test fails.
fn show(rows: &[Row]) {
    let mut table = String::from(
        "\ncrash at             hit     written  delivered  lost  reordered  repeated  (unconfirmed)  seconds\n",
    );
    for row in rows {
        let Row { crash, written, delivered, lost, reordered, repeated, repeatable, took } = row;
        let (point, hit, seconds) = (&crash.point, crash.hit, took.as_secs_f64());
        let exactly = if crash.exactly_once { "=" } else { " " };
        let _ = writeln!(
            table,
            "{point:<20} {hit:>3}{exactly} {written:>10} {delivered:>10} {lost:>5} {reordered:>10} {repeated:>9} \
             {repeatable:>14} {seconds:>8.1}"
        );
    }
    let _ = std::io::stdout().write_all(table.as_bytes());
}

#[test]
fn a_relay_that_is_built_to_be_shipped_has_no_failpoints() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let manifest = std::fs::read_to_string(root.join("relay/Cargo.toml")).unwrap();
    let features = manifest.split("[features]").nth(1).and_then(|rest| rest.split("\n[").next()).unwrap();
    // Nothing turns it on: it stands in no other feature, the default ones among them.
    assert_eq!(features.matches("failpoints").count(), 1, "{features}");
    for builds in ["Dockerfile", "docker-compose.yml", "xtask/src/commands/demo.rs"] {
        let text = std::fs::read_to_string(root.join(builds)).unwrap();
        assert!(!text.contains("failpoints") && !text.contains("all-features"), "{builds}");
    }
}
