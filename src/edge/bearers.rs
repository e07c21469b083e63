//! Who calls, on every edge: the bearer of an API key, or of a token of an issuer that the server trusts.
//!
//! Who bears neither is counted against the address that he calls from. What a caller may do is decided in [`crate::meter::access`].

use std::net::IpAddr;

use crate::meter::{Meter, Principal, Timestamp};
use crate::telemetry::clock;

use super::guesses::Guesses;
use super::token::{TokenError, Tokens};

/// How callers are told from strangers.
#[derive(Debug, Default)]
pub struct Bearers {
    tokens: Tokens,
    guesses: Guesses,
}

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    /// Whom the call stands for.
    pub(super) principal: Principal,
    /// Until when, where he bears a token.
    pub(super) until: Option<Timestamp>,
}

/// Why nobody is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stranger {
    /// The call bears nothing, or a key that is not known.
    Unknown,
    /// It bears a token that is not taken.
    Token(TokenError),
    /// So did too many calls from its address.
    Guessing {
        /// How long it is to wait.
        seconds: u64,
    },
}

impl Bearers {
    /// Tells callers by the keys of the meter and by these tokens.
    #[must_use]
    pub fn new(tokens: Tokens) -> Self {
        Self { tokens, guesses: Guesses::default() }
    }

    /// The issuers whose tokens are taken.
    #[must_use]
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Who calls with `authorization`, from this address.
    ///
    /// # Errors
    /// When he is not known; then the call is counted.
    pub(super) fn identify(
        &self,
        meter: &Meter,
        authorization: Option<&str>,
        peer: Option<IpAddr>,
    ) -> Result<Known, Stranger> {
        let known = authorization.ok_or(Stranger::Unknown).and_then(|bearer| self.look_at(meter, bearer));
        known.map_err(|stranger| {
            let told_to_wait = peer.and_then(|peer| self.guesses.note(peer, clock::start()));
            told_to_wait.map_or(stranger, |seconds| Stranger::Guessing { seconds })
        })
    }

    /// Who bears this now.
    ///
    /// # Errors
    /// When nobody does.
    pub(super) fn look_at(&self, meter: &Meter, bearer: &str) -> Result<Known, Stranger> {
        if bearer.contains('.') {
            let verified = self.tokens.verify(bearer, (meter.now(), clock::start()));
            let (principal, until) = verified.map_err(Stranger::Token)?;
            return Ok(Known { principal, until: Some(until) });
        }
        let principal = meter.authenticate(bearer).ok_or(Stranger::Unknown)?;
        Ok(Known { principal, until: None })
    }
}
