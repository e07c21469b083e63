//! What clients send: new requests, and such as they sent before.

use tokenweir::domain::debit::UsageKind;

use crate::net::{CameraIs, Envelope, Item, KeyIs, Order, PRICES, Request, Setting, Terms};

use super::{CAMERAS, GATEWAYS, World, place};

const LICENSES: usize = 3;
const API_KEYS: usize = 4;
/// The number of the first reservation that is a lease.
const LEASES: usize = 1_000_000;

impl World {
    pub(super) fn send_debits(&mut self, pick: u64, count: usize, retry: u64, applied: bool) {
        let request = if retry < self.swarm.retries && !self.sent.is_empty() {
            self.sent[place(pick, self.sent.len())].clone()
        } else {
            let paid_by = self.some_order(pick / 3).filter(|_| pick.is_multiple_of(3));
            let org = paid_by.map_or(place(pick, self.swarm.organizations), |order| order.org);
            let paid_by = paid_by.map(|order| order.reservation);
            let before = self.numbers.get(&org).copied().unwrap_or_default();
            let count = u64::try_from(count).expect("few");
            let items = (1..=count).map(|n| self.item(pick, n, before + n, paid_by)).collect();
            self.numbers.insert(org, before + count);
            Request::Debits { org, items, applied }
        };
        self.sent.push(request.clone());
        self.net.push(Envelope::Request(request));
    }

    pub(super) fn claim(&mut self, pick: u64, tokens: u64) {
        let org = place(pick / 2, self.swarm.organizations);
        let request = match self.keys.get(place(pick, self.keys.len())) {
            Some(Request::Claim { key, tokens, .. }) if pick.is_multiple_of(2) => {
                Request::Claim { key: *key, org, tokens: *tokens }
            }
            _ => Request::Claim { key: self.keys.len(), org, tokens },
        };
        self.keys.push(request.clone());
        self.net.push(Envelope::Request(request));
    }

    pub(super) fn some_order(&self, pick: u64) -> Option<Order> {
        self.orders.get(place(pick, self.orders.len())).copied()
    }

    pub(super) fn reserve(&mut self, pick: u64, tokens: u64, ttl_ms: u64) {
        let new = Order {
            org: place(pick / 4, self.swarm.organizations),
            reservation: self.orders.len(),
            tokens,
            ttl_ms,
        };
        let order = self.some_order(pick).filter(|_| pick.is_multiple_of(4)).unwrap_or(new);
        self.orders.push(order);
        self.net.push(Envelope::Request(Request::Reserve(order)));
    }

    pub(super) fn send_transfer(&mut self, pick: u64) {
        let source = place(pick / 3, self.swarm.organizations);
        let target = (source + 1) % self.swarm.organizations;
        let again = pick.is_multiple_of(3) && !self.moves.is_empty();
        let request = if again {
            self.moves[place(pick, self.moves.len())].clone()
        } else {
            Request::Transfer { id: self.moves.len(), source, target }
        };
        self.moves.push(request.clone());
        self.net.push(Envelope::Request(request));
    }

    pub(super) fn set_camera(&mut self, pick: u64) {
        let (org, camera) = (place(pick / 3, self.swarm.organizations), place(pick / 11, CAMERAS));
        let to = [CameraIs::On, CameraIs::Off, CameraIs::On, CameraIs::Removed][place(pick, 4)];
        self.set(Setting::Camera { org, camera, to });
    }

    /// Binds an Unlimited AI License, from a while ago or from soon on, or unbinds one.
    pub(super) fn set_unlimited(&mut self, pick: u64, lasts_ms: u64) {
        let (org, license) = (place(pick / 3, self.swarm.organizations), place(pick / 13, LICENSES));
        let from_ms = self.now.ms() + 30_000 - pick % 60_000;
        let terms = Terms { camera: place(pick / 7, CAMERAS), from_ms, until_ms: from_ms + lasts_ms };
        self.set(Setting::Unlimited { org, license, to: (!pick.is_multiple_of(3)).then_some(terms) });
    }

    pub(super) fn set_price(&mut self, pick: u64) {
        let (org, to) = (place(pick / 3, self.swarm.organizations), PRICES[place(pick, PRICES.len())]);
        self.set(Setting::Price { org, to });
    }

    pub(super) fn set_threshold(&mut self, pick: u64) {
        self.set(Setting::Threshold { org: place(pick / 3, self.swarm.organizations), to: 1 + pick % 200 });
    }

    pub(super) fn set_or_ask_key(&mut self, pick: u64) {
        let key = place(pick / 4, API_KEYS);
        match pick % 4 {
            0 | 1 => self.net.push(Envelope::Request(Request::AskKey { key })),
            2 => self.set(Setting::Key { key, to: KeyIs::Valid }),
            _ => self.set(Setting::Key { key, to: KeyIs::Revoked }),
        }
    }

    fn set(&mut self, setting: Setting) {
        self.net.push(Envelope::Request(Request::Set(setting)));
    }

    /// A gateway takes a lease, spends of it, reports, gives it back, or crashes.
    pub(super) fn gateway(&mut self, pick: u64, tokens: u64) {
        let at = place(pick / 8, GATEWAYS);
        let (request, what) = match pick % 8 {
            0 => {
                let (org, ttl_ms) = (place(pick / 16, self.swarm.organizations), 10_000 + pick % 100_000);
                let order = Order { org, reservation: LEASES + self.leases, tokens, ttl_ms };
                self.leases += 1;
                (self.gateways[at].take(order), "lease asked for")
            }
            1..=3 => return self.spend(at, pick),
            4 | 5 => (self.gateways[at].report(), "lease usage reported"),
            6 => (self.gateways[at].give_back(), "lease given back"),
            _ => {
                if self.gateways[at].crash() {
                    self.count("lease usage lost");
                }
                return;
            }
        };
        if let Some(request) = request {
            self.count(what);
            self.net.push(Envelope::Request(request));
        }
    }

    fn spend(&mut self, gateway: usize, pick: u64) {
        let item = self.item(pick, 0, 0, None);
        if let Some(order) = self.gateways[gateway].may_spend(item.tokens, self.now) {
            let number = self.numbers.entry(order.org).or_default();
            *number += 1;
            let paid_by = Some(order.reservation);
            let item = Item { number: *number, paid_by, is_priced: false, ..item };
            self.gateways[gateway].spend(item);
        }
    }

    /// A new debit, number `number` of its organization and `n` of its request.
    fn item(&self, pick: u64, n: u64, number: u64, paid_by: Option<usize>) -> Item {
        Item {
            paid_by,
            camera: place(pick / 11 + n, CAMERAS),
            by_event_id: [false, true, (pick + n) & 1 == 0][place(self.swarm.event_ids, 3)],
            number,
            tokens: 1 + (pick + n) % 9,
            is_priced: self.swarm.has_prices() && paid_by.is_none() && (pick / 23 + n).is_multiple_of(3),
            kind: if (pick / 17 + n).is_multiple_of(4) {
                UsageKind::VideoSearch
            } else {
                UsageKind::default()
            },
            time_ms: self.now.ms(),
        }
    }
}
