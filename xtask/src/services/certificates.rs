//! Certificates for tests of secure connections: an authority made on the spot, and what it signs. Nothing here is ever
//! trusted by anything but a test.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

/// Why a certificate could not be made.
pub use rcgen::Error as CertificateError;

/// An authority that signs certificates.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, both as PEM; the key as PKCS #8, which Java reads too.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The certificate, followed by the authority's.
    pub chain: String,
    /// The key.
    pub key: String,
}

/// What a certificate says.
#[derive(Debug, Clone, Copy, Default)]
pub struct Subject<'a> {
    /// Its common name: for Postgres's `cert` authentication, the role.
    pub common_name: &'a str,
    /// The host names and addresses it is valid for.
    pub names: &'a [&'a str],
    /// Its time is over.
    pub expired: bool,
}

impl Authority {
    /// A new authority with a key of its own.
    ///
    /// # Errors
    /// If the machine gives no random numbers.
    pub fn new(common_name: &str) -> Result<Self, CertificateError> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate()?)? })
    }

    /// Its own certificate as PEM: what a client trusts.
    #[must_use]
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Signs a certificate for a server or a client.
    ///
    /// # Errors
    /// If a name is neither a host name nor an address.
    pub fn sign(&self, subject: Subject<'_>) -> Result<Certificate, CertificateError> {
        let names: Vec<String> = subject.names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, subject.common_name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        if subject.expired {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2020, 2, 1);
        }
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Certificate { chain: format!("{}{}", certificate.pem(), self.pem()), key: key.serialize_pem() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_signs_for_names_and_addresses() {
        let authority = Authority::new("test authority").expect("random numbers");
        let subject = Subject { common_name: "server", names: &["localhost", "127.0.0.1"], expired: false };
        let signed = authority.sign(subject).expect("valid names");
        assert_eq!(signed.chain.matches("BEGIN CERTIFICATE").count(), 2);
        assert!(signed.key.starts_with("-----BEGIN PRIVATE KEY-----"), "PKCS #8");
    }
}
