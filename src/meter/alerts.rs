//! What an organization wants to be told, and where: its thresholds and webhooks.
//!
//! Here they are set and read. What comes of them is decided by a reader of the journal, outside the meter.

use std::future::Future;
use std::sync::atomic::Ordering;

use crate::domain::alerts::{Alerts, AlertsChange, Threshold, Topic, WebhookUrl};
use crate::domain::command::Command;
use crate::domain::ids::{OrgId, WebhookId};
use crate::domain::pool::Pool;

use super::error::Error;
use super::open::Meter;
use super::organization::{Organization, allow};

impl Organization {
    /// The thresholds and webhooks; none before anything was set.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`](super::Refusal::Forbidden) without the right to read.
    pub async fn alerts(&self) -> Result<Option<Alerts>, Error> {
        allow(self.rights.read)?;
        self.ask(|pool: &Pool, _| pool.alerts.as_deref().cloned()).await
    }

    /// Sets all thresholds; answers with what applies then.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`](super::Refusal::Forbidden) unless an administrator asks, and when they are none.
    pub async fn set_thresholds(&self, thresholds: Vec<Threshold>) -> Result<Option<Alerts>, Error> {
        self.change_alerts("set_alerts", None, AlertsChange::Thresholds(thresholds)).await
    }

    /// Sets the address of a webhook, and what it is called for: everything where `topics` is empty. A new one gets a secret.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`](super::Refusal::Forbidden) unless an administrator asks, and when there are as many as there may be.
    pub async fn set_webhook(
        &self,
        webhook: WebhookId,
        url: WebhookUrl,
        topics: Vec<Topic>,
    ) -> Result<Option<Alerts>, Error> {
        let target = Some(webhook.to_string());
        let change = AlertsChange::SetWebhook { webhook, url, topics };
        self.change_alerts("set_webhook", target, change).await
    }

    /// Removes a webhook; what waits for it is not sent.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`](super::Refusal::Forbidden) unless an administrator asks,
    /// [`Refusal::UnknownWebhook`](super::Refusal::UnknownWebhook).
    pub async fn remove_webhook(&self, webhook: WebhookId) -> Result<Option<Alerts>, Error> {
        let target = Some(webhook.to_string());
        self.change_alerts("remove_webhook", target, AlertsChange::RemoveWebhook(webhook)).await
    }

    /// Gives a webhook a new secret; deliveries are signed with the one before too, for so many milliseconds.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`](super::Refusal::Forbidden) unless an administrator asks,
    /// [`Refusal::UnknownWebhook`](super::Refusal::UnknownWebhook), and when the overlap is too long.
    pub async fn rotate_secret(&self, webhook: WebhookId, overlap_ms: u64) -> Result<Option<Alerts>, Error> {
        let target = Some(webhook.to_string());
        let change = AlertsChange::RotateSecret { webhook, overlap_ms };
        self.change_alerts("rotate_webhook_secret", target, change).await
    }

    /// Carries out an act of an administrator in which the meter itself has no part; it is recorded.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`](super::Refusal::Forbidden) unless an administrator asks, what `work` answers, and when it cannot be
    /// recorded; then it was not carried out.
    pub async fn administered<T>(
        &self,
        act: &'static str,
        target: String,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        allow(self.rights.administer)?;
        self.witnessed(act, target, work).await
    }

    async fn change_alerts(
        &self,
        act: &'static str,
        target: Option<String>,
        change: AlertsChange,
    ) -> Result<Option<Alerts>, Error> {
        let by = self.by();
        self.administer(act, target, Command::ChangeAlerts { change, by }).await?;
        self.ask(|pool: &Pool, _| pool.alerts.as_deref().cloned()).await
    }
}

impl Meter {
    /// How many debits of an organization were refused since the meter was opened, for whatever reason but that too much was in
    /// flight; 0 for one that there is not.
    #[must_use]
    pub fn refused(&self, organization: &OrgId) -> u64 {
        let org = self.find(organization);
        org.map_or(0, |org| org.refused.load(Ordering::Relaxed))
    }
}
