//! How the relay reaches brokers safely, and who it is there: `tls…` and `sasl_…` of `[kafka]`.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::config::{
    key::{Fallback, Key, Kind},
    secret::Secret,
    settings::Settings,
};

const TLS: Key = Key {
    path: "kafka.tls",
    kind: Kind::Boolean,
    fallback: Fallback::Value("false"),
    meaning: "Whether connections to the brokers are encrypted, and the brokers' certificates checked.",
};
const TLS_CA_FILE: Key = Key {
    path: "kafka.tls_ca_file",
    kind: Kind::Text("the path of a readable PEM file"),
    fallback: Fallback::Absent("the operating system's authorities are trusted"),
    meaning: "The authorities whose certificates are trusted, instead of the operating system's.",
};
const TLS_CERTIFICATE_FILE: Key = Key {
    path: "kafka.tls_certificate_file",
    kind: Kind::Text("the path of a readable PEM file"),
    fallback: Fallback::Absent("no certificate is shown"),
    meaning: "The relay's own certificate, with those between it and the authority, for brokers that ask for one (mTLS).",
};
const TLS_KEY_FILE: Key = Key {
    path: "kafka.tls_key_file",
    kind: Kind::Text("the path of a readable PEM file"),
    fallback: Fallback::Absent("no certificate is shown"),
    meaning: "The key of the relay's own certificate.",
};
const TLS_KEY_PASSWORD_FILE: Key = Key {
    path: "kafka.tls_key_password_file",
    kind: Kind::Text("the path of a readable file that holds the password"),
    fallback: Fallback::Absent("the key is not encrypted"),
    meaning: "A file whose content, less a line break at its end, decrypts the key.",
};
const TLS_VERIFY_HOST_NAME: Key = Key {
    path: "kafka.tls_verify_host_name",
    kind: Kind::Boolean,
    fallback: Fallback::Value("true"),
    meaning: "Whether a broker's certificate must name the host that was connected to. Without that check any certificate of a trusted authority will do.",
};
const SASL_MECHANISM: Key = Key {
    path: "kafka.sasl_mechanism",
    kind: Kind::Choice(&["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"]),
    fallback: Fallback::Absent("the relay does not log in"),
    meaning: "How the relay logs in to the brokers.",
};
const SASL_USERNAME: Key = Key {
    path: "kafka.sasl_username",
    kind: Kind::Text("the name of a user, not empty"),
    fallback: Fallback::Absent("required by PLAIN and SCRAM"),
    meaning: "Who the relay is at the brokers.",
};
const SASL_PASSWORD: Key = Key {
    path: "kafka.sasl_password",
    kind: Kind::Secret,
    fallback: Fallback::Absent("`sasl_password_file` holds it"),
    meaning: "The user's password. `sasl_password_file` keeps it out of this file.",
};
const SASL_PASSWORD_FILE: Key = Key {
    path: "kafka.sasl_password_file",
    kind: Kind::Text("the path of a readable file that holds the password"),
    fallback: Fallback::Absent("`sasl_password` holds it"),
    meaning: "A file whose content, less a line break at its end, is the password. It is read again whenever the sink is opened anew, so that a password may change.",
};
const SASL_TOKEN_FILE: Key = Key {
    path: "kafka.sasl_token_file",
    kind: Kind::Text("the path of a readable file that holds a token"),
    fallback: Fallback::Absent("required by OAUTHBEARER"),
    meaning: "A file that holds a token, such as a projected service account token of Kubernetes. It is read again before the token expires.",
};
const SASL_WITHOUT_TLS: Key = Key {
    path: "kafka.sasl_without_tls",
    kind: Kind::Boolean,
    fallback: Fallback::Value("false"),
    meaning: "Lets PLAIN and OAUTHBEARER show the password or token to everybody on the way. Only where the network itself is trusted.",
};

pub(in crate::config) const KEYS: &[Key] = &[
    TLS,
    TLS_CA_FILE,
    TLS_CERTIFICATE_FILE,
    TLS_KEY_FILE,
    TLS_KEY_PASSWORD_FILE,
    TLS_VERIFY_HOST_NAME,
    SASL_MECHANISM,
    SASL_USERNAME,
    SASL_PASSWORD,
    SASL_PASSWORD_FILE,
    SASL_TOKEN_FILE,
    SASL_WITHOUT_TLS,
];

/// librdkafka's own names for what these keys say: where a key of ours is used, they would contradict it.
const TLS_PROPERTIES: &[&str] =
    &["ssl.ca.", "ssl.certificate.", "ssl.key.", "ssl.keystore.", "ssl.endpoint.", "enable.ssl.certificate."];
const SASL_PROPERTIES: &[&str] = &["sasl.", "enable.sasl."];

/// How brokers are reached.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Security {
    /// How connections are encrypted, if they are.
    pub tls: Option<Tls>,
    /// How the relay logs in, if it does.
    pub sasl: Option<Sasl>,
}

/// How connections are encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The authorities that are trusted; the operating system's if none are named.
    pub ca_file: Option<PathBuf>,
    /// The relay's own certificate.
    pub certificate: Option<ClientCertificate>,
    /// Whether a certificate must name the broker's host.
    pub verify_host_name: bool,
}

/// The relay's own certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate and those between it and its authority.
    pub certificate_file: PathBuf,
    /// Its key.
    pub key_file: PathBuf,
    /// What decrypts the key.
    pub key_password_file: Option<PathBuf>,
}

/// How the relay logs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sasl {
    /// By name and password.
    Password {
        /// Kafka's name of the mechanism.
        mechanism: &'static str,
        /// Who the relay is.
        username: String,
        /// Where the password is.
        password: Password,
    },
    /// By a token.
    Token {
        /// The file that holds it.
        file: PathBuf,
    },
}

/// Where a password is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Password {
    /// Here.
    Given(Secret),
    /// In a file, whose content may change.
    File(PathBuf),
}

impl Security {
    pub(in crate::config) fn from_settings(
        settings: &mut Settings,
        read: &impl Fn(&Path) -> io::Result<String>,
    ) -> Self {
        let security = Self { tls: tls(settings, read), sasl: sasl(settings, read) };
        let shows = matches!(&security.sasl, Some(Sasl::Token { .. } | Sasl::Password { mechanism: "PLAIN", .. }));
        let allowed = settings.boolean(&SASL_WITHOUT_TLS);
        if shows && security.tls.is_none() && !allowed {
            settings.refuse(
                &SASL_MECHANISM,
                "shows the password or token to everybody on the way: set `kafka.tls = true`, or `kafka.sasl_without_tls = true` on a trusted network",
            );
        }
        security
    }

    /// Whether the property `name` says what one of these keys says already, and which.
    pub(in crate::config) fn contradicts(&self, name: &str) -> Option<&'static str> {
        let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
        let is_protocol = name == "security.protocol";
        match self {
            Self { tls: Some(_), .. } if is_protocol || begins(TLS_PROPERTIES) => Some("kafka.tls"),
            Self { sasl: Some(_), .. } if is_protocol || begins(SASL_PROPERTIES) => Some("kafka.sasl_mechanism"),
            _ => None,
        }
    }
}

fn tls(settings: &mut Settings, read: &impl Fn(&Path) -> io::Result<String>) -> Option<Tls> {
    if !settings.boolean(&TLS) {
        for key in [&TLS_CA_FILE, &TLS_CERTIFICATE_FILE, &TLS_KEY_FILE, &TLS_KEY_PASSWORD_FILE, &TLS_VERIFY_HOST_NAME] {
            refuse_without(settings, key, "`kafka.tls = true`");
        }
        return None;
    }
    let ca_file = file(settings, &TLS_CA_FILE, read);
    let (certificate, key) = (file(settings, &TLS_CERTIFICATE_FILE, read), file(settings, &TLS_KEY_FILE, read));
    let key_password_file = file(settings, &TLS_KEY_PASSWORD_FILE, read);
    let certificate = match (certificate, key) {
        (Some(certificate_file), Some(key_file)) => {
            Some(ClientCertificate { certificate_file, key_file, key_password_file })
        }
        (certificate, key) => {
            if certificate.is_some() && settings.given(&TLS_KEY_FILE).is_none() {
                settings.refuse(&TLS_CERTIFICATE_FILE, "needs `kafka.tls_key_file`");
            }
            if key.is_some() && settings.given(&TLS_CERTIFICATE_FILE).is_none() {
                settings.refuse(&TLS_KEY_FILE, "needs `kafka.tls_certificate_file`");
            }
            if settings.given(&TLS_KEY_FILE).is_none() {
                refuse_without(settings, &TLS_KEY_PASSWORD_FILE, "`kafka.tls_key_file`");
            }
            None
        }
    };
    Some(Tls { ca_file, certificate, verify_host_name: settings.boolean(&TLS_VERIFY_HOST_NAME) })
}

fn sasl(settings: &mut Settings, read: &impl Fn(&Path) -> io::Result<String>) -> Option<Sasl> {
    let Kind::Choice(mechanisms) = SASL_MECHANISM.kind else { return None };
    let of_passwords = [&SASL_USERNAME, &SASL_PASSWORD, &SASL_PASSWORD_FILE];
    if settings.given(&SASL_MECHANISM).is_none() {
        for key in of_passwords.into_iter().chain([&SASL_TOKEN_FILE, &SASL_WITHOUT_TLS]) {
            refuse_without(settings, key, "`kafka.sasl_mechanism`");
        }
        return None;
    }
    let mechanism = mechanisms[settings.choice(&SASL_MECHANISM)];
    if mechanism == "OAUTHBEARER" {
        for key in of_passwords {
            refuse_without(settings, key, "PLAIN or SCRAM as `kafka.sasl_mechanism`");
        }
        if settings.given(&SASL_TOKEN_FILE).is_none() {
            settings.refuse(&SASL_MECHANISM, "needs `kafka.sasl_token_file`");
        }
        return file(settings, &SASL_TOKEN_FILE, read).map(|file| Sasl::Token { file });
    }
    refuse_without(settings, &SASL_TOKEN_FILE, "OAUTHBEARER as `kafka.sasl_mechanism`");
    let username = match settings.given(&SASL_USERNAME).is_some() {
        true => settings.checked(&SASL_USERNAME, |name| !name.is_empty() && !name.contains('\0')),
        false => {
            settings.refuse(&SASL_MECHANISM, "needs `kafka.sasl_username`");
            String::new()
        }
    };
    let given = settings.secret(&SASL_PASSWORD).map(Password::Given);
    let in_file = file(settings, &SASL_PASSWORD_FILE, read).map(Password::File);
    if settings.given(&SASL_PASSWORD).is_some() && settings.given(&SASL_PASSWORD_FILE).is_some() {
        settings.refuse(&SASL_PASSWORD_FILE, "and `kafka.sasl_password` say the same: keep one of them");
    } else if settings.given(&SASL_PASSWORD).is_none() && settings.given(&SASL_PASSWORD_FILE).is_none() {
        settings.refuse(&SASL_MECHANISM, "needs `kafka.sasl_password_file` or `kafka.sasl_password`");
    }
    // The stand-in is reached only after a problem was recorded.
    let password = given.or(in_file).unwrap_or(Password::Given(Secret::new("")));
    Some(Sasl::Password { mechanism, username, password })
}

/// The path of a file that can be read now.
fn file(settings: &mut Settings, key: &Key, read: &impl Fn(&Path) -> io::Result<String>) -> Option<PathBuf> {
    let path = PathBuf::from(settings.optional_text(key)?);
    match read(&path) {
        Ok(text) if !text.trim().is_empty() => Some(path),
        Ok(_) => {
            settings.refuse(key, &format!("names the file {}, which is empty", path.display()));
            None
        }
        Err(error) => {
            settings.refuse(key, &format!("names the file {}, which cannot be read: {error}", path.display()));
            None
        }
    }
}

fn refuse_without(settings: &mut Settings, key: &Key, needed: &str) {
    if settings.given(key).is_some() {
        settings.refuse(key, &format!("needs {needed}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{errors, parse_with};

    fn security(text: &str) -> Security {
        parse_with(text).expect("valid").kafka.security
    }

    #[test]
    fn nothing_said_is_neither_encrypted_nor_logged_in() {
        assert_eq!(security(""), Security::default());
    }

    #[test]
    fn names_passwords_and_certificates_are_taken_together() {
        let text = "[kafka]\ntls = true\ntls_ca_file = '/run/secret'\ntls_certificate_file = '/run/secret'\n\
                    tls_key_file = '/run/secret'\nsasl_mechanism = 'SCRAM-SHA-512'\nsasl_username = 'relay'\n\
                    sasl_password_file = '/run/secret'";
        let text = text.replace("[kafka]\n", "kafka.").replace("\n", "\nkafka.");
        let Security { tls: Some(tls), sasl: Some(Sasl::Password { mechanism, username, password }) } = security(&text)
        else {
            panic!("TLS and a password")
        };
        assert!(tls.verify_host_name && tls.ca_file.is_some() && tls.certificate.is_some());
        assert_eq!((mechanism, username.as_str()), ("SCRAM-SHA-512", "relay"));
        assert_eq!(password, Password::File("/run/secret".into()));
    }

    #[test]
    fn what_contradicts_itself_is_refused_with_its_place() {
        for (text, problem) in [
            ("kafka.tls_ca_file = '/run/secret'", "`kafka.tls_ca_file` needs `kafka.tls = true`"),
            (
                "kafka.tls = false\nkafka.tls_verify_host_name = false",
                "`kafka.tls_verify_host_name` needs `kafka.tls = true`",
            ),
            (
                "kafka.tls = true\nkafka.tls_certificate_file = '/run/secret'",
                "`kafka.tls_certificate_file` needs `kafka.tls_key_file`",
            ),
            (
                "kafka.tls = true\nkafka.tls_key_password_file = '/run/secret'",
                "`kafka.tls_key_password_file` needs `kafka.tls_key_file`",
            ),
            (
                "kafka.tls = true\nkafka.tls_ca_file = '/no'",
                "`kafka.tls_ca_file` names the file /no, which cannot be read",
            ),
            ("kafka.sasl_username = 'a'", "`kafka.sasl_username` needs `kafka.sasl_mechanism`"),
            (
                "kafka.sasl_mechanism = 'SCRAM-SHA-256'\nkafka.sasl_username = 'a'",
                "`kafka.sasl_mechanism` needs `kafka.sasl_password_file` or `kafka.sasl_password`",
            ),
            (
                "kafka.sasl_mechanism = 'SCRAM-SHA-256'\nkafka.sasl_password = 'a'",
                "`kafka.sasl_mechanism` needs `kafka.sasl_username`",
            ),
            (
                "kafka.sasl_mechanism = 'PLAIN'\nkafka.sasl_username = 'a'\nkafka.sasl_password = 'b'",
                "`kafka.sasl_mechanism` shows the password or token to everybody on the way",
            ),
            (
                "kafka.sasl_mechanism = 'OAUTHBEARER'\nkafka.sasl_token_file = '/run/secret'",
                "`kafka.sasl_mechanism` shows the password or token to everybody on the way",
            ),
            (
                "kafka.tls = true\nkafka.sasl_mechanism = 'OAUTHBEARER'",
                "`kafka.sasl_mechanism` needs `kafka.sasl_token_file`",
            ),
            ("kafka.sasl_mechanism = 'GSSAPI'", "`kafka.sasl_mechanism` must be one of"),
            (
                "kafka.tls = true\nkafka.properties.ssl.ca.location = 'x'",
                "`kafka.properties.ssl.ca.location` says what `kafka.tls` and the keys beside it say",
            ),
            (
                "kafka.tls = true\nkafka.properties.security.protocol = 'plaintext'",
                "`kafka.properties.security.protocol` says what `kafka.tls` and the keys beside it say",
            ),
        ] {
            let found = errors(parse_with(text));
            assert!(
                found.iter().any(|line| line.starts_with("postrider.toml:") && line.contains(problem)),
                "{text}: {found:?}"
            );
        }
    }

    #[test]
    fn on_a_trusted_network_a_password_may_be_shown() {
        let text = "kafka.sasl_mechanism = 'PLAIN'\nkafka.sasl_username = 'a'\nkafka.sasl_password = 'b'\nkafka.sasl_without_tls = true";
        assert!(security(text).sasl.is_some());
        // As it was before these keys: everything by librdkafka's own names.
        let text = "kafka.properties.security.protocol = 'ssl'\nkafka.properties.ssl.ca.location = 'x'";
        assert_eq!(security(text), Security::default());
    }
}
