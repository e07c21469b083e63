//! Redis, started here, as durable as each row says.

use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use serde::Serialize;
use tempfile::TempDir;
use tokenweir::telemetry::clock;

use super::resp::{Reply, Resp};
use super::{have, scripts};
use crate::compare::{Measured, Probe};
use crate::failure::Outcome;
use crate::number::{per_second, u64_of, usize_of};
use crate::process::{Service, free_port, temporary_directory};

const CAMERAS: u64 = 10_000;
const STRIDE: u64 = 7_919;
/// Commands that are sent at a time; two such groups are in flight.
const GROUP: u64 = 512;
const BATCH: u64 = 500;
const CALLS_IN_FLIGHT: u64 = 4;
/// Exact in Lua, and written without an exponent.
const GRANTED: u64 = 90_000_000_000_000;
const KEY: &[u8] = b"o";

/// Every probe of Redis; why there is none where it is not there.
pub(crate) fn probes() -> Outcome<Result<Vec<Probe>, String>> {
    if let Err(reason) = have("redis-server", "redis-server") {
        return Ok(Err(reason));
    }
    let redis = Rc::new(std::cell::RefCell::new(Redis::start()?));
    let probe = |name: &'static str, fsync: &'static str, figures: [&'static str; 2]| {
        let redis = Rc::clone(&redis);
        Probe::new(name, move |length| redis.borrow_mut().measure(fsync, figures, length))
    };
    Ok(Ok(vec![
        probe("redis, everysec", "everysec", ["redis_single_everysec", "redis_500_everysec"]),
        probe("redis, always", "always", ["redis_single_always", "redis_500_always"]),
    ]))
}

struct Redis {
    resp: Resp,
    one: String,
    many: [(Form, String); 2],
    /// The number of the next debit.
    next: u64,
    /// Tokens charged.
    charged: u64,
    #[expect(dead_code, reason = "kept for its end: the process goes with it")]
    service: Service,
    #[expect(dead_code, reason = "kept for its end: the directory goes with it")]
    directory: TempDir,
}

/// How many debits are handed to a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Arguments,
    Blob,
}

/// The word for a camera, or for the balance.
#[derive(Serialize)]
#[serde(untagged)]
enum Field {
    Camera(u64),
    Balance(&'static str),
}

impl Redis {
    fn start() -> Outcome<Self> {
        let (directory, port) = (temporary_directory()?, free_port()?);
        let mut command = Command::new("redis-server");
        command.args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "yes",
        ]);
        command.args([
            "--appendfsync",
            "everysec",
            "--auto-aof-rewrite-percentage",
            "0",
            "--daemonize",
            "no",
            "--dir",
        ]);
        let service = Service::start("redis", command.arg(directory.path().canonicalize()?))?;
        service.wait_for("Ready to accept connections")?;
        let mut resp = Resp::connect(port)?;
        let one = load(&mut resp, scripts::ONE)?;
        let many = [
            (Form::Arguments, load(&mut resp, scripts::MANY_ARGUMENTS)?),
            (Form::Blob, load(&mut resp, scripts::MANY_BLOB)?),
        ];
        resp.call(&["HSET", "o", "b", &GRANTED.to_string()])?;
        Ok(Self { resp, one, many, next: CAMERAS, charged: 0, service, directory })
    }

    fn measure(&mut self, fsync: &str, figures: [&'static str; 2], length: Duration) -> Measured {
        self.resp.call(&["CONFIG", "SET", "appendfsync", fsync])?;
        let single = self.singles(length)?;
        let mut fastest = 0.0_f64;
        for place in 0..self.many.len() {
            fastest = fastest.max(self.batches(place, length)?);
        }
        self.audit()?;
        Ok(vec![(figures[0], single), (figures[1], fastest)])
    }

    /// Single debits a second: two groups of 512 in flight, so that the server never waits for the client.
    fn singles(&mut self, length: Duration) -> Outcome<f64> {
        let (begun, first) = (clock::start(), self.next);
        let mut in_flight = 0;
        while begun.elapsed() < length {
            for _ in 0..GROUP {
                let (camera, seq, tokens) = numbered(self.next);
                self.resp.begin(7);
                self.resp.word(b"EVALSHA");
                self.resp.word(self.one.as_bytes());
                self.resp.number(1);
                self.resp.word(KEY);
                self.resp.number(camera);
                self.resp.number(seq);
                self.resp.number(tokens);
                self.charged += tokens;
                self.next += 1;
            }
            self.resp.send()?;
            in_flight += GROUP;
            if in_flight > GROUP {
                self.expect_charged(GROUP, 1)?;
                in_flight -= GROUP;
            }
        }
        self.expect_charged(in_flight, 1)?;
        Ok(per_second(self.next - first, begun.elapsed()))
    }

    /// Debits a second, 500 a call.
    fn batches(&mut self, place: usize, length: Duration) -> Outcome<f64> {
        let (form, hash) = self.many[place].clone();
        let (begun, first) = (clock::start(), self.next);
        let mut in_flight = 0;
        while begun.elapsed() < length {
            self.gather_batch(form, &hash)?;
            self.resp.send()?;
            in_flight += 1;
            if in_flight >= CALLS_IN_FLIGHT {
                self.expect_charged(1, BATCH)?;
                in_flight -= 1;
            }
        }
        self.expect_charged(in_flight, BATCH)?;
        Ok(per_second(self.next - first, begun.elapsed()))
    }

    fn gather_batch(&mut self, form: Form, hash: &str) -> Outcome {
        let debits: Vec<_> = (self.next..self.next + BATCH).map(numbered).collect();
        self.next += BATCH;
        self.charged += debits.iter().map(|(_, _, tokens)| tokens).sum::<u64>();
        let words = match form {
            Form::Arguments => 4 + 3 * usize_of(BATCH) + 1,
            Form::Blob => 5,
        };
        self.resp.begin(words);
        self.resp.word(b"EVALSHA");
        self.resp.word(hash.as_bytes());
        self.resp.number(1);
        self.resp.word(KEY);
        if form == Form::Blob {
            let cameras = debits.iter().map(|(camera, _, _)| Field::Camera(*camera));
            let cameras: Vec<_> = cameras.chain([Field::Balance("b")]).collect();
            let seqs: Vec<_> = debits.iter().map(|(_, seq, _)| *seq).collect();
            let tokens: Vec<_> = debits.iter().map(|(_, _, tokens)| *tokens).collect();
            self.resp.word(&rmp_serde::to_vec(&(cameras, seqs, tokens))?);
            return Ok(());
        }
        debits.iter().for_each(|(camera, _, _)| self.resp.number(*camera));
        self.resp.word(b"b");
        debits.iter().for_each(|(_, seq, _)| self.resp.number(*seq));
        debits.iter().for_each(|(_, _, tokens)| self.resp.number(*tokens));
        Ok(())
    }

    fn expect_charged(&mut self, calls: u64, each: u64) -> Outcome {
        for _ in 0..calls {
            let reply = self.resp.receive()?;
            if reply != Reply::Number(i64::try_from(each)?) {
                return Err(format!("redis charged {reply:?} of {each}").into());
            }
        }
        Ok(())
    }

    fn audit(&mut self) -> Outcome {
        let left = self.resp.call(&["HGET", "o", "b"])?;
        let expected = (GRANTED - self.charged).to_string();
        if left == Reply::Text(Some(expected.clone().into_bytes())) {
            return Ok(());
        }
        Err(format!("redis has {left:?} left, not {expected}").into())
    }
}

fn load(resp: &mut Resp, script: &str) -> Outcome<String> {
    match resp.call(&["SCRIPT", "LOAD", script])? {
        Reply::Text(Some(hash)) => Ok(String::from_utf8(hash)?),
        other => Err(format!("redis answered a script with {other:?}").into()),
    }
}

/// Camera, sequence number and tokens of debit number `n`.
fn numbered(n: u64) -> (u64, u64, u64) {
    debug_assert!(u64_of(usize_of(BATCH)) < CAMERAS, "no camera is twice in a batch");
    (n % CAMERAS * STRIDE % CAMERAS, n / CAMERAS, 1 + n % 2_000)
}
