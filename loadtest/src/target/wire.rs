//! HTTP/1.1 over one connection, as little of it as a load needs: a request is one write, a reply is read to its length.
//!
//! Written by hand so that the client costs little on the cores that it shares with the server. Deliberately absent: TLS,
//! chunked bodies, redirects.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

use serde_json::Value;

use crate::failure::Outcome;

/// One connection to a server.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
    line: String,
    body: Vec<u8>,
}

impl Wire {
    /// Connects to `address`, as `127.0.0.1:8080`.
    pub(crate) fn connect(address: &str) -> Outcome<Self> {
        let stream =
            TcpStream::connect(address).map_err(|error| format!("cannot connect to {address}: {error}"))?;
        stream.set_nodelay(true)?;
        let reader = BufReader::with_capacity(64 << 10, stream.try_clone()?);
        Ok(Self { stream, reader, line: String::new(), body: Vec::new() })
    }

    /// The same connection for another thread that only writes.
    pub(crate) fn writer(&self) -> Outcome<TcpStream> {
        Ok(self.stream.try_clone()?)
    }

    /// Writes a whole request.
    pub(crate) fn write(&mut self, request: &[u8]) -> Outcome {
        Ok(self.stream.write_all(request)?)
    }

    /// Reads one reply: its status and its body.
    pub(crate) fn read(&mut self) -> Outcome<(u16, &[u8])> {
        let status = self.read_line()?.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or("the server does not speak HTTP/1.1, or closed the connection")?;
        let mut length = 0;
        loop {
            let line = self.read_line()?;
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse()?;
            }
        }
        self.body.resize(length, 0);
        self.reader.read_exact(&mut self.body)?;
        Ok((status, &self.body))
    }

    /// Asks and waits; anything but a success is an error.
    pub(crate) fn call(&mut self, method: &str, path: &str, key: &str, body: &Value) -> Outcome<Value> {
        let body = if body.is_null() { Vec::new() } else { serde_json::to_vec(body)? };
        let mut request = head(method, path, key, body.len());
        request.extend_from_slice(&body);
        self.write(&request)?;
        self.answer(method, path)
    }

    /// Reads the reply to a call.
    pub(crate) fn answer(&mut self, method: &str, path: &str) -> Outcome<Value> {
        let (status, body) = self.read()?;
        if !(200..300).contains(&status) {
            let said = String::from_utf8_lossy(body);
            return Err(format!("{method} {path} was answered with {status}: {said}").into());
        }
        Ok(if body.is_empty() { Value::Null } else { serde_json::from_slice(body)? })
    }

    /// The text of a page that is no JSON.
    pub(crate) fn text(&mut self, path: &str) -> Outcome<String> {
        self.write(&head("GET", path, "", 0))?;
        let (status, body) = self.read()?;
        if status != 200 {
            return Err(format!("GET {path} was answered with {status}").into());
        }
        Ok(String::from_utf8_lossy(body).into_owned())
    }

    fn read_line(&mut self) -> Outcome<&str> {
        self.line.clear();
        self.reader.read_line(&mut self.line)?;
        Ok(self.line.trim_end())
    }
}

/// The head of a request.
pub(crate) fn head(method: &str, path: &str, key: &str, length: usize) -> Vec<u8> {
    let authorization =
        if key.is_empty() { String::new() } else { format!("authorization: Bearer {key}\r\n") };
    format!(
        "{method} {path} HTTP/1.1\r\nhost: loadtest\r\n{authorization}content-type: application/json\r\n\
         content-length: {length}\r\n\r\n"
    )
    .into_bytes()
}
