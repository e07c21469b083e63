//! Bugs that can be planted in the code that ships, so that the simulator shows that it would find them.
//!
//! A bug is one line where it belongs: `planted::is(Bug::ForgetDedup)`. Without the feature `planted`, which no default brings,
//! that is a constant `false` and nothing of it is left. With it a bug is chosen while running, for one thread, so that one
//! build serves all of them. Absent on purpose: more than one bug at a time.

/// What could be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A reply leaves before what it rests on is synced.
    AcknowledgeBeforeSync,
    /// A snapshot does not hold which sequence numbers were charged.
    ForgetDedup,
    /// A license key that is applied again brings its licenses again.
    CreditTwice,
    /// A replay carries out frames that the snapshot holds.
    SkipLsnCheck,
    /// A committed transfer is aborted after a restart.
    AbortAfterCommit,
    /// The name of a new file is not made durable.
    DropDirectorySync,
    /// A second process may write to a directory.
    AcceptSecondWriter,
    /// A pool that was moved away keeps its licenses and their tokens.
    RestoreTransferred,
    /// A reservation that ended gives its tokens back again.
    FreeReservationTwice,
    /// A reservation that is asked for again holds its tokens again.
    CountLeaseTwice,
    /// An Unlimited AI License exempts after its validity.
    ExemptForever,
    /// A camera whose Cloud AI is off is charged.
    MeterDisabled,
    /// An API key that was revoked goes on to be valid.
    KeepRevokedKey,
    /// A snapshot does not hold what events cost.
    ForgetPrices,
    /// A snapshot does not hold thresholds.
    ForgetThresholds,
    /// A new owner of a replicated log serves without a fence.
    ServeBeforeFence,
    /// An owner whose append was refused acknowledges what it held.
    IgnoreRefusedAppend,
    /// An append of unknown outcome is sent again behind whatever is the last record.
    TreatUnknownAsFailed,
    /// Records that no snapshot holds are purged.
    PurgeAboveSnapshot,
    /// An answer that rests on no new record leaves without the log's word.
    AnswerUnconfirmed,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::AcknowledgeBeforeSync,
        Self::ForgetDedup,
        Self::CreditTwice,
        Self::SkipLsnCheck,
        Self::AbortAfterCommit,
        Self::DropDirectorySync,
        Self::AcceptSecondWriter,
        Self::RestoreTransferred,
        Self::FreeReservationTwice,
        Self::CountLeaseTwice,
        Self::ExemptForever,
        Self::MeterDisabled,
        Self::KeepRevokedKey,
        Self::ForgetPrices,
        Self::ForgetThresholds,
        Self::ServeBeforeFence,
        Self::IgnoreRefusedAppend,
        Self::TreatUnknownAsFailed,
        Self::PurgeAboveSnapshot,
        Self::AnswerUnconfirmed,
    ];
}

impl Bug {
    /// Whether only a replicated log can show it.
    #[must_use]
    pub fn is_of_cluster(self) -> bool {
        Self::ALL[15..].contains(&self)
    }
}

#[cfg(feature = "planted")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Plants a bug for this thread, or none.
#[cfg(feature = "planted")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Whether this bug is planted.
#[cfg(feature = "planted")]
pub(crate) fn is(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Whether this bug is planted: none ever is in a release.
#[cfg(not(feature = "planted"))]
#[inline]
pub(crate) const fn is(_: Bug) -> bool {
    false
}
