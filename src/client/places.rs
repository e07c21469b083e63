//! Where organizations are served: the server that a client was given, and the nodes of its cluster that it learned of.
//!
//! A node that does not own an organization names the one that does, and the client asks there from then on. When a node does not answer, the next one that is known is asked: each
//! knows who owns what. Nothing that is learned here is needed: it is forgotten with the client.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tonic::codegen::http::Uri;
use tonic::transport::Channel;

use crate::proto::v1::metering_client::MeteringClient;

use super::{Config, service};

/// The code of an answer that names another node.
pub(super) const ELSEWHERE: &str = "elsewhere";

/// Most nodes that are remembered.
const PLACES_MAX: usize = 64;
/// Most organizations whose node is remembered.
const ORGANIZATIONS_MAX: usize = 65_536;

/// The nodes that are known, the one that was given first.
#[derive(Debug)]
pub(super) struct Places(Mutex<Known>);

#[derive(Debug)]
struct Known {
    places: Vec<Place>,
    of: BTreeMap<String, usize>,
}

#[derive(Debug)]
struct Place {
    url: String,
    service: MeteringClient<Channel>,
}

/// Where a call goes.
pub(super) struct At {
    place: usize,
    pub(super) service: MeteringClient<Channel>,
}

impl Places {
    /// The server that was given, and no other yet.
    pub(super) fn new(url: &str, service: MeteringClient<Channel>) -> Self {
        let places = vec![Place { url: url.to_owned(), service }];
        Self(Mutex::new(Known { places, of: BTreeMap::new() }))
    }

    /// Where calls for an organization go.
    pub(super) fn of(&self, organization: &str) -> At {
        let known = self.lock();
        let place = known.of.get(organization).copied().unwrap_or(0);
        At { place, service: known.places[place].service.clone() }
    }

    /// Where the organization is served was told; whether it is another place than the one that was asked.
    pub(super) fn learn(&self, config: &Config, organization: &str, asked: &At, owner: &str) -> bool {
        // What is shown to a server goes over no connection that is less guarded than the one that was asked for.
        let scheme = |url: &str| url.parse::<Uri>().ok().and_then(|uri| uri.scheme_str().map(str::to_owned));
        if scheme(owner) != scheme(&config.url) {
            return false;
        }
        let mut known = self.lock();
        let place = match known.places.iter().position(|place| place.url == owner) {
            Some(place) => place,
            None => {
                let Ok(service) = service(config, owner) else { return false };
                if known.places.len() >= PLACES_MAX {
                    known.places.truncate(1);
                    known.of.clear();
                }
                known.places.push(Place { url: owner.to_owned(), service });
                known.places.len() - 1
            }
        };
        known.note(organization, place);
        place != asked.place
    }

    /// The place that was asked does not answer: the next one is asked. Whether there is another.
    pub(super) fn pass_over(&self, organization: &str, asked: &At) -> bool {
        let mut known = self.lock();
        let next = (asked.place + 1) % known.places.len();
        known.note(organization, next);
        next != asked.place
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn note(&mut self, organization: &str, place: usize) {
        if self.of.len() >= ORGANIZATIONS_MAX {
            self.of.clear();
        }
        self.of.insert(organization.to_owned(), place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_organization_is_asked_for_where_it_was_told_to_be_and_at_the_next_place_when_that_is_gone() {
        let config = Config::new("http://127.0.0.1:1", "k");
        let home = service(&config, &config.url).expect("a url");
        let places = Places::new(&config.url, home);
        let at = |id: &str| places.of(id).place;
        assert_eq!(at("a"), 0);
        assert!(!places.pass_over("a", &places.of("a")), "there is no other");
        assert!(places.learn(&config, "a", &places.of("a"), "http://127.0.0.1:2"));
        assert!(!places.learn(&config, "a", &places.of("a"), "http://127.0.0.1:2"), "it was asked there");
        assert_eq!((at("a"), at("b")), (1, 0));
        for other in ["https://127.0.0.1:3", "127.0.0.1:3", "", "http://"] {
            assert!(!places.learn(&config, "a", &places.of("a"), other), "{other}");
        }
        assert!(places.pass_over("a", &places.of("a")));
        assert_eq!(at("a"), 0);
        for port in 2..500 {
            places.learn(&config, "a", &places.of("a"), &format!("http://127.0.0.1:{port}"));
            assert!(places.lock().places.len() <= PLACES_MAX);
        }
    }
}
