//! JSON bodies of 500 debits over HTTP: the same bytes to our server and to one that only parses them.
//!
//! The client shares the cores with what it measures, so it is as light as can be: requests are made once, and only the
//! sequence numbers in them, all of one length, are written anew.

use std::rc::Rc;
use std::time::Duration;

use tokenweir::meter::Durability;
use tokenweir::telemetry::clock;

use super::Probe;
use crate::failure::Outcome;
use crate::floors::Echo;
use crate::load::Item;
use crate::number::{per_second, u32_of, u64_of};
use crate::target::{Http, HttpPlan, Scene, Target as _, Wire, head, write_body};

/// Debits of a body.
pub(crate) const HTTP_BATCH: usize = 500;

/// Connections, each with a thread of its own. A server answers one request of each at a time, and one that waits for the disk needs more of
/// them than one that does not.
const CONNECTIONS: u64 = 16;
/// Requests that a connection has on their way.
const PIPELINED: usize = 4;
/// The first sequence number: all that a run can reach have as many digits.
const FIRST_SEQ: u64 = 1_000_000_000;

/// The requests of all connections.
#[derive(Clone, Debug)]
pub(crate) struct Bodies {
    address: String,
    /// By connection, each of other cameras.
    requests: Vec<Request>,
    debits: usize,
}

/// A request whose sequence numbers can be written anew.
#[derive(Clone, Debug)]
struct Request {
    bytes: Vec<u8>,
    /// Where the digits of each number begin.
    numbers: Vec<usize>,
}

impl Bodies {
    /// Bodies of `debits` for an echo at `address`.
    pub(crate) fn plain(debits: usize, address: &str) -> Self {
        let head = |length| Ok(head("POST", "/", "", length));
        Self::new(debits, address, head).expect("a body is written to memory")
    }

    fn new(debits: usize, address: &str, head: impl Fn(usize) -> Outcome<Vec<u8>>) -> Outcome<Self> {
        let connection = |connection| Request::new(connection, debits, &head);
        let requests = (0..CONNECTIONS).map(connection).collect::<Outcome<Vec<_>>>()?;
        Ok(Self { address: address.to_owned(), requests, debits })
    }
}

impl Request {
    fn new(place: u64, debits: usize, head: &impl Fn(usize) -> Outcome<Vec<u8>>) -> Outcome<Self> {
        let first = place * u64_of(debits);
        let items: Vec<_> = (first..first + u64_of(debits))
            .map(|camera| Item { camera: u32_of(camera), seq: FIRST_SEQ, tokens: 1 + u32_of(camera % 2_000) })
            .collect();
        let mut body = Vec::new();
        write_body(&mut body, &items)?;
        let mut bytes = head(body.len())?;
        bytes.extend_from_slice(&body);
        let name = br#""seq":"#;
        let places = bytes.windows(name.len()).enumerate().filter(|(_, window)| window == name);
        let numbers = places.map(|(at, _)| at + name.len()).collect();
        Ok(Self { bytes, numbers })
    }

    fn renumber(&mut self, seq: u64) {
        let digits = seq.to_string();
        for at in &self.numbers {
            self.bytes[*at..*at + digits.len()].copy_from_slice(digits.as_bytes());
        }
    }
}

/// Debits a second that come back from all connections.
pub(crate) fn http_rate(bodies: &Bodies, length: Duration) -> Outcome<f64> {
    http_rate_from(bodies, &mut FIRST_SEQ.clone(), length).map(|(rate, _)| rate)
}

/// As [`http_rate`], from this sequence number on; also how many debits came back.
fn http_rate_from(bodies: &Bodies, seq: &mut u64, length: Duration) -> Outcome<(f64, u64)> {
    let mut wires = Vec::new();
    for _ in &bodies.requests {
        wires.push(Wire::connect(&bodies.address)?);
    }
    let (begun, first) = (clock::start(), *seq);
    let laps = std::thread::scope(|scope| {
        let connections: Vec<_> = wires
            .into_iter()
            .zip(&bodies.requests)
            .map(|(wire, request)| scope.spawn(move || pump(wire, request.clone(), first, length)))
            .collect();
        let laps = connections.into_iter().map(|connection| connection.join().expect("no panic"));
        laps.collect::<Outcome<Vec<u64>>>()
    })?;
    let answered = laps.iter().sum::<u64>() * u64_of(bodies.debits);
    *seq += laps.iter().max().copied().unwrap_or(0) + 1;
    Ok((per_second(answered, begun.elapsed()), answered))
}

/// Keeps a request on its way over one connection several times, each with other sequence numbers; how many came back.
fn pump(mut wire: Wire, mut request: Request, first: u64, length: Duration) -> Outcome<u64> {
    let (begun, mut sent, mut answered) = (clock::start(), 0, 0);
    while begun.elapsed() < length || answered < sent {
        while sent - answered < PIPELINED && begun.elapsed() < length {
            request.renumber(first + u64_of(sent));
            wire.write(&request.bytes)?;
            sent += 1;
        }
        if answered < sent {
            let (status, body) = wire.read()?;
            if status != 200 {
                return Err(format!("answered with {status}: {}", String::from_utf8_lossy(body)).into());
            }
            answered += 1;
        }
    }
    Ok(u64_of(answered))
}

/// Our server and the echo.
pub(super) fn probes(echo: Echo) -> Outcome<Vec<Probe>> {
    let plain = Bodies::plain(HTTP_BATCH, echo.address());
    let scene = Scene {
        prefix: "http".to_owned(),
        organizations: 1,
        cameras: CONNECTIONS * u64_of(HTTP_BATCH),
        durability: Durability::Durable,
    };
    let http = Rc::new(Http::new(&HttpPlan::Start(None), &scene)?);
    let ours = Bodies::new(HTTP_BATCH, &http.address, |length| http.head(0, length))?;
    let (mut seq, mut charged) = (FIRST_SEQ, 0);
    Ok(vec![
        Probe::new("http echo", move |length| {
            let _kept = &echo;
            Ok(vec![("http_echo", http_rate(&plain, length)?)])
        }),
        Probe::new("http json, 500 a body", move |length| {
            let (rate, answered) = http_rate_from(&ours, &mut seq, length)?;
            charged += answered;
            let found: u64 = http.sums()?.iter().map(|sums| sums.debits).sum();
            if found != charged {
                return Err(format!("{charged} debits were acknowledged, {found} charged").into());
            }
            Ok(vec![("http_json", rate)])
        }),
    ])
}
