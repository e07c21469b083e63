//! The task behind a stream of debits: connects, listens, and connects again.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::Client;
use super::error::Error;
use super::outbound::Outbound;
use super::places::{At, ELSEWHERE};
use super::stream::Shared;

/// How a connection ended.
struct Ended {
    /// It was one.
    was_connected: bool,
    /// It was told where the organization is served instead.
    is_elsewhere: bool,
}

/// Works until the stream ends for good.
pub(super) async fn run(client: Client, shared: Arc<Shared>) {
    let mut pause = client.config.backoff_min;
    let mut has_followed = false;
    while shared.lock().fate().is_none() {
        let Ended { was_connected, is_elsewhere } = connect(&client, &shared).await;
        shared.changed();
        if shared.lock().fate().is_some() {
            break;
        }
        // Nodes that send it to each other are asked no faster than one that does not answer.
        has_followed = is_elsewhere && !has_followed;
        if has_followed {
            continue;
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

/// One connection, to its end.
async fn connect(client: &Client, shared: &Arc<Shared>) -> Ended {
    let (session, organization) = {
        let mut core = shared.lock();
        (core.begin(), core.organization().to_owned())
    };
    let at = client.places.of(&organization);
    let error = match listen(client, &at, shared, session).await {
        Ok(()) => Error::Unavailable {
            code: "closing".to_owned(),
            detail: "the server ended the stream".to_owned(),
        },
        Err(error) => client.judge(error),
    };
    let mut core = shared.lock();
    let was_connected = core.lag().is_connected;
    core.disconnect();
    let mut is_elsewhere = false;
    if let Some(owner) = core.take_owner() {
        is_elsewhere = client.places.learn(&client.config, &organization, &at, &owner);
    } else if error.code() != ELSEWHERE {
        client.places.pass_over(&organization, &at);
    }
    if error.is_retryable() {
        tracing::debug!(%error, "the stream of debits broke; what was not acknowledged is sent again");
    } else {
        core.end(error);
    }
    Ended { was_connected, is_elsewhere }
}

async fn listen(client: &Client, at: &At, shared: &Arc<Shared>, session: u64) -> Result<(), Error> {
    let requests = client.signed(Outbound::new(shared, session))?;
    let mut replies = at.service.clone().stream(requests).await?.into_inner();
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
