//! File descriptors: raised to what the process may have, and shared out so that connections can never take those that
//! the journal needs. A journal that cannot open its next file stops its partition.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::edge::http::descriptors;

/// Descriptors kept for the journals, snapshots, logs and the runtime.
const RESERVE: usize = 256;
/// Fewest connections that a server is started for, unless fewer are asked for.
const CONNECTIONS_MIN: usize = 64;

/// Raises the limit of this process as far as it may, and answers with it.
pub(super) fn raise() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let hard = limit.maximum.unwrap_or(u64::MAX);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => hard,
        Err(error) => {
            tracing::warn!(%error, "the limit of open files could not be raised");
            limit.current.unwrap_or(u64::MAX)
        }
    }
}

/// How many of the `wanted` connections are served with so many descriptors.
///
/// # Errors
/// When they do not suffice for a server; the message says how many do.
pub(super) fn connections(limit: u64, wanted: usize) -> Result<usize, String> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if needed(wanted) <= limit {
        return Ok(wanted);
    }
    let least = needed(wanted.min(CONNECTIONS_MIN));
    if least > limit {
        return Err(format!(
            "this process may open {limit} files, at least {least} are needed; raise the limit (ulimit -n)"
        ));
    }
    // The need grows with each connection: the last that fits lies where fitting ends.
    let (mut fits, mut exceeds) = (wanted.min(CONNECTIONS_MIN), wanted);
    while exceeds - fits > 1 {
        let middle = fits.midpoint(exceeds);
        if needed(middle) <= limit { fits = middle } else { exceeds = middle }
    }
    tracing::warn!(
        "connections_max is {fits} instead of {wanted}: the process may open {limit} files, and {wanted} connections need \
         {}; raise the limit (ulimit -n)",
        needed(wanted)
    );
    Ok(fits)
}

/// The descriptors that a server of so many connections takes, by HTTP and by gRPC each.
fn needed(connections: usize) -> usize {
    descriptors(connections).saturating_add(connections).saturating_add(RESERVE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_never_take_the_descriptors_that_the_journal_needs() {
        for limit in [496_u64, 500, 1_024, 1_500, 4_096, u64::MAX] {
            let served = connections(limit, 1_024).expect("enough");
            let needed = |connections| u64::try_from(needed(connections)).expect("a count");
            assert!((CONNECTIONS_MIN..=1_024).contains(&served), "{limit}: {served}");
            assert!(needed(served) <= limit, "{limit}: {served}");
            assert!(served == 1_024 || needed(served + 1) > limit, "{limit}: {served} is not the most");
        }
        assert_eq!(connections(20_000, 1_024), Ok(1_024));
        assert_eq!(connections(400, 4), Ok(4));
        assert!(connections(495, 1_024).expect_err("too few").contains("may open 495 files, at least 496"));
    }
}
