//! The relay reaches a Postgres that lets nobody in without TLS, says how safe the way is, and refuses one that is not safe
//! enough with what to mend; nothing is lost by it.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;

use harness::{Launch, Site};
use xtask::services::PrivatePostgres;
use xtask::services::certificates::{Authority, Subject};

/// Files of one test, removed when it ends.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("postrider-e2e-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// A server whose certificate `authority` signed for `localhost`, and that speaks over TCP only in secret.
fn secured(authority: &Authority) -> Arc<PrivatePostgres> {
    let subject = Subject { common_name: "server", names: &["localhost"], expired: false };
    let certificate = authority.sign(subject).unwrap();
    let mut server = PrivatePostgres::start(None, &[]).unwrap();
    server.secure(&certificate.chain, &certificate.key, None).unwrap();
    server.let_in("hostssl all all all scram-sha-256").unwrap();
    server.restart().unwrap();
    Arc::new(server)
}

async fn emit(site: &Site, n: i64) {
    let emit = "select postrider.emit('order', 'k', 'Changed', jsonb_build_object('n', $1::bigint))";
    site.db().execute(emit, &[&n]).await.unwrap();
}

fn verified(launch: Launch, ca_file: &str) -> Launch {
    launch
        .with("POSTRIDER_POSTGRES_HOST", "localhost")
        .with("POSTRIDER_POSTGRES_TLS", "verify-full")
        .with("POSTRIDER_POSTGRES_TLS_CA_FILE", ca_file)
}

#[tokio::test(flavor = "multi_thread")]
async fn events_arrive_over_a_verified_way_and_the_log_says_how_safe_it_is() {
    let (authority, folder) = (Authority::new("test authority").unwrap(), Folder::new("verified"));
    let ca_file = folder.write("ca.pem", &authority.pem());
    let site = Site::on("tls", &secured(&authority)).await;
    for n in 1..=100 {
        emit(&site, n).await;
    }
    let launch = verified(site.relay(), &ca_file).with("POSTRIDER_POSTGRES_CHANNEL_BINDING", "require");
    let mut relay = launch.start();
    relay.ready().await;
    emit(&site, 101).await;
    site.assert_all_arrived(&site.reader()).await;
    let ended = relay.terminate().await;
    ended.expect(0, &["connected to Postgres", "tls=\"1.3\"", "authority and name", "SCRAM-SHA-256-PLUS"]);
    assert!(!ended.said().contains("only for this test"), "the password shows: {}", ended.said());

    // Several hosts: the first is gone, the second takes writes.
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let hosts = format!("127.0.0.1:{gone},localhost:{}", site.server().port);
    let mut relay = launch.with("POSTRIDER_POSTGRES_HOST", &hosts).start();
    relay.ready().await;
    emit(&site, 102).await;
    site.assert_all_arrived(&site.reader()).await;
    relay.terminate().await.expect(0, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_verb_refuses_a_server_that_it_cannot_trust_and_says_what_to_mend() {
    let (authority, folder) = (Authority::new("test authority").unwrap(), Folder::new("distrusted"));
    let ca_file = folder.write("ca.pem", &authority.pem());
    let other = folder.write("other.pem", &Authority::new("somebody else").unwrap().pem());
    let site = Site::on("distrust", &secured(&authority)).await;
    emit(&site, 1).await;

    let wrong_name = verified(site.relay(), &ca_file).with("POSTRIDER_POSTGRES_HOST", "127.0.0.1");
    let open = site.relay().with("POSTRIDER_POSTGRES_HOST", "127.0.0.1").with("POSTRIDER_POSTGRES_TLS", "disable");
    for (launch, words) in [
        (verified(site.relay(), &other), &["no authority that is believed signed", "tls_ca_file"][..]),
        (wrong_name, &["is for other names", "subjectAltName"]),
        (verified(site.relay(), "/nowhere/ca.pem"), &["/nowhere/ca.pem", "cannot be read"]),
        (open, &["without TLS", "pg_hba.conf", "hostssl"]),
    ] {
        launch.start().ended().await.expect(1, words);
        // As the relay's own role, so that nothing but the way to the server can be wrong.
        launch.argument("--writer-role").argument("nobody").complete("init").expect(1, words);
    }
    let contradiction = site.relay().with("POSTRIDER_POSTGRES_TLS", "verify-ca").complete("init");
    contradiction.expect(2, &["`postgres.tls`", "tls_ca_file"]);

    // Set right, what was written meanwhile arrives.
    let mut relay = verified(site.relay(), &ca_file).start();
    relay.ready().await;
    site.assert_all_arrived(&site.reader()).await;
}
