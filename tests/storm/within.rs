//! What a server is started within, so that its system calls fail or its clock steps: `strace` and `faketime`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::world::World;

/// What a server is started within.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Within {
    /// Nothing.
    Itself,
    /// `strace` that does this to a system call, as its option `inject` describes it; `{}` is a number of the round, `{few}` one up to 4.
    Strace(&'static str),
    /// Without memory that the allocator reserves ahead, so that a limit is felt.
    NothingReserved,
    /// A library that shows the time as the file `clock` says: an offset, read again for every look at the clock.
    FakedClock,
}

impl Within {
    /// Why it cannot be used here.
    pub(crate) fn missing(self) -> Option<&'static str> {
        let options = ["-DD", "-f", "-qqq", "-o", "/dev/null", "true"];
        let strace = || Command::new("strace").args(options).stderr(Stdio::null()).status();
        match self {
            Self::Strace(_) if !strace().is_ok_and(|status| status.success()) => {
                Some("there is no strace that may trace")
            }
            Self::FakedClock if faketime().is_none() => Some("there is no libfaketime"),
            _ => None,
        }
    }

    /// The words before the command.
    pub(crate) fn words(self, world: &World, pick: u64) -> Vec<String> {
        match self {
            Self::Itself => Vec::new(),
            Self::NothingReserved => vec!["env".to_owned(), "MIMALLOC_ARENA_RESERVE=4096".to_owned()],
            Self::Strace(inject) => {
                strace(&inject.replace("{}", &pick.to_string()).replace("{few}", &(1 + pick % 4).to_string()))
            }
            Self::FakedClock => {
                let clock = world.path("clock");
                std::fs::write(&clock, "+0").expect("written");
                let library = faketime().expect("it is not missing");
                let set = |name: &str, value: &Path| format!("{name}={}", value.display());
                vec![
                    "env".to_owned(),
                    set("LD_PRELOAD", &library),
                    set("FAKETIME_TIMESTAMP_FILE", &clock),
                    "FAKETIME_NO_CACHE=1".to_owned(),
                    "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
                ]
            }
        }
    }
}

/// The words that trace a command and keep its process id. Each thread counts its own calls.
pub(crate) fn strace(inject: &str) -> Vec<String> {
    let (call, _) = inject.split_once(':').expect("a system call, then what is done to it");
    let words = ["strace", "-DD", "-f", "-qqq", "-o", "/dev/null", "-e"];
    let traced = [format!("trace={call}"), "-e".to_owned(), format!("inject={inject}")];
    words.map(str::to_owned).into_iter().chain(traced).collect()
}

fn faketime() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.filter_map(Result::ok).map(|entry| entry.path());
    let libraries = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1"));
    libraries.into_iter().find(|library| library.is_file())
}
