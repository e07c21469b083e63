//! Who is signed in: sessions in memory, bounded, which end by themselves.
//!
//! A session is found by 256 random bits that only its browser has; here only their hash is kept. It holds no secret of an API key,
//! just the key's id, and counts for nothing once the key is revoked; a token it holds whole, to hold it against its issuer's list with every
//! request, and ends with it at the latest. When there are too many, the one that has rested longest goes: first
//! of the same key, so that one key never drives out the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::domain::hex::Hex;
use crate::domain::limits::{
    LIVE_STREAMS_OF_SESSION_MAX, SESSION_IDLE_MS, SESSION_MS, SESSIONS_MAX, SESSIONS_OF_KEY_MAX,
};
use crate::edge::http::{Arrival, Guest, Told};
use crate::meter::ActorId;

type Hash = [u8; 32];

/// All sessions.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<HashMap<Hash, Session>>);

#[derive(Debug)]
struct Session {
    who: Entrant,
    csrf: String,
    begun: Instant,
    seen: Instant,
    notice: Option<Notice>,
    /// How many streams it ever opened.
    streams: usize,
}

/// Who signs in.
#[derive(Clone, Debug)]
pub(super) struct Entrant {
    /// The name under which acts are recorded.
    pub(super) key: ActorId,
    /// The token, and when it ends.
    pub(super) token: Option<(Arc<str>, Instant)>,
}

impl From<ActorId> for Entrant {
    fn from(key: ActorId) -> Self {
        Self { key, token: None }
    }
}

/// A session as a request finds it.
#[derive(Clone, Debug)]
pub(super) struct Signed {
    id: Hash,
    /// The key that signed in, or the name of who bears the token.
    pub(super) key: ActorId,
    /// The token that signed in.
    pub(super) token: Option<Arc<str>>,
    /// What a form of this session bears.
    pub(super) csrf: String,
    /// How the request arrived, where the session is another node's.
    arrival: Option<Arrival>,
}

/// What the next page tells once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Notice {
    /// What happened.
    pub(super) text: String,
    /// A secret that is shown this once.
    pub(super) secret: Option<String>,
}

impl Notice {
    /// One without a secret.
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), secret: None }
    }
}

impl From<Told> for Notice {
    fn from((text, secret): Told) -> Self {
        Self { text, secret }
    }
}

impl Signed {
    /// The session of a request that was carried here from the node that has it.
    pub(super) fn of(arrival: &Arrival) -> Option<Self> {
        let Guest { key, token, csrf, .. } = arrival.guest()?.clone();
        Some(Self {
            id: Hash::default(),
            key,
            token: token.map(Arc::from),
            csrf,
            arrival: Some(arrival.clone()),
        })
    }

    /// Who is signed in, for a node that has no such session.
    pub(super) fn guest(&self, notice: Option<Notice>) -> Guest {
        let (key, token, csrf) =
            (self.key.clone(), self.token.as_deref().map(str::to_owned), self.csrf.clone());
        Guest { key, token, csrf, notice: notice.map(|Notice { text, secret }| (text, secret)) }
    }

    /// Whether a form bears the token of this session.
    pub(super) fn has_token(&self, csrf: &str) -> bool {
        self.csrf.as_bytes().ct_eq(csrf.as_bytes()).into()
    }
}

impl Sessions {
    /// Begins a session of this key or token; answers with what its browser keeps.
    pub(super) fn begin(&self, who: impl Into<Entrant>, now: Instant) -> String {
        let who = who.into();
        let (cookie, csrf) = (random_text(), random_text());
        let mut all = self.lock();
        all.retain(|_, session| session.lasts(now));
        let of_key = |session: &Session| session.who.key == who.key;
        if all.values().filter(|session| of_key(session)).count() >= SESSIONS_OF_KEY_MAX {
            end_longest_at_rest(&mut all, of_key);
        }
        if all.len() >= SESSIONS_MAX {
            end_longest_at_rest(&mut all, |_| true);
        }
        let session = Session { who, csrf, begun: now, seen: now, notice: None, streams: 0 };
        all.insert(hash(&cookie), session);
        cookie
    }

    /// The session of a browser that keeps `cookie`. A request that somebody makes keeps it alive; one that a page makes by itself
    /// does not.
    pub(super) fn find(&self, cookie: &str, now: Instant, is_by_hand: bool) -> Option<Signed> {
        let id = hash(cookie);
        let mut all = self.lock();
        let session = all.get_mut(&id)?;
        if !session.lasts(now) {
            all.remove(&id);
            return None;
        }
        if is_by_hand {
            session.seen = now;
        }
        let Entrant { key, token } = session.who.clone();
        Some(Signed {
            id,
            key,
            token: token.map(|(token, _)| token),
            csrf: session.csrf.clone(),
            arrival: None,
        })
    }

    /// Ends a session.
    pub(super) fn end(&self, signed: &Signed) {
        self.lock().remove(&signed.id);
    }

    /// Has the next page of a session tell something.
    pub(super) fn leave(&self, signed: &Signed, notice: Notice) {
        if let Some(arrival) = &signed.arrival {
            arrival.leave((notice.text, notice.secret));
        } else if let Some(session) = self.lock().get_mut(&signed.id) {
            session.notice = Some(notice);
        }
    }

    /// What is to be told; it is told once.
    pub(super) fn take_notice(&self, signed: &Signed) -> Option<Notice> {
        if let Some(arrival) = &signed.arrival {
            return arrival.take_notice().map(Notice::from);
        }
        self.lock().get_mut(&signed.id)?.notice.take()
    }

    /// Opens one more stream of a session; answers with its number. When that is one too many, the first of them ends.
    pub(super) fn open_stream(&self, signed: &Signed) -> Option<usize> {
        let mut all = self.lock();
        let session = all.get_mut(&signed.id)?;
        session.streams += 1;
        Some(session.streams)
    }

    /// Whether a stream goes on, because not too many came after it; none when its session has ended.
    pub(super) fn has_stream(&self, signed: &Signed, number: usize, now: Instant) -> Option<bool> {
        let all = self.lock();
        let session = all.get(&signed.id).filter(|session| session.lasts(now))?;
        Some(session.streams.saturating_sub(number) < LIVE_STREAMS_OF_SESSION_MAX)
    }

    /// How many sessions last.
    pub(super) fn count(&self, now: Instant) -> usize {
        self.lock().values().filter(|session| session.lasts(now)).count()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Hash, Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    fn lasts(&self, now: Instant) -> bool {
        let is_within = |since: Instant, ms| now.saturating_duration_since(since) < Duration::from_millis(ms);
        let token_lasts = self.who.token.as_ref().is_none_or(|(_, ends)| now < *ends);
        token_lasts && is_within(self.seen, SESSION_IDLE_MS) && is_within(self.begun, SESSION_MS)
    }
}

fn end_longest_at_rest(all: &mut HashMap<Hash, Session>, is_of_them: impl Fn(&Session) -> bool) {
    let of_them = all.iter().filter(|(_, session)| is_of_them(session));
    let longest = of_them.min_by_key(|(_, session)| session.seen).map(|(id, _)| *id);
    if let Some(id) = longest {
        all.remove(&id);
    }
}

fn hash(cookie: &str) -> Hash {
    Sha256::digest(cookie.as_bytes()).into()
}

/// 256 random bits in hexadecimal.
pub(super) fn random_text() -> String {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    Hex(&bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::clock;

    fn key(id: &str) -> ActorId {
        ActorId::new(id).expect("valid")
    }

    #[test]
    fn a_session_ends_after_its_rest_and_at_its_age_and_a_page_by_itself_does_not_keep_it() {
        let (sessions, begun) = (Sessions::default(), clock::start());
        let cookie = sessions.begin(key("k"), begun);
        let at = |ms| begun + Duration::from_millis(ms);
        assert!(sessions.find(&cookie, at(SESSION_IDLE_MS - 1), false).is_some());
        assert!(sessions.find(&cookie, at(SESSION_IDLE_MS), true).is_none(), "nobody asked meanwhile");
        let cookie = sessions.begin(key("k"), begun);
        let step = SESSION_IDLE_MS / 2;
        let mut ms = 0;
        while ms + step < SESSION_MS {
            ms += step;
            assert!(sessions.find(&cookie, at(ms), true).is_some(), "{ms}");
        }
        assert!(sessions.find(&cookie, at(SESSION_MS), true).is_none());
    }

    #[test]
    fn a_session_of_a_token_ends_with_it_however_much_it_is_used() {
        let (sessions, begun) = (Sessions::default(), clock::start());
        let ends = begun + Duration::from_secs(60);
        let cookie =
            sessions.begin(Entrant { key: key("corp:ann"), token: Some(("a.b.c".into(), ends)) }, begun);
        let signed = sessions.find(&cookie, ends - Duration::from_millis(1), true).expect("it lasts");
        assert_eq!(signed.token.as_deref(), Some("a.b.c"));
        let number = sessions.open_stream(&signed).expect("it lasts");
        assert_eq!(sessions.has_stream(&signed, number, ends), None);
        assert!(sessions.find(&cookie, ends, true).is_none());
    }

    #[test]
    fn a_key_has_so_many_sessions_and_drives_out_its_own() {
        let (sessions, now) = (Sessions::default(), clock::start());
        let other = sessions.begin(key("other"), now);
        let cookies: Vec<_> = (0..=SESSIONS_OF_KEY_MAX)
            .map(|n| {
                let moment = now + Duration::from_millis(u64::try_from(n).expect("small"));
                sessions.begin(key("k"), moment)
            })
            .collect();
        let later = now + Duration::from_secs(1);
        assert!(sessions.find(&cookies[0], later, true).is_none(), "the one that rested longest");
        assert!(cookies[1..].iter().all(|cookie| sessions.find(cookie, later, true).is_some()));
        assert!(sessions.find(&other, later, true).is_some());
    }

    #[test]
    fn there_are_so_many_sessions_and_no_more() {
        let (sessions, now) = (Sessions::default(), clock::start());
        let first = sessions.begin(key("first"), now);
        for n in 0..SESSIONS_MAX {
            sessions.begin(key(&format!("k{n}")), now + Duration::from_millis(1));
            assert!(sessions.lock().len() <= SESSIONS_MAX);
        }
        assert!(sessions.find(&first, now, true).is_none());
    }

    #[test]
    fn only_the_whole_token_of_a_session_is_its_token_and_no_two_are_alike() {
        let (sessions, now) = (Sessions::default(), clock::start());
        let [first, second] = ["a", "b"].map(|id| sessions.begin(key(id), now));
        let found = |cookie| sessions.find(cookie, now, true).expect("it was begun");
        let (first, second) = (found(&first), found(&second));
        assert!(first.has_token(&first.csrf) && !first.has_token(&second.csrf));
        assert!(!first.has_token("") && !first.has_token(&first.csrf[1..]));
        assert_eq!(first.csrf.len(), 64);
        sessions.end(&first);
        assert_eq!((sessions.open_stream(&first), sessions.open_stream(&second)), (None, Some(1)));
    }

    #[test]
    fn a_notice_is_told_once_and_streams_are_bounded() {
        let (sessions, now) = (Sessions::default(), clock::start());
        let cookie = sessions.begin(key("k"), now);
        let signed = sessions.find(&cookie, now, true).expect("it was begun");
        sessions.leave(&signed, Notice::new("done"));
        assert_eq!(sessions.take_notice(&signed), Some(Notice::new("done")));
        assert_eq!(sessions.take_notice(&signed), None);
        let numbers: Vec<_> = (0..=LIVE_STREAMS_OF_SESSION_MAX)
            .map(|_| sessions.open_stream(&signed).expect("the session lasts"))
            .collect();
        assert_eq!(sessions.has_stream(&signed, numbers[0], now), Some(false), "the first one ends");
        let goes_on = |number: &usize| sessions.has_stream(&signed, *number, now) == Some(true);
        assert!(numbers[1..].iter().all(goes_on));
        let over = now + Duration::from_millis(SESSION_IDLE_MS);
        assert_eq!(sessions.has_stream(&signed, numbers[1], over), None);
    }
}
