//! What a user would take instead, doing the same job on the same machine: a debit that is idempotent by camera and sequence
//! number, conditional on the balance, and durable.
//!
//! Each peer is started on the loopback from the system's own packages, in a temporary directory, and is gone when its handle is.

mod postgres;
mod redis;
mod resp;
mod scripts;
mod tigerbeetle;

use std::process::{Command, Stdio};

pub(crate) use postgres::probes as postgres_probes;
pub(crate) use redis::probes as redis_probes;
pub(crate) use tigerbeetle::probes as tigerbeetle_probes;

use crate::failure::tell;
use crate::process::{find_program, output};

/// How the peers are set up; it goes with the figures.
pub(crate) const CONFIGURATION: &[&str] = &[
    "redis: tcp on the loopback, appendonly yes, appendfsync everysec or always as the row says, no rdb, no rewrite; one hash an \
     organization; a debit is one evalsha of hmget and hset, 1,024 in flight on one connection; 500 a call is one evalsha of one hmget \
     and one hset, with arguments or with a messagepack blob, whichever is faster, 4 calls in flight",
    "postgresql: unix socket, synchronous_commit on, fsync on, wal_level minimal, shared_buffers 512MB, max_wal_size 8GB, fillfactor 50, \
     autovacuum off while measured; a debit is one prepared select of one plpgsql function, 16 clients over 1,000 organizations; 500 a \
     call is one function that updates by unnest, 4 clients with an organization each",
    "tigerbeetle: its own benchmark, one replica and one client on the loopback, 10,000 accounts of which one is hot and debited by every \
     transfer, one batch in flight",
];

/// Whether a program is there, after an attempt to install its package where that is allowed; else why not.
fn have(program: &str, package: &str) -> Result<(), String> {
    if find_program(program).is_some() {
        return Ok(());
    }
    if output("id", &["-u"]).as_deref() != Some("0") || find_program("apt-get").is_none() {
        return Err(format!("{package}: `{program}` is not there; install it with the system's packages"));
    }
    tell(&format!("installing {package}"));
    for arguments in [&["update"][..], &["install", "-y", "--no-install-recommends", package]] {
        let mut command = Command::new("apt-get");
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
        // Whether it worked shows in whether the program is there.
        drop(command.stdout(Stdio::null()).stderr(Stdio::null()).status());
    }
    match find_program(program) {
        Some(_) => Ok(()),
        None => Err(format!("{package}: it could not be installed")),
    }
}
