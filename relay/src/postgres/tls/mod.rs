//! TLS on the way to a server: what it is told, whom it believes, and the bytes through it.

mod channel;
mod end_point;
mod explain;
mod verifier;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use crate::postgres::error::{Error, Kind};
use crate::postgres::options::{Check, Identity, Tls};
use crate::postgres::passfile::read_secret;
use crate::postgres::tls::verifier::Verifier;

pub(crate) use channel::Channel;
pub(crate) use explain::explain;

/// What a connection secured as `tls` says uses. The files are read now, so that renewed ones are used.
///
/// # Errors
/// [`Kind::Tls`] for a file that cannot be used, [`Kind::Authentication`] for a key that others may read.
pub(crate) fn client_config(tls: &Tls) -> Result<Arc<ClientConfig>, Error> {
    let provider = Arc::new(ring::default_provider());
    let verifier = match tls.check() {
        Check::Nothing => Verifier::of_nothing(&provider),
        check => {
            let (authorities, shown) = authorities(tls.ca_file.as_deref())?;
            Verifier::of(&provider, authorities, check == Check::AuthorityAndName)
                .map_err(|error| refused(format!("{shown} cannot be used"), error))?
        }
    };
    let builder = ClientConfig::builder_with_provider(CryptoProvider::clone(&provider).into())
        .with_safe_default_protocol_versions()
        .map_err(|error| refused("no version of TLS can be used".to_owned(), error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let config = match &tls.identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let (chain, key) = read_identity(identity)?;
            builder.with_client_auth_cert(chain, key).map_err(|error| {
                let (certificate, key) = (identity.certificate_file.display(), identity.key_file.display());
                refused(format!("the client certificate {certificate} and the key {key} do not go together"), error)
            })?
        }
    };
    Ok(Arc::new(config))
}

/// The name that the server's certificate is held against.
///
/// # Errors
/// [`Kind::Tls`] for a name that no certificate can carry, where it would be checked.
pub(crate) fn server_name(host: &str, address: SocketAddr, check: Check) -> Result<ServerName<'static>, Error> {
    match ServerName::try_from(host.to_owned()) {
        Ok(name) => Ok(name),
        Err(error) if check == Check::AuthorityAndName => Err(refused(
            format!("{host:?} is no name that a certificate can carry; connect by one that it lists"),
            error,
        )),
        // The name is not looked at, only sent; an address is not even sent.
        Err(_) => Ok(ServerName::from(address.ip())),
    }
}

/// The certificates that are believed, and how to call them in a message.
fn authorities(file: Option<&Path>) -> Result<(Vec<CertificateDer<'static>>, String), Error> {
    let Some(file) = file else {
        let found = rustls_native_certs::load_native_certs();
        if found.certs.is_empty() {
            return Err(Error::new(
                Kind::Tls,
                "the operating system has no certificate authorities; install them (ca-certificates), or name a file with tls_ca_file",
            ));
        }
        return Ok((found.certs, "the operating system's certificate authorities".to_owned()));
    };
    let shown = format!("the certificate authorities in {} (tls_ca_file)", file.display());
    Ok((read_certificates(file, &shown)?, shown))
}

fn read_identity(identity: &Identity) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Error> {
    let shown = format!("the client certificate {} (tls_certificate_file)", identity.certificate_file.display());
    let chain = read_certificates(&identity.certificate_file, &shown)?;
    let text = read_secret(&identity.key_file, "key (tls_key_file)")?;
    // The parser's own error could show a piece of the file.
    let key = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| {
        let shown = identity.key_file.display();
        Error::new(Kind::Tls, format!("the key {shown} (tls_key_file) holds no unencrypted private key in PEM form"))
    })?;
    Ok((chain, key))
}

fn read_certificates(file: &Path, shown: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let bytes = std::fs::read(file).map_err(|error| refused(format!("{shown} cannot be read"), error))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let certificates = certificates.map_err(|error| refused(format!("{shown} cannot be read as PEM"), error))?;
    if certificates.is_empty() {
        return Err(Error::new(
            Kind::Tls,
            format!("{shown} cannot be used: the file holds no certificate in PEM form"),
        ));
    }
    Ok(certificates)
}

fn refused(context: String, source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::with_source(Kind::Tls, context, source)
}

#[cfg(test)]
mod channel_tests;
