//! A directory in the making: it has a temporary name until everything in it is synced and checked, and goes when
//! it is given up.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::failure::Failure;

/// A directory in the making.
#[derive(Debug)]
#[must_use = "it is removed again when it is not finished"]
pub(super) struct Fresh {
    path: PathBuf,
    partial: PathBuf,
    is_finished: bool,
}

impl Fresh {
    /// Begins a directory that is not there yet, readable by its owner alone: it holds hashes of API keys.
    ///
    /// # Errors
    /// When it is there, or a run that did not end left its beginning.
    pub(super) fn begin(path: &Path) -> Result<Self, Failure> {
        let there = |path: &Path, why: &str| {
            let message =
                format!("{} is there already{why}; nothing was written; choose another name", path.display());
            Err(Failure::usage(message))
        };
        if path.symlink_metadata().is_ok() {
            return there(path, "");
        }
        let name = path.file_name().ok_or_else(|| Failure::usage("the new directory has no name"))?;
        let partial = path.with_file_name(format!("{}.partial", name.to_string_lossy()));
        match DirBuilder::new().mode(0o700).create(&partial) {
            Ok(()) => Ok(Self { path: path.to_path_buf(), partial, is_finished: false }),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                there(&partial, ", left by a run that has not ended: wait for it, or remove that directory")
            }
            Err(error) => Err(Failure::usage(format!(
                "could not make {}: {error}; nothing was written",
                partial.display()
            ))),
        }
    }

    /// Where it is made.
    pub(super) fn partial(&self) -> &Path {
        &self.partial
    }

    /// Gives it its name, durably. What is in it is synced.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) fn finish(mut self) -> Result<(), Failure> {
        let sync = |dir: &Path| std::fs::File::open(dir).and_then(|dir| dir.sync_all());
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        sync(&self.partial)?;
        std::fs::rename(&self.partial, &self.path)?;
        self.is_finished = true;
        Ok(sync(parent.unwrap_or(Path::new(".")))?)
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if !self.is_finished {
            // What stays behind is named to the next run.
            drop(std::fs::remove_dir_all(&self.partial));
        }
    }
}
