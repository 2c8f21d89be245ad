//! Who a server is, as far as its certificate was asked to tell: `verify-ca` and `verify-full`, and the modes that ask nothing.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use x509_cert::Certificate;
use x509_cert::der::Decode;

/// Checks a server's certificate as far as the mode demands; that the server holds its key is checked in every mode.
#[derive(Debug)]
pub(crate) struct Verifier {
    algorithms: WebPkiSupportedAlgorithms,
    believed: Option<Believed>,
}

/// Whose certificates are believed, and for whom.
#[derive(Debug)]
struct Believed {
    roots: RootCertStore,
    /// The same, to be found again byte by byte.
    certificates: Vec<CertificateDer<'static>>,
    with_name: bool,
}

impl Verifier {
    /// For `prefer` and `require`: encrypted, with whoever answers.
    pub(crate) fn of_nothing(provider: &Arc<CryptoProvider>) -> Self {
        Self { algorithms: provider.signature_verification_algorithms, believed: None }
    }

    /// For `verify-ca` and, `with_name`, `verify-full`.
    ///
    /// # Errors
    /// If one of `authorities` is no certificate; of the operating system's hundreds, those are left out.
    pub(crate) fn of(
        provider: &Arc<CryptoProvider>,
        authorities: Vec<CertificateDer<'static>>,
        with_name: bool,
    ) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        let (_, unusable) = roots.add_parsable_certificates(authorities.iter().cloned());
        if roots.is_empty() || (unusable > 0 && authorities.len() == unusable) {
            return Err(CertificateError::BadEncoding.into());
        }
        let believed = Some(Believed { roots, certificates: authorities, with_name });
        Ok(Self { algorithms: provider.signature_verification_algorithms, believed })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(believed) = &self.believed else { return Ok(ServerCertVerified::assertion()) };
        let certificate = ParsedCertificate::try_from(end_entity)?;
        if believed.certificates.contains(end_entity) {
            // A server that signed for itself, as the manual of Postgres shows: the file holds this very certificate.
            check_time(end_entity, now)?;
        } else {
            let (roots, algorithms) = (&believed.roots, self.algorithms.all);
            verify_server_cert_signed_by_trust_anchor(&certificate, roots, intermediates, now, algorithms)?;
        }
        if believed.with_name {
            verify_server_name(&certificate, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn check_time(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let certificate = Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let validity = certificate.tbs_certificate.validity;
    if now.as_secs() > validity.not_after.to_unix_duration().as_secs() {
        return Err(CertificateError::Expired.into());
    }
    if now.as_secs() < validity.not_before.to_unix_duration().as_secs() {
        return Err(CertificateError::NotValidYet.into());
    }
    Ok(())
}
