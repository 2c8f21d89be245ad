//! `[admin]`: where probes and metrics are answered.

use std::net::SocketAddr;

use crate::config::{
    key::{Fallback, Key, Kind},
    settings::Settings,
};

/// Only this machine by default, since nothing there asks who is calling; the port is none of Postgres's, Kafka's or
/// their usual exporters', and easy to remember beside 5432.
const LISTEN: Key = Key {
    path: "admin.listen",
    kind: Kind::Text("an IP address and a port, such as 127.0.0.1:8432 or [::1]:8432, or \"\" for none"),
    fallback: Fallback::Value("127.0.0.1:8432"),
    meaning: "Where /live, /ready, /metrics and /status are answered. Port 0 takes a free one, which the log names. \"\" switches them off.",
};

pub(super) const KEYS: &[Key] = &[LISTEN];

/// The endpoint for probes and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Where it listens; `None` is off.
    pub listen: Option<SocketAddr>,
}

impl Admin {
    pub(super) fn from_settings(settings: &mut Settings) -> Self {
        let listen =
            settings.parsed(&LISTEN, |text| if text.is_empty() { Some(None) } else { text.parse().ok().map(Some) });
        Self { listen: listen.flatten() }
    }
}
