//! Brokers that demand TLS, a certificate or a login: each is reached as it wants to be, and each refusal says whose fault it
//! is. One private broker with a listener for every way, shared by the tests of this file.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use postrider_relay::pipeline::{Durable, Error, Kind, Sink};
use postrider_relay::sinks::kafka::{KafkaLogin, KafkaSecurity, KafkaTls};
use postrider_relay::sinks::{Kafka, KafkaOptions};
use postrider_relay::telemetry::Metrics;
use tokio::time::timeout;
use xtask::services::PrivateKafka;
use xtask::services::certificates::{Authority, Certificate, Subject};

use super::batch::{batch, keyed};
use super::topic::unique;
use super::{PATIENCE, durable};

pub(crate) const PASSWORD: &str = "only-for-this-test";

/// The broker with its listeners, and files that clients need.
pub(crate) struct Secured {
    pub(crate) broker: PrivateKafka,
    folder: PathBuf,
}

fn write(folder: &std::path::Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).unwrap();
}

fn sign(authority: &Authority, common_name: &str, expired: bool) -> Certificate {
    authority.sign(Subject { common_name, names: &["localhost"], expired }).unwrap()
}

impl Secured {
    fn start() -> Self {
        let folder = std::env::temp_dir().join(format!("postrider-secure-kafka-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (authority, stranger) = (Authority::new("broker authority").unwrap(), Authority::new("stranger").unwrap());
        write(&folder, "ca.pem", &authority.pem());
        write(&folder, "other-ca.pem", &stranger.pem());
        for (name, certificate) in [
            ("relay", sign(&authority, "relay", false)),
            ("expired", sign(&authority, "relay", true)),
            ("foreign", sign(&stranger, "relay", false)),
        ] {
            write(&folder, &format!("{name}.pem"), &certificate.chain);
            write(&folder, &format!("{name}.key"), &certificate.key);
        }
        let server = sign(&authority, "broker", false);
        let elsewhere =
            authority.sign(Subject { common_name: "b", names: &["elsewhere.example"], expired: false }).unwrap();
        let mut settings: Vec<(String, String)> = Vec::new();
        let mut set = |name: String, value: &str| settings.push((name, value.to_owned()));
        for listener in ["tls", "mtls", "scram", "plain", "token", "misnamed"] {
            let own = if listener == "misnamed" { &elsewhere } else { &server };
            let of = |name: &str| format!("listener.name.{listener}.ssl.{name}");
            set(of("keystore.type"), "PEM");
            set(of("keystore.certificate.chain"), &own.chain);
            set(of("keystore.key"), &own.key);
            set(of("truststore.type"), "PEM");
            set(of("truststore.certificates"), &authority.pem());
            set(of("client.auth"), if listener == "mtls" { "required" } else { "none" });
        }
        let login = "org.apache.kafka.common.security";
        for (listener, mechanism, module) in [
            ("scram", "SCRAM-SHA-256", format!("{login}.scram.ScramLoginModule required;")),
            ("scram", "SCRAM-SHA-512", format!("{login}.scram.ScramLoginModule required;")),
            ("plain", "PLAIN", format!("{login}.plain.PlainLoginModule required user_relay=\"{PASSWORD}\";")),
            (
                "token",
                "OAUTHBEARER",
                format!(
                    "{login}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=\"broker\";"
                ),
            ),
        ] {
            set(format!("listener.name.{listener}.{}.sasl.jaas.config", mechanism.to_lowercase()), &module);
        }
        for (listener, mechanisms) in
            [("scram", "SCRAM-SHA-256,SCRAM-SHA-512"), ("plain", "PLAIN"), ("token", "OAUTHBEARER")]
        {
            set(format!("listener.name.{listener}.sasl.enabled.mechanisms"), mechanisms);
        }
        set("authorizer.class.name".into(), "org.apache.kafka.metadata.authorizer.StandardAuthorizer");
        set("super.users".into(), "User:ANONYMOUS;User:relay;User:CN=relay");
        let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (&**name, &**value)).collect();
        let listeners = [
            ("TLS", "SSL"),
            ("MTLS", "SSL"),
            ("MISNAMED", "SSL"),
            ("SCRAM", "SASL_SSL"),
            ("PLAIN", "SASL_SSL"),
            ("TOKEN", "SASL_SSL"),
        ];
        let broker = PrivateKafka::start_with(&listeners, &settings).unwrap();
        for (mechanism, user) in [("SCRAM-SHA-256", "relay"), ("SCRAM-SHA-512", "relay"), ("SCRAM-SHA-256", "stranger")]
        {
            broker.set_password(mechanism, user, PASSWORD).unwrap();
        }
        Self { broker, folder }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Options for a listener, with TLS.
    pub(crate) fn options(&self, listener: &str) -> KafkaOptions {
        let mut options = self.options_at(self.broker.address(listener));
        options.security.tls = Some(KafkaTls {
            ca_file: Some(self.file("ca.pem")),
            certificate: None,
            key_password_file: None,
            verify_host_name: true,
        });
        options
    }

    fn options_at(&self, bootstrap: String) -> KafkaOptions {
        let mut options = KafkaOptions::new(bootstrap);
        options.progress_topic = unique("progress");
        options.progress_replication_factor = 1;
        options.connect_timeout = Duration::from_secs(5);
        // The broker listens on one of the two addresses of localhost.
        options.properties.push(("broker.address.family".into(), "v4".into()));
        options
    }

    pub(crate) fn login(&self, mechanism: &'static str, username: &str, password: &str) -> Option<KafkaLogin> {
        Some(KafkaLogin::Password {
            mechanism,
            username: username.into(),
            password: password.into(),
            password_file: None,
        })
    }

    fn token(&self, name: &str, subject: &str, seconds: i64) -> PathBuf {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64;
        let claims = format!("{{\"sub\":\"{subject}\",\"iat\":{},\"exp\":{}}}", now - 60, now + seconds);
        write(&self.folder, name, &format!("{}.{}.\n", base64url(b"{\"alg\":\"none\"}"), base64url(claims.as_bytes())));
        self.file(name)
    }
}

impl Drop for Secured {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for digit in 0..=chunk.len() {
            text.push(DIGITS[(bits >> (18 - 6 * digit)) as usize & 63] as char);
        }
    }
    text
}

/// The broker of these tests; it stops when the last of them lets go of it.
pub(crate) async fn secured() -> Arc<Secured> {
    static RUNNING: Mutex<Weak<Secured>> = Mutex::new(Weak::new());
    tokio::task::spawn_blocking(|| {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        running.upgrade().unwrap_or_else(|| {
            let started = Arc::new(Secured::start());
            *running = Arc::downgrade(&started);
            started
        })
    })
    .await
    .unwrap()
}

async fn open(options: &KafkaOptions) -> Result<Kafka, Error> {
    let opening = Kafka::open(options.clone(), Some("slot"), Metrics::new());
    timeout(PATIENCE, opening).await.expect("opening ends").map(|(sink, _)| sink)
}

/// Everything works: progress is read, a topic created, a record delivered.
async fn assert_works(options: &KafkaOptions) {
    let mut sink = open(options).await.unwrap_or_else(|error| panic!("{}", error.chain()));
    let messages = batch(&unique("secure"), &[keyed(1, 1)]);
    assert_eq!(sink.admit(&messages).await.unwrap(), []);
    let receipt = sink.send(messages).await.unwrap();
    assert_eq!(durable(receipt).await, Durable::default());
}

/// The first start is refused, and says this.
async fn assert_refused(options: &KafkaOptions, words: &[&str]) {
    assert_fails(options, Kind::Setup, words).await;
}

/// The first start fails, says this, and may be repeated.
async fn assert_waited_for(options: &KafkaOptions, words: &[&str]) {
    assert_fails(options, Kind::Unavailable, words).await;
}

async fn assert_fails(options: &KafkaOptions, kind: Kind, words: &[&str]) {
    let error = open(options).await.map(drop).unwrap_err();
    let text = format!("{} | {}", error.chain(), error.help().unwrap_or_default());
    assert_eq!(error.kind(), kind, "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not said in: {text}");
    }
    assert!(!text.contains(PASSWORD) && !text.contains("wrong-one"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_are_reached_by_tls_by_certificate_by_password_and_by_token() {
    let place = secured().await;
    assert_works(&place.options("TLS")).await;
    let mut options = place.options("MTLS");
    options.security.tls.as_mut().unwrap().certificate = Some((place.file("relay.pem"), place.file("relay.key")));
    assert_works(&options).await;
    for (listener, mechanism) in [("SCRAM", "SCRAM-SHA-256"), ("SCRAM", "SCRAM-SHA-512"), ("PLAIN", "PLAIN")] {
        let mut options = place.options(listener);
        options.security.login = place.login(mechanism, "relay", PASSWORD);
        assert_works(&options).await;
    }
    let mut options = place.options("MISNAMED");
    options.security.tls.as_mut().unwrap().verify_host_name = false;
    assert_works(&options).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_opens_what_is_there_and_says_what_it_cannot_create() {
    let place = secured().await;
    let mut options = place.options("TOKEN");
    options.security.login = Some(KafkaLogin::Token(place.token("good.token", "relay", 3600)));
    // Administrative connections cannot log in by a token.
    assert_refused(&options, &["progress topic", "token", "Create it"]).await;
    let plain = place.broker.bootstrap();
    super::topic::create(&plain, &options.progress_topic, 1, &[("cleanup.policy", "compact")]).await;
    let there = unique("there");
    super::topic::create(&plain, &there, 3, &[]).await;
    let mut sink = open(&options).await.unwrap_or_else(|error| panic!("{}", error.chain()));
    let messages = batch(&there, &[keyed(1, 1), keyed(2, 1)]);
    assert_eq!(sink.admit(&messages).await.unwrap(), []);
    let receipt = sink.send(messages).await.unwrap();
    assert_eq!(durable(receipt).await, Durable::default());
    let refused = sink.admit(&batch(&unique("missing"), &[keyed(1, 1)])).await.unwrap();
    assert!(refused[0].reason.contains("does not exist") && refused[0].reason.contains("token"), "{refused:?}");

    let mut options = place.options("TOKEN");
    options.security.login = Some(KafkaLogin::Token(place.token("old.token", "relay", -5)));
    assert_refused(&options, &["no token", "has expired", "old.token"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_refusal_of_a_first_start_says_what_is_wrong_and_what_to_do() {
    let place = secured().await;
    let mut options = place.options("TLS");
    options.security.tls.as_mut().unwrap().ca_file = Some(place.file("other-ca.pem"));
    assert_refused(&options, &["no trusted authority", "kafka.tls_ca_file", &place.broker.address("TLS")]).await;

    assert_refused(
        &place.options("MISNAMED"),
        &["does not name the host", "kafka.bootstrap_servers", &place.broker.address("MISNAMED")],
    )
    .await;

    let mut options = place.options("SCRAM");
    options.security.login = place.login("SCRAM-SHA-512", "relay", "wrong-one");
    assert_refused(&options, &["refused the login", "kafka.sasl_username"]).await;

    let mut options = place.options("SCRAM");
    options.security.login = place.login("PLAIN", "relay", PASSWORD);
    assert_refused(&options, &["does not know this way to log in", "kafka.sasl_mechanism"]).await;

    // A broker that is just starting hangs up as well: these are waited for, with words about what else it may be.
    assert_waited_for(&place.options_at(place.broker.address("TLS")), &["hung up", "kafka.tls = true"]).await;
    let mut options = place.options("TLS");
    options.bootstrap_servers = place.broker.bootstrap();
    assert_waited_for(&options, &["does not speak TLS", "kafka.tls = false"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_wants_a_certificate_refuses_none_an_expired_and_a_foreign_one() {
    let place = secured().await;
    for name in [None, Some("expired"), Some("foreign")] {
        let mut options = place.options("MTLS");
        options.security.tls.as_mut().unwrap().certificate =
            name.map(|name| (place.file(&format!("{name}.pem")), place.file(&format!("{name}.key"))));
        assert_refused(&options, &["certificate", "kafka.tls_certificate_file"]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_right_to_a_topic_its_events_are_refused_with_the_right_to_grant() {
    let place = secured().await;
    let mut options = place.options("SCRAM");
    options.security.login = place.login("SCRAM-SHA-256", "stranger", PASSWORD);
    assert_refused(&options, &[&options.progress_topic.clone(), "Grant", "Describe"]).await;

    let (mut sink, _) = Kafka::open(options.clone(), None, Metrics::new()).await.unwrap();
    let topic = unique("forbidden");
    super::topic::create(&place.broker.bootstrap(), &topic, 1, &[]).await;
    let refused = sink.admit(&batch(&topic, &[keyed(1, 1)])).await.unwrap();
    assert!(
        refused[0].reason.contains("lacks the right Describe") && refused[0].reason.contains(&topic),
        "{refused:?}"
    );
    let help = refused[0].help.as_deref().unwrap();
    assert!(help.contains("kafka-acls.sh") && help.contains(&topic), "{help}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_that_changes_while_the_relay_runs_is_read_anew() {
    let place = secured().await;
    let (broker, user) = (&place.broker, "rotated");
    broker.set_password("SCRAM-SHA-256", user, "first").unwrap();
    let file = place.file("rotated.password");
    std::fs::write(&file, "first\n").unwrap();
    let mut options = place.options("SCRAM");
    let login = |username: &str| KafkaLogin::Password {
        mechanism: "SCRAM-SHA-256",
        username: username.into(),
        password: String::new(),
        password_file: Some(file.clone()),
    };
    options.security = KafkaSecurity { login: Some(login(user)), ..options.security };
    // Not a super user: opening without progress is all it may do.
    drop(Kafka::open(options.clone(), None, Metrics::new()).await.unwrap());
    broker.set_password("SCRAM-SHA-256", user, "second").unwrap();
    // What worked once is waited for.
    let error = Kafka::open(options.clone(), None, Metrics::new()).await.map(drop).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{}", error.chain());
    assert!(error.chain().contains("refused the login"), "{}", error.chain());
    std::fs::write(&file, "second\n").unwrap();
    drop(Kafka::open(options, None, Metrics::new()).await.unwrap());
}
