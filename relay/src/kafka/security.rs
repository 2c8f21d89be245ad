//! How brokers are reached safely, in librdkafka's words. Secrets are read when a sink is opened, so that they may change.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::kafka::diagnosis::Diagnosis;
use crate::kafka::token::TokenFile;
use crate::pipeline::{End, Error, Kind};

/// How brokers are reached.
#[derive(Clone, Default)]
pub struct KafkaSecurity {
    /// How connections are encrypted, if they are.
    pub tls: Option<KafkaTls>,
    /// How the relay logs in, if it does.
    pub login: Option<KafkaLogin>,
    /// Whether a sink was opened since the process started: what worked once is waited for.
    pub worked: WorkedOnce,
}

/// Whether something worked. Its clones know together.
#[derive(Debug, Clone, Default)]
pub struct WorkedOnce(Arc<AtomicBool>);

/// How connections are encrypted. The certificates of brokers are always checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaTls {
    /// The authorities that are trusted; the operating system's if none are named. PEM.
    pub ca_file: Option<PathBuf>,
    /// The relay's own certificate and its key, PEM.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// The file with what decrypts that key.
    pub key_password_file: Option<PathBuf>,
    /// Whether a certificate must name the broker's host.
    pub verify_host_name: bool,
}

/// How the relay logs in.
#[derive(Clone)]
pub enum KafkaLogin {
    /// By name and password.
    Password {
        /// `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`.
        mechanism: &'static str,
        /// Who the relay is.
        username: String,
        /// The password, if it is not in a file.
        password: String,
        /// The file that holds the password.
        password_file: Option<PathBuf>,
    },
    /// By the token in this file.
    Token(PathBuf),
}

impl KafkaSecurity {
    /// librdkafka's properties, with the secrets as they are now.
    pub(crate) fn properties(&self) -> Result<Vec<(String, String)>, Error> {
        let mut properties = Vec::new();
        let mut set = |name: &str, value: &str| properties.push((name.to_owned(), value.to_owned()));
        let protocol = match (&self.tls, &self.login) {
            (None, None) => return Ok(properties),
            (Some(_), None) => "ssl",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), Some(_)) => "sasl_ssl",
        };
        set("security.protocol", protocol);
        if let Some(tls) = &self.tls {
            // "probe" looks where distributions keep their authorities: this OpenSSL has no place of its own.
            set("ssl.ca.location", &tls.ca_file.as_ref().map_or("probe".into(), |path| path.to_string_lossy()));
            if let Some((certificate, key)) = &tls.certificate {
                set("ssl.certificate.location", &certificate.to_string_lossy());
                set("ssl.key.location", &key.to_string_lossy());
            }
            if let Some(path) = &tls.key_password_file {
                set("ssl.key.password", &self.secret(path)?);
            }
            set("ssl.endpoint.identification.algorithm", if tls.verify_host_name { "https" } else { "none" });
        }
        match &self.login {
            None => {}
            Some(KafkaLogin::Password { mechanism, username, password, password_file }) => {
                set("sasl.mechanism", mechanism);
                set("sasl.username", username);
                match password_file {
                    Some(path) => set("sasl.password", &self.secret(path)?),
                    None => set("sasl.password", password),
                }
            }
            Some(KafkaLogin::Token(_)) => set("sasl.mechanism", "OAUTHBEARER"),
        }
        Ok(properties)
    }

    /// Where tokens come from, if the relay logs in by one.
    pub(crate) fn token(&self) -> Option<TokenFile> {
        match &self.login {
            Some(KafkaLogin::Token(path)) => Some(TokenFile::new(path)),
            _ => None,
        }
    }

    /// A sink was opened.
    pub(crate) fn worked(&self) {
        self.worked.0.store(true, Ordering::Relaxed);
    }

    /// What kind of trouble a refused login or handshake is. At the first start a person waits for the answer; later, what
    /// worked may work again: a password is being changed, a certificate renewed.
    pub(crate) fn trouble(&self, diagnosis: &Diagnosis) -> Kind {
        if !diagnosis.certain || self.worked.0.load(Ordering::Relaxed) { Kind::Unavailable } else { Kind::Setup }
    }

    fn secret(&self, path: &Path) -> Result<String, Error> {
        let text = fs::read_to_string(path).map_err(|error| {
            let kind = if self.worked.0.load(Ordering::Relaxed) { Kind::Unavailable } else { Kind::Setup };
            Error::new(End::Sink, kind, format!("the secret file {} cannot be read", path.display())).because(error)
        })?;
        let text = text.strip_suffix('\n').unwrap_or(&text);
        Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
    }
}

impl fmt::Debug for KafkaSecurity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSecurity").field("tls", &self.tls).field("login", &self.login).finish_non_exhaustive()
    }
}

impl fmt::Debug for KafkaLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the password.
        match self {
            Self::Password { mechanism, username, .. } => write!(f, "{mechanism} as {username}"),
            Self::Token(path) => write!(f, "token in {}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_in_no_debug_output() {
        let login = KafkaLogin::Password {
            mechanism: "PLAIN",
            username: "relay".into(),
            password: "hunter2".into(),
            password_file: None,
        };
        let security = KafkaSecurity { login: Some(login), ..KafkaSecurity::default() };
        let shown = format!("{security:?}");
        assert!(shown.contains("relay") && !shown.contains("hunter2"), "{shown}");
        assert!(security.properties().expect("no file").contains(&("sasl.password".into(), "hunter2".into())));
    }

    #[test]
    fn host_names_are_checked_unless_that_is_switched_off() {
        for (verify_host_name, algorithm) in [(true, "https"), (false, "none")] {
            let tls = KafkaTls { ca_file: None, certificate: None, key_password_file: None, verify_host_name };
            let security = KafkaSecurity { tls: Some(tls), ..KafkaSecurity::default() };
            let properties = security.properties().expect("no secret");
            assert!(properties.contains(&("ssl.endpoint.identification.algorithm".into(), algorithm.into())));
            assert!(properties.contains(&("security.protocol".into(), "ssl".into())));
        }
    }

    #[test]
    fn refused_logins_end_the_first_start_and_are_waited_for_later() {
        let security = KafkaSecurity::default();
        let certain = Diagnosis { what: "", help: "", certain: true };
        assert_eq!(security.clone().trouble(&certain), Kind::Setup);
        assert_eq!(security.trouble(&Diagnosis { certain: false, ..certain }), Kind::Unavailable);
        security.clone().worked();
        assert_eq!(security.trouble(&certain), Kind::Unavailable);
    }
}
