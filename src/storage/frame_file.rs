//! Files that hold one frame: the manifests of directories and of backups.
//!
//! Deliberately absent: what stands in the frame, and when the file is written.

use std::path::Path;

use super::disk::Disk;
use super::fault::{Fault, Result};
use super::frame::{self, FrameMeta, Next};
use crate::domain::ids::Lsn;

/// A kind of such files.
#[derive(Clone, Copy, Debug)]
pub(super) struct FrameFile {
    /// The kind of the frame.
    pub(super) kind: u8,
    /// The newest version of the frame.
    pub(super) version: u8,
    /// What it is of, for people: `a manifest`.
    pub(super) of: &'static str,
}

impl FrameFile {
    /// The file whose body `put` appends.
    pub(super) fn encode(self, put: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut buf = Vec::new();
        let start = frame::begin(&mut buf);
        put(&mut buf);
        let meta = FrameMeta { lsn: Lsn(0), group: 0, kind: self.kind, version: self.version };
        frame::finish(&mut buf, start, meta);
        buf
    }

    /// Reads the file at `path`, whose body `decode` reads; nothing when there is none.
    ///
    /// # Errors
    /// [`Fault::TooNew`], [`Fault::Corrupt`] or [`Fault::Io`], or what `decode` says.
    pub(super) fn read<T>(
        self,
        disk: &dyn Disk,
        path: &Path,
        decode: impl FnOnce(&[u8]) -> Result<T>,
    ) -> Result<Option<T>> {
        if !disk.exists(path).map_err(Fault::io("look for", path))? {
            return Ok(None);
        }
        let bytes = disk.read(path).map_err(Fault::io("read", path))?;
        let corrupt = |what: String| Fault::corrupt(path, 0, None, what);
        let frame = match frame::next(&bytes, 0) {
            Next::Frame(frame) if frame.meta.kind == self.kind => frame,
            Next::Frame(_) => return Err(corrupt(format!("it is a frame, and not one of {}", self.of))),
            Next::End => return Err(corrupt("it is empty".to_owned())),
            Next::Bad { what, .. } => return Err(corrupt(what.to_owned())),
        };
        if frame.meta.version > self.version {
            let (found, supported) = (frame.meta.version.into(), self.version.into());
            return Err(Fault::TooNew { path: path.to_path_buf(), found, supported });
        }
        decode(frame.body).map(Some)
    }
}
