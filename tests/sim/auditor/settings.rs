//! What clients set: cameras, Unlimited AI Licenses, API keys, prices, thresholds. What holds of each, and what may hold.
//!
//! Of every setting stand here the last value that was acknowledged and all that were asked for since: whatever a reply rests on
//! is one of these, because replies leave in the order in which they were judged. What was refused changed nothing.

use std::collections::BTreeMap;

use tokenweir::domain::debit::{Outcome, UsageKind};
use tokenweir::domain::refusal::Refusal;
use tokenweir::domain::summary::Summary;

use crate::net::{CameraIs, Item, KeyIs, Setting, Terms};

use super::{Check, ensure};

/// The settings of a run, each by what names it.
#[derive(Default)]
pub(super) struct Settings {
    cameras: BTreeMap<(usize, usize), Values<CameraIs>>,
    unlimited: BTreeMap<(usize, usize), Values<Option<Terms>>>,
    keys: BTreeMap<usize, Values<KeyIs>>,
    /// By organization: what an image costs, and its threshold; none before either was set.
    prices: BTreeMap<usize, Values<Option<u64>>>,
    thresholds: BTreeMap<usize, Values<Option<u64>>>,
}

/// The value that is sure, then those that were asked for since.
struct Values<T>(Vec<T>);

impl<T: Copy + PartialEq> Values<T> {
    fn may(&self, holds: impl Fn(&T) -> bool) -> bool {
        self.0.iter().any(holds)
    }

    fn must(&self, holds: impl Fn(&T) -> bool) -> bool {
        self.0.iter().all(holds)
    }

    /// What may have held when it was asked for. Acknowledged, all before the first time that it was asked for is over; refused, it
    /// never held. Which of several times the answer is to cannot be told: some are never answered.
    fn told(&mut self, to: T, is_done: bool) -> Vec<T> {
        let times = || (1..self.0.len()).filter(|at| self.0[*at] == to);
        let (first, last) = (times().next(), times().next_back());
        let before = self.0[..last.unwrap_or(self.0.len())].to_vec();
        match first {
            Some(first) if is_done => drop(self.0.drain(..first)),
            Some(first) => drop(self.0.remove(first)),
            None => {}
        }
        before
    }
}

/// The least and the most that a debit costs at these prices.
pub(super) fn cost(item: &Item, prices: &[u64]) -> (u64, u64) {
    if !item.is_priced {
        return (item.tokens, item.tokens);
    }
    let costs = || prices.iter().map(|price| (item.tokens * price).div_ceil(1_000));
    (costs().min().unwrap_or(0), costs().max().unwrap_or(0))
}

impl Settings {
    /// An organization was made with a camera that is on.
    pub(super) fn created(&mut self, org: usize, camera: usize) {
        self.prices.insert(org, Values(vec![None]));
        self.thresholds.insert(org, Values(vec![None]));
        self.cameras.insert((org, camera), Values(vec![CameraIs::On]));
    }

    /// Somebody asks for it.
    pub(super) fn asked(&mut self, setting: Setting) {
        match setting {
            Setting::Camera { org, camera, to } => self.camera(org, camera).0.push(to),
            Setting::Unlimited { org, license, to } => self.unlimited(org, license).0.push(to),
            Setting::Key { key, to } => self.key(key).0.push(to),
            Setting::Price { org, to } => of(&mut self.prices, org).0.push(Some(to)),
            Setting::Threshold { org, to } => of(&mut self.thresholds, org).0.push(Some(to)),
        }
    }

    /// It was done or refused: each needs something that may have held before it.
    pub(super) fn told(&mut self, setting: Setting, answer: Result<(), Refusal>) -> Check {
        let right = match setting {
            Setting::Camera { org, camera, to } => {
                let before = self.camera(org, camera).told(to, answer.is_ok());
                let was_removed = |is: &CameraIs| *is == CameraIs::Removed;
                match (to, answer) {
                    (CameraIs::Removed, Ok(())) => !before.iter().all(was_removed),
                    (CameraIs::Removed, Err(Refusal::UnknownCamera)) => before.iter().any(was_removed),
                    (_, answer) => answer.is_ok(),
                }
            }
            Setting::Unlimited { org, license, to } => {
                let before = self.unlimited(org, license).told(to, answer.is_ok());
                match (to, answer) {
                    (None, Ok(())) => before.iter().any(Option::is_some),
                    (None, Err(Refusal::UnknownLicense)) => before.contains(&None),
                    (Some(terms), Ok(())) => {
                        self.camera(org, terms.camera).may(|is| *is != CameraIs::Removed)
                    }
                    (Some(terms), Err(Refusal::UnknownCamera)) => {
                        self.camera(org, terms.camera).may(|is| *is == CameraIs::Removed)
                    }
                    (Some(terms), Err(Refusal::LicenseInUse)) => {
                        before.iter().flatten().any(|bound| bound.camera != terms.camera)
                    }
                    _ => false,
                }
            }
            Setting::Price { org, to } => {
                of(&mut self.prices, org).told(Some(to), answer.is_ok());
                answer.is_ok()
            }
            Setting::Threshold { org, to } => {
                of(&mut self.thresholds, org).told(Some(to), answer.is_ok());
                answer.is_ok()
            }
            Setting::Key { key, to } => {
                let before = self.key(key).told(to, answer.is_ok());
                let was_made = before.iter().any(|is| *is != KeyIs::Unknown);
                match (to, answer) {
                    (KeyIs::Valid, Ok(())) => before.contains(&KeyIs::Unknown),
                    (KeyIs::Valid, Err(Refusal::Conflict)) | (KeyIs::Revoked, Ok(())) => was_made,
                    (KeyIs::Revoked, Err(Refusal::UnknownKey)) => before.contains(&KeyIs::Unknown),
                    _ => false,
                }
            }
        };
        ensure(right, || format!("I3: {setting:?} was answered with {answer:?}"))
    }

    /// What was read of an organization: what may hold.
    pub(super) fn read(&self, org: usize, price: Option<u64>, threshold: Option<u64>) -> Check {
        for (what, found, known) in
            [("price", price, &self.prices[&org]), ("threshold", threshold, &self.thresholds[&org])]
        {
            let right = known.may(|may| *may == found);
            ensure(right, || format!("I3: the {what} of org {org} is {found:?}, it may be {:?}", known.0))?;
        }
        Ok(())
    }

    /// The least and the most that a debit costs now.
    pub(super) fn cost(&self, org: usize, item: &Item) -> (u64, u64) {
        let prices: Vec<_> = self.prices[&org].0.iter().copied().flatten().collect();
        cost(item, &prices)
    }

    /// What an API key is, was asked.
    pub(super) fn key_is(&mut self, key: usize, is: KeyIs) -> Check {
        let known = self.key(key);
        ensure(known.may(|may| *may == is), || {
            format!("I3: API key {key} is {is:?}, it may be {:?}", known.0)
        })
    }

    /// A debit that was not carried out before needs its camera (R8) and a price, and is exempt exactly while a license says so (R9).
    pub(super) fn debit(&self, org: usize, item: &Item, outcome: Outcome) -> Check {
        let camera = &self.cameras[&(org, item.camera)];
        let may_be = |wanted: CameraIs| camera.may(|is| *is == wanted);
        let of_org = || self.unlimited.range((org, 0)..(org + 1, 0)).map(|(_, license)| license);
        let exempts = |terms: &Option<Terms>| {
            terms.is_some_and(|terms| {
                let valid = (terms.from_ms..terms.until_ms).contains(&item.time_ms);
                valid && terms.camera == item.camera && item.kind == UsageKind::ContextualVideoAnalytics
            })
        };
        let price = &self.prices[&org];
        let has_price = !item.is_priced || price.may(Option::is_some);
        let is_charged = || !of_org().any(|license| license.must(exempts));
        let (right, rule) = match outcome {
            Outcome::Duplicate(_) => (true, "I4"),
            Outcome::Refused(Refusal::CloudAiDisabled) => (may_be(CameraIs::Off), "R8"),
            Outcome::Refused(Refusal::UnknownCamera) => (may_be(CameraIs::Removed), "R8"),
            _ if !may_be(CameraIs::On) => (false, "R8"),
            Outcome::Refused(Refusal::TooOld) => (true, "R13"),
            Outcome::Refused(Refusal::Unpriced) => (item.is_priced && price.may(Option::is_none), "I3"),
            _ if !has_price => (false, "I3"),
            Outcome::Exempt => (of_org().any(|license| license.may(exempts)), "R9"),
            Outcome::Charged | Outcome::Refused(_) => (is_charged(), "R9"),
        };
        ensure(right, || format!("{rule}: camera, prices and licenses do not allow this"))
    }

    /// A summary counts the cameras that are there, and those whose Cloud AI is on.
    pub(super) fn summary(&self, org: usize, summary: &Summary) -> Check {
        let is_there = |is: &CameraIs| *is != CameraIs::Removed;
        self.counts(org, summary.cameras, is_there)?;
        self.counts(org, summary.cloud_ai_enabled, |is| *is == CameraIs::On)
    }

    fn counts(&self, org: usize, found: u32, holds: impl Fn(&CameraIs) -> bool) -> Check {
        let cameras = || self.cameras.range((org, 0)..(org + 1, 0)).map(|(_, camera)| camera);
        let fewest = cameras().filter(|camera| camera.must(&holds)).count();
        let most = cameras().filter(|camera| camera.may(&holds)).count();
        let found = usize::try_from(found).expect("few");
        ensure((fewest..=most).contains(&found), || {
            format!("R8: org {org} counts {found} cameras, they are {fewest} to {most}")
        })
    }

    /// The API keys that were asked for.
    pub(super) fn keys(&self) -> impl Iterator<Item = usize> {
        self.keys.keys().copied()
    }

    fn camera(&mut self, org: usize, camera: usize) -> &mut Values<CameraIs> {
        self.cameras.entry((org, camera)).or_insert_with(|| Values(vec![CameraIs::Removed]))
    }

    fn unlimited(&mut self, org: usize, license: usize) -> &mut Values<Option<Terms>> {
        self.unlimited.entry((org, license)).or_insert_with(|| Values(vec![None]))
    }

    fn key(&mut self, key: usize) -> &mut Values<KeyIs> {
        self.keys.entry(key).or_insert_with(|| Values(vec![KeyIs::Unknown]))
    }
}

/// What is set of an organization that was made.
fn of(settings: &mut BTreeMap<usize, Values<Option<u64>>>, org: usize) -> &mut Values<Option<u64>> {
    settings.get_mut(&org).expect("it was created")
}
