//! Faults of the configuration: the process ends with 2 before it touches anything, and names the place.

use std::path::PathBuf;
use std::sync::Arc;

use harness::{Ended, Launch};

use crate::faults::book::{Book, Kind, Then};

/// What every start needs, given by variables; no service is at these places.
const REQUIRED: &[(&str, &str)] =
    &[("POSTRIDER_POSTGRES_DATABASE", "shop"), ("POSTRIDER_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")];

/// A fault, the text that has it, and the words of its cause and of its mend.
type Row = (&'static str, &'static str, &'static [&'static str], &'static [&'static str]);

/// Faults in the file, whose other parts are right.
const IN_THE_FILE: &[Row] = &[
    (
        "a key that is not known",
        "[kafka]\nlingerms = 1",
        &[":2:1", "unknown key `kafka.lingerms`"],
        &["did you mean `kafka.linger_ms`"],
    ),
    (
        "a section that is not known",
        "[kafak]\nlinger_ms = 1",
        &[":1:2", "unknown key `kafak`"],
        &["docs/configuration.md lists every key"],
    ),
    (
        "a value of the wrong type",
        "postgres.port = true",
        &[":1:", "`postgres.port`"],
        &["a whole number from 1 to 65535"],
    ),
    ("a value out of range", "postgres.port = 70000", &[":1:", "`postgres.port`"], &["a whole number from 1 to 65535"]),
    ("a file that is not TOML", "[postgres\n", &[":1:"], &["]"]),
    (
        "a topic template with an unknown placeholder",
        "outbox.topic = 'outbox.{kind}'",
        &[":1:", "`outbox.topic`"],
        &["{aggregate_type}"],
    ),
    (
        "two parts of an event from one column",
        "outbox.columns.id = 'a'\noutbox.columns.payload = 'a'",
        &["outbox.columns", "names the same column"],
        &["each needs its own"],
    ),
    (
        "a slot's name that Postgres does not take",
        "source.slot = 'My-Slot'",
        &[":1:", "`source.slot`"],
        &["lower-case letters, digits and underscores"],
    ),
    (
        "a librdkafka property that the guarantees rest on",
        "[kafka.properties]\nacks = '1'",
        &[":2:", "acks"],
        &["an event counts as delivered only when every in-sync replica has it"],
    ),
    (
        "a password file that is not there",
        "postgres.password_file = '/nowhere/password'",
        &[":1:", "/nowhere/password"],
        &["cannot be read"],
    ),
    (
        "a password given twice",
        "postgres.password = 'a'\npostgres.url = 'postgres://u:hidden@h'",
        &["password"],
        &["keep one of"],
    ),
    (
        "a URL that is none",
        "postgres.url = 'mysql://u:hidden@h/d'",
        &[":1:", "`postgres.url`"],
        &["postgres://user@host:port/database"],
    ),
    ("an address that is none", "admin.listen = 'everywhere'", &[":1:", "`admin.listen`"], &["127.0.0.1"]),
];

pub(crate) async fn scene(book: Arc<Book>) {
    let folder = Folder::new();
    for (fault, text, cause, mend) in IN_THE_FILE {
        let fault = book.fault(Kind::Configuration, fault, Then::Ends(2));
        let ended = folder.launch(text).start().ended().await;
        refused(&fault, &ended, cause, mend);
        assert!(!ended.said().contains("hidden"), "a password is shown: {}", ended.said());
    }

    let fault = book.fault(Kind::Configuration, "a required key that is missing", Then::Ends(2));
    let ended =
        Launch::of(folder.file("")).with("POSTRIDER_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1").start().ended().await;
    refused(&fault, &ended, &["`postgres.database` is required"], &["POSTRIDER_POSTGRES_DATABASE"]);

    let fault = book.fault(Kind::Configuration, "a variable that is not known", Then::Ends(2));
    let ended = folder.launch("").with("POSTRIDER_KAFKA_LINGERMS", "1").start().ended().await;
    refused(&fault, &ended, &["POSTRIDER_KAFKA_LINGERMS", "unknown variable"], &["POSTRIDER_KAFKA_LINGER_MS"]);

    let fault = book.fault(Kind::Configuration, "a configuration file that is not there", Then::Ends(2));
    let ended = Launch::of(folder.0.join("nowhere.toml")).start().ended().await;
    refused(&fault, &ended, &["cannot read the configuration file", "nowhere.toml"], &["--config"]);

    let fault = book.fault(Kind::Configuration, "an admin address that is taken", Then::Ends(1));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let text = format!("admin.listen = '{}'\n", taken.local_addr().unwrap());
    let ended = folder.launch(&text).start().ended().await;
    refused(
        &fault,
        &ended,
        &["the admin endpoint cannot listen", "in use"],
        &["Choose another [admin] listen address"],
    );

    let fault = book.fault(Kind::Configuration, "a property that librdkafka does not know", Then::Ends(1));
    let ended = folder.launch("[kafka.properties]\n'no.such' = '1'\n").start().ended().await;
    refused(&fault, &ended, &["no.such"], &["No such configuration property"]);
}

/// Nothing was read, so nothing can be lost.
fn refused(fault: &crate::faults::book::Fault, ended: &Ended, cause: &[&str], mend: &[&str]) {
    fault.said(ended.said(), cause, mend);
    let Then::Ends(code) = fault.then() else { panic!("{} does not end a process", fault.name()) };
    assert_eq!(ended.code(), Some(code), "{}: {}", fault.name(), ended.said());
    fault.as_documented();
    fault.nothing_lost();
}

/// A folder for configuration files, gone when the scene is over.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("postrider-faults-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("the temporary folder can be written");
        Self(folder)
    }

    fn file(&self, text: &str) -> PathBuf {
        let file = self.0.join("postrider.toml");
        std::fs::write(&file, text).expect("the configuration can be written");
        file
    }

    fn launch(&self, text: &str) -> Launch {
        REQUIRED.iter().fold(Launch::of(self.file(text)), |launch, (name, value)| launch.with(name, value))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
