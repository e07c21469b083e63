//! Tenants as published with ServeGen: each has, per window of ten minutes, a rate and a renewal process of arrivals (Gamma or
//! Weibull), and, per part of the day, distributions of text, image and output tokens. Each tenant is an organization.
//!
//! The files are `chunk-N-trace.csv` (start s, rate, variation, pattern, shape, scale) and `chunk-N-dataset.json`. A window whose
//! rate is zero sends nothing. A window without a pattern that has a rate is taken for a Poisson process.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rand_distr::{Distribution as _, Exp, Gamma, Weibull};

use super::{Arrival, Item, Sequences, Source, own_camera};
use crate::failure::Outcome;
use crate::number::{fraction_of_len, u64_of, usize_of};

const WINDOW_SECONDS: f64 = 600.0;

/// Tenants that were read.
#[derive(Clone, Debug)]
pub(crate) struct Tenants {
    tenants: Arc<Vec<Tenant>>,
}

#[derive(Debug)]
struct Tenant {
    windows: Vec<Option<Gaps>>,
    /// By the second of the day from which they hold.
    tokens: BTreeMap<u64, Vec<Weighted>>,
}

/// The times between arrivals.
#[derive(Clone, Copy, Debug)]
enum Gaps {
    Gamma(Gamma<f64>),
    Weibull(Weibull<f64>),
    Poisson(Exp<f64>),
}

/// Values and the sums of their chances.
#[derive(Debug, Default)]
struct Weighted(Vec<(u32, f64)>);

impl Tenants {
    /// Reads every tenant of a folder, in the order of their numbers.
    pub(crate) fn read(folder: &Path) -> Outcome<Self> {
        let mut tenants = Vec::new();
        for number in 0.. {
            let windows = folder.join(format!("chunk-{number}-trace.csv"));
            if !windows.is_file() {
                break;
            }
            let tokens = folder.join(format!("chunk-{number}-dataset.json"));
            tenants.push(Tenant { windows: read_windows(&windows)?, tokens: read_tokens(&tokens)? });
        }
        if tenants.is_empty() {
            return Err(format!(
                "{} holds no chunk-0-trace.csv; name the folder of the tenants",
                folder.display()
            )
            .into());
        }
        Ok(Self { tenants: Arc::new(tenants) })
    }

    /// How many tenants.
    pub(crate) fn len(&self) -> usize {
        self.tenants.len()
    }

    /// The source of one of several producers: every `producers`-th tenant, `speed` times faster than published.
    pub(crate) fn source(
        &self,
        cameras: u64,
        speed: f64,
        length: Duration,
        (producer, producers): (u64, u64),
    ) -> Box<dyn Source> {
        let tenants = Arc::clone(&self.tenants);
        let own = (usize_of(producer)..self.len()).step_by(usize_of(producers));
        let due = own.map(|tenant| Due { tenant, at: 0.0 }).collect();
        let mut merged = Merged {
            tenants,
            due,
            cameras,
            speed,
            length,
            random: StdRng::seed_from_u64(producer),
            sequences: Sequences::default(),
        };
        for place in 0..merged.due.len() {
            merged.advance(place);
        }
        Box::new(merged)
    }
}

struct Merged {
    tenants: Arc<Vec<Tenant>>,
    due: Vec<Due>,
    cameras: u64,
    speed: f64,
    length: Duration,
    random: StdRng,
    sequences: Sequences,
}

/// When the next request of a tenant comes, in seconds as published; infinite when none does any more.
struct Due {
    tenant: usize,
    at: f64,
}

impl Merged {
    fn advance(&mut self, place: usize) {
        let due = &mut self.due[place];
        due.at = self.tenants[due.tenant].next_after(due.at, &mut self.random).unwrap_or(f64::INFINITY);
    }
}

impl Source for Merged {
    fn next(&mut self, items: &mut Vec<Item>) -> Option<Arrival> {
        let soonest = self.due.iter().enumerate().min_by(|(_, a), (_, b)| a.at.total_cmp(&b.at))?;
        let (place, tenant, at) = (soonest.0, soonest.1.tenant, soonest.1.at);
        let due = Duration::try_from_secs_f64(at / self.speed).ok().filter(|due| *due < self.length)?;
        let tokens = self.tenants[tenant].draw_tokens(at, &mut self.random);
        let camera = own_camera(self.random.random_range(0..self.cameras), (0, 1), self.cameras);
        items.push(Item { camera, seq: self.sequences.take(tenant, camera), tokens });
        self.advance(place);
        Some(Arrival { at: due, organization: tenant })
    }
}

impl Tenant {
    /// The next arrival after `at`. A gap that passes the end of its window is drawn anew in the next one.
    fn next_after(&self, mut at: f64, random: &mut StdRng) -> Option<f64> {
        let (mut start, mut end) = (0.0, WINDOW_SECONDS);
        for window in &self.windows {
            if at < end {
                let next = window.map(|gaps| at.max(start) + gaps.sample(random));
                if let Some(next) = next.filter(|next| *next < end) {
                    return Some(next);
                }
                at = end;
            }
            (start, end) = (end, end + WINDOW_SECONDS);
        }
        None
    }

    fn draw_tokens(&self, at: f64, random: &mut StdRng) -> u32 {
        let second = crate::number::whole(at.floor());
        let part = self.tokens.range(..=second).next_back().or_else(|| self.tokens.iter().next());
        let drawn = part.map_or(0, |(_, parts)| parts.iter().map(|weighted| weighted.sample(random)).sum());
        u32::max(drawn, 1)
    }
}

impl Gaps {
    fn parse(line: &str) -> Option<Option<Self>> {
        let fields: Vec<_> = line.trim().split(',').collect();
        let [_, rate, _, pattern, shape, scale] = fields.try_into().ok()?;
        let (rate, shape, scale): (f64, f64, f64) =
            (rate.parse().ok()?, shape.parse().ok()?, scale.parse().ok()?);
        Some(match pattern {
            _ if rate <= 0.0 => None,
            "Gamma" => Some(Self::Gamma(Gamma::new(shape, scale).ok()?)),
            "Weibull" => Some(Self::Weibull(Weibull::new(scale, shape).ok()?)),
            _ => Some(Self::Poisson(Exp::new(rate).ok()?)),
        })
    }

    fn sample(self, random: &mut StdRng) -> f64 {
        let gap = match self {
            Self::Gamma(gaps) => gaps.sample(random),
            Self::Weibull(gaps) => gaps.sample(random),
            Self::Poisson(gaps) => gaps.sample(random),
        };
        gap.max(1e-6)
    }
}

impl Weighted {
    /// Reads `{value: chance, ..}`, the form of the published files.
    fn parse(text: &str) -> Option<Self> {
        let (mut sum, mut values) = (0.0, Vec::new());
        for pair in text.trim().trim_start_matches('{').trim_end_matches('}').split(',') {
            let (value, chance) = pair.split_once(':')?;
            sum += chance.trim().parse::<f64>().ok()?;
            values.push((value.trim().parse().ok()?, sum));
        }
        Some(Self(values))
    }

    fn sample(&self, random: &mut StdRng) -> u32 {
        let total = self.0.last().map_or(0.0, |(_, sum)| *sum);
        let drawn = random.random::<f64>() * total;
        let place = self.0.partition_point(|(_, sum)| *sum < drawn);
        self.0.get(place.min(self.0.len().saturating_sub(1))).map_or(0, |(value, _)| *value)
    }
}

fn read_windows(path: &Path) -> Outcome<Vec<Option<Gaps>>> {
    let text = std::fs::read_to_string(path)?;
    let mut windows = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let window = Gaps::parse(line);
        windows
            .push(window.ok_or_else(|| format!("line {} of {} is no window", number + 1, path.display()))?);
    }
    Ok(windows)
}

fn read_tokens(path: &Path) -> Outcome<BTreeMap<u64, Vec<Weighted>>> {
    let file: BTreeMap<String, BTreeMap<String, String>> = serde_json::from_slice(&std::fs::read(path)?)?;
    let mut parts = BTreeMap::new();
    for (second, distributions) in &file {
        let names = ["text_tokens", "image_tokens", "output_tokens"];
        let found = names.iter().filter_map(|name| distributions.get(*name));
        let weighted: Option<Vec<_>> = found.map(|text| Weighted::parse(text)).collect();
        let fault = || format!("{} holds a distribution that is none", path.display());
        parts.insert(second.parse()?, weighted.ok_or_else(fault)?);
    }
    Ok(parts)
}

/// The mean rate of all tenants, in requests a second as published: what a speed is chosen by.
impl Tenants {
    /// The mean of the windows' mean rates.
    pub(crate) fn mean_rate(&self) -> f64 {
        let windows = self.tenants.iter().flat_map(|tenant| &tenant.windows).count();
        let rates = self.tenants.iter().flat_map(|tenant| &tenant.windows).flatten().map(Gaps::mean_rate);
        rates.sum::<f64>() * fraction_of_len(self.len()) / fraction_of_len(windows.max(1))
    }
}

impl Gaps {
    fn mean_rate(&self) -> f64 {
        let mut random = StdRng::seed_from_u64(u64_of(1));
        let draws = 200;
        fraction_of_len(draws) / (0..draws).map(|_| self.sample(&mut random)).sum::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOWS: &str = "0,2.0,0.5,Gamma,2.0,0.25\n600,0,0,,0,0\n1200,1.0,1.0,Weibull,1.0,1.0\n";
    const TOKENS: &str = r#"{"0":{"text_tokens":"{100: 1.0}","image_tokens":"{500: 0.5, 700: 0.5}","output_tokens":"{20: 1.0}"}}"#;

    fn all(speed: f64) -> Vec<(Arrival, Item)> {
        let folder = tempfile::tempdir().expect("a directory");
        std::fs::write(folder.path().join("chunk-0-trace.csv"), WINDOWS).expect("written");
        std::fs::write(folder.path().join("chunk-0-dataset.json"), TOKENS).expect("written");
        let tenants = Tenants::read(folder.path()).expect("well formed");
        let mut source = tenants.source(50, speed, Duration::from_secs(10_000), (0, 1));
        let (mut all, mut items) = (Vec::new(), Vec::new());
        while let Some(arrival) = source.next(&mut items) {
            all.push((arrival, items.pop().expect("one")));
        }
        all
    }

    #[test]
    fn windows_have_their_rates_and_a_silent_one_sends_nothing() {
        let all = all(1.0);
        let within = |from: u64, to: u64| {
            all.iter().filter(|(arrival, _)| (from..to).contains(&arrival.at.as_secs())).count()
        };
        assert!((1_000..1_400).contains(&within(0, 600)), "{}", within(0, 600));
        assert_eq!(within(600, 1_200), 0);
        assert!((450..750).contains(&within(1_200, 1_800)), "{}", within(1_200, 1_800));
        assert!(all.is_sorted_by_key(|(arrival, _)| arrival.at));
    }

    #[test]
    fn tokens_are_drawn_from_the_distributions() {
        assert!(all(10.0).iter().all(|(_, item)| [620, 820].contains(&item.tokens)));
    }

    #[test]
    fn a_faster_run_takes_less_time() {
        let last = all(10.0).last().expect("some").0.at;
        assert!(last < Duration::from_secs(180), "{last:?}");
    }
}
