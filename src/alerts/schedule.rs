//! When a delivery that failed is tried again: ten times over a day, later and later, never quite when others are.

/// How long after each attempt the next one follows, in milliseconds.
const DELAYS_MS: [u64; 10] =
    [5_000, 30_000, 120_000, 600_000, 1_800_000, 3_600_000, 7_200_000, 14_400_000, 21_600_000, 36_000_000];

/// How long after so many attempts the next one follows, in milliseconds: a tenth more or less, as `random` says. None after the last.
pub(super) fn retry_after_ms(attempts: u32, random: u64) -> Option<u64> {
    let place = usize::try_from(attempts.checked_sub(1)?).ok()?;
    let delay = *DELAYS_MS.get(place)?;
    Some(delay - delay / 10 + random % (delay / 5 + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_is_tried_again_later_and_later_over_a_day() {
        let waits = |random: u64| {
            let waits = (1..).map_while(|attempts| retry_after_ms(attempts, random));
            waits.collect::<Vec<_>>()
        };
        for (random, least_h, most_h) in [(0, 21, 22), (u64::MAX / 2, 20, 27), (1, 21, 22)] {
            let waits = waits(random);
            assert_eq!(waits.len(), DELAYS_MS.len());
            assert!(waits.windows(2).all(|two| two[0] < two[1]), "{waits:?}");
            let hours = waits.iter().sum::<u64>() / 3_600_000;
            assert!((least_h..=most_h).contains(&hours), "{hours} h");
        }
        assert_eq!(retry_after_ms(0, 0), None);
    }

    #[test]
    fn a_wait_is_within_a_tenth_of_its_delay_whatever_is_drawn() {
        for (place, delay) in (1..).zip(DELAYS_MS) {
            for random in [0, 1, delay / 5, delay / 5 + 1, u64::MAX] {
                let wait = retry_after_ms(place, random).expect("not the last");
                assert!((delay - delay / 10..=delay + delay / 10).contains(&wait), "{delay}: {wait}");
            }
        }
    }
}
