//! A URL in libpq's form, taken apart: <https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS>.

use std::{borrow::Cow, fmt, path::PathBuf, time::Duration};

use crate::config::{
    postgres::{ChannelBinding, Target, TlsMode, application_name, name, server::Place},
    secret::Secret,
};

/// What is wrong with a URL; its text, which may hold a password, is not shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlError(Cow<'static, str>);

impl UrlError {
    pub(super) fn new(why: impl Into<Cow<'static, str>>) -> Self {
        Self(why.into())
    }
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UrlError {}

/// What a URL said, part by part.
#[derive(Debug, Default)]
pub(super) struct UrlParts {
    pub(super) places: Vec<Place>,
    /// The port, where it is one for all hosts.
    pub(super) port: Option<u16>,
    pub(super) database: Option<String>,
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) passfile: Option<PathBuf>,
    pub(super) tls: Option<TlsMode>,
    /// `Some(None)` for `system`.
    pub(super) ca_file: Option<Option<PathBuf>>,
    pub(super) certificate_file: Option<PathBuf>,
    pub(super) key_file: Option<PathBuf>,
    pub(super) channel_binding: Option<ChannelBinding>,
    pub(super) target: Option<Target>,
    pub(super) connect_timeout: Option<Duration>,
    pub(super) tcp_user_timeout: Option<Duration>,
    pub(super) application_name: Option<String>,
}

const FORM: &str = "must be a URL of the form postgres://user@host:port/database";

impl UrlParts {
    /// Takes `text` apart.
    pub(super) fn parse(text: &str) -> Result<Self, UrlError> {
        let form = || UrlError::new(FORM);
        let rest =
            ["postgres://", "postgresql://"].iter().find_map(|scheme| text.strip_prefix(scheme)).ok_or_else(form)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = match credentials.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (credentials, None),
        };
        let mut parts = Self::default();
        parts.take_hosts(hosts)?;
        if !user.is_empty() {
            parts.take("user", &decoded(user)?)?;
        }
        if let Some(password) = password {
            parts.take("password", &decoded(password)?)?;
        }
        if !database.is_empty() {
            parts.take("dbname", &decoded(database)?)?;
        }
        let mut ports = None;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or_else(form)?;
            let value = decoded(value)?;
            match name {
                "host" if !parts.places.is_empty() => return Err(UrlError::new("names the host twice")),
                "host" => parts.take_hosts(&value)?,
                "port" => ports = Some(value),
                _ => parts.take(name, &value)?,
            }
        }
        if let Some(ports) = ports {
            parts.take_ports(&ports)?;
        }
        // One host's port is one part, which its key can override.
        if let [place] = &mut parts.places[..]
            && parts.port.is_none()
        {
            parts.port = place.port.take();
        }
        Ok(parts)
    }

    fn take_hosts(&mut self, text: &str) -> Result<(), UrlError> {
        if let Some(port) = text.strip_prefix(':') {
            return self.take_ports(port);
        }
        if text.is_empty() {
            return Ok(());
        }
        for item in text.split(',') {
            self.places.push(Place::parse(&decoded(item)?).ok_or(UrlError::new(FORM))?);
        }
        Ok(())
    }

    /// The parameter `port`: one for all hosts, or one for each.
    fn take_ports(&mut self, text: &str) -> Result<(), UrlError> {
        let ports: Option<Vec<u16>> = text.split(',').map(|port| port.parse().ok().filter(|port| *port > 0)).collect();
        match ports.ok_or(UrlError::new(FORM))?[..] {
            [port] if self.places.iter().all(|place| place.port.is_none()) => self.port = Some(port),
            ref ports if ports.len() == self.places.len() && self.places.iter().all(|place| place.port.is_none()) => {
                for (place, port) in self.places.iter_mut().zip(ports) {
                    place.port = Some(*port);
                }
            }
            _ => return Err(UrlError::new("must name one port, or one for each host")),
        }
        Ok(())
    }

    fn take(&mut self, parameter: &str, value: &str) -> Result<(), UrlError> {
        let form = || UrlError::new(FORM);
        match parameter {
            "user" => set(&mut self.user, parameter, name(value).ok_or_else(form)?),
            "password" => set(&mut self.password, parameter, Secret::new(value)),
            "dbname" => set(&mut self.database, parameter, name(value).ok_or_else(form)?),
            "passfile" => set(&mut self.passfile, parameter, value.into()),
            "sslmode" => set(&mut self.tls, parameter, tls_mode(value)?),
            "sslrootcert" => {
                set(&mut self.ca_file, parameter, Some(value).filter(|value| *value != "system").map(PathBuf::from))
            }
            "sslcert" => set(&mut self.certificate_file, parameter, value.into()),
            "sslkey" => set(&mut self.key_file, parameter, value.into()),
            "channel_binding" => set(&mut self.channel_binding, parameter, channel_binding(value)?),
            "target_session_attrs" => set(&mut self.target, parameter, target(value)?),
            "connect_timeout" => {
                let seconds = value.parse().ok().filter(|seconds| (1..=600).contains(seconds));
                let seconds = seconds.ok_or(UrlError::new("takes a connect_timeout from 1 to 600 seconds"))?;
                set(&mut self.connect_timeout, parameter, Duration::from_secs(seconds))
            }
            "tcp_user_timeout" => {
                let millis = value.parse().ok().filter(|millis| (100..=3_600_000).contains(millis));
                let millis =
                    millis.ok_or(UrlError::new("takes a tcp_user_timeout from 100 to 3600000 milliseconds"))?;
                set(&mut self.tcp_user_timeout, parameter, Duration::from_millis(millis))
            }
            "application_name" => set(&mut self.application_name, parameter, application_name(value).ok_or_else(form)?),
            _ => Err(UrlError::new(
                "may carry only the parameters host, port, user, password, dbname, passfile, sslmode, sslrootcert, sslcert, sslkey, channel_binding, target_session_attrs, connect_timeout, tcp_user_timeout and application_name",
            )),
        }
    }
}

/// The certificate and the key that a URL names; both or none.
pub(super) fn identity(parts: &UrlParts) -> Result<Option<(PathBuf, PathBuf)>, UrlError> {
    match (&parts.certificate_file, &parts.key_file) {
        (Some(certificate), Some(key)) => Ok(Some((certificate.clone(), key.clone()))),
        (None, None) => Ok(None),
        _ => Err(UrlError::new("must name both sslcert and sslkey, or none of them")),
    }
}

fn set<T>(part: &mut Option<T>, parameter: &str, value: T) -> Result<(), UrlError> {
    match part.replace(value) {
        None => Ok(()),
        Some(_) => Err(UrlError::new(format!("names the {parameter} twice"))),
    }
}

fn tls_mode(word: &str) -> Result<TlsMode, UrlError> {
    Ok(match word {
        "disable" => TlsMode::Disable,
        // Both take what there is; the better first is never worse.
        "allow" | "prefer" => TlsMode::Prefer,
        "require" => TlsMode::Require,
        "verify-ca" => TlsMode::VerifyCa,
        "verify-full" => TlsMode::VerifyFull,
        _ => {
            return Err(UrlError::new("takes an sslmode of disable, allow, prefer, require, verify-ca or verify-full"));
        }
    })
}

fn channel_binding(word: &str) -> Result<ChannelBinding, UrlError> {
    match word {
        "prefer" => Ok(ChannelBinding::Prefer),
        "require" => Ok(ChannelBinding::Require),
        _ => Err(UrlError::new("takes a channel_binding of prefer or require")),
    }
}

fn target(word: &str) -> Result<Target, UrlError> {
    Ok(match word {
        "any" => Target::Any,
        "read-write" => Target::ReadWrite,
        "primary" => Target::Primary,
        "standby" => Target::Standby,
        _ => {
            return Err(UrlError::new(
                "takes a target_session_attrs of any, read-write, primary or standby: a slot lives on one server",
            ));
        }
    })
}

/// Undoes percent-encoding.
fn decoded(text: &str) -> Result<String, UrlError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (pair, after) = rest.split_first_chunk::<2>().ok_or(UrlError::new("holds a % that encodes nothing"))?;
        let mut digits = pair.iter().map(|digit| char::from(*digit).to_digit(16));
        let value =
            digits.try_fold(0, |value, digit| Some(value * 16 + digit?)).and_then(|value| u8::try_from(value).ok());
        bytes.push(value.ok_or(UrlError::new("holds a % that encodes nothing"))?);
        rest = after;
    }
    String::from_utf8(bytes)
        .ok()
        .filter(|text| !text.contains('\0'))
        .ok_or(UrlError::new("holds what is not UTF-8, or a zero byte, in percent-encoding"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::postgres::server::Host;

    fn hosts(url: &str) -> Vec<(Host, Option<u16>)> {
        let parts = UrlParts::parse(url).expect("a URL");
        parts.places.into_iter().map(|place| (place.host, place.port.or(parts.port))).collect()
    }

    #[test]
    fn hosts_stand_before_the_database_or_among_the_parameters() {
        let tcp = |name: &str, port| (Host::Tcp(name.to_owned()), port);
        let socket = |path: &str, port| (Host::Socket(path.into()), port);
        for (url, wanted) in [
            ("postgres://u@db/shop", vec![tcp("db", None)]),
            ("postgres://u@db:99", vec![tcp("db", Some(99))]),
            ("postgresql://[::1]:99/shop", vec![tcp("::1", Some(99))]),
            ("postgres://u@a:1,b:2,c/shop", vec![tcp("a", Some(1)), tcp("b", Some(2)), tcp("c", None)]),
            ("postgres://u@/shop?host=/tmp&port=7", vec![socket("/tmp", Some(7))]),
            ("postgres://%2Frun%2Fpg/shop", vec![socket("/run/pg", None)]),
            ("postgres:///shop?host=a,b&port=1,2", vec![tcp("a", Some(1)), tcp("b", Some(2))]),
            ("postgres:///shop?port=3&host=a,b", vec![tcp("a", Some(3)), tcp("b", Some(3))]),
            ("postgres://u@:99/shop", vec![]),
        ] {
            assert_eq!(hosts(url), wanted, "{url}");
        }
        assert_eq!(UrlParts::parse("postgres://u@:99/shop").expect("a URL").port, Some(99));
    }

    #[test]
    fn each_part_is_decoded_and_taken() {
        let parts = UrlParts::parse(
            "postgres://an%40n:p%3A%2F%40ss@db/sh%2Fop?sslmode=verify-full&sslrootcert=/ca.pem&sslcert=/c.pem&sslkey=/k.pem\
             &target_session_attrs=primary&connect_timeout=3&tcp_user_timeout=5000&channel_binding=require\
             &passfile=/p&application_name=me",
        )
        .expect("a URL");
        assert_eq!((parts.user.as_deref(), parts.database.as_deref()), (Some("an@n"), Some("sh/op")));
        assert_eq!(parts.password, Some(Secret::new("p:/@ss")));
        assert_eq!((parts.tls, parts.ca_file.clone()), (Some(TlsMode::VerifyFull), Some(Some("/ca.pem".into()))));
        assert_eq!(identity(&parts), Ok(Some(("/c.pem".into(), "/k.pem".into()))));
        assert_eq!((parts.target, parts.channel_binding), (Some(Target::Primary), Some(ChannelBinding::Require)));
        assert_eq!(parts.connect_timeout, Some(Duration::from_secs(3)));
        assert_eq!(parts.tcp_user_timeout, Some(Duration::from_secs(5)));
        assert_eq!((parts.passfile, parts.application_name), (Some("/p".into()), Some("me".to_owned())));
        let system = UrlParts::parse("postgres://h?sslrootcert=system").expect("a URL");
        assert_eq!(system.ca_file, Some(None));
    }

    #[test]
    fn what_cannot_be_is_refused_without_being_shown() {
        for (url, why) in [
            ("mysql://u:hunter2@h/d", FORM),
            ("postgres://u:hunter2@h:port/d", FORM),
            ("postgres://u:hunter2@a,,b/d", FORM),
            ("postgres://u:hunter2@h/d?options", FORM),
            ("postgres://u:hunter%zz@h/d", "holds a % that encodes nothing"),
            ("postgres://u:hunter2%ff@h/d", "holds what is not UTF-8, or a zero byte, in percent-encoding"),
            ("postgres://u:hunter2@h/d?host=i", "names the host twice"),
            ("postgres://u:hunter2@h/d?password=hunter3", "names the password twice"),
            ("postgres://u:hunter2@a,b,c/d?port=1,2", "must name one port, or one for each host"),
            (
                "postgres://u:hunter2@h/d?target_session_attrs=prefer-standby",
                "takes a target_session_attrs of any, read-write, primary or standby: a slot lives on one server",
            ),
            ("postgres://u:hunter2@h/d?connect_timeout=0", "takes a connect_timeout from 1 to 600 seconds"),
        ] {
            let error = UrlParts::parse(url).expect_err("it is refused");
            assert_eq!(error.to_string(), why);
        }
    }

    proptest! {
        #[test]
        fn no_url_can_make_it_panic(
            text in any::<String>(),
            pieces in r"(postgres://|[a:@/?&=,%0-9\[\]]|host=|port=|sslmode=){0,30}",
        ) {
            for text in [format!("postgres://{text}"), text, format!("postgres://{pieces}"), pieces] {
                let _ = UrlParts::parse(&text);
            }
        }
    }
}
