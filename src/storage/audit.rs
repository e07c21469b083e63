//! The audit log: who did what to whose organization, from where, and what became of it. It is never pruned.
//!
//! It is a journal of its own below `audit/`, with the frames, the reader and the recovery of every journal, but no snapshots and no
//! pools. An act has two frames: one before it is carried out, and one with its outcome, which repeats it, so that a page of the log is read without
//! looking for its other half. Each frame says which is the oldest act without an outcome, so that an opening reads no further back.
//!
//! What is held in memory is what has no outcome yet, and one segment while it is read. Deliberately absent: removing anything, and
//! the meaning of an act.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::disk::Disk;
use super::event_codec;
use super::fault::{Fault, Result};
use super::frame::{self, FrameMeta, FrameRef, Next};
use super::journal::{Journal, JournalConfig};
use super::layout::{DirectoryId, Home, Layout};
use super::reader::{self, Scan, Start};
use super::recovery::open_partition;
use super::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::domain::ids::{ActorId, Lsn, OrgId};
use crate::domain::time::Timestamp;

/// The kind of its frames, unlike any of another journal, and their version.
const KIND: u8 = 253;
const VERSION: u8 = 1;
/// Segments are read whole, so they stay short.
const SEGMENTS: JournalConfig = JournalConfig { segment_bytes_min: 64 << 10, segment_bytes_max: 1 << 20 };
/// Most segments that are read for one page.
const PAGE_SEGMENTS_MAX: usize = 4;

/// An act: who does what, where, and whence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    /// When it was begun.
    pub at: Timestamp,
    /// Who does it: the id of an API key, the name of a token's bearer, or the host.
    pub actor: ActorId,
    /// Who signed his token; none without one.
    pub issuer: Option<String>,
    /// Whom the token names.
    pub subject: Option<String>,
    /// Where he came in: `http`, `grpc` or `host`.
    pub edge: String,
    /// The address that he called from.
    pub peer: Option<String>,
    /// What he does, as a stable code.
    pub act: String,
    /// To which organizations.
    pub organizations: Vec<OrgId>,
    /// To what in them.
    pub target: Option<String>,
}

/// What became of an act.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// The frame with which it was begun; none when it was refused before that.
    pub begun: Option<Lsn>,
    /// `done`, `unknown`, or the code of the refusal.
    pub outcome: String,
    /// How many refusals of the same caller before this one were not recorded one by one.
    pub unrecorded: u64,
}

/// A frame of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The act.
    pub act: Act,
    /// Its outcome; none while it is being carried out.
    pub end: Option<End>,
    /// The oldest act without an outcome, this one included; where there is none, the frame after this one.
    pub oldest_open: Lsn,
}

/// An act with its outcome, and the frame of that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// The frame.
    pub lsn: Lsn,
    /// The act.
    pub act: Act,
    /// Its outcome.
    pub end: End,
}

/// A part of the log, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// The acts.
    pub acts: Vec<Ended>,
    /// Where the next part begins: below this frame. None at the beginning of the log.
    pub next: Option<Lsn>,
}

/// The audit log, open for writing.
#[derive(Debug)]
pub struct AuditLog {
    home: Home,
    journal: Journal,
    open: BTreeSet<Lsn>,
}

/// Where the audit log of a directory lives.
#[must_use]
pub fn home(disk: &Arc<dyn Disk>, layout: &Layout, directory: DirectoryId) -> Home {
    Home { disk: Arc::clone(disk), layout: layout.audit(), partition: 0, directory }
}

/// Whether there is an audit log; a directory of a release before it has none.
///
/// # Errors
/// [`Fault::Io`].
pub fn exists(home: &Home) -> Result<bool> {
    let path = home.layout.journal(home.partition);
    home.disk.exists(&path).map_err(Fault::io("look for", &path))
}

/// Reads all of it, and gives each frame; writes nothing.
///
/// # Errors
/// As [`reader::read`], and [`Fault::Corrupt`] for a frame that cannot be decoded.
pub fn scan(home: &Home, on_entry: &mut dyn FnMut(Lsn, Entry)) -> Result<Scan> {
    reader::read(home, Start::Oldest, &mut |frame| {
        on_entry(frame.meta.lsn, decode(&frame)?);
        Ok(())
    })
}

impl AuditLog {
    /// Opens the log, made when it is not there, and answers with the acts that have no outcome: a crash took it.
    ///
    /// # Errors
    /// As [`open_partition`].
    pub fn open(home: Home) -> Result<(Self, Vec<(Lsn, Act)>)> {
        let mut oldest_open = Lsn(1);
        if exists(&home)? {
            let last = reader::list_segments(&home)?.last().map_or(Lsn(0), |first| Lsn(first.0 - 1));
            reader::read(&home, Start::After(last), &mut |frame| {
                oldest_open = decode(&frame)?.oldest_open;
                Ok(())
            })?;
        }
        let mut open = std::collections::BTreeMap::new();
        let collect = &mut |frame: FrameRef<'_>| {
            let entry = decode(&frame)?;
            match entry.end {
                None => drop(open.insert(frame.meta.lsn, entry.act)),
                Some(End { begun: Some(begun), .. }) => drop(open.remove(&begun)),
                Some(_) => {}
            }
            Ok(())
        };
        let (journal, _) = open_partition(&home, SEGMENTS, Lsn(oldest_open.0.saturating_sub(1)), collect)?;
        let log = Self { home, journal, open: open.keys().copied().collect() };
        Ok((log, open.into_iter().collect()))
    }

    /// Makes acts and outcomes durable, in one group; answers with the frame of the first.
    ///
    /// # Errors
    /// As [`Journal::append_group`].
    pub fn append(&mut self, group: Vec<(Act, Option<End>)>) -> Result<Lsn> {
        let first = self.journal.next_lsn();
        let (mut bytes, mut lsn, mut frames) = (Vec::new(), first, 0_u32);
        for (act, end) in group {
            match end.as_ref().map(|end| end.begun) {
                None => drop(self.open.insert(lsn)),
                Some(Some(begun)) => drop(self.open.remove(&begun)),
                Some(None) => {}
            }
            let oldest_open = self.open.first().copied().unwrap_or(lsn.next());
            let start = frame::begin(&mut bytes);
            let body = rmp_serde::to_vec_named(&Entry { act, end, oldest_open });
            bytes.extend_from_slice(&body.expect("text and numbers can be encoded"));
            frame::finish(&mut bytes, start, FrameMeta { lsn, group: frames, kind: KIND, version: VERSION });
            (lsn, frames) = (lsn.next(), frames + 1);
        }
        self.journal.append_group(first, frames, &bytes)?;
        Ok(first)
    }

    /// The ended acts below a frame that are `wanted`, newest first, at most `rows` of them. It reads a few segments at most: a page may be short,
    /// and not the last.
    ///
    /// # Errors
    /// [`Fault::Corrupt`] and [`Fault::Io`].
    pub fn page(&self, below: Option<Lsn>, rows: usize, wanted: &dyn Fn(&Act) -> bool) -> Result<Page> {
        let below = below.unwrap_or(self.journal.next_lsn());
        let mut segments = reader::list_segments(&self.home)?;
        segments.retain(|first| *first < below);
        let mut page = Page::default();
        for first in segments.iter().rev().take(PAGE_SEGMENTS_MAX) {
            page.next = Some(*first).filter(|first| first.0 > 1);
            let mut ended = self.ended(*first, below, wanted)?;
            while let Some(act) = ended.pop() {
                if page.acts.len() == rows {
                    page.next = page.acts.last().map(|act: &Ended| act.lsn);
                    return Ok(page);
                }
                page.acts.push(act);
            }
        }
        Ok(page)
    }

    /// The ended acts of a segment below a frame that are wanted, oldest first.
    fn ended(&self, first: Lsn, below: Lsn, wanted: &dyn Fn(&Act) -> bool) -> Result<Vec<Ended>> {
        let path = self.home.layout.segment(self.home.partition, first);
        let bytes = self.home.disk.read(&path).map_err(Fault::io("read", &path))?;
        SegmentHeader::decode(&self.home, &path, &bytes)?;
        let (mut ended, mut lsn, mut offset) = (Vec::new(), first, SEGMENT_HEADER_BYTES);
        while lsn < below
            && let Next::Frame(frame) = frame::next(&bytes, offset)
            && frame.meta.lsn == lsn
        {
            let entry =
                decode(&frame).map_err(|fault| Fault::corrupt(&path, 0, Some(lsn), fault.to_string()))?;
            if let Some(end) = entry.end.filter(|_| wanted(&entry.act)) {
                ended.push(Ended { lsn, act: entry.act, end });
            }
            (lsn, offset) = (lsn.next(), frame.next_offset);
        }
        Ok(ended)
    }
}

fn decode(frame: &FrameRef<'_>) -> Result<Entry> {
    let FrameMeta { lsn, kind, version, .. } = frame.meta;
    if version > VERSION {
        return Err(Fault::NewerFrame { lsn, found: version });
    }
    if kind != KIND {
        return Err(Fault::Undecodable { lsn, what: format!("it is of the kind {kind}") });
    }
    let entry = event_codec::from_named_borrowed(frame.body, "it is no entry of the audit log");
    entry.map_err(|error| Fault::Undecodable { lsn, what: error.to_string() })
}

#[cfg(test)]
mod tests;
