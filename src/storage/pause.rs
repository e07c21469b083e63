//! Places at which long work pauses, when whoever does it wants that: between pieces, with nothing half done and nothing locked.

use std::cell::RefCell;

thread_local! {
    static PAUSE: RefCell<Option<Box<dyn FnMut()>>> = const { RefCell::new(None) };
}

/// Takes the pause away when the work ends, however it ends.
struct Ends;

/// Does `work`, and calls `pause` at each place where it may pause, on this thread.
pub fn pausing<T>(pause: impl FnMut() + 'static, work: impl FnOnce() -> T) -> T {
    PAUSE.with(|place| *place.borrow_mut() = Some(Box::new(pause)));
    let _ends = Ends;
    work()
}

/// A place where work may pause.
pub(super) fn may_pause() {
    PAUSE.with(|place| {
        if let Some(pause) = &mut *place.borrow_mut() {
            pause();
        }
    });
}

impl Drop for Ends {
    fn drop(&mut self) {
        PAUSE.with(|place| *place.borrow_mut() = None);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    #[test]
    fn it_pauses_where_it_may_while_it_is_wanted_and_no_longer() {
        let pauses = Rc::new(Cell::new(0));
        let counts = Rc::clone(&pauses);
        may_pause();
        pausing(move || counts.set(counts.get() + 1), || (0..3).for_each(|_| may_pause()));
        may_pause();
        assert_eq!((pauses.get(), Rc::strong_count(&pauses)), (3, 1));
    }
}
