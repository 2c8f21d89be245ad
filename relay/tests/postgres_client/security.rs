//! Secure connections against a server that demands them, and the clear word for each that is refused.

use postrider_relay::postgres::connection::Connection;
use postrider_relay::postgres::error::{Error, Kind};
use postrider_relay::postgres::options::{ChannelBinding, Check, ConnectOptions, Host, Secret, Tls, TlsMode};
use postrider_relay::postgres::security::Method;
use postrider_relay::postgres::session;
use xtask::services::certificates::Authority;
use xtask::services::{self, PrivatePostgres};

use crate::postgres_client::secured::{Folder, PASSWORD, Secured, sign};

/// The error of a connection that must not come to be: of this kind, naming all of `words`, and no secret.
fn refused(options: &ConnectOptions, kind: Kind, words: &[&str]) -> Error {
    let error = Connection::connect(options).expect_err("this connection must not come to be");
    let text = format!("{error} {:?}", error.server_error().map(ToString::to_string));
    assert_eq!(error.kind(), kind, "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
    assert!(!format!("{text} {error:?}").contains(PASSWORD), "the password shows: {text}");
    error
}

/// How far the certificate was checked, `None` without TLS, and how we got in.
fn entered(options: &ConnectOptions) -> (Option<Check>, Method) {
    let mut connection = Connection::connect(options).unwrap_or_else(|error| panic!("{error}: {error:?}"));
    let security = connection.security();
    let of_server = connection.simple_query("select ssl from pg_stat_ssl where pid = pg_backend_pid()");
    let of_server = of_server.expect("the session answers");
    assert_eq!(of_server[0][0].as_deref() == Some("t"), security.tls.is_some(), "the server sees it likewise");
    (security.tls.map(|tls| tls.check), security.method)
}

/// Certificates as PEM, the server's own first.
struct Chain(String);

impl Chain {
    fn first(&self) -> &str {
        const END: &str = "-----END CERTIFICATE-----";
        self.0.split_inclusive(END).next().expect("a certificate")
    }
}

fn with_tls(options: &ConnectOptions, mode: TlsMode, ca_file: bool) -> ConnectOptions {
    let ca_file = options.tls.ca_file.clone().filter(|_| ca_file);
    ConnectOptions { tls: Tls { mode, ca_file, identity: options.tls.identity.clone() }, ..options.clone() }
}

#[test]
fn each_mode_checks_what_it_promises_and_the_password_is_bound_to_the_certificate() {
    let server = Secured::shared();
    let options = server.options("scram", "postgres");
    for (mode, ca_file, check) in [
        (TlsMode::Prefer, false, Check::Nothing),
        (TlsMode::Require, false, Check::Nothing),
        (TlsMode::Require, true, Check::Authority),
        (TlsMode::VerifyCa, true, Check::Authority),
        (TlsMode::VerifyFull, true, Check::AuthorityAndName),
    ] {
        let found = entered(&with_tls(&options, mode, ca_file));
        assert_eq!(found, (Some(check), Method::ScramSha256Plus), "{mode:?}");
    }
    let bound = ConnectOptions { channel_binding: ChannelBinding::Require, ..options };
    assert_eq!(entered(&bound).1, Method::ScramSha256Plus);
}

#[test]
fn a_line_for_tls_alone_lets_nobody_in_without_and_the_other_way_round() {
    let server = Secured::shared();
    let plain = |user| with_tls(&server.options(user, "postgres"), TlsMode::Disable, false);
    let error = refused(&plain("scram"), Kind::Authentication, &["without TLS", "pg_hba.conf", "hostssl"]);
    assert_eq!(error.sqlstate(), Some("28000"));
    refused(&server.options("plain", "postgres"), Kind::Authentication, &["over TLS", "pg_hba.conf"]);

    assert_eq!(entered(&plain("plain")), (None, Method::ScramSha256));
    // Where TLS is only preferred, the second try is without.
    let preferred = with_tls(&server.options("plain", "postgres"), TlsMode::Prefer, false);
    assert_eq!(entered(&preferred), (None, Method::ScramSha256));
    let bound = ConnectOptions { channel_binding: ChannelBinding::Require, ..plain("plain") };
    refused(&bound, Kind::Authentication, &["channel_binding", "hostssl"]);
}

#[test]
fn a_certificate_for_another_name_passes_verify_ca_and_not_verify_full() {
    let server = Secured::shared();
    let mut options = server.options("scram", "postgres");
    options.servers[0].host = Host::Tcp("127.0.0.1".into());
    refused(&options, Kind::Tls, &["is for other names", "subjectAltName", "127.0.0.1"]);
    let by_authority = with_tls(&options, TlsMode::VerifyCa, true);
    assert_eq!(entered(&by_authority), (Some(Check::Authority), Method::ScramSha256Plus));
}

#[test]
fn an_authority_that_did_not_sign_is_not_believed() {
    let server = Secured::shared();
    let folder = Folder::new("other_authority");
    let other = Authority::new("somebody else").unwrap();
    let mut options = server.options("scram", "postgres");
    options.tls.ca_file = Some(folder.write("ca.pem", &other.pem(), 0o644));
    for mode in [TlsMode::VerifyFull, TlsMode::VerifyCa, TlsMode::Require] {
        refused(&with_tls(&options, mode, true), Kind::Tls, &["no authority that is believed signed", "tls_ca_file"]);
    }
    // The same name as the real one, and another key.
    let namesake = Authority::new("postrider test authority").unwrap();
    options.tls.ca_file = Some(folder.write("namesake.pem", &namesake.pem(), 0o644));
    refused(&options, Kind::Tls, &["tls_ca_file"]);
    // The operating system's authorities have not signed it either.
    refused(&with_tls(&options, TlsMode::VerifyFull, false), Kind::Tls, &["certificate"]);
}

#[test]
fn a_file_that_is_missing_or_holds_something_else_is_named() {
    let server = Secured::shared();
    let folder = Folder::new("wrong_files");
    let mut options = server.options("scram", "postgres");
    for (file, word) in [
        ("/nowhere/ca.pem".into(), "cannot be read"),
        (folder.write("empty.pem", "", 0o644), "holds no certificate"),
        (folder.write("text.pem", "hello", 0o644), "holds no certificate"),
    ] {
        options.tls.ca_file = Some(file.clone());
        refused(&options, Kind::Tls, &[word, &file.display().to_string(), "tls_ca_file"]);
    }
    let options = server.options("certified", "postgres");
    let ours = sign(&server.authority, "certified", &[], false);
    let identity = folder.identity("ours", &ours);
    let with =
        |identity| ConnectOptions { tls: Tls { identity: Some(identity), ..options.tls.clone() }, ..options.clone() };

    let mut open = identity.clone();
    open.key_file = folder.write("open.key", &ours.key, 0o644);
    // Nor is it a reason to go without TLS where that is only preferred.
    let preferred = with_tls(&with(open.clone()), TlsMode::Prefer, false);
    refused(&preferred, Kind::Authentication, &["tls_key_file", "chmod 0600"]);
    refused(&with(open), Kind::Authentication, &["tls_key_file", "chmod 0600"]);
    let mut other = identity.clone();
    other.key_file = folder.write("other.key", &sign(&server.authority, "certified", &[], false).key, 0o600);
    refused(&with(other), Kind::Tls, &["do not go together"]);
    let mut none = identity;
    none.key_file = folder.write("none.key", "hello", 0o600);
    refused(&with(none), Kind::Tls, &["no unencrypted private key"]);
}

#[test]
fn a_client_certificate_lets_its_role_in_and_no_other() {
    let server = Secured::shared();
    let folder = Folder::new("identities");
    let with = |user: &str, name: &str, authority: &Authority, expired| {
        let certificate = sign(authority, name, &[], expired);
        let identity = folder.identity(&format!("{user}-{name}-{expired}"), &certificate);
        let options = server.options(user, "postgres");
        ConnectOptions { tls: Tls { identity: Some(identity), ..options.tls.clone() }, ..options }
    };
    let authority = &server.authority;
    let trusted = ConnectOptions { password: None, ..with("certified", "certified", authority, false) };
    assert_eq!(entered(&trusted), (Some(Check::AuthorityAndName), Method::NoPassword));
    let bound = ConnectOptions { channel_binding: ChannelBinding::Require, ..trusted };
    refused(&bound, Kind::Authentication, &["channel_binding"]);
    assert_eq!(entered(&with("both", "both", authority, false)).1, Method::ScramSha256Plus);

    refused(&with("certified", "somebody", authority, false), Kind::Authentication, &["client certificate"]);
    refused(&with("both", "certified", authority, false), Kind::Authentication, &["client certificate"]);
    refused(&server.options("certified", "postgres"), Kind::Authentication, &["client certificate"]);
    let stranger = Authority::new("somebody else").unwrap();
    refused(
        &with("certified", "certified", &stranger, false),
        Kind::Tls,
        &["does not accept our client certificate", "tls_certificate_file", "ssl_ca_file"],
    );
    refused(&with("certified", "certified", authority, true), Kind::Tls, &["does not accept our client certificate"]);
}

#[test]
fn a_weaker_password_method_is_taken_only_where_the_way_allows_it() {
    let server = Secured::shared();
    let md5 = server.options("md5", "postgres");
    assert_eq!(entered(&md5), (Some(Check::AuthorityAndName), Method::Md5));
    assert_eq!(entered(&with_tls(&md5, TlsMode::Disable, false)), (None, Method::Md5));
    let bound = ConnectOptions { channel_binding: ChannelBinding::Require, ..md5.clone() };
    refused(&bound, Kind::Authentication, &["channel_binding", "scram-sha-256"]);
    let wrong = ConnectOptions { password: Some(Secret::new("wrong")), ..md5 };
    refused(&wrong, Kind::Authentication, &["refused the password", "password authentication failed"]);

    let clear = server.options("clear", "postgres");
    for (mode, ca_file) in [(TlsMode::VerifyFull, true), (TlsMode::Require, false)] {
        assert_eq!(entered(&with_tls(&clear, mode, ca_file)).1, Method::Cleartext);
    }
    // Whoever stands between could have asked for it.
    for mode in [TlsMode::Prefer, TlsMode::Disable] {
        let words = ["clear text", "scram-sha-256", "tls = \"verify-full\""];
        refused(&with_tls(&clear, mode, false), Kind::Authentication, &words);
    }
}

#[test]
fn a_wrong_password_and_a_missing_one_are_told_apart() {
    let server = Secured::shared();
    let options = server.options("scram", "postgres");
    let wrong = ConnectOptions { password: Some(Secret::new("wrong")), ..options.clone() };
    let error = refused(&wrong, Kind::Authentication, &["refused the password of user \"scram\"", "check"]);
    assert_eq!(error.sqlstate(), Some("28P01"));
    let none = ConnectOptions { password: None, ..options };
    refused(&none, Kind::Authentication, &["none is configured", "password_file"]);
}

#[test]
fn a_passfile_gives_the_password_of_its_line_if_only_its_owner_reads_it() {
    let server = Secured::shared();
    let folder = Folder::new("passfile");
    let port = server.environment().port;
    let with = |file| ConnectOptions { password: None, passfile: Some(file), ..server.options("scram", "postgres") };
    let line = format!("other:*:*:*:no\nlocalhost:{port}:*:scram:{PASSWORD}\n");
    assert_eq!(entered(&with(folder.write("right", &line, 0o600))).1, Method::ScramSha256Plus);
    refused(
        &with(folder.write("open", &line, 0o644)),
        Kind::Authentication,
        &["passfile", "can be read by others", "chmod 0600"],
    );
    let elsewhere = format!("localhost:1:*:scram:{PASSWORD}\n");
    refused(&with(folder.write("elsewhere", &elsewhere, 0o600)), Kind::Authentication, &["passfile", "has no line"]);
    refused(&with("/nowhere/passfile".into()), Kind::Authentication, &["/nowhere/passfile", "cannot be read"]);
}

#[test]
fn a_server_without_tls_is_taken_only_where_tls_is_not_demanded() {
    let server = services::current().expect("the services run").postgres;
    let plain = ConnectOptions {
        password: Some(Secret::new(&server.password)),
        ..ConnectOptions::new(Host::Tcp(server.host.clone()), server.port, "postgres", &server.user)
    };
    assert_eq!(entered(&plain), (None, Method::ScramSha256), "preferred");
    for mode in [TlsMode::Require, TlsMode::VerifyFull] {
        refused(&with_tls(&plain, mode, false), Kind::Tls, &["has no TLS", "ssl = on", "tls = \"disable\""]);
    }
}

#[test]
fn an_expired_certificate_is_refused_and_a_renewed_one_or_the_server_s_own_is_believed_at_once() {
    let folder = Folder::new("expired");
    let authority = Authority::new("postrider test authority").unwrap();
    let mut server = PrivatePostgres::start(None, &[]).unwrap();
    let environment = server.environment();
    let mut options = ConnectOptions {
        password: Some(Secret::new(&environment.password)),
        tls: Tls {
            mode: TlsMode::VerifyFull,
            ca_file: Some(folder.write("ca.pem", &authority.pem(), 0o644)),
            identity: None,
        },
        ..ConnectOptions::new(Host::Tcp("127.0.0.1".into()), environment.port, "postgres", &environment.user)
    };
    let mut show = |expired| {
        let certificate = sign(&authority, "server", &["127.0.0.1"], expired);
        server.secure(&certificate.chain, &certificate.key, None).unwrap();
        server.restart().unwrap();
        Chain(certificate.chain)
    };
    let own = show(true);
    refused(&options, Kind::Tls, &["has expired", "renew it", "clocks"]);
    // Believed for itself, without its authority.
    let authority_file = options.tls.ca_file.replace(folder.write("own.pem", own.first(), 0o644));
    refused(&options, Kind::Tls, &["has expired"]);

    let own = show(false);
    refused(&options, Kind::Tls, &["no authority that is believed signed"]);
    options.tls.ca_file = Some(folder.write("own.pem", own.first(), 0o644));
    assert_eq!(entered(&options), (Some(Check::AuthorityAndName), Method::ScramSha256Plus));
    options.tls.ca_file = authority_file;
    assert_eq!(entered(&options), (Some(Check::AuthorityAndName), Method::ScramSha256Plus));
}

#[tokio::test]
async fn an_sql_session_is_as_safe_as_the_stream_and_carries_much_both_ways() {
    let server = Secured::shared();
    let options = server.options("scram", "postgres");
    let client = session::connect(&options).await.unwrap();
    let row = client.query_one("select ssl from pg_stat_ssl where pid = pg_backend_pid()", &[]).await.unwrap();
    assert!(row.get::<_, bool>(0));
    let large = "x".repeat(8 * 1024 * 1024);
    for _ in 0..3 {
        let row = client.query_one("select $1::text || 'y'", &[&large]).await.unwrap();
        assert_eq!(row.get::<_, &str>(0).len(), large.len() + 1);
    }
    client.batch_execute("create temporary table t (n int)").await.expect("the role's own search_path holds");

    let wrong = ConnectOptions { password: Some(Secret::new("wrong")), ..options.clone() };
    let error = session::connect(&wrong).await.map(drop).unwrap_err();
    assert_eq!((error.kind(), error.sqlstate()), (Kind::Authentication, Some("28P01")));
    let mut elsewhere = options;
    elsewhere.servers[0].host = Host::Tcp("127.0.0.1".into());
    assert_eq!(session::connect(&elsewhere).await.map(drop).unwrap_err().kind(), Kind::Tls);
}
