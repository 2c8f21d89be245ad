//! Getting in, and the clear word when we do not.

use std::io::Write;
use std::net::TcpListener;
use std::time::Duration;

use postrider_relay::postgres::connection::Connection;
use postrider_relay::postgres::error::{Error, Kind};
use postrider_relay::postgres::options::{ConnectOptions, Host, Secret};

use crate::postgres_client::database::Database;

fn refused(options: &ConnectOptions) -> Error {
    let error = Connection::connect(options).expect_err("nobody lets us in");
    let everything = format!("{error} {error:?}");
    assert!(!everything.contains("not-the-password"), "the password shows: {everything}");
    error
}

#[test]
fn a_trusted_socket_lets_us_in_and_the_session_is_pinned() {
    let database = Database::new("trust");
    for setting in ["datestyle = 'German'", "timezone = 'Asia/Tokyo'", "client_min_messages = 'error'"] {
        database.run(&format!("alter database {} set {setting}", database.name));
    }
    let mut connection = Connection::connect(&database.options()).unwrap();
    assert_eq!(connection.parameter("client_encoding"), Some("UTF8"));
    assert_eq!(connection.parameter("TimeZone"), Some("UTC"));
    assert_eq!(connection.parameter("DateStyle").map(|style| &style[..3]), Some("ISO"));
    assert!(connection.server_major() >= 15, "{:?}", connection.parameter("server_version"));
    let rows = connection.simple_query("show client_min_messages; select 1, null, 'a\u{e4}'").unwrap();
    assert_eq!(rows, [[Some("1".to_owned()), None, Some("a\u{e4}".to_owned())]], "the last result counts");
    let pid = connection.simple_query("select pg_backend_pid()").unwrap();
    assert_eq!(pid[0][0], Some(connection.backend_pid().to_string()));
}

#[test]
fn a_session_goes_on_after_an_error() {
    let database = Database::new("goes_on");
    let mut connection = database.connect();
    let error = connection.simple_query("select 1/0").unwrap_err();
    assert_eq!((error.kind(), error.sqlstate()), (Kind::Rejected, Some("22012")));
    let identity = connection.identify_system().unwrap();
    assert_eq!(identity.database.as_deref(), Some(database.name.as_str()));
    assert!(identity.system_id > 0 && identity.timeline == 1 && identity.flushed.as_u64() > 0, "{identity:?}");
    assert_eq!(connection.timeline_history(identity.timeline).unwrap(), []);
}

#[test]
fn scram_lets_the_right_password_in_over_tcp_and_no_other() {
    let database = Database::new("scram");
    let right = database.tcp_options();
    assert!(Connection::connect(&right).is_ok());

    let error = refused(&ConnectOptions { password: Some(Secret::new("not-the-password")), ..right.clone() });
    assert_eq!((error.kind(), error.sqlstate(), error.is_transient()), (Kind::Authentication, Some("28P01"), false));
    assert!(error.to_string().contains("refused the password of user \"postgres\""), "{error}");

    let error = refused(&ConnectOptions { password: None, ..right });
    assert_eq!(error.kind(), Kind::Authentication);
    assert!(error.to_string().contains("none is configured"), "{error}");
}

#[test]
fn a_database_that_does_not_exist_is_named() {
    let database = Database::new("no_database");
    let options = ConnectOptions { database: "no_such_shop".into(), ..database.tcp_options() };
    let error = refused(&options);
    assert_eq!((error.kind(), error.sqlstate()), (Kind::Rejected, Some("3D000")));
    assert!(error.to_string().contains("has no database \"no_such_shop\""), "{error}");
}

#[test]
fn a_server_that_is_not_there_is_unavailable_and_its_address_named() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut options = ConnectOptions::new(Host::Tcp("127.0.0.1".into()), free, "x", "x");
    let error = refused(&options);
    assert!(error.kind() == Kind::Unavailable && error.is_transient());
    assert!(error.to_string().contains(&format!("127.0.0.1:{free}")), "{error}");

    options.servers[0].host = Host::Socket("/nowhere".into());
    let error = refused(&options);
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.to_string().contains(&format!("/nowhere/.s.PGSQL.{free}")), "{error}");
}

#[test]
fn a_server_that_never_answers_is_given_up_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut options = ConnectOptions::new(Host::Tcp("127.0.0.1".into()), port, "x", "x");
    options.connect_timeout = Duration::from_millis(200);
    let error = refused(&options);
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.to_string().contains("did not answer in time"), "{error}");
}

#[test]
fn something_else_behind_the_port_is_not_taken_for_a_server() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let options = ConnectOptions::new(Host::Tcp("127.0.0.1".into()), port, "x", "x");
    let other = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        stream
    });
    assert_eq!(refused(&options).kind(), Kind::Protocol);
    other.join().unwrap();
}
