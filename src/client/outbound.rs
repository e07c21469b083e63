//! The requests of one connection, made when the transport asks for them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use tokio::time::{Sleep, sleep};

use crate::proto::v1;

use super::core::Next;
use super::stream::Shared;

/// The requests of one connection.
pub(super) struct Outbound {
    shared: Arc<Shared>,
    session: u64,
    linger: Option<Pin<Box<Sleep>>>,
}

impl Outbound {
    pub(super) fn new(shared: &Arc<Shared>, session: u64) -> Self {
        Self { shared: Arc::clone(shared), session, linger: None }
    }
}

impl Stream for Outbound {
    type Item = v1::StreamRequest;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<v1::StreamRequest>> {
        loop {
            let later = {
                let mut core = self.shared.lock();
                match core.next(self.session) {
                    Next::Request(request) => {
                        return Poll::Ready(Some(v1::StreamRequest { request: Some(request) }));
                    }
                    Next::End => return Poll::Ready(None),
                    Next::Nothing => {
                        core.outbound = Some(cx.waker().clone());
                        return Poll::Pending;
                    }
                    Next::Later(left) => {
                        core.outbound = Some(cx.waker().clone());
                        left
                    }
                }
            };
            let mut linger = Box::pin(sleep(later));
            let due = linger.as_mut().poll(cx);
            self.linger = Some(linger);
            std::task::ready!(due);
        }
    }
}
