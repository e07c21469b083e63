//! Frames, the blocks that open segments, and the files that are one frame.

use std::path::Path;

use tokenweir::domain::ids::Lsn;
use tokenweir::storage::backup::BackupManifest;
use tokenweir::storage::frame::{self, ALIGN_BYTES, BODY_BYTES_MAX, FrameMeta, FrameRef, HEADER_BYTES, Next};
use tokenweir::storage::segment::SegmentHeader;
use tokenweir::storage::{Disk as _, Layout, Manifest, SimDisk, fixture};

use crate::bounded::{CLAIMED, bounded};

/// Kinds of the frames in MANIFEST and BACKUP.
const MANIFEST: u8 = 0xFF;
const BACKUP: u8 = 0xFE;

/// The input is read as a file of frames, as a segment's block, and as the body of a frame that is written and then
/// damaged.
pub fn fuzz(data: &[u8]) {
    walk(data);
    segment_header(data);
    written(data);
    manifests(data);
}

/// Every frame that is found is, byte for byte, what would be written.
fn walk(file: &[u8]) {
    let mut offset = 0;
    while let Next::Frame(found) = bounded(0, (0, 0), || frame::next(file, offset)) {
        assert!(found.offset == offset && found.next_offset >= offset + HEADER_BYTES + found.body.len());
        assert!(
            found.next_offset.is_multiple_of(ALIGN_BYTES) && u64::from(found.meta.group) <= found.meta.lsn.0
        );
        let bytes = encode(found.meta, found.body);
        let end = HEADER_BYTES + found.body.len();
        assert_eq!(bytes[..end], file[offset..offset + end], "the frame at {offset}");
        offset = found.next_offset;
    }
    for unaligned in 1..file.len().min(2 * ALIGN_BYTES) {
        let _ = frame::next(file, unaligned);
    }
}

fn segment_header(file: &[u8]) {
    let home = fixture::home(SimDisk::new());
    let decoded = SegmentHeader::decode(&home, Path::new("x.wal"), file);
    if let Ok(header) = decoded {
        assert_eq!(header.encode(), file[..header.encode().len()]);
    }
    let Some((fields, _)) = file.split_first_chunk::<18>() else { return };
    let [a, b, c, d, e, f, g, h, len @ .., partition, directory] = *fields;
    let header = SegmentHeader {
        partition: partition.into(),
        directory: if directory == 0 {
            home.directory
        } else {
            tokenweir::storage::DirectoryId([directory; 16])
        },
        first: Lsn(u64::from_le_bytes([a, b, c, d, e, f, g, h])),
        len: u64::from_le_bytes(len),
    };
    let mut block = header.encode().to_vec();
    block.resize(block.len().max(usize::from(fields[8])), 0);
    if let Ok(decoded) = SegmentHeader::decode(&home, Path::new("x.wal"), &block) {
        assert_eq!(decoded, header);
    }
}

/// What was written is read, and is not read once a byte of it is another.
fn written(data: &[u8]) {
    let Some(([lsn, group, kind, version, place, change], body)) = data.split_first_chunk() else { return };
    let group = u32::from(*group.min(lsn));
    let meta = FrameMeta { lsn: Lsn((*lsn).into()), group, kind: *kind, version: *version };
    let mut bytes = encode(meta, body);
    let Next::Frame(FrameRef { meta: read, body: same, .. }) = frame::next(&bytes, 0) else {
        panic!("a frame that was just written cannot be read")
    };
    assert_eq!((read, same), (meta, body));
    let place = usize::from(*place) % (HEADER_BYTES + body.len());
    bytes[place] ^= change;
    let is_read = matches!(frame::next(&bytes, 0), Next::Frame(_));
    assert_eq!(is_read, *change == 0, "byte {place} changed by {change}");
}

/// The input as the body of each kind of file that is one frame: it is refused, or reads the same once written again.
fn manifests(body: &[u8]) {
    let (disk, layout) = (SimDisk::new(), Layout::new("d"));
    disk.create_dir_all(layout.root()).expect("a disk in memory");
    for (path, kind) in [(layout.manifest(), MANIFEST), (layout.backup(), BACKUP)] {
        drop(disk.create_zeroed(&path, 0).expect("a disk in memory"));
        disk.tamper(&path, &encode(FrameMeta { lsn: Lsn(0), group: 0, kind, version: 1 }, body));
    }
    let most = (CLAIMED, 64);
    if let Ok(manifest) = bounded(body.len(), most, || Manifest::read(&disk, &layout)) {
        let manifest = manifest.expect("it is there");
        manifest.write(&disk, &layout).expect("a disk in memory");
        assert_eq!(Manifest::read(&disk, &layout).ok().flatten(), Some(manifest));
    }
    if let Ok(backup) = bounded(body.len(), most, || BackupManifest::read(&disk, &layout)) {
        let backup = backup.expect("it is there");
        backup.write(&disk, &layout).expect("a disk in memory");
        assert_eq!(BackupManifest::read(&disk, &layout).ok().flatten(), Some(backup));
    }
}

pub(crate) fn encode(meta: FrameMeta, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let start = frame::begin(&mut bytes);
    bytes.extend_from_slice(&body[..body.len().min(BODY_BYTES_MAX)]);
    frame::finish(&mut bytes, start, meta);
    bytes
}
