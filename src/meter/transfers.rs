//! Transfers of whole pools (R11).

use serde::Serialize;

use crate::domain::ids::{ActorId, OrgId, TransferId};
use crate::domain::refusal::Refusal;
use crate::domain::registry::{Transfer, TransferState};
use crate::domain::time::Timestamp;
use crate::domain::tokens::Tokens;
use crate::protocol::coordinator::{Answer, Order, TransferOrder, Until};

use super::access::{Action, Principal};
use super::audit::Deed;
use super::error::Error;
use super::open::Meter;

/// A transfer as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TransferView {
    /// Its id.
    pub id: TransferId,
    /// The organization whose pool is moved.
    pub source: OrgId,
    /// The organization that receives it.
    pub target: OrgId,
    /// Who asked for it.
    pub by: ActorId,
    /// Where it stands.
    pub state: TransferState,
    /// Tokens moved; zero until committed.
    pub tokens: Tokens,
    /// Licenses moved; zero until committed.
    pub licenses: u32,
    /// The code of the refusal that aborted it.
    pub refusal: Option<String>,
    /// When it began.
    pub begun_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

impl TransferView {
    fn new(id: TransferId, transfer: Transfer) -> Self {
        let Transfer { source, target, by, begun_at, state, tokens, licenses, refusal, ended_at } = transfer;
        Self { id, source, target, by, state, tokens, licenses, refusal, begun_at, ended_at }
    }
}

impl Meter {
    /// Moves all tokens and all licenses of `source` to `target`, all or nothing. Answers when the transfer is begun or when
    /// it has ended, as `until` says; whether it was finished or aborted stands in the answer. The same id again is
    /// answered with where that transfer stands.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`] unless `who` administers both, [`Refusal::UnknownOrganization`], [`Refusal::Conflict`] when the
    /// id names a transfer between others, or source and target are the same.
    pub async fn transfer(
        &self,
        who: &Principal,
        id: TransferId,
        (source, target): (OrgId, OrgId),
        until: Until,
    ) -> Result<TransferView, Error> {
        let organizations = vec![source.clone(), target.clone()];
        let deed = Deed { act: "begin_transfer", organizations, target: Some(id.to_string()) };
        if let Err(refusal) = [&source, &target]
            .map(|org| who.authorize(Action::Administer(org)))
            .into_iter()
            .collect::<Result<(), _>>()
        {
            self.note_refused(who, deed, refusal.code());
            return Err(refusal.into());
        }
        self.check_known(&[&source, &target]).await?;
        let order = TransferOrder { id: id.clone(), source, target, by: who.actor() };
        // It is recorded that it began, and asked again for its end, which may be long in coming.
        let begun = self
            .witnessed(who, deed, self.order(Order::Transfer { order: order.clone(), until: Until::Begun }))
            .await?;
        let answer = match until {
            Until::Begun => begun,
            Until::Ended => self.order(Order::Transfer { order, until }).await?,
        };
        match answer {
            Answer::Transfer(transfer) => Ok(TransferView::new(id, transfer)),
            other => unreachable!("a transfer is answered with one, not with {other:?}"),
        }
    }

    /// Where a transfer stands.
    ///
    /// # Errors
    /// [`Refusal::UnknownTransfer`] when there is none, or none between organizations that `who` may read.
    pub async fn transfer_status(&self, who: &Principal, id: TransferId) -> Result<TransferView, Error> {
        let found = self.engine.directory.transfer(id.clone()).await?;
        let visible = |transfer: &Transfer| {
            who.may(Action::Read(&transfer.source)) || who.may(Action::Read(&transfer.target))
        };
        let transfer = found.filter(visible).ok_or(Refusal::UnknownTransfer)?;
        Ok(TransferView::new(id, transfer))
    }
}
