//! The audit log: bodies of its frames, and a whole log that holds them.

use std::sync::{Arc, LazyLock};

use tokenweir::domain::ids::{ActorId, Lsn, OrgId};
use tokenweir::domain::time::Timestamp;
use tokenweir::storage::audit::{self, Act, AuditLog, End, Ended, Entry};
use tokenweir::storage::frame::{self, FrameMeta, Next};
use tokenweir::storage::segment::SEGMENT_HEADER_BYTES;
use tokenweir::storage::{Disk, Home, Layout, SimDisk};

use crate::bounded::{CLAIMED, bounded};
use crate::crash::files;
use crate::frames;

/// The kind of the log's frames.
const KIND: u8 = 253;
/// What reading a log takes whatever is in it: its only segment, once and in pieces.
const SEGMENT: usize = 256 << 10;

/// A log with one act that has its outcome.
static BEGUN: LazyLock<SimDisk> = LazyLock::new(|| {
    let disk = SimDisk::new();
    let (mut log, _) = AuditLog::open(home(&disk)).expect("a new log");
    log.append(vec![(act(), None)]).expect("a disk in memory");
    log.append(vec![(act(), Some(done(Lsn(1))))]).expect("a disk in memory");
    disk
});

/// The input is frames that follow in a log, each a byte for which kind, its length (2 bytes) and its body. The log is refused, and then
/// nothing of it was changed; or it holds what its frames say, in pages and at an opening, and goes on.
pub fn fuzz(data: &[u8]) {
    let disk = BEGUN.restart();
    let home = home(&disk);
    let written = forge(&disk, &home, data);
    let before = files(&disk, &home);
    let most = (CLAIMED + SEGMENT, 64);
    match bounded(data.len(), most, || AuditLog::open(home.clone())) {
        Ok((log, open)) => holds(&home, log, &open, written),
        Err(fault) => {
            assert!(files(&disk, &home) == before, "{fault}: and yet something was changed");
            let told = fault.to_string();
            assert!(told.contains("nothing was deleted") || told.contains("nothing was changed"), "{told}");
        }
    }
}

/// Entries, as frames of this target.
#[must_use]
pub fn seed(entries: &[(Act, Option<End>)]) -> Vec<u8> {
    let disk = BEGUN.restart();
    let home = home(&disk);
    let (mut log, _) = AuditLog::open(home.clone()).expect("whole");
    for entry in entries {
        log.append(vec![entry.clone()]).expect("a disk in memory");
    }
    let (bytes, mut offset, mut seed) = (segment(&disk, &home), SEGMENT_HEADER_BYTES, Vec::new());
    while let Next::Frame(found) = frame::next(&bytes, offset) {
        if found.meta.lsn > Lsn(2) {
            seed.push(0);
            seed.extend(u16::try_from(found.body.len()).expect("short").to_le_bytes());
            seed.extend(found.body);
        }
        offset = found.next_offset;
    }
    seed
}

/// An act, and what became of one.
pub(crate) fn act() -> Act {
    Act {
        at: Timestamp::from_ms(1_750_000_000_000).expect("in range"),
        actor: ActorId::new("corp:ann").expect("valid"),
        issuer: None,
        subject: Some("ann".to_owned()),
        edge: "http".to_owned(),
        peer: Some("10.0.0.7".to_owned()),
        act: "register_camera".to_owned(),
        organizations: vec![OrgId::new("acme").expect("valid")],
        target: None,
    }
}

pub(crate) fn done(begun: Lsn) -> End {
    End { begun: Some(begun), outcome: "done".to_owned(), unrecorded: 0 }
}

fn home(disk: &SimDisk) -> Home {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    audit::home(&disk, &Layout::new("d"), tokenweir::storage::DirectoryId([7; 16]))
}

fn segment(disk: &SimDisk, home: &Home) -> Vec<u8> {
    disk.read(&home.layout.segment(home.partition, Lsn(1))).expect("there is one")
}

/// Writes frames with right checksums behind those that are there, as many as fit; how many.
fn forge(disk: &SimDisk, home: &Home, mut rest: &[u8]) -> u64 {
    let (mut bytes, mut offset, mut written) = (segment(disk, home), SEGMENT_HEADER_BYTES, 0);
    while let Next::Frame(found) = frame::next(&bytes, offset) {
        (offset, written) = (found.next_offset, found.meta.lsn.0);
    }
    while let Some(([what, low, high], after)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(after.len());
        let (body, next) = after.split_at(length);
        rest = next;
        let (kind, version) = match what {
            254 => (1, 1),
            255 => (KIND, 2),
            _ => (KIND, 1),
        };
        let forged = frames::encode(FrameMeta { lsn: Lsn(written + 1), group: 0, kind, version }, body);
        let Some(room) = bytes.get_mut(offset..offset + forged.len()) else { break };
        room.copy_from_slice(&forged);
        (offset, written) = (offset + forged.len(), written + 1);
    }
    disk.tamper(&home.layout.segment(home.partition, Lsn(1)), &bytes);
    written
}

/// What an open log tells is what its frames say, each of which is the same once written again; and it goes on.
fn holds(home: &Home, mut log: AuditLog, open: &[(Lsn, Act)], written: u64) {
    let entries = scanned(home);
    assert!(entries.iter().map(|(lsn, _)| lsn.0).eq(1..=written), "{written} frames were written");
    assert_eq!(open, without_outcome(&entries));
    let ended = entries.iter().rev().filter_map(|(lsn, entry)| {
        let (act, end) = (entry.act.clone(), entry.end.clone()?);
        Some(Ended { lsn: *lsn, act, end })
    });
    assert_eq!(pages(&log), ended.collect::<Vec<_>>());
    let first = log.append(entries.iter().map(|(_, entry)| (entry.act.clone(), entry.end.clone())).collect());
    let first = first.expect("a disk in memory");
    let again = scanned(home);
    let same = again.iter().skip_while(|(lsn, _)| *lsn < first).map(|(_, entry)| (&entry.act, &entry.end));
    assert!(same.eq(entries.iter().map(|(_, entry)| (&entry.act, &entry.end))), "{again:?}");
    let (mut log, open) = AuditLog::open(home.clone()).expect("it was open a moment ago");
    let outcomes: Vec<_> = open.into_iter().map(|(lsn, act)| (act, Some(done(lsn)))).collect();
    if !outcomes.is_empty() {
        log.append(outcomes).expect("a disk in memory");
        assert_eq!(AuditLog::open(home.clone()).expect("just written").1, []);
    }
}

fn scanned(home: &Home) -> Vec<(Lsn, Entry)> {
    let mut entries = Vec::new();
    audit::scan(home, &mut |lsn, entry| entries.push((lsn, entry))).expect("it was opened");
    entries
}

/// The acts that no later frame ends, from the oldest on that the last frame still wants to be read.
fn without_outcome(entries: &[(Lsn, Entry)]) -> Vec<(Lsn, Act)> {
    let oldest = entries.last().map_or(Lsn(1), |(_, entry)| entry.oldest_open);
    let ends = |lsn: Lsn| {
        move |(_, entry): &(Lsn, Entry)| entry.end.as_ref().is_some_and(|end| end.begun == Some(lsn))
    };
    let wanted = (0..).zip(entries).filter(|(_, (lsn, entry))| *lsn >= oldest && entry.end.is_none());
    let open = wanted.filter(|(place, (lsn, _))| !entries[*place..].iter().any(ends(*lsn)));
    open.map(|(_, (lsn, entry))| (*lsn, entry.act.clone())).collect()
}

/// Everything that the log tells, page by page.
fn pages(log: &AuditLog) -> Vec<Ended> {
    let (mut all, mut below) = (Vec::new(), None);
    loop {
        let page = log.page(below, 3, &|_| true).expect("it was opened");
        assert!(page.acts.len() <= 3 && page.next.is_none_or(|next| below.is_none_or(|below| next < below)));
        all.extend(page.acts);
        below = page.next;
        if below.is_none() {
            return all;
        }
    }
}
