//! Connections of peers that say too little.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::fixture::Fixture;

/// With what an HTTP/2 client begins: the preface, and a frame of settings without any.
const BEGINNING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// The head of a frame that asks for a sign of life.
const PING: &[u8] = b"\0\0\x08\x06\0\0\0\0\0";

/// Says `beginning`, then nothing; what the server sends until it closes.
fn answers_until_closed(server: &Fixture, beginning: &[u8]) -> Vec<u8> {
    let address = server.server().grpc_address().expect("grpc is on");
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.write_all(beginning).expect("sent");
    let mut answers = Vec::new();
    stream.read_to_end(&mut answers).expect("it is closed");
    answers
}

fn has_ping(answers: &[u8]) -> bool {
    answers.windows(PING.len()).any(|window| window == PING)
}

#[test]
fn a_connection_that_does_not_begin_in_time_is_closed() {
    let server = Fixture::start_with(|config| config.request_timeout_ms = 1_000);
    for beginning in [&b""[..], b"P", &BEGINNING[..23]] {
        assert!(!has_ping(&answers_until_closed(&server, beginning)));
    }
}

#[test]
fn a_connection_that_gives_no_sign_of_life_when_asked_is_closed() {
    let server = Fixture::start_with(|config| config.keep_alive_ms = 1_000);
    assert!(has_ping(&answers_until_closed(&server, BEGINNING)));
}
