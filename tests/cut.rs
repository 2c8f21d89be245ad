//! The stream is cut between, and inside, any two of its messages: nothing is lost, nothing is skipped.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use harness::{Launch, PATIENCE, Proxy, Seen, Site, Verdict, newest, oldest, pace, until};
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::Type;
use uuid::Uuid;

/// When the proxy cuts, and what it has seen.
#[derive(Default)]
struct Cuts {
    /// For each session to come, in turn: after how many messages it is cut.
    plan: Vec<usize>,
    /// Whether in the middle of a message.
    inside: bool,
    /// Messages of this session so far.
    seen: usize,
    /// The kinds of messages that cuts came before.
    before: BTreeSet<char>,
    done: usize,
}

impl Cuts {
    fn pass(&mut self, seen: Seen<'_>) -> Verdict {
        match seen {
            Seen::Began => self.seen = 0,
            Seen::Wal(message) => {
                if self.plan.first() == Some(&self.seen) {
                    self.plan.remove(0);
                    self.before.extend(message.first().map(|kind| char::from(*kind)));
                    self.done += 1;
                    return if self.inside { Verdict::CutInside } else { Verdict::Cut };
                }
                self.seen += 1;
            }
            Seen::Confirmed(_) => {}
        }
        Verdict::Pass
    }
}

/// A relay of `site` that reads through a proxy.
fn through(proxy: &Proxy, site: &Site) -> Launch {
    site.relay()
        .with("POSTRIDER_POSTGRES_HOST", "127.0.0.1")
        .with("POSTRIDER_POSTGRES_PORT", &proxy.port().to_string())
        .with("POSTRIDER_RETRY_INITIAL_MS", "1")
        .with("POSTRIDER_RETRY_MAX_MS", "20")
}

async fn proxy(site: &Site) -> (Arc<Mutex<Cuts>>, Proxy) {
    let cuts = Arc::new(Mutex::new(Cuts::default()));
    let script = Arc::clone(&cuts);
    let proxy = Proxy::start(site.server().port, move |seen| script.lock().unwrap().pass(seen)).await;
    (cuts, proxy)
}

async fn emit(client: &tokio_postgres::Client, key: &str, n: usize) {
    let emit = "select postrider.emit('order', $1, 'Changed', jsonb_build_object('n', $2::bigint))";
    client.execute(emit, &[&key, &i64::try_from(n).unwrap()]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_interleaved_transactions_survive_a_cut_at_each_message_on_the_oldest_and_newest_postgres() {
    // Begin, relation, three rows, commit; begin, three rows, commit.
    const MESSAGES: usize = 11;
    for server in [oldest(), newest()] {
        let site = Site::on("interleaved", &server).await;
        let reader = site.reader();
        let (cuts, proxy) = proxy(&site).await;
        let mut relay = through(&proxy, &site).start();
        relay.ready().await;
        let (a, b) = (site.connect().await, site.connect().await);
        let mut n = 0;
        for inside in [false, true] {
            for boundary in 0..MESSAGES {
                // The session that is open is cut at once, so that the next begins with the relation again.
                {
                    let mut cuts = cuts.lock().unwrap();
                    (cuts.plan, cuts.inside, cuts.seen) = (vec![0, boundary], inside, 0);
                }
                a.batch_execute("begin").await.unwrap();
                b.batch_execute("begin").await.unwrap();
                for step in 1..=3 {
                    emit(&a, "a", n + step).await;
                    emit(&b, "b", n + step).await;
                }
                n += 3;
                b.batch_execute("commit").await.unwrap();
                a.batch_execute("commit").await.unwrap();
                let end = site.wal_end().await;
                let confirmed = async || (site.confirmed().await >= end).then_some(());
                until("the transactions are confirmed after the cuts", PATIENCE, confirmed).await;
                assert_eq!(cuts.lock().unwrap().plan, Vec::<usize>::new(), "boundary {boundary} was not reached");
            }
        }
        site.assert_all_arrived(&reader).await;
        let cuts = cuts.lock().unwrap();
        assert_eq!((cuts.done, cuts.before.iter().collect::<String>()), (4 * MESSAGES, "BCIR".to_owned()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_ten_thousand_events_survives_cuts_on_the_oldest_and_newest_postgres() {
    const EVENTS: usize = 10_000;
    // Begin, relation, the rows, commit.
    const MESSAGES: usize = EVENTS + 3;
    for server in [oldest(), newest()] {
        let site = Site::on("copy", &server).await;
        let reader = site.reader();
        let (cuts, proxy) = proxy(&site).await;
        let mut relay = through(&proxy, &site).start();
        relay.ready().await;
        // Every boundary in turn takes hours of resending; by default its ends, and every so many between.
        let step = pace(997, 1);
        let near_an_end = |boundary: &usize| *boundary < 8 || boundary + 8 >= MESSAGES;
        let plan: Vec<usize> = (0..MESSAGES).filter(|at| near_an_end(at) || at.is_multiple_of(step)).collect();
        let planned = plan.len();
        cuts.lock().unwrap().plan = plan;
        copy(&site, EVENTS).await;
        let all_cut = async || (cuts.lock().unwrap().done == planned).then_some(());
        until("every cut was made", pace(3 * PATIENCE, Duration::from_secs(4 * 3600)), all_cut).await;
        site.assert_all_arrived(&reader).await;
    }
}

/// Writes `events` in one command.
async fn copy(site: &Site, events: usize) {
    let copy = "copy outbox_events (id, aggregate_type, aggregate_id, event_type, payload) from stdin binary";
    let types = [Type::UUID, Type::TEXT, Type::TEXT, Type::TEXT, Type::JSONB];
    let writer = BinaryCopyInWriter::new(site.db().copy_in(copy).await.unwrap(), &types);
    let mut writer = std::pin::pin!(writer);
    for event in 0..events {
        let payload = serde_json::json!({"n": 1 + event / 100, "text": "x".repeat(100)});
        let key = format!("k{}", event % 100);
        writer.as_mut().write(&[&Uuid::now_v7(), &"order", &key, &"Copied", &payload]).await.unwrap();
    }
    assert_eq!(writer.finish().await.unwrap(), events as u64);
}

/// Where commits lie, as the stream tells it.
#[derive(Default)]
struct Commits {
    /// The end of the newest commit record.
    end: u64,
    /// Whether the stream is held, once, before a commit record that starts exactly there.
    hold: Option<Verdict>,
    /// Where it was held.
    held: Vec<u64>,
}

impl Commits {
    fn pass(&mut self, seen: Seen<'_>) -> Verdict {
        let Seen::Wal(message) = seen else { return Verdict::Pass };
        let number = |at: usize| u64::from_be_bytes(message[at..at + 8].try_into().unwrap());
        match message[0] {
            // Begin: the start of the commit record.
            b'B' if number(1) == self.end => {
                let Some(verdict) = self.hold.take() else { return Verdict::Pass };
                self.held.push(self.end);
                match verdict {
                    Verdict::CutOnceConfirmed(0) => Verdict::CutOnceConfirmed(self.end),
                    verdict => verdict,
                }
            }
            // Commit: flags, the start of its record, the end.
            b'C' => {
                self.end = number(10);
                Verdict::Pass
            }
            _ => Verdict::Pass,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_starts_where_its_predecessor_ends_is_not_skipped_by_a_restart_between_them() {
    const SESSIONS: usize = 6;
    for server in [oldest(), newest()] {
        let site = Site::on("adjoining", &server).await;
        let reader = site.reader();
        let commits = Arc::new(Mutex::new(Commits::default()));
        let script = Arc::clone(&commits);
        let proxy = Proxy::start(site.server().port, move |seen| script.lock().unwrap().pass(seen)).await;
        let mut relay = through(&proxy, &site).start();
        relay.ready().await;
        let mut sessions = Vec::new();
        for _ in 0..SESSIONS {
            sessions.push(site.connect().await);
        }
        for round in 1..=8 {
            let kill = round % 2 == 0;
            let held_before = {
                let mut commits = commits.lock().unwrap();
                // Cut as soon as the predecessor is confirmed; or held until the relay is killed.
                commits.hold = Some(Verdict::CutOnceConfirmed(if kill { u64::MAX } else { 0 }));
                commits.held.len()
            };
            for session in &sessions {
                session.batch_execute("begin").await.unwrap();
                emit(session, &format!("s{}", round % 3), round).await;
            }
            // All is written but the commit records: they follow each other with nothing between.
            for session in &sessions {
                session.batch_execute("commit").await.unwrap();
            }
            let held = async || commits.lock().unwrap().held.get(held_before).copied();
            let between = until("a commit starts where its predecessor ends", PATIENCE, held).await;
            if kill {
                let confirmed = async || (site.confirmed().await == between).then_some(());
                until("the predecessor is confirmed", PATIENCE, confirmed).await;
                relay.kill();
                relay = through(&proxy, &site).start();
            }
            let end = site.wal_end().await;
            until("the successor is confirmed", PATIENCE, async || (site.confirmed().await >= end).then_some(())).await;
        }
        relay.terminate().await.expect(0, &[]);
        let findings = site.judge(&reader).await;
        // Counters repeat within a round, so the order of keys is not judged here.
        assert_eq!((findings.committed, findings.delivered, findings.duplicated), (48, 48, 0), "{findings:#?}");
    }
}
