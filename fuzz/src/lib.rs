//! What the fuzz targets do with their input, each as a function that an ordinary test can call as well.
//!
//! A target asserts what must hold of any input at all: what is decoded can be encoded again and is then the same, what is
//! accepted breaks no invariant, memory is taken in proportion to what is there. `fuzz_targets` hands these functions to
//! libFuzzer, `tests/corpus.rs` hands them the kept corpus; see README.md. Deliberately absent: random inputs, and a
//! second model of the rules: [`rules`] runs the one of `tests/rules`, [`directory`] damages what `tests/crash` writes.

pub mod audit;
mod bounded;
mod crash;
pub mod directory;
pub mod events;
pub mod frames;
pub mod grpc;
pub mod http;
mod judged;
pub mod license_keys;
mod panics;
pub mod rules;
pub mod seeds;
pub mod snapshot;

/// What libFuzzer calls, and the folder of its corpus.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name of the program and of the folder.
    pub name: &'static str,
    /// Runs one input; panics when something that must hold does not.
    pub fuzz: fn(&[u8]),
}

/// Every target.
pub const TARGETS: [Target; 9] = [
    Target { name: "frames", fuzz: frames::fuzz },
    Target { name: "events", fuzz: events::fuzz },
    Target { name: "snapshot", fuzz: snapshot::fuzz },
    Target { name: "directory", fuzz: directory::fuzz },
    Target { name: "audit", fuzz: audit::fuzz },
    Target { name: "http", fuzz: http::fuzz },
    Target { name: "grpc", fuzz: grpc::fuzz },
    Target { name: "license_keys", fuzz: license_keys::fuzz },
    Target { name: "rules", fuzz: rules::fuzz },
];
