//! An endpoint that webhooks call.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};

use serde_json::Value;

/// An endpoint on this machine: what it takes, as the id of each message and its body.
pub(crate) fn endpoint() -> (String, Receiver<(String, Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let (sender, taken) = channel();
    std::thread::spawn(move || listener.incoming().flatten().for_each(|one| take(one, &sender)));
    (url, taken)
}

fn take(mut connection: TcpStream, sender: &Sender<(String, Value)>) {
    let mut reader = BufReader::new(connection.try_clone().expect("a handle"));
    let (mut id, mut length, mut line) = (String::new(), 0, String::new());
    while reader.read_line(&mut line).is_ok_and(|length| length > 2) {
        let lower = line.trim_end().to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("webhook-id: ") {
            value.clone_into(&mut id);
        } else if let Some(value) = lower.strip_prefix("content-length: ") {
            length = value.parse().expect("a number");
        }
        line.clear();
    }
    let mut body = vec![0; length];
    // A server that is killed while it sends has sent nothing.
    if length > 0 && reader.read_exact(&mut body).is_ok() {
        _ = sender.send((id, serde_json::from_slice(&body).expect("JSON")));
        _ = connection.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
    }
}
