//! Several servers: which one is taken, and the word when none will do.

use std::net::TcpListener;
use std::time::Duration;

use postrider_relay::postgres::connection::Connection;
use postrider_relay::postgres::error::Kind;
use postrider_relay::postgres::options::{ConnectOptions, Host, Secret, Server, Target};
use xtask::services::{self, PrivatePostgres};

fn tcp(port: u16) -> Server {
    Server { host: Host::Tcp("127.0.0.1".into()), port }
}

/// The port of the server that was taken.
fn taken(options: &ConnectOptions) -> String {
    let connection = Connection::connect(options).unwrap_or_else(|error| panic!("{error}: {error:?}"));
    connection.peer().to_owned()
}

#[test]
fn the_first_server_that_answers_and_is_of_the_wanted_kind_is_taken() {
    let primary = services::current().expect("the services run").postgres;
    let mut standby = PrivatePostgres::start(None, &[]).unwrap();
    standby.stop();
    standby.make_standby().unwrap();
    standby.start_again().unwrap();
    let standby = standby;
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    // Answers the connection and never a word.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_port = silent.local_addr().unwrap().port();

    let options = |ports: &[u16], target| ConnectOptions {
        servers: ports.iter().map(|port| tcp(*port)).collect(),
        target,
        password: Some(Secret::new(&primary.password)),
        replication: false,
        ..ConnectOptions::new(Host::Tcp(String::new()), 0, "postgres", &primary.user)
    };
    let (first, second) = (standby.environment().port, primary.port);
    let place = |port| format!("127.0.0.1:{port}");
    for (ports, target, port) in [
        (&[nobody, second][..], Target::Any, second),
        (&[first, second], Target::Any, first),
        (&[first, second], Target::ReadWrite, second),
        (&[nobody, first, second], Target::Primary, second),
        (&[second, first], Target::Standby, first),
    ] {
        assert_eq!(taken(&options(ports, target)), place(port), "{ports:?} {target}");
    }
    let hasty = ConnectOptions {
        connect_timeout: Duration::from_secs(3),
        ..options(&[silent_port, second], Target::ReadWrite)
    };
    assert_eq!(taken(&hasty), place(second), "each server has its own time");

    let error = Connection::connect(&options(&[nobody, first], Target::ReadWrite)).unwrap_err();
    let text = error.to_string();
    assert_eq!((error.kind(), error.is_transient()), (Kind::Unavailable, true), "{text}");
    for word in [place(nobody), place(first), "no Postgres server answers".into(), "is a standby".into()] {
        assert!(text.contains(&word), "{word} is not in: {text}");
    }
    assert!(text.contains("target_session_attrs = \"read-write\""), "{text}");
}

#[test]
fn a_wrong_password_is_not_tried_on_the_next_server() {
    let primary = services::current().expect("the services run").postgres;
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let options = ConnectOptions {
        servers: vec![tcp(primary.port), tcp(nobody)],
        password: Some(Secret::new("wrong")),
        ..ConnectOptions::new(Host::Tcp(String::new()), 0, "postgres", &primary.user)
    };
    let error = Connection::connect(&options).unwrap_err();
    assert_eq!((error.kind(), error.sqlstate()), (Kind::Authentication, Some("28P01")), "{error}");
}

#[test]
fn a_name_without_an_address_is_told_and_a_socket_option_that_cannot_be_is_not_passed_over() {
    let primary = services::current().expect("the services run").postgres;
    let options = ConnectOptions::new(Host::Tcp("no-such-host.invalid".into()), 1, "postgres", "relay");
    let error = Connection::connect(&options).unwrap_err();
    assert!(error.is_transient(), "name servers come back");
    assert!(
        error.to_string().contains("\"no-such-host.invalid\"") && error.to_string().contains("no address"),
        "{error}"
    );

    let options = ConnectOptions {
        tcp_user_timeout: Some(Duration::from_secs(20)),
        password: Some(Secret::new(&primary.password)),
        ..ConnectOptions::new(Host::Tcp(primary.host.clone()), primary.port, "postgres", &primary.user)
    };
    assert_eq!(taken(&options), format!("{}:{}", primary.host, primary.port));
}
