//! A server that demands secure connections, shared by the tests that run at the same time.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use postrider_relay::postgres::options::{ConnectOptions, Host, Identity, Secret, Tls, TlsMode};
use xtask::services::certificates::{Authority, Certificate, Subject};
use xtask::services::{Postgres, PrivatePostgres};

use crate::postgres_client::database::Database;

/// The password of every role here.
pub(crate) const PASSWORD: &str = "not-to-be-shown";

/// One role for each way in: by TLS alone, by certificate, by both, with md5, in clear text, and without TLS alone.
const LINES: &str = "hostssl all scram all scram-sha-256
hostssl all postgres all scram-sha-256
hostssl all certified all cert
hostssl all both all scram-sha-256 clientcert=verify-full
host all md5 all md5
host all clear all password
hostnossl all plain all scram-sha-256";

const ROLES: &str = "set password_encryption = 'scram-sha-256';
create role scram login replication superuser password 'not-to-be-shown';
create role certified login replication;
create role \"both\" login replication password 'not-to-be-shown';
create role clear login replication password 'not-to-be-shown';
create role plain login replication password 'not-to-be-shown';
set password_encryption = 'md5';
create role md5 login replication password 'not-to-be-shown'";

/// A server with TLS; its certificate is for `localhost` and not for 127.0.0.1.
pub(crate) struct Secured {
    server: PrivatePostgres,
    /// Whose word its certificate has.
    pub(crate) authority: Authority,
    folder: Folder,
}

impl Secured {
    /// The one that is running, or a new one; it ends with the last test that uses it.
    pub(crate) fn shared() -> Arc<Self> {
        static RUNNING: Mutex<Weak<Secured>> = Mutex::new(Weak::new());
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        running.upgrade().unwrap_or_else(|| {
            let started = Arc::new(Self::start());
            *running = Arc::downgrade(&started);
            started
        })
    }

    fn start() -> Self {
        let authority = Authority::new("postrider test authority").expect("an authority");
        let certificate = sign(&authority, "server", &["localhost"], false);
        let mut server = PrivatePostgres::start(None, &[]).expect("a server");
        Database::on(server.environment(), "roles").run(ROLES);
        server.secure(&certificate.chain, &certificate.key, Some(&authority.pem())).expect("files of the server");
        server.let_in(LINES).expect("pg_hba.conf");
        server.restart().expect("a server with TLS");
        Self { server, authority, folder: Folder::new("secured") }
    }

    pub(crate) fn environment(&self) -> Postgres {
        self.server.environment()
    }

    /// Its authority, in a file.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.folder.write("ca.pem", &self.authority.pem(), 0o644)
    }

    /// As `user`, by a name that its certificate has, checked as far as can be.
    pub(crate) fn options(&self, user: &str, database: &str) -> ConnectOptions {
        let tls = Tls { mode: TlsMode::VerifyFull, ca_file: Some(self.ca_file()), identity: None };
        let host = Host::Tcp("localhost".into());
        let options = ConnectOptions::new(host, self.environment().port, database, user);
        ConnectOptions { password: Some(Secret::new(PASSWORD)), tls, ..options }
    }
}

/// A certificate of `authority`.
pub(crate) fn sign(authority: &Authority, common_name: &str, names: &[&str], expired: bool) -> Certificate {
    authority.sign(Subject { common_name, names, expired }).expect("a certificate")
}

/// A folder of one test's files, removed when it ends.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("postrider-{test}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    pub(crate) fn write(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.0.join(name);
        write(&path, text, mode);
        path
    }

    /// A client's certificate with its key, as it should be kept.
    pub(crate) fn identity(&self, name: &str, certificate: &Certificate) -> Identity {
        Identity {
            certificate_file: self.write(&format!("{name}.crt"), &certificate.chain, 0o644),
            key_file: self.write(&format!("{name}.key"), &certificate.key, 0o600),
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// Whole or not at all: others may be reading the same file.
fn write(path: &Path, text: &str, mode: u32) {
    let partial = path.with_extension(format!("{:?}", std::thread::current().id()));
    fs::write(&partial, text).expect("the file can be written");
    fs::set_permissions(&partial, Permissions::from_mode(mode)).expect("its mode can be set");
    fs::rename(&partial, path).expect("it can be put in place");
}
