//! Messages of gRPC: in frames as they come over a connection, and bare.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body, Frame};
use prost::Message;
use tokenweir::edge::grpc::rows;
use tokenweir::proto::v1::{self, stream_request::Request};
use tonic::codec::{Codec as _, Streaming};
use tonic_prost::ProstCodec;

use crate::bounded::bounded;
use crate::judged::judge;

/// Longest message that is taken, in bytes.
const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// The first byte chooses what the rest is read as.
pub fn fuzz(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else { return };
    match choice % 8 {
        0 => stream(data),
        1 => judge_request(&decoded(data).unwrap_or_default()),
        2 => judge_debits(decoded::<v1::DebitRequest>(data).and_then(|request| request.debit).as_slice()),
        3 => judge_debits(&decoded::<v1::DebitBatchRequest>(data).unwrap_or_default().debits),
        4 => drop(decoded::<v1::SummaryRequest>(data)),
        5 => drop(decoded::<v1::TransferRequest>(data)),
        6 => drop(decoded::<v1::ReserveRequest>(data)),
        _ => drop(decoded::<v1::ReleaseReservationRequest>(data)),
    }
}

/// A call's body, that comes in pieces of the length that its first byte says: messages, then an end or a status.
fn stream(data: &[u8]) {
    let Some((piece, data)) = data.split_first() else { return };
    let pieces = data.chunks(usize::from(*piece) + 1).map(Bytes::copy_from_slice).collect();
    let decoder = ProstCodec::<v1::StreamReply, v1::StreamRequest>::default().decoder();
    let read = || {
        let streaming = Streaming::new_request(decoder, Pieces(pieces), None, Some(MESSAGE_BYTES_MAX));
        let mut streaming = pin!(streaming);
        let mut requests = Vec::new();
        while let Poll::Ready(message) =
            pin!(streaming.message()).poll(&mut Context::from_waker(Waker::noop()))
        {
            match message {
                Ok(Some(request)) => requests.push(request),
                Ok(None) => return requests,
                Err(status) => {
                    assert!(!status.message().is_empty());
                    return requests;
                }
            }
        }
        panic!("the body is at its end, and more of it is awaited")
    };
    let requests = bounded(data.len(), (MESSAGE_BYTES_MAX + (64 << 10), 256), read);
    requests.iter().for_each(judge_request);
}

/// A message that is read is the same when it was written again.
fn decoded<M: Message + Default + PartialEq>(data: &[u8]) -> Option<M> {
    let message = bounded(data.len(), (4 << 10, 128), || M::decode(data)).ok()?;
    assert!(M::decode(message.encode_to_vec().as_slice()).is_ok_and(|again| again == message));
    Some(message)
}

fn judge_request(request: &v1::StreamRequest) {
    let Some(Request::DebitBatch(message)) = &request.request else { return };
    match bounded(message.encoded_len(), (4 << 10, 128), || rows::of_columns(message)) {
        Ok(mut batch) => {
            assert_eq!(batch.len(), message.camera.len());
            judge(&mut batch);
        }
        Err(status) => assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status}"),
    }
}

fn judge_debits(debits: &[v1::Debit]) {
    let mut batch = rows::of_debits(debits);
    assert_eq!(batch.len(), debits.len());
    judge(&mut batch);
}

/// A body that is there already, in pieces.
struct Pieces(VecDeque<Bytes>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }
}
