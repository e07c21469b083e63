//! What must hold of a camera, of the rate cards, or of what is to be told, for a change of it to be carried out: so that nobody overwrites what they have not seen.
//!
//! A tag names a configuration: of a camera its network, what is switched on, what is bound to it; of the rate cards the newest, of thresholds and webhooks their version. What is
//! charged for a camera is no part of it. It is checked where the change is judged, so nothing comes between the two.

use std::hash::Hasher as _;

use siphasher::sip::SipHasher24;

use super::alerts::Alerts;
use super::ids::CameraId;
use super::pool::Pool;
use super::rates::RateCard;
use super::refusal::Refusal;
use super::summary::CameraView;

/// Names a configuration: the same for the same one, on every machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag(pub u64);

/// What has a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A camera.
    Camera(CameraId),
    /// The rate cards.
    Rates,
    /// The thresholds and webhooks.
    Alerts,
}

/// What is expected of a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// The organization has it.
    Present,
    /// The organization does not have it.
    Absent,
    /// The organization has it, with one of these configurations.
    OneOf(Vec<Tag>),
    /// If the organization has it, it has none of these configurations.
    NoneOf(Vec<Tag>),
}

/// What must hold of a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Precondition {
    /// The subject.
    pub subject: Subject,
    /// All of these.
    pub expected: Vec<Expected>,
}

impl Precondition {
    /// Whether it holds.
    ///
    /// # Errors
    /// [`Refusal::PreconditionFailed`].
    pub fn check(&self, pool: &Pool) -> Result<(), Refusal> {
        let tag = self.subject.tag(pool);
        let holds = self.expected.iter().all(|expected| expected.holds(tag));
        if holds { Ok(()) } else { Err(Refusal::PreconditionFailed) }
    }
}

impl Subject {
    fn tag(&self, pool: &Pool) -> Option<Tag> {
        match self {
            Self::Camera(camera) => {
                let slot = pool.cameras.find(camera.as_str().as_bytes())?;
                pool.camera_view(slot).map(|camera| Tag::of_camera(&camera))
            }
            Self::Rates => pool.rates.newest().map(Tag::of_rates),
            Self::Alerts => pool.alerts.as_deref().map(Tag::of_alerts),
        }
    }
}

impl Expected {
    /// Whether it holds of a subject with this tag, or of one that the organization does not have.
    #[must_use]
    pub fn holds(&self, tag: Option<Tag>) -> bool {
        match self {
            Self::Present => tag.is_some(),
            Self::Absent => tag.is_none(),
            Self::OneOf(tags) => tag.is_some_and(|tag| tags.contains(&tag)),
            Self::NoneOf(tags) => !tag.is_some_and(|tag| tags.contains(&tag)),
        }
    }
}

impl Tag {
    /// The tag of the rate cards of which this one is the newest.
    #[must_use]
    pub fn of_rates(newest: &RateCard) -> Self {
        Self(u64::from(newest.version))
    }

    /// The tag of these thresholds and webhooks.
    #[must_use]
    pub fn of_alerts(alerts: &Alerts) -> Self {
        Self(u64::from(alerts.version))
    }

    /// The tag of a camera as it is.
    #[must_use]
    pub fn of_camera(camera: &CameraView) -> Self {
        let mut hasher = SipHasher24::new_with_keys(0, 0);
        let mut text = |text: &str| {
            hasher.write(text.as_bytes());
            hasher.write_u8(0xff); // no text has this byte
        };
        text(camera.network.as_str());
        camera.unlimited.iter().for_each(|license| {
            text(license.id.as_str());
            text(&format!("{:?} {} {}", license.kind, license.from.ms(), license.until.ms()));
        });
        hasher.write_u8(u8::from(camera.cloud_ai) | u8::from(camera.pro_license) << 1);
        Self(hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_expected_holds_of_what_has_that_tag_alone() {
        let (one, other) = (Tag(1), Tag(2));
        for (expected, none, of_one, of_other) in [
            (Expected::Present, false, true, true),
            (Expected::Absent, true, false, false),
            (Expected::OneOf(vec![one]), false, true, false),
            (Expected::OneOf(Vec::new()), false, false, false),
            (Expected::NoneOf(vec![one]), true, false, true),
        ] {
            let held = [None, Some(one), Some(other)].map(|tag| expected.holds(tag));
            assert_eq!(held, [none, of_one, of_other], "{expected:?}");
        }
    }
}
