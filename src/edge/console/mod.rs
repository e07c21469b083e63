//! The console: pages for people, beside the interface for programs and on the same address.
//!
//! Pages are rendered here and work without script and without any network but this server. Whoever calls signs in with an API key or a
//! token; what it may do the meter decides, and it is looked at again with every request.
//!
//! Invariants: nothing is changed by a `GET`, nor by a form that does not bear the token of its session and come from our own origin. No
//! page holds a script or a style of its own, so that text that somebody chose can never become one. Everything that waits is bounded:
//! sessions, streams, forms. Deliberately absent: rules, and any state but [`Console`]'s.

mod alerts;
mod answer;
mod assets;
mod audit;
mod cameras;
mod chart;
mod events;
mod facts;
mod form;
mod home;
mod keys;
mod licenses;
mod live;
mod operator;
mod rates;
mod session;
mod shell;
mod sign_in;
mod summary;
mod text;
mod transfers;
mod usage;
mod visit;
mod webhooks;

pub mod route;

use std::sync::atomic::{AtomicBool, Ordering};

use actix_web::web;

use crate::config::Config;

use facts::Looks;
use live::Live;
use session::Sessions;

/// What all requests of the console share.
#[derive(Debug)]
pub struct Console {
    sessions: Sessions,
    live: Live,
    looks: Looks,
    is_encrypted: bool,
    is_stopping: AtomicBool,
}

impl Console {
    /// A console with nobody in it.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let live = Live::new(config.connections_max);
        let (is_encrypted, is_stopping) = (config.tls.is_some(), AtomicBool::new(false));
        let (sessions, looks) = (Sessions::default(), Looks::default());
        Self { sessions, live, looks, is_encrypted, is_stopping }
    }

    /// Ends the streams, so that the server need not wait for them.
    pub fn stop(&self) {
        self.is_stopping.store(true, Ordering::Release);
        self.live.wake();
    }

    fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }
}

/// Registers all routes. They expect the data of the console, and that of [`crate::edge::http`], in the application.
pub fn register(services: &mut web::ServiceConfig) {
    route::resources().into_iter().for_each(|resource| _ = services.service(resource));
}
