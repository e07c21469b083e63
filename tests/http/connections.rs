//! More connections than are served: nobody hangs, and the journal keeps its descriptors.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::fixture::{Fixture, NORTH};

/// Longer than anything here takes.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

fn request(path: &str, key: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n")
}

/// Reads until the server closes.
fn rest(mut stream: TcpStream) -> String {
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the server closes in order");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Opens a connection that the server has surely counted: it was answered, and is kept alive.
fn held(server: &Fixture) -> TcpStream {
    let mut stream = server.connect();
    stream.write_all(request("/healthz", "").as_bytes()).expect("sent");
    let mut status = [0; 12];
    stream.read_exact(&mut status).expect("an answer");
    assert_eq!(&status, b"HTTP/1.1 200");
    stream
}

#[test]
fn beyond_the_bound_probes_are_answered_and_everything_else_is_told_and_closed() {
    let server = Fixture::start_with(|config| config.connections_max = 4);
    let kept: Vec<_> = (0..4).map(|_| held(&server)).collect();
    for path in ["/healthz", "/readyz", "/metrics"] {
        let mut probe = server.connect();
        probe.write_all(request(path, "").as_bytes()).expect("sent");
        let answer = rest(probe);
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"), "{answer}");
    }
    for path in [&format!("{NORTH}/summary"), "/nothing"] {
        let mut refused = server.connect();
        refused.write_all(request(path, &server.viewer).as_bytes()).expect("sent");
        let answer = rest(refused);
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("too_many_connections"), "{answer}");
        assert!(answer.contains("\"limit\":4") && answer.contains("connection: close"), "{answer}");
    }
    drop(kept);
}

#[test]
fn many_silent_connections_are_told_closed_and_forgotten_while_the_server_stays_open() {
    let server = Fixture::start_with(|config| {
        config.connections_max = 4;
        config.keep_alive_ms = 600_000;
    });
    let kept: Vec<_> = (0..4).map(|_| held(&server)).collect();
    let silent: Vec<_> = (0..400).map(|_| server.connect()).collect();
    let answers: Vec<_> = silent.into_iter().map(rest).collect();
    // Those that are for probes say nothing and are closed for it.
    let told = answers.iter().filter(|answer| answer.contains("too_many_connections")).count();
    assert!(told >= 400 - 32, "{told}");
    assert!(answers.iter().all(|answer| answer.is_empty() || answer.starts_with("HTTP/1.1 503")));
    drop(kept);
    server.get("/readyz", "").expect(200);
    let summary = || server.get(&format!("{NORTH}/summary"), &server.viewer).status;
    // The last of them are forgotten a moment after they were closed.
    assert_eq!((0..10_000).map(|_| summary()).find(|status| *status != 503), Some(200));
}
