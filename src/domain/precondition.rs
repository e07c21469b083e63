//! What must hold of a camera for a change of it to be carried out: so that nobody overwrites what they have not seen.
//!
//! A tag names the configuration of a camera: its network, what is switched on, what is bound to it. What is charged for the camera
//! is no part of it. It is checked where the change is judged, so nothing comes between the two.

use std::hash::Hasher as _;

use siphasher::sip::SipHasher24;

use super::ids::CameraId;
use super::pool::Pool;
use super::refusal::Refusal;
use super::summary::CameraView;

/// Names the configuration of a camera: the same for the same configuration, on every machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CameraTag(pub u64);

/// What is expected of a camera.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// The organization has it.
    Registered,
    /// The organization does not have it.
    Absent,
    /// The organization has it, with one of these configurations.
    OneOf(Vec<CameraTag>),
    /// If the organization has it, it has none of these configurations.
    NoneOf(Vec<CameraTag>),
}

/// What must hold of a camera.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Precondition {
    /// The camera.
    pub camera: CameraId,
    /// All of these.
    pub expected: Vec<Expected>,
}

impl Precondition {
    /// Whether it holds.
    ///
    /// # Errors
    /// [`Refusal::PreconditionFailed`].
    pub fn check(&self, pool: &Pool) -> Result<(), Refusal> {
        let slot = pool.cameras.find(self.camera.as_str().as_bytes());
        let tag = slot.and_then(|slot| pool.camera_view(slot)).map(|camera| CameraTag::of(&camera));
        let holds = self.expected.iter().all(|expected| expected.holds(tag));
        if holds { Ok(()) } else { Err(Refusal::PreconditionFailed) }
    }
}

impl Expected {
    /// Whether it holds of a camera with this tag, or of one that the organization does not have.
    #[must_use]
    pub fn holds(&self, tag: Option<CameraTag>) -> bool {
        match self {
            Self::Registered => tag.is_some(),
            Self::Absent => tag.is_none(),
            Self::OneOf(tags) => tag.is_some_and(|tag| tags.contains(&tag)),
            Self::NoneOf(tags) => !tag.is_some_and(|tag| tags.contains(&tag)),
        }
    }
}

impl CameraTag {
    /// The tag of a camera as it is.
    #[must_use]
    pub fn of(camera: &CameraView) -> Self {
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
    fn what_is_expected_holds_of_a_camera_with_that_tag_alone() {
        let (one, other) = (CameraTag(1), CameraTag(2));
        for (expected, none, of_one, of_other) in [
            (Expected::Registered, false, true, true),
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
