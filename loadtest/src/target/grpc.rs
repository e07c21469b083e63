//! A server, by columns over gRPC streams. Its organizations are made, and its sums are read, by HTTP.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use crossbeam::channel;
use tokenweir::domain::limits::API_KEY_ORGANIZATIONS_MAX;
use tokenweir::meter::Durability;
use tokenweir::proto::v1;
use tokenweir::proto::v1::Outcome as Code;
use tokenweir::proto::v1::stream_reply::Reply;
use tokenweir::proto::v1::stream_request::Request as Word;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tonic::Streaming;

use super::debit_stream::Handles;
use super::{
    DebitStream, Http, HttpPlan, JournalSums, Names, Receiver, Scene, Sender, Sums, Target, Verdict,
    camera_id, columns, word,
};
use crate::failure::Outcome;
use crate::load::Item;
use crate::number::{u64_of, usize_of};

/// A server with the organizations of a scene.
#[derive(Debug)]
pub(crate) struct Grpc {
    http: Http,
    url: String,
    scene: Scene,
    runtime: Runtime,
}

impl Grpc {
    /// Finds or starts the server, and makes the organizations of the scene. One that runs serves gRPC at `url`.
    pub(crate) fn new(plan: &HttpPlan, url: Option<&str>, scene: &Scene) -> Outcome<Self> {
        if scene.organizations > API_KEY_ORGANIZATIONS_MAX {
            return Err(format!(
                "a stream has one key, which is good for {API_KEY_ORGANIZATIONS_MAX} organizations"
            )
            .into());
        }
        let http = Http::new(plan, scene)?;
        let url = http.grpc_url().or(url).ok_or("a server that runs is reached by --grpc-server")?.to_owned();
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        Ok(Self { http, url, scene: scene.clone(), runtime })
    }

    fn names(&self) -> Outcome<Vec<Names>> {
        let names = |number| {
            let organization = self.scene.organization(number)?.to_string();
            Ok(Names { organization, cameras: (0..self.scene.cameras).map(camera_id).collect() })
        };
        (0..self.scene.organizations).map(names).collect()
    }
}

impl Target for Grpc {
    fn connect(&self) -> Outcome<(Box<dyn Sender>, Box<dyn Receiver>)> {
        let names = self.names()?;
        let opening = DebitStream::open(&self.url, self.http.gateway_key(0), &names);
        let DebitStream { words, replies, credit, handles } = self.runtime.block_on(opening)?;
        let credit = Arc::new(Credit::new(credit));
        let (sent, batches) = channel::unbounded();
        let durability = match self.scene.durability {
            Durability::Durable => v1::Durability::Durable,
            Durability::Applied => v1::Durability::Applied,
        };
        let free = Arc::clone(&credit);
        let sender = GrpcSender { words, handles, credit: free, sent, batch: 0, durability };
        let runtime = self.runtime.handle().clone();
        let receiver = GrpcReceiver { replies, runtime, credit, batches, ready: VecDeque::new() };
        Ok((Box::new(sender), Box::new(receiver)))
    }

    fn sums(&self) -> Outcome<Vec<Sums>> {
        self.http.sums()
    }

    fn journal(&self) -> Outcome<JournalSums> {
        self.http.journal()
    }

    fn pid(&self) -> u32 {
        self.http.pid()
    }
}

/// What may still be sent.
struct Credit {
    /// None when the stream ended.
    debits: Mutex<Option<u64>>,
    more: Condvar,
}

impl Credit {
    fn new(debits: u64) -> Self {
        Self { debits: Mutex::new(Some(debits)), more: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Option<u64>> {
        self.debits.lock().expect("whoever counts does not panic")
    }

    fn take(&self, debits: u64) -> Outcome {
        let mut left = self.more.wait_while(self.lock(), |left| left.is_some_and(|left| left < debits));
        let left =
            left.as_mut().expect("whoever counts does not panic").as_mut().ok_or("the stream ended")?;
        *left -= debits;
        Ok(())
    }

    fn give(&self, debits: u64) {
        if let Some(left) = self.lock().as_mut() {
            *left += debits;
        }
        self.more.notify_all();
    }

    fn end(&self) {
        *self.lock() = None;
        self.more.notify_all();
    }
}

struct GrpcSender {
    words: mpsc::Sender<v1::StreamRequest>,
    handles: Vec<Handles>,
    credit: Arc<Credit>,
    /// The rows of each batch, for the receiver.
    sent: channel::Sender<usize>,
    batch: u64,
    durability: v1::Durability,
}

impl Sender for GrpcSender {
    fn send(&mut self, organization: usize, items: &[Item]) -> Outcome {
        self.credit.take(u64_of(items.len()))?;
        self.batch += 1;
        let Handles { organization, cameras } = &self.handles[organization];
        let rows =
            items.iter().map(|item| (cameras[usize_of(u64::from(item.camera))], item.seq, item.tokens));
        let message = columns(*organization, self.batch, rows);
        let message = v1::DebitBatch { durability: self.durability.into(), ..message };
        self.sent.send(items.len())?;
        Ok(self.words.blocking_send(word(Word::DebitBatch(message)))?)
    }
}

struct GrpcReceiver {
    replies: Streaming<v1::StreamReply>,
    runtime: tokio::runtime::Handle,
    credit: Arc<Credit>,
    batches: channel::Receiver<usize>,
    /// Verdicts that nobody asked for yet.
    ready: VecDeque<Verdict>,
}

impl Receiver for GrpcReceiver {
    fn receive(&mut self, debits: usize, verdicts: &mut Vec<Verdict>) -> Outcome {
        while self.ready.len() < debits {
            match self.runtime.block_on(self.replies.message())?.and_then(|reply| reply.reply) {
                Some(Reply::Ack(ack)) => self.acknowledge(&ack)?,
                Some(Reply::Credit(granted)) => self.credit.give(granted.debits),
                Some(Reply::Problem(problem)) => {
                    return Err(format!("{}: {}", problem.code, problem.detail).into());
                }
                other => return Err(format!("an acknowledgement was due, and {other:?} came").into()),
            }
        }
        verdicts.extend(self.ready.drain(..debits));
        Ok(())
    }
}

impl GrpcReceiver {
    fn acknowledge(&mut self, ack: &v1::Ack) -> Outcome {
        let mut exceptions = ack.exceptions.iter().peekable();
        for batch in ack.first_batch..=ack.last_batch {
            let rows = self.batches.recv()?;
            let first = self.ready.len();
            let none = v1::Exceptions::default();
            let found = exceptions.next_if(|exceptions| exceptions.batch == batch).unwrap_or(&none);
            let usual = if found.every_row == 0 { Verdict::Charged } else { verdict(found.every_row) };
            self.ready.extend(std::iter::repeat_n(usual, rows));
            for (row, code) in found.row.iter().zip(&found.outcome) {
                self.ready[first + usize_of(u64::from(*row))] = verdict(*code);
            }
            self.credit.give(u64_of(rows));
        }
        Ok(())
    }
}

impl Drop for GrpcReceiver {
    fn drop(&mut self) {
        self.credit.end();
    }
}

fn verdict(code: i32) -> Verdict {
    match Code::try_from(code) {
        Ok(Code::Charged) => Verdict::Charged,
        Ok(Code::Exempt) => Verdict::Exempt,
        Ok(Code::DuplicateCharged | Code::DuplicateExempt) => Verdict::Duplicate,
        Ok(other) => {
            let name = other.as_str_name().trim_start_matches("OUTCOME_").to_lowercase();
            Verdict::Refused(Cow::Owned(name))
        }
        Err(_) => Verdict::Refused(Cow::Borrowed("unknown")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_told_by_their_number() {
        for (code, expected) in [
            (Code::Charged, Verdict::Charged),
            (Code::Exempt, Verdict::Exempt),
            (Code::DuplicateExempt, Verdict::Duplicate),
            (Code::InsufficientTokens, Verdict::Refused(Cow::Borrowed("insufficient_tokens"))),
        ] {
            assert_eq!(verdict(code.into()), expected);
        }
        assert_eq!(verdict(9_999), Verdict::Refused(Cow::Borrowed("unknown")));
    }

    #[test]
    fn credit_that_is_used_up_waits_for_more_and_ends_with_the_stream() {
        let credit = Credit::new(2);
        credit.take(2).expect("there is enough");
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| credit.take(3).is_ok());
            credit.give(3);
            assert!(waiting.join().expect("no panic"));
        });
        credit.end();
        assert!(credit.take(1).is_err());
    }
}
