//! The Redis protocol (RESP2) over one connection, as little of it as a load needs.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

use crate::failure::Outcome;

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// A number.
    Number(i64),
    /// A text; none for nothing.
    Text(Option<Vec<u8>>),
    /// A list, by its length: what is in it was read over.
    List(i64),
}

/// One connection: commands gather until they are sent.
#[derive(Debug)]
pub(super) struct Resp {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
    gathered: Vec<u8>,
    line: Vec<u8>,
}

impl Resp {
    /// Connects to a port of the loopback.
    pub(super) fn connect(port: u16) -> Outcome<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        let reader = BufReader::with_capacity(64 << 10, stream.try_clone()?);
        Ok(Self { stream, reader, gathered: Vec::new(), line: Vec::new() })
    }

    /// Begins a command of `count` words.
    pub(super) fn begin(&mut self, count: usize) {
        self.head(b'*', count);
    }

    /// Adds a word to the command.
    pub(super) fn word(&mut self, word: &[u8]) {
        self.head(b'$', word.len());
        self.gathered.extend_from_slice(word);
        self.gathered.extend_from_slice(b"\r\n");
    }

    /// Adds a number to the command.
    pub(super) fn number(&mut self, number: u64) {
        let mut digits = [0; 20];
        let text = decimal(number, &mut digits);
        self.head(b'$', text.len());
        self.gathered.extend_from_slice(text);
        self.gathered.extend_from_slice(b"\r\n");
    }

    /// Sends what was gathered.
    pub(super) fn send(&mut self) -> Outcome {
        self.stream.write_all(&self.gathered)?;
        self.gathered.clear();
        Ok(())
    }

    /// Sends a command and waits for its reply.
    pub(super) fn call(&mut self, words: &[&str]) -> Outcome<Reply> {
        self.begin(words.len());
        for word in words {
            self.word(word.as_bytes());
        }
        self.send()?;
        self.receive()
    }

    /// Reads the next reply; an error is an error.
    pub(super) fn receive(&mut self) -> Outcome<Reply> {
        self.line.clear();
        self.reader.read_until(b'\n', &mut self.line)?;
        let line = self.line.trim_ascii_end();
        let (kind, rest) = line.split_first().ok_or("redis closed the connection")?;
        let rest = std::str::from_utf8(rest)?;
        match kind {
            b':' => Ok(Reply::Number(rest.parse()?)),
            b'+' => Ok(Reply::Text(Some(rest.as_bytes().to_vec()))),
            b'$' => {
                let length: i64 = rest.parse()?;
                self.text(length)
            }
            b'*' => {
                let length: i64 = rest.parse()?;
                for _ in 0..length {
                    self.receive()?;
                }
                Ok(Reply::List(length))
            }
            _ => Err(format!("redis: {rest}").into()),
        }
    }

    fn text(&mut self, length: i64) -> Outcome<Reply> {
        let Ok(length) = usize::try_from(length) else { return Ok(Reply::Text(None)) };
        let mut text = vec![0; length + 2];
        self.reader.read_exact(&mut text)?;
        text.truncate(length);
        Ok(Reply::Text(Some(text)))
    }

    fn head(&mut self, kind: u8, length: usize) {
        let mut digits = [0; 20];
        self.gathered.push(kind);
        self.gathered.extend_from_slice(decimal(crate::number::u64_of(length), &mut digits));
        self.gathered.extend_from_slice(b"\r\n");
    }
}

/// A number in decimal, without an allocation.
fn decimal(mut number: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(number % 10).expect("a digit");
        number /= 10;
        if number == 0 {
            return &digits[at..];
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn numbers_are_written_in_decimal() {
        for number in [0, 7, 10, 1_234_567_890, u64::MAX] {
            assert_eq!(decimal(number, &mut [0; 20]), number.to_string().as_bytes());
        }
    }

    #[test]
    fn replies_of_every_kind_are_read_in_order() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            stream
                .write_all(b":12\r\n+OK\r\n$-1\r\n*2\r\n:1\r\n$2\r\nhi\r\n$3\r\nabc\r\n-ERR no\r\n")
                .expect("written");
        });
        let mut resp = Resp::connect(port).expect("it listens");
        let text = |text: &[u8]| Reply::Text(Some(text.to_vec()));
        for expected in [Reply::Number(12), text(b"OK"), Reply::Text(None), Reply::List(2), text(b"abc")] {
            assert_eq!(resp.receive().expect("a reply"), expected);
        }
        assert!(resp.receive().expect_err("an error").to_string().contains("ERR no"));
        server.join().expect("no panic");
    }
}
