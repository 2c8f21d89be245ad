//! From a connector's options to our configuration.

use std::collections::BTreeMap;
use std::path::Path;

use crate::adopt::capture;
use crate::adopt::input::{Input, InputError};
use crate::adopt::options::{Treatment, is_secret, treatment};
use crate::adopt::pattern;
use crate::adopt::router::Router;
use crate::adopt::written::Written;
use crate::adopt::{Adoption, Becomes, Fate};
use crate::config::{Config, key};

/// Where a password file is proposed to be.
const SECRETS: &str = "/run/secrets";

/// Options that a connector always has, by default if not given: the relay's configuration must say them.
const DEFAULTS: [(&str, &str); 5] = [
    ("plugin.name", "decoderbufs"),
    ("slot.name", "debezium"),
    ("publication.name", "dbz_publication"),
    ("database.sslmode", "prefer"),
    ("errors.tolerance", "none"),
];

/// Where to publish: the brokers are the Connect worker's, which no connector's configuration names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brokers(pub Option<String>);

/// Turns the text of a connector's configuration into ours.
///
/// # Errors
/// Text that is no connector's configuration.
pub fn debezium(text: &str, brokers: &Brokers) -> Result<Adoption, InputError> {
    let mut input = Input::read(text)?;
    for (name, value) in DEFAULTS {
        input.options.entry(name.to_owned()).or_insert_with(|| value.to_owned());
    }
    for required in ["connector.class", "database.hostname", "database.dbname", "database.user", "transforms"] {
        input.options.entry(required.to_owned()).or_default();
    }
    let router = Router::find(&input.options);
    let captures = router.alias.is_empty();
    if captures {
        for (name, value) in capture::DEFAULTS {
            input.options.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        }
    } else if !input.options.contains_key("table.whitelist") {
        input.options.entry("table.include.list".to_owned()).or_default();
    }
    let mut taking =
        Taking { router, captures, written: Written::default(), fates: Vec::new(), options: &input.options };
    taking.form();
    for (name, value) in &input.options {
        taking.option(name, value);
    }
    taking.converters(&input);
    taking.brokers(&input, brokers);
    let connector = input.name.clone().unwrap_or_else(|| "outbox".to_owned());
    Ok(taking.finish(connector))
}

struct Taking<'i> {
    router: Router,
    /// Whether there is no event router, so that the tables are captured.
    captures: bool,
    written: Written,
    fates: Vec<Fate>,
    options: &'i BTreeMap<String, String>,
}

impl Taking<'_> {
    /// What no option says: tables or an outbox, in Debezium's form.
    fn form(&mut self) {
        if !self.captures {
            return;
        }
        self.written.text("outbox.table", "");
        self.written.text("capture.compatibility", "debezium");
        if let Some(line) = capture::every_table(&mut self.written, self.options) {
            self.fate("table.include.list", Becomes::Taken(line));
        }
    }

    fn fate(&mut self, option: &str, becomes: Becomes) {
        self.fates.push(Fate { option: option.to_owned(), becomes });
    }

    fn take(&mut self, option: &str, path: &str, value: &str) {
        let line = self.written.text(path, value);
        self.fate(option, Becomes::Taken(line));
    }

    fn refuse(&mut self, option: &str, why: impl Into<String>) {
        self.fate(option, Becomes::Refused(why.into()));
    }

    fn option(&mut self, name: &str, value: &str) {
        let router_option = self.router.option(name);
        if let Some(path) = secret_file(name) {
            let file = format!("{SECRETS}/postrider-password");
            self.take(name, path, &file);
        } else if name.contains(".with.salt.") && self.captures {
            let becomes = capture::elsewhere(&mut self.written, self.options, name, value);
            let told = match becomes {
                Becomes::Taken(line) => Becomes::Taken(format!("{line}: write the salt into that file")),
                other => other,
            };
            self.fate(&capture::shown(name), told);
        } else if is_secret(name) || name.contains(".with.salt.") {
            let name = &capture::shown(name);
            self.refuse(name, "it is a secret: put it into a file and name that by the key of the same meaning");
        } else if is_placeholder(value) {
            self.refuse(
                name,
                "its value is a placeholder that only Connect can fill in: write the value itself into the file",
            );
        } else if let Some(option) = router_option {
            self.take(name, &format!("outbox.debezium.{option}"), value);
        } else {
            self.treat(name, value);
        }
    }

    fn treat(&mut self, name: &str, value: &str) {
        let own = self.captures.then(|| capture::treatment(name)).flatten();
        match own.or_else(|| treatment(name)) {
            None => self.refuse(name, "it is not known: leave it out if it does not matter, and see what it did"),
            Some(Treatment::Refused(why)) => self.refuse(name, why),
            Some(Treatment::Needless(why)) => self.fate(name, Becomes::Needless(why.to_owned())),
            Some(Treatment::Usual(usual, why)) => {
                if usual.iter().any(|usual| usual.eq_ignore_ascii_case(value.trim())) {
                    self.fate(name, Becomes::Needless("it has the value that holds here always".to_owned()));
                } else {
                    self.refuse(name, why);
                }
            }
            Some(Treatment::Key(path)) => self.key(name, path, value),
            Some(Treatment::SecretFile(path)) => self.take(name, path, &format!("{SECRETS}/postrider-password")),
            Some(Treatment::Flag(path)) => match value.trim().to_ascii_lowercase().parse() {
                Ok(flag) => {
                    let line = self.written.flag(path, flag);
                    self.fate(name, Becomes::Taken(line));
                }
                Err(_) => self.refuse(name, "it is neither true nor false"),
            },
            Some(Treatment::Names(path, parts)) => self.names(name, path, parts, value),
            Some(Treatment::Elsewhere) if own.is_some() => {
                let becomes = capture::elsewhere(&mut self.written, self.options, name, value);
                self.fate(name, becomes);
            }
            Some(Treatment::Elsewhere) => self.elsewhere(name, value),
        }
    }

    /// A list of expressions; a path that takes one name takes no more.
    fn names(&mut self, name: &str, path: &str, parts: usize, value: &str) {
        match pattern::names(value, parts).as_deref() {
            Ok([]) => self.fate(name, Becomes::Needless("it names nothing".to_owned())),
            Ok([only]) if path == "capture.signal_table" => self.take(name, path, only),
            Ok(_) if path == "capture.signal_table" => self.refuse(name, "there is one signal table"),
            Ok(names) => {
                let line = self.written.list(path, names);
                self.fate(name, Becomes::Taken(line));
            }
            Err(why) => self.refuse(name, why.clone()),
        }
    }

    fn key(&mut self, name: &str, path: &str, value: &str) {
        let is_known = path.starts_with("kafka.properties.") || key::all().any(|key| key.path == path);
        if !is_known {
            self.fate(name, Becomes::Needless("topics are created with the broker's defaults, or by you".to_owned()));
        } else if value.is_empty() {
            self.refuse(name, "it is required and not there");
        } else if path == "source.in_flight_bytes_max" && value == "0" {
            self.fate(name, Becomes::Needless("0 is no bound; the relay's default holds".to_owned()));
        } else {
            let line = self.written.number_or_text(path, value);
            self.fate(name, Becomes::Taken(line));
        }
    }

    /// Options that have a rule of their own.
    fn elsewhere(&mut self, name: &str, value: &str) {
        match name {
            "connector.class" => match value.ends_with("PostgresConnector") {
                true => self.fate(name, Becomes::Needless("the relay reads Postgres".to_owned())),
                false => self.refuse(name, "it is not Debezium's Postgres connector"),
            },
            "plugin.name" => match value {
                "pgoutput" => self.fate(name, Becomes::Needless("the relay reads pgoutput".to_owned())),
                _ => self.refuse(name, format!(
                    "a slot of the plugin {value} cannot be read: let the connector finish, run `postrider init` for a slot of \
                     the relay's own while writers wait, and start from there"
                )),
            },
            "slot.name" => self.take(name, "source.slot", value),
            "publication.name" => self.take(name, "source.publication", value),
            "topic.prefix" => self.take(name, "outbox.debezium.topic.prefix", value),
            "database.server.name" if self.options.contains_key("topic.prefix") => {
                self.fate(name, Becomes::Needless("topic.prefix stands for it".to_owned()));
            }
            "database.server.name" => self.take(name, "outbox.debezium.topic.prefix", value),
            "database.sslmode" => self.ssl_mode(name, value),
            "database.sslkey" => self.client_key(name, value),
            "table.include.list" | "table.whitelist" => self.table(name, value),
            "errors.tolerance" => match value {
                "all" => {
                    self.written.text("outbox.on_refusal", "park");
                    self.fate(name, Becomes::Taken(
                        "outbox.on_refusal = \"park\": what Connect would have dropped is held, with its key".to_owned(),
                    ));
                }
                _ => self.take(name, "outbox.on_refusal", "block"),
            },
            "producer.override.compression.type" => match value {
                "lz4" | "none" => self.take(name, "kafka.compression", value),
                _ => self.refuse(name, "the relay compresses by lz4 or not at all; consumers read either"),
            },
            "sink.kafka.producer.bootstrap.servers" => {}
            _ if name.starts_with("transforms") || name.starts_with("predicates") => {
                let becomes = self.router.fate(name, value);
                if name == "transforms" && matches!(becomes, Becomes::Taken(_)) {
                    self.written.text("outbox.compatibility", "debezium");
                }
                self.fate(name, becomes);
            }
            _ => self.take(name, &format!("outbox.debezium.{name}"), value),
        }
    }

    fn ssl_mode(&mut self, name: &str, value: &str) {
        match value {
            "disable" | "prefer" | "require" | "verify-ca" | "verify-full" => self.take(name, "postgres.tls", value),
            "allow" => self.take(name, "postgres.tls", "prefer"),
            _ => self.refuse(name, "it is no mode of TLS"),
        }
    }

    fn client_key(&mut self, name: &str, value: &str) {
        if value.ends_with(".pk8") || value.ends_with(".der") || value.ends_with(".p12") {
            self.refuse(
                name,
                "Java's form of a key is not read: write it as PEM (openssl pkcs8 -inform DER -in … -out …)",
            );
        } else {
            self.take(name, "postgres.tls_key_file", value);
        }
    }

    /// One table: the event router makes events of no other.
    fn table(&mut self, name: &str, value: &str) {
        let tables: Vec<&str> = value.split(',').map(str::trim).filter(|table| !table.is_empty()).collect();
        let [pattern] = tables.as_slice() else {
            let why = match tables.len() {
                0 => "it is not there, so that every table is captured: name the outbox table",
                _ => {
                    "several tables are captured: one relay publishes one outbox of this form; name the outbox table alone"
                }
            };
            return self.refuse(name, why);
        };
        match plain_table(pattern) {
            Some(table) => self.take(name, "outbox.table", &table),
            None => self.refuse(name, "it is a pattern: name the outbox table itself, as schema.table"),
        }
    }

    /// Converters that the connector leaves to the worker.
    fn converters(&mut self, input: &Input) {
        for part in ["key", "value"] {
            let name = format!("{part}.converter");
            if input.options.contains_key(&name) {
                continue;
            }
            if input.is_server && self.captures {
                self.fate(
                    &name,
                    Becomes::Needless("JSON is Debezium Server's default, and what is written here".to_owned()),
                );
            } else if input.is_server {
                // Debezium Server's own default: https://debezium.io/documentation/reference/stable/operations/debezium-server.html
                self.take(&name, &format!("outbox.debezium.{name}"), "org.apache.kafka.connect.json.JsonConverter");
            } else {
                self.refuse(&name, "it is not there, so that the Connect worker's holds: add that to the file");
            }
        }
    }

    fn brokers(&mut self, input: &Input, brokers: &Brokers) {
        let own = input.options.get("sink.kafka.producer.bootstrap.servers");
        match brokers.0.as_ref().or(own) {
            Some(servers) => self.take("bootstrap.servers", "kafka.bootstrap_servers", servers),
            None => self
                .refuse("bootstrap.servers", "the brokers are the Connect worker's: name them by --bootstrap-servers"),
        }
    }

    /// Has the configuration's own rules judge what was written.
    fn finish(mut self, connector: String) -> Adoption {
        let opening = format!("Taken over from the Debezium connector {connector:?} by `postrider adopt debezium`.");
        let opening = opening.replace(char::is_control, " ");
        let configuration = self.written.toml(&opening);
        // What is already refused would only be told again.
        if !self.fates.iter().any(|fate| matches!(fate.becomes, Becomes::Refused(_)))
            && let Err(error) = Config::parse("postrider.toml", &configuration, [], |_: &Path| Ok("a file".to_owned()))
        {
            for problem in error.problems() {
                self.refuse("the configuration that it makes", problem.to_string());
            }
        }
        self.fates.sort();
        let slot = self.options.get("slot.name").cloned().unwrap_or_default();
        Adoption { configuration, fates: self.fates, connector, slot }
    }
}

fn secret_file(name: &str) -> Option<&'static str> {
    match treatment(name) {
        Some(Treatment::SecretFile(path)) => Some(path),
        _ => None,
    }
}

/// `${provider:path:key}`, which a Connect worker fills in; `${group}` in a replacement is none.
/// <https://kafka.apache.org/documentation/#connect_administration>
fn is_placeholder(value: &str) -> bool {
    let mut rest = value;
    while let Some((_, after)) = rest.split_once("${") {
        if after.split_once('}').is_some_and(|(inside, _)| inside.contains(':')) {
            return true;
        }
        rest = after;
    }
    false
}

/// The table that a regular expression names if it is a plain name: `public\.outbox`. Ours quotes what is not lower case.
fn plain_table(pattern: &str) -> Option<String> {
    let text = pattern.replace("\\.", ".");
    let (schema, table) = text.split_once('.')?;
    let is_plain = |part: &str| {
        !part.is_empty() && part.chars().all(|letter| letter.is_alphanumeric() || matches!(letter, '_' | '-' | ' '))
    };
    let quote = |part: &str| {
        let lower = part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        if lower && !part.starts_with(|letter: char| letter.is_ascii_digit()) {
            part.to_owned()
        } else {
            format!("\"{part}\"")
        }
    };
    (is_plain(schema) && is_plain(table)).then(|| format!("{}.{}", quote(schema), quote(table)))
}

#[cfg(test)]
mod tests;
