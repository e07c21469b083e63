//! A value that can be handed to a snapshot without copying it.
//!
//! [`Shared::freeze`] gives the snapshot a reference and marks the value; the next write copies it first. Between
//! snapshots a write costs one predictable branch and no atomic operation.

use std::sync::Arc;

/// Either owned, or frozen for a snapshot and copied before the next write. Meant for values whose content is on the heap:
/// they are moved when they are frozen.
#[derive(Debug)]
pub enum Shared<T> {
    /// Nobody else sees it.
    Owned(T),
    /// A snapshot may still read it.
    Frozen(Arc<T>),
}

impl<T: Clone + Default> Shared<T> {
    /// Owns `value`.
    pub fn new(value: T) -> Self {
        Self::Owned(value)
    }

    /// Reads the value.
    #[inline]
    #[must_use]
    pub fn get(&self) -> &T {
        match self {
            Self::Owned(value) => value,
            Self::Frozen(value) => value,
        }
    }

    /// Writes to the value; copies it first when a snapshot holds it.
    #[inline]
    pub fn get_mut(&mut self) -> &mut T {
        if let Self::Frozen(_) = self {
            self.thaw();
        }
        match self {
            Self::Owned(value) => value,
            Self::Frozen(_) => unreachable!("thawed above"),
        }
    }

    /// Hands out what the value is now. Costs one small allocation, whatever the value's size.
    #[must_use]
    pub fn freeze(&mut self) -> Arc<T> {
        let frozen = match std::mem::replace(self, Self::Owned(T::default())) {
            Self::Owned(value) => Arc::new(value),
            Self::Frozen(value) => value,
        };
        *self = Self::Frozen(Arc::clone(&frozen));
        frozen
    }

    #[cold]
    fn thaw(&mut self) {
        if let Self::Frozen(value) = std::mem::replace(self, Self::Owned(T::default())) {
            *self = Self::Owned(Arc::try_unwrap(value).unwrap_or_else(|held| held.as_ref().clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frozen_value_keeps_what_it_was() {
        let mut live = Shared::new(vec![1]);
        let image = live.freeze();
        live.get_mut().push(2);
        assert_eq!((image.as_slice(), live.get().as_slice()), (&[1][..], &[1, 2][..]));
        let second = live.freeze();
        assert_eq!(second.as_slice(), [1, 2]);
    }
}
