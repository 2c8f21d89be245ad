//! The doctor: on deliberately wrong set-ups it names each fault, and what it prints mends it; on a good one it says nothing.

mod broker;
mod capture;
mod case;
mod database;
mod mend;
mod server;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use harness::Site;
use serde::Deserialize;

use crate::check::case::{Case, Outcome};

/// Cases at once: a case is mostly a process that waits for services.
const AT_ONCE: usize = 4;

/// A finding as `--output json` prints it.
#[derive(Debug, Deserialize)]
struct Finding {
    severity: String,
    code: String,
    what: String,
    why: String,
    mend: Vec<Step>,
}

/// A step of a mend.
#[derive(Debug, Deserialize)]
struct Step {
    kind: String,
    text: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_good_set_up_it_says_nothing_beside_a_running_relay_and_without_one() {
    let site = Site::new("sound").await;
    for launch in [site.relay(), site.administrator()] {
        let ended = launch.complete("check");
        assert_eq!((ended.code(), ended.said()), (Some(0), ""));
    }
    let mut relay = site.relay().start();
    relay.ready().await;
    site.sql("select postrider.emit('order', 'k', 'Changed', '{\"n\": 1}')").await;
    site.assert_all_arrived(&site.reader()).await;
    let ended = site.administrator().argument("--strict").complete("check");
    assert_eq!((ended.code(), ended.said()), (Some(0), ""));
    relay.terminate().await.expect(0, &[]);
    let confirmed = site.confirmed().await;
    // What one broker cannot have is told to those who ask.
    site.relay()
        .argument("--verbose")
        .complete("check")
        .expect(0, &["note[topic-replication]", "note[wal-keep-unlimited]"]);
    assert_eq!(site.confirmed().await, confirmed, "nothing was changed");
}

#[test]
fn each_wrong_set_up_is_named_and_what_is_printed_mends_it() {
    let cases: Vec<Case> = [database::cases(), broker::cases(), server::cases()].into_iter().flatten().collect();
    assert!(cases.len() >= 25);
    hold(cases);
}

#[test]
fn each_wrong_set_up_of_captured_tables_is_named_and_what_is_printed_mends_it() {
    let cases = capture::cases();
    assert!(cases.len() >= 25);
    hold(cases);
}

/// Runs the cases, several at once, and shows what became of them.
fn hold(cases: Vec<Case>) {
    let names: BTreeSet<&str> = cases.iter().map(|case| case.name).collect();
    assert_eq!(names.len(), cases.len(), "each case has a name of its own");
    let count = cases.len();
    let waiting = Mutex::new(cases);
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                let runtime =
                    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
                loop {
                    let Some(case) = waiting.lock().unwrap().pop() else { return };
                    let (name, code) = (case.name, case.codes[0]);
                    // The others shall be told too.
                    let run = catch_unwind(AssertUnwindSafe(|| runtime.block_on(case.run())));
                    let outcome = run.unwrap_or_else(|_| Outcome::broken(name, code));
                    outcomes.lock().unwrap().push(outcome);
                }
            });
        }
    });
    let mut outcomes = outcomes.into_inner().unwrap();
    outcomes.sort_by(|one, other| one.code.cmp(other.code).then(one.name.cmp(other.name)));
    show(&outcomes);
    assert_eq!(outcomes.len(), count);
    let faults: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.fault.is_some()).collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

#[expect(clippy::print_stdout, reason = "the table is what this test is to show")]
fn show(outcomes: &[Outcome]) {
    println!("| set-up | found | mended by |");
    println!("|---|---|---|");
    for outcome in outcomes {
        println!("| {} | {} | {} |", outcome.name, outcome.found.join(", "), outcome.mended);
    }
    let mended = outcomes.iter().filter(|outcome| outcome.mended != "words").count();
    println!("{} set-ups, {mended} of them mended by what was printed", outcomes.len());
}
