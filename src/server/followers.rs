//! What follows the partitions of a server: reports, and alerts with what calls webhooks of them.
//!
//! A server of its own follows all partitions of its directory, and the databases lie beside the journals. A node of a cluster follows those that it
//! serves, for as long as it does; what becomes of their databases is the work of [`Copier`]. Without any of it the meter serves all the same.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::alerts::{Alerting, Source};
use crate::config::Config;
use crate::edge::http::State;
use crate::edge::webhooks::{self, Sender, WebhookKey};
use crate::meter::Meter;
use crate::reports::{self, Reports};
use crate::storage::{DirectoryId, Followed, Hold, HoldReader, Layout, Store};

use super::copier::{Copier, Kind};

/// What follows the partitions.
#[derive(Debug)]
pub(super) struct Followers {
    reports: Option<Arc<Reports>>,
    alerts: Option<Told>,
    /// None where all partitions stay.
    copier: Option<Copier>,
}

/// What decides alerts, and what calls webhooks of them where that can be done.
#[derive(Debug)]
struct Told {
    alerting: Arc<Alerting>,
    sender: Option<Sender>,
}

/// What is to be kept back for those that follow; none where nobody does.
pub(super) fn hold(config: &Config) -> Option<Arc<Hold>> {
    let readers = [(config.reports, HoldReader::Reports), (config.alerts.is_on, HoldReader::Alerts)];
    let readers: Vec<_> = readers.into_iter().filter_map(|(is_on, reader)| is_on.then_some(reader)).collect();
    (!readers.is_empty()).then(|| Arc::new(Hold::new(config.reports_journal_bytes_max, &readers)))
}

impl Followers {
    /// Starts to follow all partitions of a directory, as far as `config` wants it.
    pub(super) fn of_directory(
        config: &Config,
        meter: &Meter,
        hold: Option<&Arc<Hold>>,
        state: &State,
    ) -> Self {
        let key = config.data_dir.join(webhooks::KEY_FILE);
        let followers = Self::start(config, meter, hold, state, Some(&key));
        match reports::homes(&config.data_dir) {
            Ok(homes) => {
                for home in &homes {
                    followers.follow(Kind::Reports, home.into());
                    followers.follow(Kind::Alerts, home.into());
                }
            }
            Err(fault) => {
                tracing::error!(%fault, "nothing follows the journals; debits are served all the same");
            }
        }
        followers
    }

    /// Starts to follow the partitions of a node, none of which it serves yet.
    pub(super) fn of_node(
        config: &Config,
        meter: &Meter,
        hold: Option<&Arc<Hold>>,
        state: &State,
        directory: DirectoryId,
    ) -> Arc<Self> {
        // What was read is gone with this node: only a copy that is kept lets go of the journal.
        let mut followers = Self::start(config, meter, None, state, None);
        let kinds = [
            followers.alerts.as_ref().map(|_| Kind::Alerts),
            followers.reports.as_ref().map(|_| Kind::Reports),
        ];
        let kinds: Vec<_> = kinds.into_iter().flatten().collect();
        if let Some(hold) = hold.filter(|_| !kinds.is_empty()) {
            let root = Layout::new(&config.data_dir).followed();
            match Copier::start(kinds, directory, root, Arc::clone(hold)) {
                Ok(copier) => followers.copier = Some(copier),
                Err(error) => {
                    tracing::error!(%error, "nothing follows the journals; debits are served all the same");
                }
            }
        }
        Arc::new(followers)
    }

    fn start(
        config: &Config,
        meter: &Meter,
        hold: Option<&Arc<Hold>>,
        state: &State,
        key: Option<&Path>,
    ) -> Self {
        let reports = config.reports.then(|| keep_reports(config, meter, hold.cloned())).flatten();
        reports.iter().for_each(|reports| state.report(Arc::clone(reports)));
        let alerting = config.alerts.is_on.then(|| decide_alerts(meter, hold.cloned())).flatten();
        let alerts = alerting.map(|alerting| {
            let (key, sender) = send(config, &alerting, key);
            state.alert(Arc::clone(&alerting), key);
            Told { alerting, sender }
        });
        Self { reports, alerts, copier: None }
    }

    /// The reports, where they are kept.
    pub(super) fn reports(&self) -> Option<&Arc<Reports>> {
        self.reports.as_ref()
    }

    fn alerting(&self) -> Option<&Arc<Alerting>> {
        self.alerts.as_ref().map(|told| &told.alerting)
    }

    /// A partition is about to be served here.
    pub(super) fn expect(&self, partition: u16) {
        self.copier.iter().for_each(|copier| copier.expect(partition));
    }

    /// A partition is served here: it is followed as soon as the newest copies of its databases are here.
    pub(super) fn take(self: &Arc<Self>, store: Arc<dyn Store>) {
        let Some(copier) = &self.copier else { return };
        let followers = Arc::clone(self);
        copier.take(store, move |kind, followed| followers.follow(kind, followed));
    }

    fn follow(&self, kind: Kind, followed: Followed) {
        match kind {
            Kind::Reports => _ = self.reports.as_ref().map(|reports| reports.follow(followed)),
            Kind::Alerts => _ = self.alerting().map(|alerting| alerting.follow(followed)),
        }
    }

    /// A partition is no longer served here.
    pub(super) fn leave(&self, partition: u16) {
        let Some(copier) = &self.copier else { return };
        copier.leave(partition, || {
            self.reports.iter().for_each(|reports| reports.forget(partition));
            self.alerting().iter().for_each(|alerting| alerting.forget(partition));
        });
    }

    /// Ends in order.
    pub(super) fn stop(&self) {
        self.copier.iter().for_each(Copier::stop);
        self.reports.iter().for_each(|reports| reports.stop());
        if let Some(Told { alerting, sender }) = &self.alerts {
            sender.iter().for_each(Sender::stop);
            alerting.stop();
        }
    }
}

fn keep_reports(config: &Config, meter: &Meter, hold: Option<Arc<Hold>>) -> Option<Arc<Reports>> {
    let follows = meter.clone();
    let durable = move |partition: u16| follows.durable(partition);
    let started = Reports::start(meter.partitions(), Box::new(durable), hold, config.reports_events_max);
    let failed = |error: &std::io::Error| {
        tracing::error!(%error, "no reports are kept; debits are served all the same");
    };
    started.inspect_err(failed).ok().map(Arc::new)
}

fn decide_alerts(meter: &Meter, hold: Option<Arc<Hold>>) -> Option<Arc<Alerting>> {
    let (durable, refused, now) = (meter.clone(), meter.clone(), meter.clone());
    let source = Source {
        durable: Box::new(move |partition| durable.durable(partition)),
        refused: Box::new(move |organization| refused.refused(organization)),
        now: Box::new(move || now.now()),
    };
    let failed = |error: &std::io::Error| {
        tracing::error!(%error, "no alerts are decided; debits are served all the same");
    };
    Alerting::start(meter.partitions(), source, hold).inspect_err(failed).ok().map(Arc::new)
}

/// Starts to call webhooks, signed by the key that is configured. Where there may be one `beside` it is that, unless another is configured, and it is made where
/// it is not there; the nodes of a cluster must have the same, so none is made there.
fn send(
    config: &Config,
    alerting: &Arc<Alerting>,
    beside: Option<&Path>,
) -> (Option<Arc<WebhookKey>>, Option<Sender>) {
    let key = match (config.alerts.key.as_deref(), beside) {
        (named, Some(beside)) => WebhookKey::load_or_make(named.unwrap_or(beside)),
        (Some(named), None) => WebhookKey::load(named),
        (None, None) => {
            tracing::warn!(
                "this node calls no webhook; set `webhook_key` on all nodes, to files that hold the same key"
            );
            return (None, None);
        }
    };
    let key = match key {
        Ok(key) => Arc::new(key),
        Err(error) => {
            tracing::error!("{error}; debits are served all the same");
            return (None, None);
        }
    };
    let timeout = Duration::from_millis(config.alerts.timeout_ms);
    let private = config.alerts.private.clone();
    let sender = Sender::start(Arc::clone(alerting), Arc::clone(&key), private, timeout);
    if let Err(error) = &sender {
        tracing::error!(%error, "no webhook is called; debits are served all the same");
    }
    (Some(key), sender.ok())
}
