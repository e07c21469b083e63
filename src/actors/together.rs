//! Waits for several answers side by side, so that one that does not come holds up no other.

use std::future::{Future, poll_fn};
use std::task::Poll;

/// What all of these come to, in their order. Whatever wakes one has all looked at that are not done: for a few.
pub(crate) async fn together<T, F: Future<Output = T>>(all: impl IntoIterator<Item = F>) -> Vec<T> {
    let mut waiting: Vec<_> = all.into_iter().map(|one| (Box::pin(one), None)).collect();
    poll_fn(|context| {
        let mut is_done = true;
        for (one, outcome) in waiting.iter_mut().filter(|(_, outcome)| outcome.is_none()) {
            match one.as_mut().poll(context) {
                Poll::Ready(came) => *outcome = Some(came),
                Poll::Pending => is_done = false,
            }
        }
        if is_done { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    waiting.into_iter().filter_map(|(_, outcome)| outcome).collect()
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn each_is_begun_before_any_is_waited_for_and_their_order_is_kept() {
        let (tell, told) = oneshot::channel();
        let first: std::pin::Pin<Box<dyn Future<Output = u8>>> =
            Box::pin(async { told.await.expect("the second tells it") });
        let second = Box::pin(async move {
            tell.send(1).expect("it is waited for");
            2
        });
        assert_eq!(together([first, second]).await, [1, 2]);
        assert!(together::<u8, std::future::Ready<u8>>([]).await.is_empty());
    }
}
