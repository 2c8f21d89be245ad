//! The relay, configured to be taken for Debezium.

use crate::compare::place::Place;
use crate::compare::{Modes, Options};
use crate::config::{ROLE, quoted};
use crate::database::socket;
use crate::error::Result;
use crate::relay::{Process, Relay};

/// Sets the relay up with a slot, a publication and topics named `prefix`, and starts it.
pub(super) fn start(place: &Place, prefix: &str, options: &Options) -> Result<Process> {
    let url = place.server().url(place.database.name());
    let relay = Relay::with_file(&place.folder(prefix)?, &toml(place, prefix, options), url)?;
    relay.complete("init")?;
    relay.start()
}

/// The topic of its progress record.
pub(super) fn progress_topic(prefix: &str) -> String {
    format!("progress.{prefix}")
}

/// What a user who moves from Debezium would write. Nothing is left out that Debezium was told not to leave out.
fn toml(place: &Place, prefix: &str, options: &Options) -> String {
    let server = place.server();
    let (host, password) = match socket(server) {
        Some(folder) => (folder.display().to_string(), String::new()),
        None => (server.host.clone(), format!("password = {}\n", quoted(&server.password))),
    };
    let transactions = match options.transactions {
        true => format!("transaction_topic = {}\n", quoted(&format!("{prefix}.transaction"))),
        false => String::new(),
    };
    let Modes { decimal, time, interval, binary, hstore } = &options.modes;
    let [decimal, time, interval, binary, hstore] = [decimal, time, interval, binary, hstore].map(|mode| quoted(mode));
    let snapshot = if options.no_snapshot { "no_data" } else { "initial" };
    let [host, database, role, name, progress, brokers, messages] = [
        host.as_str(),
        place.database.name(),
        ROLE,
        prefix,
        &progress_topic(prefix),
        &place.bootstrap,
        &format!("{prefix}.message"),
    ]
    .map(quoted);
    format!(
        "[postgres]\nhost = {host}\nport = {}\ndatabase = {database}\nuser = {role}\n{password}\n\
         [source]\nslot = {name}\n\n\
         [outbox]\ntable = \"\"\n\n\
         [capture]\ntables = [\"public.*\", \"other.*\"]\npublication = {name}\npublish_via_partition_root = false\n\
         compatibility = \"debezium\"\nheader_converter = \"json\"\ntopic_prefix = {name}\nskipped_operations = []\nschemas = {}\n\
         message_prefixes = [\"*\"]\nmessage_topic = {messages}\n{transactions}\n\
         [capture.types]\ndecimal = {decimal}\ntime = {time}\ninterval = {interval}\nbinary = {binary}\nhstore = {hstore}\n\n\
         [capture.snapshot]\nmode = {}\nworkers = 1\n\n\
         [kafka]\nbootstrap_servers = {brokers}\nprogress_topic = {progress}\n\n\
         [admin]\nlisten = \"127.0.0.1:0\"\n",
        server.port,
        options.schemas,
        quoted(snapshot),
    )
}
