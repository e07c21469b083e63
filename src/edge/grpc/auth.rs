//! Who calls: the same API keys and tokens as for HTTP, in the metadata `authorization`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{Sleep, sleep};
use tonic::codegen::http::HeaderMap;

use crate::edge::bearers::{Known, Stranger};
use crate::meter::{Edge, Meter, Origin, Principal};
use crate::telemetry::clock;

use super::incoming::Peer;
use super::state::State;
use super::trouble::Trouble;

/// How long it is believed that a token is still taken: to verify a signature costs more than to look up a key.
const TOKEN_LOOK: Duration = Duration::from_secs(1);

/// Who calls, and the meter that it calls.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) meter: Meter,
    known: Known,
    bearer: String,
    looked: Instant,
    state: Arc<State>,
}

impl Caller {
    /// Who sent these headers.
    ///
    /// # Errors
    /// When the meter is not open yet, or nobody is known by them.
    pub(super) fn of(state: &Arc<State>, headers: &HeaderMap, peer: Option<Peer>) -> Result<Self, Trouble> {
        let (peer, bearer) = (peer.map(|Peer(address)| address), bearer(headers));
        let meter = state.meter()?.seen_from(Origin { edge: Edge::Grpc, peer });
        let known = state.bearers.identify(&meter, bearer, peer)?;
        let bearer = bearer.unwrap_or_default().to_owned();
        Ok(Self { meter, known, bearer, looked: clock::start(), state: Arc::clone(state) })
    }

    /// Whom the call stands for.
    pub(super) fn principal(&self) -> &Principal {
        &self.known.principal
    }

    /// Checks that the caller is still known, and as the same: a stream lives long.
    ///
    /// # Errors
    /// When he is not.
    pub(super) fn check(&mut self) -> Result<(), Trouble> {
        let now = clock::start();
        if self.known.until.is_some() && now.saturating_duration_since(self.looked) < TOKEN_LOOK {
            return Ok(());
        }
        self.looked = now;
        let known = self.state.bearers.look_at(&self.meter, &self.bearer)?;
        if known == self.known { Ok(()) } else { Err(Stranger::Unknown.into()) }
    }

    /// Ends when the caller's token does; none for a key, which has no end.
    pub(super) fn expiry(&self) -> Option<Sleep> {
        let left_ms = self.known.until?.ms().saturating_sub(self.meter.now().ms());
        Some(sleep(Duration::from_millis(left_ms)))
    }
}

/// The key or token that the call bears. Of several, none is taken.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all("authorization").iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}
