//! `[admin]`: where probes and metrics are answered.

use std::{ffi::OsString, net::SocketAddr};

use crate::config::{
    error::ConfigError,
    key::{Fallback, Key, Kind},
    relays::File,
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
    /// Reads the same file and variables as [`Config::load`](crate::config::Config::load), unknown keys refused; only this
    /// section is checked further. For whoever only asks a relay that runs.
    ///
    /// # Errors
    /// As [`Config::load`](crate::config::Config::load).
    pub fn load<'a>(
        file: impl Into<File<'a>>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let (name, text) = crate::config::read_configuration(file.into().path)?;
        let mut settings = crate::config::merge(&name, &text, environment)?;
        let admin = Self::from_settings(&mut settings);
        settings.into_result(admin)
    }

    pub(super) fn from_settings(settings: &mut Settings) -> Self {
        let listen =
            settings.parsed(&LISTEN, |text| if text.is_empty() { Some(None) } else { text.parse().ok().map(Some) });
        Self { listen: listen.flatten() }
    }
}
