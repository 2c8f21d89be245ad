//! Where servers listen: a list of names, addresses and socket directories, each with its own port if it has one.

use std::path::PathBuf;

/// One server's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Where it listens.
    pub host: Host,
    /// Its port; part of the socket's name too.
    pub port: u16,
}

impl Server {
    /// Whether it is reached by a Unix socket.
    #[must_use]
    pub fn is_socket(&self) -> bool {
        matches!(self.host, Host::Socket(_))
    }
}

/// The two ways to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A Unix socket `.s.PGSQL.<port>` in this directory.
    Socket(PathBuf),
    /// A host name or address, over TCP.
    Tcp(String),
}

impl Host {
    /// A leading slash makes a socket's directory of it, as in libpq.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let valid = !text.is_empty() && !text.chars().any(|c| c.is_control() || c.is_whitespace());
        let tcp = || (!text.contains(['/', ',', '@'])).then(|| Self::Tcp(text.to_owned()));
        if text.starts_with('/') { Some(Self::Socket(text.into())) } else { tcp() }.filter(|_| valid)
    }
}

/// A host as it is written, whose port may stand elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) host: Host,
    pub(super) port: Option<u16>,
}

impl Place {
    /// One of a list: `name`, `name:port`, `::1`, `[::1]`, `[::1]:port` or `/directory`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let port = |text: &str| text.parse().ok().filter(|port| *port > 0);
        let (host, port) = match (text.strip_prefix('['), text.split_once(':')) {
            (Some(bracketed), _) => match bracketed.split_once(']')? {
                (address, "") => (address, None),
                (address, rest) => (address, Some(port(rest.strip_prefix(':')?)?)),
            },
            (None, Some((name, rest))) if !text.starts_with('/') && !rest.contains(':') => (name, Some(port(rest)?)),
            _ => (text, None),
        };
        Some(Self { host: Host::parse(host)?, port })
    }

    /// The server there, at `port` if no other is written.
    pub(super) fn at(&self, port: u16) -> Server {
        Server { host: self.host.clone(), port: self.port.unwrap_or(port) }
    }
}

/// A list separated by commas, in the order in which they are tried.
pub(super) fn parse_list(text: &str) -> Option<Vec<Place>> {
    text.split(',').map(|item| Place::parse(item.trim())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_carries_its_own_port_and_an_address_of_many_colons_none_unless_in_brackets() {
        let tcp = |name: &str, port| Some(Place { host: Host::Tcp(name.to_owned()), port });
        for (text, place) in [
            ("db", tcp("db", None)),
            ("db:5433", tcp("db", Some(5433))),
            ("10.0.0.1:1", tcp("10.0.0.1", Some(1))),
            ("::1", tcp("::1", None)),
            ("[::1]", tcp("::1", None)),
            ("[::1]:99", tcp("::1", Some(99))),
            ("/run/pg", Some(Place { host: Host::Socket("/run/pg".into()), port: None })),
            ("db:", None),
            ("db:0", None),
            ("db:70000", None),
            ("db:x", None),
            ("[::1", None),
            ("[::1]5", None),
            ("a b", None),
            ("user@db", None),
            ("", None),
        ] {
            assert_eq!(Place::parse(text), place, "{text}");
        }
    }

    #[test]
    fn a_list_keeps_its_order_and_has_no_empty_place() {
        let list = parse_list("a, b:5433,/run/pg").expect("a list");
        let servers: Vec<_> = list.iter().map(|place| place.at(5432)).collect();
        assert_eq!(servers.iter().map(|server| server.port).collect::<Vec<_>>(), [5432, 5433, 5432]);
        assert_eq!(servers.iter().map(Server::is_socket).collect::<Vec<_>>(), [false, false, true]);
        assert_eq!(parse_list("a,,b"), None);
    }
}
