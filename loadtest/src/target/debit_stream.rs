//! One gRPC stream of debits, with no more between it and the connection than the generated client: who measures a server with it
//! measures little else.
//!
//! Deliberately absent: reconnection, and anything that resends. That is what the client of the library is for.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokenweir::proto::v1;
use tokenweir::proto::v1::metering_client::MeteringClient;
use tokenweir::proto::v1::stream_reply::Reply;
use tokenweir::proto::v1::stream_request::Request as Word;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tonic::Streaming;
use tonic::transport::Endpoint;

use super::EPOCH;
use crate::failure::Outcome;

/// Words of a stream that wait for the connection.
const WORDS_MAX: usize = 64;
/// Most cameras that are asked for at a time.
const OPEN_CAMERAS_MAX: usize = 10_000;

/// An organization and the cameras of it that are opened.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    /// Its id.
    pub(crate) organization: String,
    /// Ids of cameras.
    pub(crate) cameras: Vec<String>,
}

/// An organization's handles on a stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct Handles {
    /// Its own.
    pub(crate) organization: u32,
    /// Those of its cameras, in the order of their names.
    pub(crate) cameras: Vec<u32>,
}

/// A stream on which organizations and cameras are open.
#[derive(Debug)]
pub(crate) struct DebitStream {
    /// The way in.
    pub(crate) words: Sender<v1::StreamRequest>,
    /// The way out.
    pub(crate) replies: Streaming<v1::StreamReply>,
    /// Debits that may be in flight.
    pub(crate) credit: u64,
    /// Handles, in the order of the names.
    pub(crate) handles: Vec<Handles>,
}

impl DebitStream {
    /// Connects to `url` with a connection of its own and opens what is named.
    pub(crate) async fn open(url: &str, key: &str, names: &[Names]) -> Outcome<Self> {
        let (words, requests) = channel(WORDS_MAX);
        let mut request = tonic::Request::new(Words(requests));
        request.metadata_mut().insert("authorization", format!("Bearer {key}").parse()?);
        let connection = Endpoint::from_shared(url.to_owned())?.connect().await?;
        let replies = MeteringClient::new(connection).stream(request).await?.into_inner();
        let mut stream = Self { words, replies, credit: 0, handles: Vec::new() };
        for names in names {
            let handles = stream.open_one(names).await?;
            stream.handles.push(handles);
        }
        Ok(stream)
    }

    async fn open_one(&mut self, names: &Names) -> Outcome<Handles> {
        let mut handles = Handles::default();
        for cameras in names.cameras.chunks(OPEN_CAMERAS_MAX) {
            let organization = names.organization.clone();
            let open = v1::OpenOrganization { organization, cameras: cameras.to_vec() };
            self.words.send(word(Word::Open(v1::Open { organizations: vec![open] }))).await?;
            let opened = self.opened().await?;
            if let Some(problem) = opened.problem {
                return Err(format!("{}: {}", names.organization, problem.detail).into());
            }
            handles.organization = opened.organization;
            handles.cameras.extend(opened.cameras);
        }
        Ok(handles)
    }

    async fn opened(&mut self) -> Outcome<v1::OpenedOrganization> {
        loop {
            match self.replies.message().await?.and_then(|reply| reply.reply) {
                Some(Reply::Credit(granted)) => self.credit += granted.debits,
                Some(Reply::Opened(mut opened)) => {
                    return opened.organizations.pop().ok_or("nothing was opened".into());
                }
                other => return Err(format!("handles were asked for, and the answer is {other:?}").into()),
            }
        }
    }
}

/// A batch of debits with rising sequence numbers or any others: one row each of camera handle, number and tokens.
pub(crate) fn columns(
    organization: u32,
    batch: u64,
    rows: impl Iterator<Item = (u32, u64, u32)>,
) -> v1::DebitBatch {
    let mut message = v1::DebitBatch { organization, batch, epoch: vec![EPOCH], ..Default::default() };
    let mut before = 0_i64;
    for (camera, seq, tokens) in rows {
        let seq = i64::try_from(seq).unwrap_or(i64::MAX);
        message.camera.push(camera);
        message.seq_delta.push(seq - before);
        message.tokens.push(tokens);
        before = seq;
    }
    message
}

/// A word as a message.
pub(crate) fn word(word: Word) -> v1::StreamRequest {
    v1::StreamRequest { request: Some(word) }
}

/// The requests of a stream, from a channel.
struct Words(Receiver<v1::StreamRequest>);

impl futures_core::Stream for Words {
    type Item = v1::StreamRequest;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<v1::StreamRequest>> {
        self.0.poll_recv(cx)
    }
}
