//! Connections to ClickHouse, and whom they trust.

use std::path::Path;
use std::time::Duration;

use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::sinks::clickhouse::client::ClickHouseOptions;
use crate::sinks::clickhouse::errors::Failure;

/// A connection that nothing was asked on for so long is closed by us: ClickHouse itself closes it after three seconds
/// (`keep_alive_timeout`), and a request that crosses the close would fail.
const IDLE: Duration = Duration::from_secs(2);

const KEEPALIVE: Duration = Duration::from_secs(30);

/// A client that knows nothing yet but how to connect.
pub(super) fn connecting(options: &ClickHouseOptions) -> Result<clickhouse::Client, Failure> {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(options.connect_timeout));
    connector.set_keepalive(Some(KEEPALIVE));
    connector.set_nodelay(true);
    connector.enforce_http(false);
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(config(options)?)
        .https_or_http()
        .enable_http1()
        .wrap_connector(connector);
    let http = HyperClient::builder(TokioExecutor::new()).pool_idle_timeout(IDLE).build(connector);
    Ok(clickhouse::Client::with_http_client(http))
}

fn config(options: &ClickHouseOptions) -> Result<ClientConfig, Failure> {
    let secured = options.url.starts_with("https://");
    let builder = ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::setup(format!("no version of TLS can be used: {error}")))?
        .with_root_certificates(if secured { authorities(options)? } else { RootCertStore::empty() });
    let Some((certificate, key)) = options.tls_identity.as_ref().filter(|_| secured) else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates(certificate)?;
    // The parser's own error could show a piece of the file.
    let read = PrivateKeyDer::from_pem_file(key)
        .map_err(|_| Failure::setup(format!("{} holds no unencrypted private key in PEM form", key.display())))?;
    builder.with_client_auth_cert(chain, read).map_err(|error| {
        let (certificate, key) = (certificate.display(), key.display());
        Failure::setup(format!("the certificate {certificate} and the key {key} do not go together: {error}"))
    })
}

fn authorities(options: &ClickHouseOptions) -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    let found = match &options.tls_ca_file {
        Some(file) => certificates(file)?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    let (added, _) = roots.add_parsable_certificates(found);
    if added == 0 {
        let whose =
            options.tls_ca_file.as_ref().map_or("the operating system".to_owned(), |file| file.display().to_string());
        return Err(Failure::setup(format!("{whose} has no certificate authority that can be used")));
    }
    Ok(roots)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let unusable = |why: &dyn std::fmt::Display| Failure::setup(format!("{} cannot be used: {why}", file.display()));
    let bytes = std::fs::read(file).map_err(|error| unusable(&error))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    found.map_err(|_| unusable(&"it is not in PEM form")).and_then(|found| {
        if found.is_empty() { Err(unusable(&"it holds no certificate in PEM form")) } else { Ok(found) }
    })
}
