//! A stream of debits spoken word by word.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokenweir::proto::v1::metering_client::MeteringClient;
use tokenweir::proto::v1::stream_reply::Reply;
use tokenweir::proto::v1::stream_request::Request as Word;
use tokenweir::proto::v1::{
    Ack, DebitBatch, Open, OpenOrganization, OpenedOrganization, Outcome, StreamReply, StreamRequest,
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tonic::{Request, Status, Streaming};

use crate::fixture::Fixture;

/// A stream of debits spoken word by word.
pub(crate) struct Wire {
    words: UnboundedSender<StreamRequest>,
    replies: Streaming<StreamReply>,
    pub(crate) credit: u64,
}

struct Words(UnboundedReceiver<StreamRequest>);

impl futures_core::Stream for Words {
    type Item = StreamRequest;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<StreamRequest>> {
        self.0.poll_recv(cx)
    }
}

/// A request that bears a key.
pub(crate) fn signed<T>(message: T, key: &str) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {key}").parse().expect("text");
    request.metadata_mut().insert("authorization", value);
    request
}

impl Wire {
    /// A stream with this key.
    pub(crate) async fn open(server: &Fixture, key: &str) -> Result<Self, Status> {
        let (words, receiver) = unbounded_channel();
        let mut service = MeteringClient::new(server.channel());
        let replies = service.stream(signed(Words(receiver), key)).await?.into_inner();
        let mut wire = Self { words, replies, credit: 0 };
        match wire.next().await? {
            Some(Reply::Credit(credit)) => wire.credit = credit.debits,
            other => panic!("credit comes first, not {other:?}"),
        }
        Ok(wire)
    }

    pub(crate) fn say(&self, word: Word) {
        self.words.send(StreamRequest { request: Some(word) }).expect("the stream is open");
    }

    pub(crate) fn end(&mut self) {
        self.words = unbounded_channel().0;
    }

    /// The next word of the server; none at the end of the stream.
    pub(crate) async fn next(&mut self) -> Result<Option<Reply>, Status> {
        Ok(self.replies.message().await?.and_then(|reply| reply.reply))
    }

    /// Opens an organization with cameras.
    pub(crate) async fn handles(&mut self, organization: &str, cameras: &[&str]) -> OpenedOrganization {
        let cameras = cameras.iter().map(|camera| (*camera).to_owned()).collect();
        let organization = OpenOrganization { organization: organization.to_owned(), cameras };
        self.say(Word::Open(Open { organizations: vec![organization] }));
        match self.next().await {
            Ok(Some(Reply::Opened(opened))) => opened.organizations.into_iter().next().expect("an answer"),
            other => panic!("an Open is answered, not {other:?}"),
        }
    }

    /// The next acknowledgement.
    pub(crate) async fn ack(&mut self) -> Ack {
        match self.next().await {
            Ok(Some(Reply::Ack(ack))) => ack,
            other => panic!("a batch is acknowledged, not {other:?}"),
        }
    }

    /// Sends a batch alone, and gives what became of each of its rows.
    pub(crate) async fn outcomes(&mut self, batch: DebitBatch) -> Vec<Outcome> {
        let (number, rows) = (batch.batch, batch.camera.len());
        self.say(Word::DebitBatch(batch));
        let ack = self.ack().await;
        assert_eq!((ack.first_batch, ack.last_batch), (number, number));
        let Some(exceptions) = ack.exceptions.first() else { return vec![Outcome::Charged; rows] };
        if exceptions.every_row() != Outcome::Unspecified {
            return vec![exceptions.every_row(); rows];
        }
        let mut outcomes = vec![Outcome::Charged; rows];
        for (row, outcome) in exceptions.row.iter().zip(exceptions.outcome()) {
            outcomes[usize::try_from(*row).expect("a row")] = outcome;
        }
        outcomes
    }

    /// How the stream ends: the code of the problem that comes last, and the status.
    pub(crate) async fn failure(&mut self) -> (String, Status) {
        let mut code = String::new();
        loop {
            match self.next().await {
                Ok(Some(Reply::Problem(problem))) => code = problem.code,
                Ok(Some(_)) => {}
                Ok(None) => panic!("the stream ended well"),
                Err(status) => return (code, status),
            }
        }
    }
}

/// A batch of one token a row, with rising numbers from `seq`.
pub(crate) fn batch(number: u64, organization: u32, cameras: &[u32], seq: i64) -> DebitBatch {
    let mut seq_delta = vec![1; cameras.len()];
    if let Some(first) = seq_delta.first_mut() {
        *first = seq;
    }
    DebitBatch {
        organization,
        batch: number,
        camera: cameras.to_vec(),
        epoch: vec![1],
        seq_delta,
        tokens: vec![1; cameras.len()],
        ..DebitBatch::default()
    }
}
