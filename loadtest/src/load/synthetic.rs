//! Made-up load: organizations by choice, cameras in a scattered order, requests at random times at an even or rising rate.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rand_distr::{Distribution as _, Exp1, Zipf};

use super::{Arrival, Item, Source, own_camera};
use crate::number::{fraction_of_len, u64_of, usize_of, whole};

/// A prime, so that cameras come in a scattered order and each equally often.
const STRIDE: u64 = 7_919;
const TOKENS_MAX: u32 = 2_000;

/// Which organization a request is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Choice {
    /// Each as often as any other.
    Even,
    /// The first alone.
    Hot,
    /// By Zipf's law with this exponent.
    Zipf(f64),
}

/// What is made up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Synthetic {
    /// Organizations.
    pub(crate) organizations: usize,
    /// Cameras of each.
    pub(crate) cameras: u64,
    /// Debits of a request.
    pub(crate) batch: usize,
    /// Debits a second of all producers together; none for as fast as it goes.
    pub(crate) rate: Option<f64>,
    /// How long the rate rises from nothing to its full height.
    pub(crate) ramp: Duration,
    /// How long it lasts.
    pub(crate) length: Duration,
    /// Which organization a request is for.
    pub(crate) choice: Choice,
}

impl Synthetic {
    /// The source of one of several producers.
    pub(crate) fn source(self, producer: u64, producers: u64) -> Box<dyn Source> {
        let count = fraction_of_len(self.organizations);
        let zipf = match self.choice {
            Choice::Zipf(exponent) => Zipf::new(count, exponent).ok(),
            Choice::Even | Choice::Hot => None,
        };
        let parts = fraction_of_len(usize_of(producers));
        Box::new(Producer {
            per_second: self.rate.map(|rate| rate / fraction_of_len(self.batch) / parts),
            sent: vec![0; self.organizations],
            zipf,
            random: StdRng::seed_from_u64(producer),
            share: (producer, producers),
            at: 0.0,
            load: self,
        })
    }
}

struct Producer {
    load: Synthetic,
    /// Requests a second at full height.
    per_second: Option<f64>,
    /// Debits sent for each organization.
    sent: Vec<u64>,
    zipf: Option<Zipf<f64>>,
    random: StdRng,
    share: (u64, u64),
    at: f64,
}

impl Producer {
    fn choose(&mut self) -> usize {
        match (self.load.choice, &self.zipf) {
            (Choice::Hot, _) => 0,
            (_, Some(zipf)) => usize_of(whole(zipf.sample(&mut self.random))).clamp(1, self.sent.len()) - 1,
            _ => self.random.random_range(0..self.sent.len()),
        }
    }

    /// A Poisson process, slower while the rate rises.
    fn next_time(&mut self) -> Duration {
        if let Some(per_second) = self.per_second {
            let ramp = self.load.ramp.as_secs_f64();
            let height = if self.at < ramp { (self.at / ramp).max(0.02) } else { 1.0 };
            let lots: f64 = Exp1.sample(&mut self.random);
            self.at += lots / (per_second * height).max(1e-9);
        }
        Duration::from_secs_f64(self.at)
    }
}

impl Source for Producer {
    fn next(&mut self, items: &mut Vec<Item>) -> Option<Arrival> {
        let at = self.next_time();
        if at >= self.load.length {
            return None;
        }
        let organization = self.choose();
        let (producer, producers) = self.share;
        let own = ((self.load.cameras + producers - 1 - producer) / producers).max(1);
        let first = self.sent[organization];
        for n in first..first + u64_of(self.load.batch) {
            let (round, place) = (n / own, n % own);
            let place = if own.is_multiple_of(STRIDE) { place } else { place * STRIDE % own };
            let tokens = 1 + u32::try_from(n % u64::from(TOKENS_MAX)).expect("below its bound");
            items.push(Item { camera: own_camera(place, self.share, self.load.cameras), seq: round, tokens });
        }
        self.sent[organization] += u64_of(self.load.batch);
        Some(Arrival { at, organization })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn load(choice: Choice) -> Synthetic {
        let length = Duration::from_secs(4);
        Synthetic {
            organizations: 8,
            cameras: 100,
            batch: 5,
            rate: Some(1_000.0),
            ramp: Duration::ZERO,
            length,
            choice,
        }
    }

    fn all(mut source: Box<dyn Source>) -> Vec<(Arrival, Vec<Item>)> {
        let mut all = Vec::new();
        let mut items = Vec::new();
        while let Some(arrival) = source.next(&mut items) {
            all.push((arrival, std::mem::take(&mut items)));
        }
        all
    }

    #[test]
    fn requests_come_at_about_the_rate_and_in_order() {
        let all = all(load(Choice::Even).source(0, 2));
        assert!((300..500).contains(&all.len()), "4 s of 100 requests a second, not {}", all.len());
        assert!(all.is_sorted_by_key(|(arrival, _)| arrival.at));
    }

    #[test]
    fn a_ramp_sends_less_at_its_beginning() {
        let ramp = Duration::from_secs(4);
        let all = all(Synthetic { ramp, ..load(Choice::Even) }.source(0, 1));
        let early = all.iter().filter(|(arrival, _)| arrival.at < Duration::from_secs(2)).count();
        assert!(early * 2 < all.len() - early, "{early} of {}", all.len());
    }

    #[test]
    fn no_identity_is_sent_twice() {
        let mut seen = HashSet::new();
        for producer in 0..2 {
            for (arrival, items) in all(load(Choice::Zipf(1.2)).source(producer, 2)) {
                for item in items {
                    assert!(item.camera < 100);
                    assert!(seen.insert((arrival.organization, item.camera, item.seq)), "{item:?}");
                }
            }
        }
    }

    #[test]
    fn zipf_prefers_the_first_organization_and_hot_sends_to_it_alone() {
        let zipf = all(load(Choice::Zipf(1.5)).source(0, 1));
        let count = |n| zipf.iter().filter(|(arrival, _)| arrival.organization == n).count();
        assert!(count(0) > count(1) && count(1) > count(5));
        assert!(all(load(Choice::Hot).source(0, 1)).iter().all(|(arrival, _)| arrival.organization == 0));
    }
}
