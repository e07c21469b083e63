//! Memory in proportion to the input.

/// What serde takes for lengths that an input merely claims: at most 1 MiB at each level of nesting, and few are open at once.
pub(crate) const CLAIMED: usize = 4 << 20;

/// Runs `decode` over an input of so many bytes and checks that what it took at a time is in proportion to them: a length
/// that an input merely claims is not believed.
pub(crate) fn bounded<T>(input: usize, (base, factor): (usize, usize), decode: impl FnOnce() -> T) -> T {
    let mut decoded = None;
    let taken = allocation_counter::measure(|| decoded = Some(decode())).bytes_max;
    let most = base + factor * input;
    assert!(
        usize::try_from(taken).is_ok_and(|taken| taken <= most),
        "{taken} bytes were taken for an input of {input}; {most} is the most"
    );
    decoded.expect("it ran")
}
