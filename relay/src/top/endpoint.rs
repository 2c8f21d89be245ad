//! The admin endpoint as its client sees it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ureq::Agent;

use crate::top::report::{Report, Reports};
use crate::top::sample::Sample;

/// How long an answer may take: the relay answers from memory.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Longest answer that is read, in bytes: a thousand times a real one.
const ANSWER_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Where a relay answers.
#[derive(Debug, Clone)]
pub struct Endpoint {
    base: String,
    agent: Agent,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The configuration switches the endpoint off, or leaves its port to chance.
    #[error("where the relay answers is not known: {why}")]
    Nowhere {
        /// What the configuration says.
        why: &'static str,
    },
    /// Nothing that speaks HTTP answers there in time.
    #[error("no relay answers at {url}")]
    Silent {
        /// What was asked for.
        url: String,
        /// What happened instead.
        source: Box<ureq::Error>,
    },
    /// Something else answers there.
    #[error("what answers at {url} is no relay of this kind: {why}")]
    Stranger {
        /// What was asked for.
        url: String,
        /// What is wrong with the answer.
        why: String,
    },
    /// Several relays answer, and only one can be shown.
    #[error("several relays answer at {url}: {names}")]
    Several {
        /// What was asked.
        url: String,
        /// What they are called.
        names: String,
    },
    /// The terminal cannot be used.
    #[error("the terminal cannot be drawn on")]
    Terminal(#[from] std::io::Error),
}

impl EndpointError {
    /// What a person can do about it.
    #[must_use]
    pub fn help(&self) -> &'static str {
        match self {
            Self::Nowhere { .. } => {
                "Name the address with --url, such as --url http://127.0.0.1:8432; the relay's log names its port."
            }
            Self::Silent { .. } => {
                "Is `postrider run` running there? [admin] listen says where it answers; --url names another place."
            }
            Self::Stranger { .. } => {
                "Something else listens there, or a relay of another version: check [admin] listen, or name the place with --url."
            }
            Self::Several { .. } => "Say which with --relay NAME; `postrider status` shows all.",
            Self::Terminal(_) => "Where there is no terminal, `postrider top --once` prints one picture.",
        }
    }
}

impl Endpoint {
    /// At `url`, `http://host:port`.
    #[must_use]
    pub fn at(url: &str) -> Self {
        let config = Agent::config_builder().timeout_global(Some(TIMEOUT)).http_status_as_error(true).build();
        let base = url.trim_end_matches('/');
        let base = if base.contains("://") { base.to_owned() } else { format!("http://{base}") };
        Self { base, agent: config.into() }
    }

    /// Where a relay with this `[admin] listen` answers.
    ///
    /// # Errors
    /// If it answers nowhere, or at a port that only its log knows.
    pub fn of(listen: Option<SocketAddr>) -> Result<Self, EndpointError> {
        match listen {
            None => Err(EndpointError::Nowhere { why: "[admin] listen is \"\", which switches the endpoint off" }),
            Some(address) if address.port() == 0 => {
                Err(EndpointError::Nowhere { why: "[admin] listen has port 0, which takes any free one" })
            }
            Some(mut address) => {
                if address.ip().is_unspecified() {
                    // It listens on every address; this machine's own is certain to be one.
                    address.set_ip(match address.ip() {
                        IpAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                        IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
                    });
                }
                Ok(Self::at(&format!("http://{address}")))
            }
        }
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.base
    }

    /// The same of one relay, where the process has several.
    #[must_use]
    pub fn of_relay(mut self, name: Option<&str>) -> Self {
        if let Some(name) = name {
            self.base = format!("{}/relays/{name}", self.base);
        }
        self
    }

    /// The status as the relay tells it, or as each of several does, with its JSON text.
    ///
    /// # Errors
    /// If nothing answers there, or no relay.
    pub fn reports(&self) -> Result<(Reports, String), EndpointError> {
        let (url, text) = self.fetch("/status")?;
        let reports = Reports::parse(&text).map_err(|error| EndpointError::Stranger { url, why: error.to_string() })?;
        Ok((reports, text))
    }

    /// The status of the only relay.
    ///
    /// # Errors
    /// If nothing answers there, no relay, or several.
    pub(super) fn report(&self) -> Result<Report, EndpointError> {
        match self.reports()?.0 {
            Reports::One(report) => Ok(*report),
            Reports::Several { relays, .. } => {
                let names: Vec<_> = relays.into_keys().collect();
                Err(EndpointError::Several { url: self.base.clone(), names: names.join(", ") })
            }
        }
    }

    /// The metrics.
    ///
    /// # Errors
    /// If nothing answers there, or no relay.
    pub(super) fn sample(&self) -> Result<Sample, EndpointError> {
        let (url, text) = self.fetch("/metrics")?;
        let sample = Sample::parse(&text);
        if sample.is_empty() {
            return Err(EndpointError::Stranger { url, why: "it has no metrics of a relay".into() });
        }
        Ok(sample)
    }

    fn fetch(&self, path: &str) -> Result<(String, String), EndpointError> {
        let url = format!("{}{path}", self.base);
        let read = || {
            let mut answer = self.agent.get(&url).call()?;
            answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string()
        };
        match read() {
            Ok(text) => Ok((url, text)),
            Err(ureq::Error::StatusCode(code)) => {
                Err(EndpointError::Stranger { url, why: format!("it answers with {code}") })
            }
            Err(error) => Err(EndpointError::Silent { url, source: Box::new(error) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_on_every_address_is_asked_on_this_machines_own() {
        for (listen, url) in [
            ("0.0.0.0:8432", "http://127.0.0.1:8432"),
            ("[::]:8432", "http://[::1]:8432"),
            ("10.1.2.3:80", "http://10.1.2.3:80"),
        ] {
            let endpoint = Endpoint::of(Some(listen.parse().unwrap())).unwrap();
            assert_eq!(endpoint.url(), url);
        }
    }

    #[test]
    fn an_endpoint_that_cannot_be_known_is_asked_for() {
        for listen in [None, Some("127.0.0.1:0".parse().unwrap())] {
            let error = Endpoint::of(listen).unwrap_err();
            assert!(error.help().contains("--url"), "{error}");
        }
    }

    #[test]
    fn a_url_may_leave_out_the_scheme_and_end_in_a_slash() {
        assert_eq!(Endpoint::at("localhost:8432/").url(), "http://localhost:8432");
        assert_eq!(Endpoint::at("http://relay:8432").url(), "http://relay:8432");
    }
}
