//! `postrider status` and `postrider top` where no relay can be asked: they say so with the mend, and end with 1.

use std::net::TcpListener;

use crate::command_line::program::Program;

#[test]
fn where_no_relay_answers_the_place_and_the_mend_are_named() {
    // Bound and then let go: nothing answers there.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let program = Program::new().with("POSTRIDER_ADMIN_LISTEN", address.to_string());
    for verb in [&["status"][..], &["top", "--once"]] {
        let said = program.run(verb);
        assert_eq!((said.code, said.out.as_str()), (1, ""), "{verb:?}");
        assert!(said.error.starts_with(&format!("error: no relay answers at http://{address}/")), "{}", said.error);
        assert!(said.error.contains("help: Is `postrider run` running there?"), "{}", said.error);
    }
}

#[test]
fn an_endpoint_that_the_configuration_does_not_tell_is_asked_for() {
    for (listen, says) in [("", "switches the endpoint off"), ("127.0.0.1:0", "port 0")] {
        let said = Program::new().with("POSTRIDER_ADMIN_LISTEN", listen).run(&["status"]);
        assert_eq!(said.code, 1);
        assert!(said.error.contains(says) && said.error.contains("--url"), "{}", said.error);
    }
}

#[test]
fn what_answers_and_is_no_relay_is_told_from_one() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let stranger = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        std::io::Read::read(&mut stream, &mut request).unwrap();
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
        std::io::Write::write_all(&mut stream, answer).unwrap();
    });
    let said = Program::new().run(&["status", "--url", &url]);
    stranger.join().unwrap();
    assert_eq!(said.code, 1);
    assert!(said.error.contains("is no relay of this kind"), "{}", said.error);
}
