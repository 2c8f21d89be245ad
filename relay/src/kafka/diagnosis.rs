//! What librdkafka's words about a failed connection mean: which side expected what, and which key says otherwise.

/// A failure that a person can mend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Diagnosis {
    /// What is wrong.
    pub(crate) what: &'static str,
    /// What to do about it, as a sentence.
    pub(crate) help: &'static str,
    /// Whether nothing else can be meant: a broker that is just starting, or a proxy before one, hangs up as well, and is
    /// waited for.
    pub(crate) certain: bool,
}

/// Words of librdkafka and OpenSSL, the telling ones first, and what they mean.
const TABLE: &[(&[&str], Diagnosis)] = &[
    (
        &["failed to acquire sasl oauthbearer token"],
        Diagnosis {
            what: "there is no token to log in with",
            help: "See to it that the file kafka.sasl_token_file is renewed.",
            certain: true,
        },
    ),
    (
        &["hostname mismatch", "ip address mismatch", "does not match host"],
        Diagnosis {
            what: "the broker's certificate does not name the host that was connected to",
            help: "Write the brokers in kafka.bootstrap_servers, and in their advertised.listeners, as their certificates do.",
            certain: true,
        },
    ),
    (
        &["certificate has expired", "alert certificate expired", "certificate expired"],
        Diagnosis {
            what: "a certificate has expired",
            help: "Renew it: the relay's own is kafka.tls_certificate_file.",
            certain: true,
        },
    ),
    (
        &[
            "certificate required",
            "alert bad certificate",
            "alert certificate unknown",
            "alert unknown ca",
            "handshake failure",
        ],
        Diagnosis {
            what: "the broker does not accept the relay's certificate: there is none, it has expired, or the broker does not trust its authority",
            help: "Check kafka.tls_certificate_file and kafka.tls_key_file, and the broker's truststore.",
            certain: true,
        },
    ),
    (
        &[
            "certificate verify failed",
            "unable to get local issuer",
            "self-signed certificate",
            "self signed certificate",
        ],
        Diagnosis {
            what: "the broker's certificate cannot be verified: no trusted authority signed it, it does not name the host that was connected to, or it has expired",
            help: "Name its authority by kafka.tls_ca_file, and write the brokers in kafka.bootstrap_servers as their certificates do.",
            certain: true,
        },
    ),
    (
        &["wrong version number", "packet length too long", "record layer failure"],
        Diagnosis {
            what: "the broker does not speak TLS on this port",
            help: "Set kafka.tls = false, or name the port of a TLS listener in kafka.bootstrap_servers.",
            certain: true,
        },
    ),
    (
        &["connecting to a plaintext broker listener", "in state ssl_handshake"],
        Diagnosis {
            what: "the broker hung up at the handshake: it seems that it does not speak TLS on this port",
            help: "Set kafka.tls = false, or name the port of a TLS listener in kafka.bootstrap_servers; if it is one, see whether it wants a certificate (kafka.tls_certificate_file).",
            certain: false,
        },
    ),
    (
        &["connecting to a ssl listener", "incorrect security.protocol", "in state apiversion_query"],
        Diagnosis {
            what: "the broker hung up at the first request: it seems that it speaks TLS on this port, or wants a login",
            help: "Set kafka.tls = true or kafka.sasl_mechanism, or name the port of a plain listener in kafka.bootstrap_servers.",
            certain: false,
        },
    ),
    (
        &[
            "unsupported sasl mechanism",
            "unsupported_sasl_mechanism",
            "mechanism not supported",
            "unable to find a callback",
        ],
        Diagnosis {
            what: "the broker does not know this way to log in",
            help: "Set kafka.sasl_mechanism to one of those that the broker offers (sasl.enabled.mechanisms).",
            certain: true,
        },
    ),
    (
        &[
            "sasl authentication error",
            "authentication failed",
            "invalid credentials",
            "sasl_auth",
            "bad token",
            "oauthbearer",
        ],
        Diagnosis {
            what: "the broker refused the login",
            help: "Check kafka.sasl_username and its password, or the token.",
            certain: true,
        },
    ),
    (
        &["disconnected"],
        Diagnosis {
            what: "the broker hung up during the handshake or at the first request",
            help: "Check kafka.tls and kafka.sasl_mechanism against the broker's listener, and the relay's certificate against its truststore.",
            certain: false,
        },
    ),
];

/// What a failure means, if it is one of security. `secure` tells whether the relay speaks TLS or logs in: a broker that
/// merely restarts hangs up too, and then nothing is wrong.
pub(crate) fn diagnose(reason: &str, secure: bool) -> Option<Diagnosis> {
    let reason = reason.to_lowercase();
    let (words, diagnosis) = TABLE.iter().find(|(words, _)| words.iter().any(|word| reason.contains(word)))?;
    let is_vague = *words == ["disconnected"];
    (!is_vague || (secure && reason.contains("handshake"))).then_some(*diagnosis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn librdkafkas_words_are_told_apart() {
        for (reason, meant) in [
            (
                "ssl://b:1/bootstrap: SSL handshake failed: error:0A000086:SSL routines::certificate verify failed: broker certificate could not be verified",
                "no trusted authority",
            ),
            ("SSL handshake failed: hostname mismatch: certificate verify failed", "does not name the host"),
            (
                "ssl://b:1/bootstrap: SSL handshake failed: ssl/record/ssl3_record.c:354: error:0A00010B:SSL routines::wrong version number: connecting to a PLAINTEXT broker listener?",
                "does not speak TLS",
            ),
            (
                "b:1/bootstrap: Disconnected while requesting ApiVersion: might be caused by incorrect security.protocol configuration (connecting to a SSL listener?)",
                "seems that it speaks TLS",
            ),
            (
                "sasl_ssl://b:1/bootstrap: SASL authentication error: Authentication failed during authentication due to invalid credentials with SASL mechanism SCRAM-SHA-512",
                "refused the login",
            ),
            (
                "b:1/bootstrap: Disconnected: connection closed by peer: receive 0 after POLLIN (after 1ms in state APIVERSION_QUERY)",
                "seems that it speaks TLS",
            ),
            (
                "ssl://b:1/bootstrap: Disconnected: SSL connection closed by peer (after 0ms in state SSL_HANDSHAKE)",
                "seems that it does not speak TLS",
            ),
        ] {
            assert!(diagnose(reason, true).expect("known").what.contains(meant), "{reason}");
        }
    }

    #[test]
    fn a_broker_that_is_away_is_only_away() {
        for reason in [
            "b:1/1: Connect to ipv4#127.0.0.1:1 failed: Connection refused",
            "b:1/1: Disconnected (after 5ms in state UP)",
        ] {
            assert_eq!(diagnose(reason, true), None, "{reason}");
        }
    }
}
