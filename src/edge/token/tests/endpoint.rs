//! An address with the keys of an issuer, which answers as the test wants.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

/// How it answers.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// With this set of keys.
    Set(String),
    /// With this status and header, and no keys.
    Status(&'static str),
    /// With more than any set has.
    Huge,
    /// Never; the connection stays open.
    Silence,
    /// Byte by byte, for longer than anybody waits.
    Trickle,
}

/// The address; it answers until the test ends.
pub(super) struct Endpoint {
    pub(super) url: String,
    state: Arc<Mutex<(Answer, usize)>>,
}

impl Endpoint {
    pub(super) fn new(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/jwks.json", listener.local_addr().expect("bound"));
        let state = Arc::new(Mutex::new((answer, 0)));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
                state.1 += 1;
                let answer = state.0.clone();
                drop(state);
                std::thread::spawn(move || respond(stream, &answer));
            }
        });
        Self { url, state }
    }

    /// Answers so from now on.
    pub(super) fn answer(&self, answer: Answer) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0 = answer;
    }

    /// How often it was asked.
    pub(super) fn asked(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}

fn respond(mut stream: TcpStream, answer: &Answer) {
    let mut lines = BufReader::new(stream.try_clone().expect("a socket")).lines();
    while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
    let head =
        |length: usize| format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    // Who asked may have gone; that is his affair.
    drop(match answer {
        Answer::Set(keys) => stream.write_all(format!("{}{keys}", head(keys.len())).as_bytes()),
        Answer::Status(status) => stream.write_all(
            format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").as_bytes(),
        ),
        Answer::Huge => stream.write_all(format!("{}{}", head(1 << 20), " ".repeat(1 << 20)).as_bytes()),
        Answer::Silence => lines.next().transpose().map(drop),
        Answer::Trickle => {
            let mut written = stream.write_all(head(1 << 20).as_bytes());
            while written.is_ok() {
                written = stream.write_all(b" ").and_then(|()| stream.flush());
                std::thread::yield_now();
            }
            written
        }
    });
}
