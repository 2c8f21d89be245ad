//! The environment: variables that begin with `POSTRIDER_` become values of the known keys; a name is looked up in the table, never guessed by splitting.

use std::ffi::OsString;

use crate::config::{
    error::{Origin, Problem},
    key::{self, Key, Kind},
    nearest::nearest,
    relays,
    settings::{Given, Scalar, Values},
};

/// What every variable of ours begins with.
const PREFIX: &str = "POSTRIDER_";

/// Variables of ours that are no keys: the options `--config`, `--relay` and `--admin-url` of the command line, and what this
/// project's own tests and demo hand to each other.
const NOT_KEYS: &[&str] = &[
    "POSTRIDER_CONFIG",
    "POSTRIDER_RELAY",
    "POSTRIDER_ADMIN_URL",
    "POSTRIDER_SERVICES",
    "POSTRIDER_SERVICES_HOME",
    "POSTRIDER_RELAY_BINARY",
    #[cfg(feature = "failpoints")]
    "POSTRIDER_FAILPOINT",
];

/// Reads the values by key path from those `variables` that are ours.
pub(super) fn parse(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    problems: &mut Vec<Problem>,
) -> relays::Given {
    let mut given = relays::Given::default();
    for (name, value) in variables {
        // A name that is not Unicode is not one of ours: all of ours are ASCII.
        let Some(name) = name.into_string().ok().filter(|name| name.starts_with(PREFIX)) else { continue };
        if NOT_KEYS.contains(&name.as_str()) {
            continue;
        }
        let origin = Origin::Variable(name.clone());
        let found = match key::by_variable_of_relay(&name) {
            Some((relay, key, path)) => Some((Some(relay), key, path)),
            None => key::by_variable(&name).map(|(key, path)| (None, key, path)),
        };
        let Some((relay, key, path)) = found else {
            if !is_kubernetes_service_link(&name, &value.to_string_lossy()) {
                problems.push(Problem::new(origin, unknown(&name)));
            }
            continue;
        };
        match value.into_string() {
            Ok(value) => {
                let own = relay.is_some();
                let values = match relay {
                    Some(relay) => given.relays.entry(relay).or_default(),
                    None => &mut given.shared,
                };
                insert(values, (key, path), value, (origin, own), problems);
            }
            Err(_) => problems.push(Problem::new(origin, "the value is not valid UTF-8")),
        }
    }
    given
}

fn insert(
    values: &mut Values,
    (key, path): (&Key, String),
    value: String,
    (origin, own): (Origin, bool),
    problems: &mut Vec<Problem>,
) {
    if key.kind != Kind::Properties {
        values.insert(path, Given { scalar: Scalar::Untyped(value), origin, own });
        return;
    }
    let pairs = value.split([';', '\n']).filter(|pair| !pair.trim().is_empty());
    for (index, pair) in pairs.enumerate() {
        let Some((name, value)) = pair.split_once('=') else {
            let message = format!("entry {} has no `=`: write name=value, separated by `;` or line breaks", index + 1);
            problems.push(Problem::new(origin.clone(), message));
            continue;
        };
        let path = format!("{path}.{}", name.trim());
        let scalar = Scalar::Untyped(value.trim().to_owned());
        values.insert(path, Given { scalar, origin: origin.clone(), own });
    }
}

fn unknown(name: &str) -> String {
    let known: Vec<String> = key::all().map(Key::variable).collect();
    match nearest(name, known.iter().map(String::as_str)) {
        Some(known) => format!("unknown variable; did you mean {known}?"),
        None => format!("unknown variable; docs/configuration.md lists every variable that begins with {PREFIX}"),
    }
}

/// Whether Kubernetes made the variable for a Service called `postrider` or `postrider-…`: those are put into every pod
/// of the namespace and are not meant for us.
/// <https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>
fn is_kubernetes_service_link(name: &str, value: &str) -> bool {
    let port_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let describes_port = |tail: &str| {
        let mut parts = tail.split('_');
        parts.next().is_some_and(port_number)
            && matches!(parts.next(), Some("TCP" | "UDP" | "SCTP"))
            && matches!(parts.next(), None | Some("PROTO" | "PORT" | "ADDR"))
            && parts.next().is_none()
    };
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || (name.ends_with("_PORT") && value.contains("://"))
        || name.split("_PORT_").skip(1).any(describes_port)
}
