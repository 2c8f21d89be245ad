//! The ClickHouse that tests start for themselves: the official client speaks to it as to a server, with compression,
//! users and TLS, and what it acknowledged survives its crash.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use clickhouse::{Client, Compression};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use xtask::services::certificates::{Authority, Certificate, Subject};
use xtask::services::{ClickhouseTls, ClickhouseUser, PrivateClickhouse};

/// More than one block of compressed data: the client compresses each part of a body by itself.
const PARTS: usize = 3;

async fn insert(client: &Client, part: &str, token: &str) -> Result<(), clickhouse::error::Error> {
    let client = client.clone().with_setting("insert_deduplication_token", token);
    let mut insert = client.insert_formatted_with("insert into kept format JSONEachRow");
    for _ in 0..PARTS {
        insert.send(bytes::Bytes::copy_from_slice(part.as_bytes())).await?;
    }
    insert.end().await
}

async fn count(client: &Client) -> Result<u64, clickhouse::error::Error> {
    client.query("select count() from kept where a < ?").bind(1_000_000).fetch_one().await
}

#[tokio::test]
async fn what_was_acknowledged_and_its_token_survive_a_crash() {
    let mut server = PrivateClickhouse::start().expect("a server of our own");
    // A client that outlives the server would try its old connections first.
    let url = server.url();
    let client = || Client::default().with_url(&url).with_compression(Compression::Lz4);
    let create =
        "create table kept (a UInt64) engine = MergeTree order by a settings non_replicated_deduplication_window = 100";
    client().query(create).execute().await.expect("a table");
    // A blank line within the rows: what goes inline would be cut there.
    let part: String = (0..5_000).map(|a| format!("{{\"a\":{a}}}\n\n")).collect();
    let mut expected = 0;
    for crash in 0..3 {
        let token = format!("batch {crash}");
        insert(&client(), &part, &token).await.expect("rows");
        expected += 5_000 * PARTS as u64;
        server.kill();
        server.start_again().expect("the same data");
        assert_eq!(count(&client()).await.expect("a number"), expected, "after crash {crash}");
        insert(&client(), &part, &token).await.expect("the same rows again");
        assert_eq!(count(&client()).await.expect("a number"), expected, "the token of crash {crash} was forgotten");
    }
    server.stop();
    server.start_again().expect("the same data");
    assert_eq!(count(&client()).await.expect("a number"), expected);
}

#[tokio::test]
async fn a_frozen_server_answers_when_it_goes_on() {
    let server = PrivateClickhouse::start().expect("a server of our own");
    let client = Client::default().with_url(server.url());
    server.pause();
    let mut asked = tokio::spawn(async move { client.query("select 41 + 1").fetch_one::<u16>().await });
    let patience = std::time::Duration::from_millis(300);
    assert!(tokio::time::timeout(patience, &mut asked).await.is_err(), "it was frozen");
    server.resume();
    assert_eq!(asked.await.expect("no panic").expect("an answer"), 42);
}

#[tokio::test]
async fn users_need_their_password_and_a_reader_only_reads() {
    let users = [
        ClickhouseUser { name: "loader", password: "let me in", reads_only: false },
        ClickhouseUser { name: "reader", password: "me too", reads_only: true },
    ];
    let server = PrivateClickhouse::start_with(&users, None).expect("a server of our own");
    let client =
        |user: &str, password: &str| Client::default().with_url(server.url()).with_user(user).with_password(password);
    let create = "create table kept (a UInt64) engine = MergeTree order by a";
    client("loader", "let me in").query(create).execute().await.expect("the right password");
    assert_eq!(count(&client("reader", "me too")).await.expect("a reader reads"), 0);
    let refused = insert(&client("reader", "me too"), "{\"a\":1}\n", "").await.expect_err("a reader does not write");
    assert!(refused.to_string().contains("Code: 164"), "{refused}");
    for (user, password) in [("loader", "wrong"), ("loader", ""), ("nobody", "let me in"), ("default", "")] {
        let refused = count(&client(user, password)).await.expect_err("no such user and password");
        assert!(refused.to_string().contains("Code: 516"), "{user}: {refused}");
    }
}

#[tokio::test]
async fn a_secure_server_lets_in_whose_certificate_it_trusts() {
    let authority = Authority::new("clickhouse").expect("an authority");
    let sign = |common_name, names| authority.sign(Subject { common_name, names, expired: false }).expect("signed");
    let (own, friend) = (sign("server", &["localhost"]), sign("loader", &[]));
    let stranger = Authority::new("another").expect("an authority").sign(Subject::default()).expect("signed");
    let pem = authority.pem();
    let tls = ClickhouseTls { chain: &own.chain, key: &own.key, clients: Some(&pem) };
    let server = PrivateClickhouse::start_with(&[], Some(tls)).expect("a server of our own");
    let address = server.https_url().replace("https://", "");
    let answer = get(&address, &pem, Some(&friend)).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("Ok.\n"), "{answer}");
    assert!(get(&address, &pem, None).is_err(), "it wants a certificate");
    assert!(get(&address, &pem, Some(&stranger)).is_err(), "it wants one that it trusts");
    // Who hangs in the middle of a handshake holds up nobody else.
    let _silent = TcpStream::connect(&address).expect("a connection");
    assert!(get(&address, &pem, Some(&friend)).is_ok());
}

/// What a ping over TLS is answered.
fn get(address: &str, authority: &str, own: Option<&Certificate>) -> std::io::Result<String> {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_slice(authority.as_bytes()).expect("PEM");
    roots.add(authority).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("TLS 1.2 and 1.3").with_root_certificates(roots);
    let config = match own {
        Some(own) => {
            let chain = CertificateDer::pem_slice_iter(own.chain.as_bytes()).collect::<Result<_, _>>().expect("PEM");
            let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).expect("PEM");
            config.with_client_auth_cert(chain, key).expect("a certificate and its key")
        }
        None => config.with_no_client_auth(),
    };
    let name = "localhost".try_into().expect("a name");
    let session = ClientConnection::new(Arc::new(config), name).expect("a session");
    let mut stream = StreamOwned::new(session, TcpStream::connect(address)?);
    stream.write_all(b"GET /ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        // The front ends without TLS's own farewell.
        Err(error) if answer.is_empty() || error.kind() != std::io::ErrorKind::UnexpectedEof => Err(error),
        _ => Ok(String::from_utf8_lossy(&answer).into_owned()),
    }
}
