//! `slot list` and `slot watch` on servers with twenty slots in all states: nothing is hidden, nothing is changed.

mod twenty;

use serde_json::{Value, json};
use xtask::services::MAJORS;

use crate::command_line::program::Program;
use crate::command_line::slot::twenty::{SLOTS, Twenty};

const MIB: i64 = 1 << 20;

fn listing(program: &Program, arguments: &[&str]) -> Value {
    let text = program.succeed(&[&["slot", "list", "--output", "json"], arguments].concat());
    serde_json::from_str(&text).expect("JSON")
}

fn slot<'a>(listing: &'a Value, name: &str) -> &'a Value {
    let slots = listing["servers"][0]["slots"].as_array().expect("slots");
    slots.iter().find(|slot| slot["name"] == name).unwrap_or_else(|| panic!("no slot {name}: {listing:#}"))
}

/// The members of the slot called `name`, in the order of `members`.
fn facts(listing: &Value, name: &str, members: &[&str]) -> Value {
    let slot = slot(listing, name);
    Value::Array(members.iter().map(|member| slot[*member].clone()).collect())
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("a number: {value}"))
}

fn advice(listing: &Value, name: &str) -> String {
    slot(listing, name)["advice"].to_string()
}

#[test]
fn twenty_slots_in_all_states_are_told_apart_on_the_newest_server() {
    let mut twenty = Twenty::on(Some(*MAJORS.end()));
    let listing = listing(&twenty.program, &["--sample", "0s"]);
    let server = &listing["servers"][0];
    assert_eq!((server["slots"].as_array().map(Vec::len), server["slots_in_all"].as_u64()), (Some(SLOTS), Some(20)));
    assert_eq!((number(&server["server"]["keep_bytes"]), server["hidden"].is_null()), (96 * MIB, true));
    states(&twenty, &listing);
    let what = ["wal_status", "invalidation_reason", "failover", "temporary"];
    assert_eq!(facts(&listing, "lost", &what), json!(["lost", "wal_removed", false, false]));
    assert_eq!(facts(&listing, "failover", &what), json!(["reserved", null, true, false]));
    assert_eq!(facts(&listing, "idle", &["owner", "limit"]), json!(["foreign", "idle_replication_slot_timeout"]));
    assert!(slot(&listing, "idle")["inactive_seconds"].as_f64().is_some_and(|seconds| seconds < 600.0));
    let left = slot(&listing, "idle")["seconds_to_limit"].as_f64().expect("a time");
    assert!((0.99..=1.0).contains(&(left / 864_000.0)), "{left}");
    times(&twenty);
    screens(&twenty);
    watches(&twenty);
    others(&twenty);
    standby(&mut twenty);
}

#[test]
fn the_same_slots_are_told_apart_on_the_oldest_server_which_says_less() {
    let twenty = Twenty::on(Some(*MAJORS.start()));
    let listing = listing(&twenty.program, &["--sample", "0s"]);
    assert_eq!(listing["servers"][0]["slots"].as_array().map(Vec::len), Some(SLOTS));
    states(&twenty, &listing);
    let what = ["wal_status", "invalidation_reason", "failover", "inactive_since"];
    assert_eq!(facts(&listing, "lost", &what), json!(["lost", null, false, null]));
    assert_eq!(facts(&listing, "extended", &["owner"]), json!(["orphan"]), "it has been left for long");
    assert_eq!(facts(&listing, "idle", &["owner", "limit"]), json!(["foreign", null]));
}

/// What every version says.
fn states(twenty: &Twenty, listing: &Value) {
    let ours = &twenty.database.name;
    let what = ["owner", "plugin", "database", "temporary", "two_phase", "wal_status"];
    for (name, expected) in [
        (ours.as_str(), json!(["ours", "pgoutput", ours, false, false, "reserved"])),
        ("pinned", json!(["foreign", "pgoutput", ours, false, false, "reserved"])),
        ("decoding", json!(["foreign", "test_decoding", ours, false, false, "reserved"])),
        ("two_phase", json!(["foreign", "pgoutput", ours, false, true, "reserved"])),
        ("elsewhere", json!(["foreign", "pgoutput", twenty.elsewhere.name, false, false, "reserved"])),
        ("temporary", json!(["foreign", "test_decoding", ours, true, false, "reserved"])),
        ("temporary_standby", json!(["foreign", null, null, true, false, "reserved"])),
        ("standby", json!(["foreign", null, null, false, false, "reserved"])),
        ("unused", json!(["foreign", null, null, false, false, null])),
        ("copied", json!(["foreign", "pgoutput", ours, false, false, "reserved"])),
        ("lost", json!(["orphan", "pgoutput", ours, false, false, "lost"])),
        ("lost_standby", json!(["orphan", null, null, false, false, "lost"])),
    ] {
        assert_eq!(facts(listing, name, &what), expected, "{name}");
    }
    assert_eq!(facts(listing, "unused", &["retained_bytes", "limit", "held_by"]), json!([null, null, null]));
    assert_eq!(facts(listing, "endangered", &["wal_status", "seconds_to_limit"]), json!(["unreserved", 0.0]));
    assert!(number(&slot(listing, "endangered")["safe_wal_size"]) <= 0);
    assert!(advice(listing, "endangered").contains("alter system set max_slot_wal_keep_size = '1024MB'"));
    assert!(number(&slot(listing, "endangered")["retained_bytes"]) > 96 * MIB);
    assert_eq!(facts(listing, "extended", &["wal_status"]), json!(["extended"]));
    assert!(advice(listing, "lost").contains("select pg_drop_replication_slot('lost')"), "{}", advice(listing, "lost"));
    assert!(number(&slot(listing, "spilled")["decoded"]["spill_bytes"]) > 64 << 10);
    assert_eq!(slot(listing, "spilled")["decoded"]["spill_txns"], 1);
    readers(ours, listing);
}

fn readers(ours: &str, listing: &Value) {
    let reader = &slot(listing, ours)["reader"];
    assert_eq!((&reader["application"], &reader["role"]), (&json!("postrider"), &json!("postgres")));
    assert_eq!(reader["publications"], json!(["postrider"]));
    assert!(reader["since"].as_str().is_some_and(|since| since.ends_with('Z')), "{reader}");
    let pinned = slot(listing, "pinned");
    assert_eq!(pinned["reader"]["publications"], json!(["theirs", "Also Theirs"]));
    assert!(number(&pinned["lag_bytes"]) < 16 * MIB, "{pinned:#}");
    assert!(number(&pinned["retained_bytes"]) > 40 * MIB, "{pinned:#}");
    let held = &pinned["held_by"];
    assert_eq!((&held["what"], &held["application"]), (&json!("transaction"), &json!("ledger")), "{held}");
    let pid = number(&held["pid"]);
    assert!(advice(listing, "pinned").contains(&format!("select pg_terminate_backend({pid})")));
    assert!(advice(listing, "pinned").contains("its publication \\\"theirs\\\" does not exist"));
    assert_eq!(slot(listing, "idle")["held_by"]["what"], "nobody");
    let publications = listing["servers"][0]["publications"].as_array().expect("publications");
    let read_by = publications.iter().find(|publication| publication["name"] == "postrider").map(|one| &one["read_by"]);
    assert_eq!(read_by, Some(&json!([ours])));
}

/// While the log grows, the time left is what is left over how fast it grows.
fn times(twenty: &Twenty) {
    let writer = Writer::start(&twenty.database);
    let listing = listing(&twenty.program, &["--sample", "400ms"]);
    writer.stop();
    let server = &listing["servers"][0];
    let rate = server["wal_bytes_per_second"].as_f64().expect("a rate");
    assert!(rate > 1000.0 && server["measured_seconds"].as_f64() > Some(0.4), "{rate}");
    let extended = slot(&listing, "extended");
    let left = extended["seconds_to_limit"].as_f64().expect("a time");
    #[expect(clippy::cast_precision_loss, reason = "some megabytes")]
    let expected = number(&extended["safe_wal_size"]) as f64 / rate;
    assert!((left / expected - 1.0).abs() < 1e-6, "{left} {expected}");
    assert_eq!(extended["limit"], "max_slot_wal_keep_size");
    let disk = self::listing(&disk(twenty, &(50 * MIB).to_string()), &["--sample", "0s", "extended"]);
    assert_eq!(facts(&disk, "extended", &["limit", "seconds_to_limit"]), json!(["wal_disk_bytes", 0.0]));
    assert_eq!(disk["servers"][0]["slots"].as_array().map(Vec::len), Some(1), "only the one that was named");
}

fn disk(twenty: &Twenty, bytes: &str) -> Program {
    twenty.database.administered().with("POSTRIDER_POSTGRES_WAL_DISK_BYTES", bytes)
}

fn screens(twenty: &Twenty) {
    let text = twenty.program.succeed(&["slot", "list", "--sample", "0s"]);
    for words in [
        "primary, 20 of 25 slots, max_slot_wal_keep_size 96.0 MiB, idle timeout 10 d 0 h",
        "SLOT",
        "physical, temporary",
        "nobody since 20",
        "transaction of ledger, pid",
        "endangered: the next checkpoint may give it up",
    ] {
        assert!(text.contains(words), "{words}:\n{text}");
    }
    let row = |name: &str| text.lines().skip(1).find(|line| line.trim_start().starts_with(name)).expect("a row");
    assert!(row("endangered").contains("none  keep size"), "{text}");
    assert!(row(&twenty.database.name).contains("postrider as postgres, pid"), "{text}");
    assert!(text.lines().all(|line| !line.ends_with(' ')), "{text}");
    let verbose = twenty.program.succeed(&["slot", "list", "--sample", "0s", "--verbose", "spilled", "pinned"]);
    for words in ["spilled\n  owner          foreign", "1 transactions, ", "publications   theirs, Also Theirs"] {
        assert!(verbose.contains(words), "{words}:\n{verbose}");
    }
}

fn watches(twenty: &Twenty) {
    let watch =
        |arguments: &[&str]| twenty.program.run(&[&["slot", "watch", "--interval", "100ms"], arguments].concat());
    let said = watch(&["--count", "2", "idle", "standby"]);
    assert_eq!((said.code, said.error.as_str()), (0, ""), "{}", said.out);
    let lines: Vec<_> = said.out.lines().collect();
    assert!(lines.len() == 3 && lines[0].contains(" idle foreign reserved, keeps "), "{}", said.out);
    for (arguments, why) in [
        (&["lost"][..], "slot \"lost\" is lost (wal_removed)"),
        (&["--until-eta", "1m", "endangered"], "slot \"endangered\" reaches max_slot_wal_keep_size in 0 s"),
        (&["no_such_slot"], "no slot is called \"no_such_slot\""),
    ] {
        let said = watch(arguments);
        assert_eq!(said.code, 1, "{}", said.out);
        assert!(said.error.contains(why), "{}", said.error);
    }
    let said = watch(&["--count", "1", "--output", "json"]);
    let line: Value = serde_json::from_str(&said.out).expect("one object a line");
    assert_eq!((said.code, &line["changes"], &line["alarm"]), (0, &json!([]), &Value::Null), "lost before it began");
    assert_eq!(line["servers"][0]["slots"].as_array().map(Vec::len), Some(SLOTS));
}

/// Other places, roles that may not see all, and places that do not answer.
fn others(twenty: &Twenty) {
    let here = &twenty.database;
    let url = here.server.url("postgres");
    here.maintain("create publication forgotten");
    let listing = listing(&twenty.program, &["--sample", "0s", "--url", &url]);
    let servers = listing["servers"].as_array().expect("servers");
    assert_eq!((servers.len(), servers[0]["places"].as_array().map(Vec::len)), (1, Some(2)), "one server, two places");
    let publications = servers[0]["publications"].as_array().expect("publications");
    let forgotten = publications.iter().find(|publication| publication["name"] == "forgotten").expect("it is listed");
    assert_eq!((&forgotten["without_slot"], &forgotten["database"]), (&json!(true), &json!("postgres")));
    assert!(!listing.to_string().contains(&here.server.password), "a secret is printed");

    let orphans = self::listing(&twenty.program, &["--sample", "0s", "--orphan-after", "0s", "idle_too"]);
    assert_eq!(facts(&orphans, "idle_too", &["owner"]), json!(["orphan"]));

    let limited = self::listing(&here.program(), &["--sample", "0s"]);
    let hidden = limited["servers"][0]["hidden"].as_str().expect("something is hidden");
    assert!(hidden.contains("grant pg_read_all_stats to"), "{hidden}");
    let reader = &slot(&limited, "pinned")["reader"];
    assert!(reader["since"].is_null() && reader["publications"].is_null() && reader["pid"].is_i64(), "{reader}");
    // Who writes is told to everyone, since when is not.
    let held = &slot(&limited, "pinned")["held_by"];
    assert_eq!((&held["what"], &held["application"]), (&json!("transaction"), &json!("ledger")), "{held}");
    assert!(held["pid"].is_i64() && held["seconds"].is_null() && held["state"].is_null(), "{held}");

    let said = twenty.program.run(&["slot", "list", "--sample", "0s", "--url", &here.server.url("no_such_database")]);
    assert_eq!(said.code, 1);
    assert!(said.out.contains("endangered") && said.out.contains("not seen: cannot connect as role"), "{}", said.out);
    assert!(said.error.contains("1 of the places did not answer"), "{}", said.error);
    let said = twenty.program.run(&["slot", "list", "--url", "postgres://nobody:hunter2@h/x?sslmode=maybe"]);
    assert_eq!(said.code, 2);
    assert!(!said.error.contains("hunter2"), "{}", said.error);
}

/// A standby tells of its own slots, and what may still be written is reckoned from what it has got of the log.
fn standby(twenty: &mut Twenty) {
    let before = slot(&listing(&twenty.program, &["--sample", "0s"]), "extended")["safe_wal_size"].clone();
    twenty.stand_by();
    let listing = listing(&twenty.program, &["--sample", "0s"]);
    assert_eq!(listing["servers"][0]["server"]["standby"], true);
    let after = slot(&listing, "extended")["safe_wal_size"].clone();
    assert!((0..=number(&before)).contains(&number(&after)), "{before} {after}");
    assert!(number(&before) - number(&after) < MIB, "what a shutdown writes: {before} {after}");
    let text = twenty.program.succeed(&["slot", "list", "--sample", "0s"]);
    assert!(text.contains(", standby, "), "{text}");
}

/// Writes to the log until it is stopped, a little at a time: less than a segment in all.
struct Writer {
    done: std::sync::Arc<std::sync::atomic::AtomicBool>,
    thread: std::thread::JoinHandle<()>,
}

impl Writer {
    fn start(database: &crate::command_line::database::Database) -> Self {
        use std::sync::atomic::Ordering::Relaxed;
        let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (told, mut session) =
            (std::sync::Arc::clone(&done), database.session(&database.server.user, None).expect("a session"));
        let thread = std::thread::spawn(move || {
            for _ in 0..8000 {
                if told.load(Relaxed) {
                    return;
                }
                session
                    .simple_query("select pg_logical_emit_message(false, 'filler', repeat('x', 1000))")
                    .expect("it is written");
            }
        });
        Self { done, thread }
    }

    fn stop(self) {
        self.done.store(true, std::sync::atomic::Ordering::Relaxed);
        self.thread.join().expect("the writer ended well");
    }
}
