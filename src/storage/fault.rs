//! What can go wrong in storage, said so that an operator knows what was kept and what to do next.
//!
//! A fault is not a refusal: it has no stable code for callers, it has a place and a cause. No fault is raised for
//! something this layer can put right alone; a torn tail, for one, is a report and not a fault.

use std::io;
use std::path::{Path, PathBuf};

use super::event_codec::NEWEST_VERSION;
use crate::domain::ids::Lsn;

/// The result of every storage operation.
pub type Result<T> = std::result::Result<T, Fault>;

/// Why storage could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The operating system refused an operation.
    #[error("could not {action} {}: {source}; nothing was deleted", path.display())]
    Io {
        /// What was tried, as a verb: "write", "sync".
        action: &'static str,
        /// The file or directory it was tried on.
        path: PathBuf,
        /// The answer of the operating system.
        source: io::Error,
    },
    /// Stored bytes are not what was written, and what they held had been durable.
    #[error(
        "{} is damaged at byte {offset}{}: {what}; nothing was deleted; restore this partition from a copy",
        path.display(), at_lsn(*lsn)
    )]
    Corrupt {
        /// The damaged file.
        path: PathBuf,
        /// Where in the file the damage begins, in bytes.
        offset: u64,
        /// The first frame that cannot be read, where that is known.
        lsn: Option<Lsn>,
        /// What is wrong there.
        what: String,
    },
    /// A payload passed its checksum and yet could not be decoded. A reader's callback raises it; the reader adds the
    /// place and turns it into [`Fault::Corrupt`].
    #[error("the payload of lsn {lsn} cannot be decoded: {what}")]
    Undecodable {
        /// The frame that holds the payload.
        lsn: Lsn,
        /// What is wrong with it.
        what: String,
    },
    /// A frame was written by a newer release. A reader's callback raises it; the reader adds the place and turns it into
    /// [`Fault::TooNew`].
    #[error("the frame of lsn {lsn} has version {found}; start a newer release")]
    NewerFrame {
        /// The frame.
        lsn: Lsn,
        /// The version it names.
        found: u8,
    },
    /// A file was written by a newer release.
    #[error(
        "{} has format {found}, this release reads up to {supported}; nothing was changed; start a newer release",
        path.display()
    )]
    TooNew {
        /// The file.
        path: PathBuf,
        /// The format it names.
        found: u32,
        /// The newest format that this release reads.
        supported: u32,
    },
    /// Another process holds the data directory.
    #[error(
        "{} is held by {holder}; nothing was changed; stop that process or choose another data directory",
        path.display()
    )]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// Who holds it, as far as the lock file tells.
        holder: String,
    },
    /// A file that must be there is not.
    #[error("{} is missing: {what}; nothing was deleted; restore this partition from a copy", path.display())]
    Missing {
        /// The file or directory that was expected.
        path: PathBuf,
        /// What it would have held.
        what: String,
    },
    /// Records of a replicated log are not what was written, and what they held had been durable.
    #[error(
        "{place} is damaged at sequence {sequence}{}: {what}; nothing was deleted; restore this partition from a copy",
        at_lsn(*lsn)
    )]
    DamagedLog {
        /// The log.
        place: String,
        /// The record.
        sequence: u64,
        /// The first frame that cannot be read, where that is known.
        lsn: Option<Lsn>,
        /// What is wrong there.
        what: String,
    },
    /// Whoever keeps a replicated log did not do what was asked.
    #[error(
        "could not {action} {place}: {cause}; what was acknowledged is kept; see that its servers answer, then start again"
    )]
    Remote {
        /// What was tried, as a verb.
        action: &'static str,
        /// The log.
        place: String,
        /// What was answered.
        cause: String,
    },
    /// Whoever keeps a replicated log does not do for it.
    #[error("{place} cannot be trusted with a journal: {what}; nothing was changed")]
    Unfit {
        /// The keeper.
        place: String,
        /// What is wrong, the setting, and the remedy.
        what: String,
    },
    /// Somebody else owns a replicated log now, or that cannot be ruled out.
    #[error(
        "this node may not append to {place} any more: {cause}; what was acknowledged is kept, and the log's next owner has it"
    )]
    Deposed {
        /// The log.
        place: String,
        /// What showed it.
        cause: String,
    },
    /// An earlier write or sync failed, and what the medium holds since then is unknown until it is read afresh.
    #[error(
        "this partition stopped writing after a failure ({cause}); what was acknowledged before is kept; \
         mend the cause, then restart"
    )]
    Poisoned {
        /// The first failure, in words.
        cause: String,
    },
}

impl Fault {
    /// Makes the conversion that adds an action and a path to an error of the operating system.
    pub fn io<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::Io { action, path: path.to_path_buf(), source }
    }

    /// Adds the place to an undecodable payload; every other fault stays as it is.
    #[must_use]
    pub fn located(self, path: &Path, offset: u64) -> Self {
        match self {
            Self::Undecodable { lsn, what } => {
                Self::Corrupt { path: path.to_path_buf(), offset, lsn: Some(lsn), what }
            }
            Self::NewerFrame { found, .. } => {
                let (found, supported) = (found.into(), NEWEST_VERSION.into());
                Self::TooNew { path: path.to_path_buf(), found, supported }
            }
            other => other,
        }
    }

    /// Whether a part of the directory is damaged, so that what is in other parts can be trusted still.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Corrupt { .. } | Self::Missing { .. } | Self::DamagedLog { .. })
    }

    pub(super) fn corrupt(path: &Path, offset: u64, lsn: Option<Lsn>, what: impl Into<String>) -> Self {
        Self::Corrupt { path: path.to_path_buf(), offset, lsn, what: what.into() }
    }
}

fn at_lsn(lsn: Option<Lsn>) -> String {
    lsn.map(|lsn| format!(" (lsn {lsn})")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corruption_names_the_file_the_byte_and_the_next_step() {
        let fault = Fault::corrupt(Path::new("d/p000/journal/1.wal"), 64, Some(Lsn(7)), "bad checksum");
        assert_eq!(
            fault.to_string(),
            "d/p000/journal/1.wal is damaged at byte 64 (lsn 7): bad checksum; nothing was deleted; \
             restore this partition from a copy"
        );
    }

    #[test]
    fn an_undecodable_payload_becomes_corruption_with_a_place() {
        let fault = Fault::Undecodable { lsn: Lsn(3), what: "odd".into() }.located(Path::new("a"), 9);
        assert!(matches!(fault, Fault::Corrupt { offset: 9, lsn: Some(Lsn(3)), .. }));
    }
}
