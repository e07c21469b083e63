//! Who calls: the same API keys as for HTTP, in the metadata `authorization`.

use tonic::codegen::http::HeaderMap;

use crate::meter::{Meter, Principal};
use crate::telemetry::clock;

use super::incoming::Peer;
use super::state::State;
use super::trouble::Trouble;

/// Who calls, and the meter that it calls.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) meter: Meter,
    pub(super) principal: Principal,
    key: String,
}

impl Caller {
    /// Who sent these headers.
    ///
    /// # Errors
    /// When the meter is not open yet, or the key is not known.
    pub(super) fn of(state: &State, headers: &HeaderMap, peer: Option<Peer>) -> Result<Self, Trouble> {
        let meter = state.meter()?;
        let known = bearer(headers).and_then(|key| Some((key, meter.authenticate(key)?)));
        let Some((key, principal)) = known else {
            let seconds = peer.and_then(|Peer(address)| state.guesses.note(address, clock::start()));
            return Err(seconds.map_or_else(Trouble::unauthenticated, Trouble::too_many_guesses));
        };
        Ok(Self { meter: meter.clone(), principal, key: key.to_owned() })
    }

    /// Checks that the key was not revoked in the meantime: a stream lives long.
    ///
    /// # Errors
    /// When it was.
    pub(super) fn check(&self) -> Result<(), Trouble> {
        self.meter.authenticate(&self.key).map(drop).ok_or_else(Trouble::unauthenticated)
    }
}

/// The API key that the call bears. Of several, none is taken.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all("authorization").iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}
