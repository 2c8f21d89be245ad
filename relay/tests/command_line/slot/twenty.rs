//! A server with twenty slots, one or more in every state that a slot can be in.

use std::time::{Duration, Instant};

use postrider_relay::postgres::connection::Connection;
use postrider_relay::postgres::lsn::EndLsn;
use postrider_relay::postgres::options::{ConnectOptions, Host};
use postrider_relay::postgres::replication::StartOptions;
use postrider_relay::postgres::stream::ReplicationStream;
use xtask::services::PrivatePostgres;

use crate::command_line::database::Database;
use crate::command_line::program::Program;

/// How many there are.
pub(crate) const SLOTS: usize = 20;

/// As much as anything here may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The server, and all that keeps its slots in their states.
pub(crate) struct Twenty {
    pub(crate) program: Program,
    pub(crate) database: Database,
    pub(crate) elsewhere: Database,
    pub(crate) streams: Vec<ReplicationStream>,
    _sessions: Vec<Connection>,
    server: PrivatePostgres,
}

impl Twenty {
    pub(crate) fn on(major: Option<u16>) -> Self {
        let newest = major == Some(18);
        let mut settings = vec![
            ("wal_level", "logical"),
            ("max_replication_slots", "25"),
            ("max_wal_senders", "25"),
            ("max_slot_wal_keep_size", "1MB"),
            ("max_wal_size", "10GB"),
            ("checkpoint_timeout", "1h"),
            ("logical_decoding_work_mem", "64kB"),
        ];
        settings.extend(newest.then_some(("idle_replication_slot_timeout", "10d")));
        let server = PrivatePostgres::start(major, &settings).expect("a private Postgres starts");
        let database = Database::on(server.environment(), "twenty");
        let elsewhere = Database::on(server.environment(), "twenty_elsewhere");
        let program = database.administered();
        let mut twenty = Self { program, database, elsewhere, streams: Vec::new(), _sessions: Vec::new(), server };
        twenty.lose();
        twenty.leave_behind();
        twenty.set_up(newest);
        twenty.use_them();
        twenty
    }

    fn logical(&self, name: &str) {
        self.database.run(&format!("select pg_create_logical_replication_slot('{name}', 'pgoutput')"));
    }

    /// Goes on by so many segments of the log.
    fn go_on(&self, segments: usize) {
        for _ in 0..segments {
            self.database.run("select pg_logical_emit_message(false, 'filler', 'x')");
            self.database.run("select pg_switch_wal()");
        }
    }

    /// Two slots whose log is gone.
    fn lose(&self) {
        self.logical("lost");
        self.database.run("select pg_create_physical_replication_slot('lost_standby', true)");
        self.go_on(3);
        self.database.run("checkpoint");
        self.database.run("alter system set max_slot_wal_keep_size = '96MB'");
        self.reload();
    }

    /// Two that keep more than is good: the one more than the limit in the end, the other less.
    fn leave_behind(&self) {
        self.logical("endangered");
        self.go_on(1);
        self.logical("extended");
        self.go_on(3);
    }

    /// Those that are well, and what they are read for.
    fn set_up(&mut self, newest: bool) {
        self.program.succeed(&["migrate"]);
        self.program.succeed(&["init", "--writer-role", &self.database.writer()]);
        self.database.run("create table public.large (text text)");
        self.logical("idle");
        self.logical("idle_too");
        for sql in [
            "select pg_create_logical_replication_slot('decoding', 'test_decoding')",
            "select pg_create_logical_replication_slot('spilled', 'test_decoding')",
            "select pg_create_logical_replication_slot('two_phase', 'pgoutput', false, true)",
            match newest {
                true => "select pg_create_logical_replication_slot('failover', 'pgoutput', false, false, true)",
                false => "select pg_create_logical_replication_slot('failover', 'pgoutput')",
            },
            "select pg_create_logical_replication_slot('advanced', 'pgoutput')",
            "select pg_replication_slot_advance('advanced', pg_current_wal_lsn())",
            "select pg_copy_logical_replication_slot('idle', 'copied')",
            // A physical slot keeps the log from the last checkpoint on, which was long ago.
            "select pg_create_physical_replication_slot('standby', true)",
            "select pg_replication_slot_advance('standby', pg_current_wal_lsn())",
            "select pg_create_physical_replication_slot('unused')",
            "insert into public.large select repeat('x', 200) from generate_series(1, 2000)",
            "select count(*) from pg_logical_slot_peek_changes('spilled', null, null)",
        ] {
            self.database.run(sql);
        }
        // After the table's rows: the publications that it is read for are not there, which only a change would show.
        self.logical("pinned");
        for sql in [
            "select pg_create_logical_replication_slot('elsewhere', 'pgoutput')",
            "select pg_create_logical_replication_slot('elsewhere_decoding', 'test_decoding')",
        ] {
            self.elsewhere.run(sql);
        }
        let mut temporary = self.session();
        for sql in [
            "select pg_create_logical_replication_slot('temporary', 'test_decoding', true)",
            "select pg_create_physical_replication_slot('temporary_standby', true, true)",
            "select pg_replication_slot_advance('temporary_standby', pg_current_wal_lsn())",
        ] {
            temporary.simple_query(sql).expect("a temporary slot");
        }
        self._sessions.push(temporary);
    }

    /// Readers, and a transaction that stays open while the log goes on.
    fn use_them(&mut self) {
        let name = self.database.name.clone();
        let ours = self.stream(&name, &["postrider"]);
        let pinned = self.stream("pinned", &["theirs", "Also Theirs"]);
        let mut open = self.session();
        open.simple_query("begin").expect("a transaction");
        open.simple_query("insert into public.large values ('x')").expect("a transaction that writes");
        self.go_on(3);
        let end: EndLsn = self.database.value("select pg_current_wal_lsn()").parse().expect("a position");
        ours.confirm(end);
        pinned.confirm(end);
        self.wait_for(&format!(
            "select bool_and(confirmed_flush_lsn >= '{end}') from pg_replication_slots where active and not temporary"
        ));
        self._sessions.push(open);
        self.streams.extend([ours, pinned]);
        // Only now: before, the log's growth would have made checkpoints, and these the endangered slot lost.
        self.database.run("alter system set max_wal_size = '64MB'");
        self.reload();
    }

    /// Makes the server a standby, whose slots nobody reads.
    pub(crate) fn stand_by(&mut self) {
        self.streams.clear();
        self.server.stop();
        self.server.make_standby().expect("it can be told so");
        self.server.start_again().expect("it comes back");
    }

    fn reload(&self) {
        self.database.run("select pg_reload_conf()");
        // The session that asks reads the files anew after its next message at the latest; a new one begins with them.
        self.wait_for("select pg_conf_load_time() > now() - interval '10 seconds'");
    }

    pub(crate) fn wait_for(&self, sql: &str) {
        let begun = Instant::now();
        while self.database.value(sql) != "t" {
            assert!(begun.elapsed() < PATIENCE, "never true: {sql}");
            std::thread::yield_now();
        }
    }

    fn session(&self) -> Connection {
        let options = ConnectOptions { application_name: "ledger".to_owned(), ..self.options() };
        Connection::connect(&ConnectOptions { replication: false, ..options }).expect("a session")
    }

    fn stream(&self, slot: &str, publications: &[&str]) -> ReplicationStream {
        let connection = Connection::connect(&self.options()).expect("a replication connection");
        let publications = publications.iter().map(|name| (*name).to_owned()).collect();
        let options = StartOptions { slot: slot.to_owned(), start: EndLsn::ZERO, publications, messages: false };
        connection.start_logical(&options).expect("a stream")
    }

    fn options(&self) -> ConnectOptions {
        let server = &self.database.server;
        ConnectOptions::new(Host::Socket(server.socket_dir.clone()), server.port, &self.database.name, &server.user)
    }
}
