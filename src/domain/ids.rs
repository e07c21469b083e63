//! Identifiers: text that people choose, and numbers that the meter assigns.
//!
//! Textual identifiers are 1 to [`ID_BYTES_MAX`] bytes of ASCII letters, digits and `. _ : -`, but neither `.` nor `..`, so that each is
//! one path segment of a URL and safe in any log.

use std::fmt;

use compact_str::CompactString;
use serde::{Deserialize, Deserializer, Serialize};

use super::limits::{ID_BYTES_MAX, NAME_BYTES_MAX};
use super::refusal::Invalid;

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $invalid:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        pub struct $name(CompactString);

        impl $name {
            /// Checks and keeps `text`.
            ///
            /// # Errors
            /// When `text` is empty, longer than 64 bytes, or has a character outside `A-Z a-z 0-9 . _ : -`.
            pub fn new(text: &str) -> Result<Self, Invalid> {
                if is_id(text.as_bytes()) { Ok(Self(CompactString::new(text))) } else { Err($invalid) }
            }

            /// The identifier as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = Invalid;
            fn from_str(text: &str) -> Result<Self, Invalid> {
                Self::new(text)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
                Self::new(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

text_id!(
    /// Names an organization.
    OrgId,
    Invalid::OrganizationId
);
text_id!(
    /// Names a camera within its organization.
    CameraId,
    Invalid::CameraId
);
text_id!(
    /// Names one license: a Shared AI Token License or an Unlimited AI License.
    LicenseId,
    Invalid::LicenseId
);
text_id!(
    /// Names a license key, the thing that is claimed once and expands to licenses.
    KeyId,
    Invalid::KeyId
);
text_id!(
    /// Names a transfer; chosen by its caller, who retries under the same name.
    TransferId,
    Invalid::TransferId
);
text_id!(
    /// Names a reservation; chosen by its caller, who retries under the same name.
    ReservationId,
    Invalid::ReservationId
);
text_id!(
    /// Names a threshold within its organization.
    AlertId,
    Invalid::AlertId
);
text_id!(
    /// Names a webhook within its organization.
    WebhookId,
    Invalid::WebhookId
);
text_id!(
    /// Names who did an administrative act: an API key's id, or the embedding host.
    ActorId,
    Invalid::ActorId
);

/// A name for people: 1 to 128 bytes of UTF-8 without control characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Name(CompactString);

impl Name {
    /// Checks and keeps `text`.
    ///
    /// # Errors
    /// When `text` is empty, longer than 128 bytes, or has a control character.
    pub fn new(text: &str) -> Result<Self, Invalid> {
        let fits = !text.is_empty() && text.len() <= NAME_BYTES_MAX;
        if fits && !text.chars().any(char::is_control) {
            Ok(Self(CompactString::new(text)))
        } else {
            Err(Invalid::Name)
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}

/// The dense number of a camera within its pool: an index, never reused, stable for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

impl Slot {
    /// The slot as an index.
    #[must_use]
    pub fn index(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// The dense number of an organization within its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OrgNumber(pub u32);

impl OrgNumber {
    /// The number as an index.
    #[must_use]
    pub fn index(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// A log sequence number: the count of journal frames of a partition up to and with this one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Lsn(pub u64);

impl Lsn {
    /// The number after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn is_id(text: &[u8]) -> bool {
    let allowed = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-');
    let is_path_step = matches!(text, b"." | b"..");
    !text.is_empty() && text.len() <= ID_BYTES_MAX && text.iter().all(allowed) && !is_path_step
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_is_bounded_and_printable() {
        for good in ["a", "cam-1", "00:1b:63:84:45:e6", "A.b_c", &"x".repeat(64)] {
            assert_eq!(OrgId::new(good).expect(good).as_str(), good);
        }
        for bad in ["", ".", "..", "a b", "a/b", "é", "a\n", &"x".repeat(65)] {
            assert_eq!(OrgId::new(bad), Err(Invalid::OrganizationId), "{bad:?}");
        }
    }

    #[test]
    fn a_name_is_any_text_without_control_characters() {
        assert!(Name::new("Parkhaus Süd, Ebene 2").is_ok());
        for bad in ["", "a\u{7}", &"x".repeat(129)] {
            assert_eq!(Name::new(bad), Err(Invalid::Name));
        }
    }
}
