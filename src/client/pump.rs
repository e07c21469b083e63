//! The task behind a stream of debits: connects, listens, and connects again.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::Client;
use super::error::Error;
use super::outbound::Outbound;
use super::stream::Shared;

/// Works until the stream ends for good.
pub(super) async fn run(client: Client, shared: Arc<Shared>) {
    let mut pause = client.config.backoff_min;
    while shared.lock().fate().is_none() {
        let was_connected = connect(&client, &shared).await;
        shared.changed();
        if shared.lock().fate().is_some() {
            break;
        }
        pause = if was_connected { client.config.backoff_min } else { pause };
        tokio::select! {
            () = sleep(jittered(pause)) => {}
            () = shared.ended() => {}
        }
        pause = (pause * 2).min(client.config.backoff_max);
    }
    shared.changed();
}

/// One connection, to its end; whether it ever was one.
async fn connect(client: &Client, shared: &Arc<Shared>) -> bool {
    let session = shared.lock().begin();
    let error = match listen(client, shared, session).await {
        Ok(()) => Error::Unavailable {
            code: "closing".to_owned(),
            detail: "the server ended the stream".to_owned(),
        },
        Err(error) => client.judge(error),
    };
    let mut core = shared.lock();
    let was_connected = core.lag().is_connected;
    core.disconnect();
    if error.is_retryable() {
        tracing::debug!(%error, "the stream of debits broke; what was not acknowledged is sent again");
    } else {
        core.end(error);
    }
    was_connected
}

async fn listen(client: &Client, shared: &Arc<Shared>, session: u64) -> Result<(), Error> {
    let requests = client.signed(Outbound::new(shared, session))?;
    let mut replies = client.service().stream(requests).await?.into_inner();
    while let Some(reply) = replies.message().await? {
        if let Some(reply) = reply.reply {
            shared.lock().take(reply)?;
            shared.changed();
        }
    }
    Ok(())
}

/// Between half of the pause and all of it: many clients of one server that broke do not come back in one moment.
pub(super) fn jittered(pause: Duration) -> Duration {
    let mut random = [0];
    // Without random bytes the pause is the whole one.
    if getrandom::fill(&mut random).is_err() {
        return pause;
    }
    pause / 2 + pause * u32::from(random[0]) / 512
}
