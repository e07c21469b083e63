//! File descriptors: raised to what the process may have, and shared out so that connections can never take those that
//! the journal needs. A journal that cannot open its next file stops its partition.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors kept for the journals, snapshots, logs and the runtime.
const RESERVE: u64 = 128;
/// Fewest connections that a server is started for.
const CONNECTIONS_MIN: u64 = 16;

/// How connections share the descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    /// Connections that are served.
    pub(super) served: usize,
    /// Connections that are accepted, those included that are only told that there are too many.
    pub(super) accepted: usize,
}

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

/// Shares `descriptors` out among at most `wanted` connections.
///
/// # Errors
/// When they do not suffice for a server; the message says how many do.
pub(super) fn share(descriptors: u64, wanted: usize) -> Result<Share, String> {
    let free = descriptors.saturating_sub(RESERVE);
    if free < CONNECTIONS_MIN {
        let needed = RESERVE + CONNECTIONS_MIN;
        return Err(format!(
            "this process may open {descriptors} files, at least {needed} are needed (ulimit -n)"
        ));
    }
    let free = usize::try_from(free).unwrap_or(usize::MAX);
    let served = wanted.min(free);
    if served < wanted {
        tracing::warn!(
            wanted,
            served,
            descriptors,
            "fewer connections than configured are served: the limit of open files is too low (ulimit -n)"
        );
    }
    Ok(Share { served, accepted: served.saturating_mul(4).min(free) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_never_take_the_descriptors_that_the_journal_needs() {
        assert_eq!(share(1_024, 1_024), Ok(Share { served: 896, accepted: 896 }));
        assert_eq!(share(20_000, 1_024), Ok(Share { served: 1_024, accepted: 4_096 }));
        assert_eq!(share(2_000, 1_024), Ok(Share { served: 1_024, accepted: 1_872 }));
        assert!(share(143, 1_024).expect_err("too few").contains("at least 144"));
    }
}
