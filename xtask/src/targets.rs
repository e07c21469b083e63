//! The examples and benches of the root crate, found by listing their folders: a new one is run without being named here.

use std::path::Path;

use crate::cargo::root;
use crate::step::Failure;

/// The names of the examples, in alphabetical order.
///
/// # Errors
/// When the folder cannot be read.
pub(crate) fn examples() -> Result<Vec<String>, Failure> {
    names_in(&root().join("examples"))
}

/// The names of the benches, in alphabetical order.
///
/// # Errors
/// When the folder cannot be read.
pub(crate) fn benches() -> Result<Vec<String>, Failure> {
    names_in(&root().join("benches"))
}

/// Cargo makes a target of `NAME.rs` and of `NAME/main.rs`; other files and folders are helpers of those.
///
/// # Errors
/// When the folder cannot be read.
pub(crate) fn names_in(folder: &Path) -> Result<Vec<String>, Failure> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let entries = std::fs::read_dir(folder).map_err(|error| unreadable(folder, &error))?;
    let mut names = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| unreadable(folder, &error))?.path();
        let is_target =
            path.extension().is_some_and(|extension| extension == "rs") || path.join("main.rs").is_file();
        if let Some(stem) = path.file_stem().and_then(|stem| stem.to_str()).filter(|_| is_target) {
            names.push(stem.to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn unreadable(folder: &Path, error: &std::io::Error) -> Failure {
    Failure::Layout(format!("{} cannot be listed: {error}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_a_folder_become_names_in_order() {
        let names = names_in(&root().join("xtask/src")).expect("the folder of this file exists");
        assert!(names.iter().any(|name| name == "targets"));
        assert!(names.is_sorted());
    }

    #[test]
    fn a_folder_of_helpers_is_no_target() {
        assert!(root().join("benches/support/mod.rs").is_file(), "this test needs one");
        let names = benches().expect("the folder exists");
        assert!(names.iter().any(|name| name == "engine"));
        assert!(names.iter().all(|name| name != "support"), "{names:?}");
    }

    #[test]
    fn a_folder_that_does_not_exist_holds_no_targets() {
        let names = names_in(&root().join("no-such-folder")).expect("absent is empty");
        assert!(names.is_empty());
    }
}
