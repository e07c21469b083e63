//! What a journal says about time: it never goes back within an organization, whatever the clock did.

use std::collections::BTreeMap;
use std::path::Path;

use crate::process::{text, weir};

pub(crate) fn expect_rising_times(data: &Path) {
    let report = weir(&["inspect", text(data), "--limit", "1000000", "--json"]).json();
    let mut newest = BTreeMap::new();
    let partitions = report["partitions"].as_array().expect("partitions");
    for frame in partitions.iter().flat_map(|partition| partition["frames"].as_array().expect("frames")) {
        let Some(at) = frame["at"].as_str().filter(|_| !frame["organization"].is_null()) else { continue };
        let before = newest.insert(frame["organization"].to_string(), at.to_owned());
        assert!(before.as_deref().is_none_or(|before| before <= at), "{before:?}, then {frame}");
    }
}
