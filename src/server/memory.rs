//! Memory in pages of 4 KiB.
//!
//! The allocator asks for huge pages, and where a system grants them its kernel fills up, in the course of minutes, whatever the allocator
//! gave back between two pieces that are used: a server takes twice the memory that it needs, and how much changes without anything
//! having been allocated. Debits are not faster for it. `docs/RELIABILITY.md` has the figures.

/// Has this process, with all of its threads, be given no huge pages that it did not ask for by size.
pub(super) fn in_small_pages() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "huge pages stay; memory is less even");
    }
}
