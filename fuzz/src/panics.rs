//! Panics that the code under test catches itself.
//!
//! A replay takes a panic for a frame that contradicts the state, and makes a fault of it. libFuzzer ends the process at
//! the first panic, whoever would catch it; this keeps it from that where such a panic is an answer.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    static MAY_PANIC: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work`, inside which a panic may be caught. One that is not caught there is one of the caller's.
pub(crate) fn may_be_caught<T>(work: impl FnOnce() -> T) -> T {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let other = take_hook();
        set_hook(Box::new(move |info| {
            if !MAY_PANIC.get() {
                other(info);
            }
        }));
    });
    let before = MAY_PANIC.replace(true);
    let done = catch_unwind(AssertUnwindSafe(work));
    MAY_PANIC.set(before);
    done.unwrap_or_else(|cause| {
        let told = cause.downcast_ref::<String>().map(String::as_str);
        panic!("nobody caught: {}", told.or(cause.downcast_ref::<&str>().copied()).unwrap_or("a panic"))
    })
}
