//! What an organization wants to be told: thresholds of its tokens, and addresses that are called (webhooks).
//!
//! Both are one configuration with a version. Each change of it is an event that holds all of it, so that at every frame of the
//! journal it is known what applied there. What comes of it is decided by readers of the journal, never here, and never while a
//! debit waits. Secrets are not in here: a webhook has the number that its secret is derived from.

use compact_str::CompactString;
use serde::{Deserialize, Deserializer, Serialize};

use super::ids::{ActorId, AlertId, WebhookId};
use super::limits::{
    ALERT_REFUSALS_MAX, ALERT_TIME_MS_MAX, ALERT_TIME_MS_MIN, ALERT_WINDOW_MS_MAX, ALERT_WINDOW_MS_MIN,
    ALERTS_MAX, POOL_TOKENS_MAX, SECRET_OVERLAP_MS_MAX, WEBHOOK_URL_BYTES_MAX, WEBHOOKS_MAX,
};
use super::refusal::{Invalid, Limit, Refusal};
use super::time::Timestamp;

/// What a threshold is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Tokens that the pool can pay: Current Available.
    TokensLeft,
    /// The same in percent of all that was ever granted or received, and not moved away.
    PercentLeft,
    /// Estimated Camera AI Analytics, in milliseconds.
    TimeLeft,
    /// Whether the pool can pay anything.
    Exhausted,
    /// Debits refused within a time, as the running server counts them: they leave no trace in the journal.
    Refusals,
}

/// One threshold. It fires when its measure passes it, and then not again before it is armed again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Threshold {
    /// Its name in its organization.
    pub id: AlertId,
    /// What it is compared with.
    pub measure: Measure,
    /// Fires at this and below; of refusals, at this and above.
    pub at: u64,
    /// Armed again at this and above; of refusals, at this and below. Where there is none, by tokens that come alone.
    pub rearm: Option<u64>,
    /// For how long refusals are counted together, in milliseconds; no other measure has it.
    pub window_ms: Option<u64>,
}

/// What a webhook is called for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Topic {
    /// A threshold fired.
    #[serde(rename = "alert.fired")]
    AlertFired,
    /// Licenses were added.
    #[serde(rename = "license.added")]
    LicenseAdded,
    /// A transfer ended: the whole pool went, came, or stayed.
    #[serde(rename = "transfer.finished")]
    TransferFinished,
    /// Reservations expired.
    #[serde(rename = "reservation.expired")]
    ReservationExpired,
    /// The pool can pay nothing any more.
    #[serde(rename = "organization.exhausted")]
    OrganizationExhausted,
}

/// The address of a webhook.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct WebhookUrl(CompactString);

/// An address that is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    /// Its name in its organization.
    pub id: WebhookId,
    /// Where it is.
    pub url: WebhookUrl,
    /// What it is called for, in order; everything where there is none.
    pub topics: Vec<Topic>,
    /// The version at which its address or its topics were set last.
    pub set: u32,
    /// The version at which its secret was made: no other webhook of the organization ever has it.
    pub secret: u32,
    /// The secret before that, while it counts beside it.
    pub previous: Option<PreviousSecret>,
}

/// A secret that was replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviousSecret {
    /// The version at which it was made.
    pub secret: u32,
    /// Until when deliveries are signed with it too.
    pub until: Timestamp,
}

/// The thresholds and webhooks of an organization.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alerts {
    /// 1 for the first of an organization, and one more for each after it.
    pub version: u32,
    /// When it was set.
    pub at: Timestamp,
    /// Who set it.
    pub by: ActorId,
    /// The thresholds, in the order of their names.
    pub thresholds: Vec<Threshold>,
    /// The webhooks, in the order of their names.
    pub webhooks: Vec<Webhook>,
}

/// A change of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlertsChange {
    /// These are the thresholds.
    Thresholds(Vec<Threshold>),
    /// There is a webhook of this address and these topics.
    SetWebhook {
        /// Its name.
        webhook: WebhookId,
        /// Its address.
        url: WebhookUrl,
        /// What it is called for; everything where there is none.
        topics: Vec<Topic>,
    },
    /// There is no such webhook.
    RemoveWebhook(WebhookId),
    /// A webhook has a new secret; the one before counts for so many milliseconds more.
    RotateSecret {
        /// The webhook.
        webhook: WebhookId,
        /// How long both secrets count.
        overlap_ms: u64,
    },
}

impl Measure {
    /// All measures.
    pub const ALL: [Self; 5] =
        [Self::TokensLeft, Self::PercentLeft, Self::TimeLeft, Self::Exhausted, Self::Refusals];

    /// Its name, as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TokensLeft => "tokens_left",
            Self::PercentLeft => "percent_left",
            Self::TimeLeft => "time_left",
            Self::Exhausted => "exhausted",
            Self::Refusals => "refusals",
        }
    }

    /// Where a threshold at `at` is armed again unless something else is said: a tenth above it; for refusals, half of it. A pool
    /// that was exhausted is armed again by tokens that come, not by those that a reservation gives back.
    #[must_use]
    pub fn rearm_default(self, at: u64) -> Option<u64> {
        match self {
            Self::Exhausted => None,
            Self::Refusals => Some(at / 2),
            Self::PercentLeft => Some(at.saturating_add(at.div_ceil(10)).min(100)),
            Self::TokensLeft | Self::TimeLeft => {
                Some(at.saturating_add(at.div_ceil(10)).min(POOL_TOKENS_MAX))
            }
        }
    }
}

impl Threshold {
    /// Whether it can be one.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let (at, window) = (self.at, self.window_ms);
        let rearms_above = |most: u64| self.rearm.is_none_or(|rearm| at < rearm && rearm <= most);
        match self.measure {
            Measure::TokensLeft => {
                (1..POOL_TOKENS_MAX).contains(&at) && rearms_above(POOL_TOKENS_MAX) && window.is_none()
            }
            Measure::PercentLeft => (1..100).contains(&at) && rearms_above(100) && window.is_none(),
            Measure::TimeLeft => {
                let is_span = (ALERT_TIME_MS_MIN..=ALERT_TIME_MS_MAX).contains(&at);
                is_span && rearms_above(POOL_TOKENS_MAX) && window.is_none()
            }
            Measure::Exhausted => at == 0 && rearms_above(POOL_TOKENS_MAX) && window.is_none(),
            Measure::Refusals => {
                let is_count = (1..=ALERT_REFUSALS_MAX).contains(&at);
                let has_window = window
                    .is_some_and(|window| (ALERT_WINDOW_MS_MIN..=ALERT_WINDOW_MS_MAX).contains(&window));
                is_count && has_window && self.rearm.is_some_and(|rearm| rearm < at)
            }
        }
    }
}

impl Topic {
    /// All topics.
    pub const ALL: [Self; 5] = [
        Self::AlertFired,
        Self::LicenseAdded,
        Self::TransferFinished,
        Self::ReservationExpired,
        Self::OrganizationExhausted,
    ];

    /// Its name, as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AlertFired => "alert.fired",
            Self::LicenseAdded => "license.added",
            Self::TransferFinished => "transfer.finished",
            Self::ReservationExpired => "reservation.expired",
            Self::OrganizationExhausted => "organization.exhausted",
        }
    }

    /// The topic of this name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|topic| topic.name() == name)
    }
}

impl WebhookUrl {
    /// Checks and keeps `text`. Whether it may be called is decided when it is.
    ///
    /// # Errors
    /// When it is no URL of `https` or `http` with a host, is longer than a URL may be, or names a user or a fragment.
    pub fn new(text: &str) -> Result<Self, Invalid> {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let authority = rest.and_then(|rest| rest.split(['/', '?']).next()).unwrap_or_default();
        let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\\"<>^`{|}#".contains(&byte));
        let has_host = !authority.is_empty() && !authority.starts_with(':') && !authority.contains('@');
        if text.len() <= WEBHOOK_URL_BYTES_MAX && is_plain && has_host {
            Ok(Self(CompactString::new(text)))
        } else {
            Err(Invalid::WebhookUrl)
        }
    }

    /// The URL as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whom it leads to, and not where there: `https://host/...`.
    #[must_use]
    pub fn without_path(&self) -> Self {
        let host = self.0.find("://").map_or(0, |scheme| scheme + 3);
        let end = self.0[host..].find(['/', '?']).map_or(self.0.len(), |path| host + path);
        let mut text = CompactString::new(&self.0[..end]);
        if end < self.0.len() {
            text.push_str("/...");
        }
        Self(text)
    }
}

impl<'de> Deserialize<'de> for WebhookUrl {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}

impl Webhook {
    /// Whether it is called for this.
    #[must_use]
    pub fn wants(&self, topic: Topic) -> bool {
        self.topics.is_empty() || self.topics.contains(&topic)
    }
}

impl Alerts {
    /// The webhook of this name.
    #[must_use]
    pub fn webhook(&self, id: &WebhookId) -> Option<&Webhook> {
        self.webhooks.iter().find(|webhook| webhook.id == *id)
    }

    /// Whether it can be a configuration, as it stands.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let known = 1..=self.version;
        let webhook = |webhook: &Webhook| {
            let previous = webhook.previous.is_none_or(|previous| {
                (1..webhook.secret).contains(&previous.secret)
                    && previous.until <= self.at.plus_ms(SECRET_OVERLAP_MS_MAX)
            });
            let topics = webhook.topics.windows(2).all(|two| two[0] < two[1]);
            previous && topics && known.contains(&webhook.set) && known.contains(&webhook.secret)
        };
        (1..u32::MAX).contains(&self.version)
            && are_thresholds(&self.thresholds)
            && self.webhooks.len() <= WEBHOOKS_MAX
            && self.webhooks.windows(2).all(|two| two[0].id < two[1].id)
            && self.webhooks.iter().all(webhook)
    }
}

/// Judges a change of the configuration; none when nothing changes.
///
/// # Errors
/// [`Invalid::Thresholds`], [`Invalid::Overlap`], [`Refusal::UnknownWebhook`], or when there are as many webhooks as there may be.
pub fn changed(
    current: Option<&Alerts>,
    change: AlertsChange,
    (by, at): (ActorId, Timestamp),
) -> Result<Option<Alerts>, Refusal> {
    let version = current.map_or(0, |alerts| alerts.version) + 1;
    let (mut thresholds, mut webhooks) =
        current.map_or_else(Default::default, |alerts| (alerts.thresholds.clone(), alerts.webhooks.clone()));
    match change {
        AlertsChange::Thresholds(new) => thresholds = ordered(new)?,
        AlertsChange::SetWebhook { webhook, url, mut topics } => {
            topics.sort_unstable();
            topics.dedup();
            set(&mut webhooks, (webhook, url, topics), version)?;
        }
        AlertsChange::RemoveWebhook(id) => {
            let place = webhooks.iter().position(|webhook| webhook.id == id);
            webhooks.remove(place.ok_or(Refusal::UnknownWebhook)?);
        }
        AlertsChange::RotateSecret { webhook, overlap_ms } => {
            if overlap_ms > SECRET_OVERLAP_MS_MAX {
                return Err(Invalid::Overlap.into());
            }
            let known = webhooks.iter_mut().find(|known| known.id == webhook);
            let known = known.ok_or(Refusal::UnknownWebhook)?;
            let previous = PreviousSecret { secret: known.secret, until: at.plus_ms(overlap_ms) };
            known.previous = Some(previous).filter(|_| overlap_ms > 0);
            known.secret = version;
        }
    }
    let is_same = current.map_or(thresholds.is_empty() && webhooks.is_empty(), |alerts| {
        alerts.thresholds == thresholds && alerts.webhooks == webhooks
    });
    Ok((!is_same).then_some(Alerts { version, at, by, thresholds, webhooks }))
}

fn set(
    webhooks: &mut Vec<Webhook>,
    (id, url, topics): (WebhookId, WebhookUrl, Vec<Topic>),
    version: u32,
) -> Result<(), Refusal> {
    match webhooks.binary_search_by(|webhook| webhook.id.cmp(&id)) {
        Ok(place) => {
            let known = &mut webhooks[place];
            if (&known.url, &known.topics) != (&url, &topics) {
                *known = Webhook { url, topics, set: version, ..known.clone() };
            }
        }
        Err(_) if webhooks.len() >= WEBHOOKS_MAX => return Err(Refusal::LimitReached(Limit::Webhooks)),
        Err(place) => {
            let (set, secret) = (version, version);
            webhooks.insert(place, Webhook { id, url, topics, set, secret, previous: None });
        }
    }
    Ok(())
}

fn ordered(mut thresholds: Vec<Threshold>) -> Result<Vec<Threshold>, Invalid> {
    thresholds.sort_by(|one, other| one.id.cmp(&other.id));
    if are_thresholds(&thresholds) { Ok(thresholds) } else { Err(Invalid::Thresholds) }
}

fn are_thresholds(thresholds: &[Threshold]) -> bool {
    thresholds.len() <= ALERTS_MAX
        && thresholds.windows(2).all(|two| two[0].id < two[1].id)
        && thresholds.iter().all(Threshold::is_sound)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_ms(ms).expect("in range")
    }

    fn by() -> ActorId {
        ActorId::new("key:1").expect("valid")
    }

    fn id(text: &str) -> WebhookId {
        WebhookId::new(text).expect("valid")
    }

    fn threshold(measure: Measure, at: u64, rearm: Option<u64>, window_ms: Option<u64>) -> Threshold {
        Threshold { id: AlertId::new("low").expect("valid"), measure, at, rearm, window_ms }
    }

    fn set_to(name: &str, url: &str) -> AlertsChange {
        let (webhook, url) = (id(name), WebhookUrl::new(url).expect("valid"));
        AlertsChange::SetWebhook { webhook, url, topics: Vec::new() }
    }

    #[test]
    fn a_threshold_keeps_to_the_bounds_of_its_measure() {
        use Measure::{Exhausted, PercentLeft, Refusals, TimeLeft, TokensLeft};
        let (minute, day) = (Some(60_000), Some(86_400_000));
        for (measure, at, rearm, window, is_sound) in [
            (TokensLeft, 1, Some(2), None, true),
            (TokensLeft, 1, None, None, true),
            (TokensLeft, 0, Some(2), None, false),
            (TokensLeft, 5, Some(5), None, false),
            (TokensLeft, POOL_TOKENS_MAX, None, None, false),
            (TokensLeft, 5, Some(6), minute, false),
            (PercentLeft, 99, Some(100), None, true),
            (PercentLeft, 99, Some(101), None, false),
            (PercentLeft, 100, None, None, false),
            (TimeLeft, 60_000, Some(60_001), None, true),
            (TimeLeft, 59_999, Some(60_001), None, false),
            (TimeLeft, ALERT_TIME_MS_MAX + 1, None, None, false),
            (Exhausted, 0, None, None, true),
            (Exhausted, 0, Some(1), None, true),
            (Exhausted, 1, None, None, false),
            (Refusals, 1, Some(0), minute, true),
            (Refusals, 10, Some(10), minute, false),
            (Refusals, 10, None, minute, false),
            (Refusals, 10, Some(5), None, false),
            (Refusals, 10, Some(5), Some(59_999), false),
            (Refusals, ALERT_REFUSALS_MAX, Some(5), day, true),
        ] {
            let threshold = threshold(measure, at, rearm, window);
            assert_eq!(threshold.is_sound(), is_sound, "{threshold:?}");
        }
    }

    #[test]
    fn the_default_of_rearming_is_sound_for_every_measure() {
        for measure in Measure::ALL {
            let (values, window) = match measure {
                Measure::PercentLeft => ([1, 50, 99], None),
                Measure::TimeLeft => ([60_000, 3_600_000, ALERT_TIME_MS_MAX], None),
                Measure::Exhausted => ([0; 3], None),
                Measure::Refusals => ([1, 10, ALERT_REFUSALS_MAX], Some(60_000)),
                Measure::TokensLeft => ([1, 1_000, POOL_TOKENS_MAX - 1], None),
            };
            for at in values {
                let threshold = threshold(measure, at, measure.rearm_default(at), window);
                assert!(threshold.is_sound(), "{threshold:?}");
            }
        }
    }

    #[test]
    fn a_url_names_a_host_and_neither_a_user_nor_a_fragment() {
        for good in ["https://example.org", "http://10.0.0.1:8080/a?b=c", "https://[fd00::1]/x"] {
            assert!(WebhookUrl::new(good).is_ok(), "{good}");
        }
        let long = format!("https://example.org/{}", "x".repeat(WEBHOOK_URL_BYTES_MAX));
        for bad in [
            "",
            "ftp://example.org",
            "https://",
            "https:///x",
            "https://:80/",
            "https://user@example.org/",
            "https://example.org/#a",
            "https://example.org/ a",
            "https://ex\u{e4}mple.org/",
            "HTTPS://example.org",
            &long,
        ] {
            assert_eq!(WebhookUrl::new(bad), Err(Invalid::WebhookUrl), "{bad}");
        }
    }

    #[test]
    fn a_url_without_its_path_tells_whom_it_leads_to() {
        for (whole, host) in [
            ("https://a.example", "https://a.example"),
            ("https://a.example:8443/secret/x?y=z", "https://a.example:8443/..."),
            ("http://[fd00::1]?y", "http://[fd00::1]/..."),
        ] {
            assert_eq!(WebhookUrl::new(whole).expect("valid").without_path().as_str(), host);
        }
    }

    #[test]
    fn a_secret_is_never_made_twice_and_a_rotated_one_counts_for_its_overlap() {
        let first = changed(None, set_to("a", "https://a.example"), (by(), at(1))).expect("sound");
        let first = first.expect("it is new");
        let rotate = AlertsChange::RotateSecret { webhook: id("a"), overlap_ms: 1_000 };
        let second = changed(Some(&first), rotate, (by(), at(5))).expect("sound").expect("a change");
        let webhook = &second.webhooks[0];
        assert_eq!((webhook.set, webhook.secret), (1, 2));
        assert_eq!(webhook.previous, Some(PreviousSecret { secret: 1, until: at(1_005) }));
        let removed = changed(Some(&second), AlertsChange::RemoveWebhook(id("a")), (by(), at(6)));
        let removed = removed.expect("sound").expect("a change");
        let again = changed(Some(&removed), set_to("a", "https://a.example"), (by(), at(7)));
        assert_eq!(again.expect("sound").expect("a change").webhooks[0].secret, 4);
        let at_once = AlertsChange::RotateSecret { webhook: id("a"), overlap_ms: 0 };
        let alone = changed(Some(&second), at_once, (by(), at(8))).expect("sound").expect("a change");
        assert_eq!(alone.webhooks[0].previous, None);
    }

    #[test]
    fn what_changes_nothing_is_no_change_and_what_is_not_there_is_refused() {
        let first = changed(None, set_to("a", "https://a.example"), (by(), at(1))).expect("sound");
        let first = first.expect("it is new");
        assert_eq!(changed(Some(&first), set_to("a", "https://a.example"), (by(), at(2))), Ok(None));
        assert_eq!(changed(None, AlertsChange::Thresholds(Vec::new()), (by(), at(2))), Ok(None));
        let unknown = Err(Refusal::UnknownWebhook);
        assert_eq!(changed(Some(&first), AlertsChange::RemoveWebhook(id("b")), (by(), at(2))), unknown);
        let rotate = |overlap_ms| AlertsChange::RotateSecret { webhook: id("b"), overlap_ms };
        assert_eq!(changed(Some(&first), rotate(1), (by(), at(2))), unknown);
        let long = rotate(SECRET_OVERLAP_MS_MAX + 1);
        assert_eq!(changed(Some(&first), long, (by(), at(2))), Err(Invalid::Overlap.into()));
        let mut alerts = Some(first);
        for n in 1..WEBHOOKS_MAX {
            let more = set_to(&format!("w{n}"), "https://b.example");
            alerts = changed(alerts.as_ref(), more, (by(), at(3))).expect("there is room");
        }
        let full = changed(alerts.as_ref(), set_to("z", "https://z.example"), (by(), at(4)));
        assert_eq!(full, Err(Refusal::LimitReached(Limit::Webhooks)));
        assert!(alerts.is_some_and(|alerts| alerts.is_sound()));
    }

    #[test]
    fn thresholds_stand_in_order_and_once_for_each_name() {
        let named = |name: &str| Threshold {
            id: AlertId::new(name).expect("valid"),
            ..threshold(Measure::TokensLeft, 5, Some(6), None)
        };
        let set = |names: &[&str]| {
            let thresholds = names.iter().map(|name| named(name)).collect();
            changed(None, AlertsChange::Thresholds(thresholds), (by(), at(1)))
        };
        let alerts = set(&["b", "a"]).expect("sound").expect("a change");
        assert_eq!(alerts.thresholds, [named("a"), named("b")]);
        assert_eq!(set(&["a", "a"]), Err(Invalid::Thresholds.into()));
        let many: Vec<_> = (0..=ALERTS_MAX).map(|n| format!("n{n}")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        assert_eq!(set(&many), Err(Invalid::Thresholds.into()));
    }

    #[test]
    fn topics_and_measures_are_known_by_their_names() {
        for topic in Topic::ALL {
            assert_eq!(stored_name(topic), topic.name());
            assert_eq!(Topic::of_name(topic.name()), Some(topic));
        }
        for measure in Measure::ALL {
            assert_eq!(stored_name(measure), measure.name());
        }
        assert_eq!(Topic::of_name("alert"), None);
    }

    fn stored_name(value: impl Serialize) -> String {
        rmp_serde::from_slice(&rmp_serde::to_vec_named(&value).expect("a name")).expect("a text")
    }
}
