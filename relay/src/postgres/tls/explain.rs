//! Why TLS was not to be had, in words that say what to mend.

use std::io;

use rustls::{AlertDescription, CertificateError};

use crate::postgres::error::{Error, Kind};

/// The error for what went wrong between us and `peer` while the connection was being made; `None` if TLS is not why.
pub(crate) fn explain(peer: &str, error: &io::Error) -> Option<Error> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(Error::with_source(Kind::Tls, context(peer, error), error.clone()))
}

fn context(peer: &str, error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(error) => certificate(peer, error),
        rustls::Error::AlertReceived(alert) => refusal(peer, *alert),
        rustls::Error::InvalidMessage(_) => {
            format!("{peer} agreed to TLS and then spoke something else; check what listens there")
        }
        _ => format!(
            "{peer} and this relay do not agree on TLS; TLS 1.2 and 1.3 are spoken, check ssl_min_protocol_version and ssl_ciphers of the server"
        ),
    }
}

fn certificate(peer: &str, error: &CertificateError) -> String {
    use CertificateError as E;

    match error {
        E::Expired | E::ExpiredContext { .. } => {
            format!("the certificate of {peer} has expired; renew it on the server, and check the clocks")
        }
        E::NotValidYet | E::NotValidYetContext { .. } => {
            format!("the certificate of {peer} is not valid yet; check the clocks")
        }
        E::UnknownIssuer => format!(
            "no authority that is believed signed the certificate of {peer}; name the file with its authority's certificate with tls_ca_file"
        ),
        E::BadSignature => format!(
            "the certificate of {peer} names an authority that did not sign it; check that tls_ca_file holds the authority's current certificate"
        ),
        E::NotValidForName | E::NotValidForNameContext { .. } => format!(
            "the certificate of {peer} is for other names; connect by a name that its subjectAltName lists (a common name does not count), or have it issued for this one"
        ),
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => {
            format!(
                "the certificate of {peer} is not meant for servers; have it issued with the extended key usage serverAuth"
            )
        }
        _ => format!("the certificate of {peer} cannot be accepted"),
    }
}

/// The server's word for what it did not like.
fn refusal(peer: &str, alert: AlertDescription) -> String {
    use AlertDescription as A;

    match alert {
        A::CertificateRequired => format!(
            "{peer} asks for a client certificate; name one with tls_certificate_file and its key with tls_key_file"
        ),
        A::UnknownCA
        | A::BadCertificate
        | A::UnsupportedCertificate
        | A::CertificateRevoked
        | A::CertificateExpired
        | A::CertificateUnknown
        | A::DecryptError
        | A::AccessDenied => format!(
            "{peer} does not accept our client certificate; check that tls_certificate_file is current and signed by an authority in the server's ssl_ca_file"
        ),
        A::ProtocolVersion | A::HandshakeFailure | A::InsufficientSecurity => format!(
            "{peer} and this relay do not agree on TLS; TLS 1.2 and 1.3 are spoken, check ssl_min_protocol_version and ssl_ciphers of the server"
        ),
        _ => format!("{peer} broke off TLS; its log says why"),
    }
}
