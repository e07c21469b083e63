//! What messages become rows, with no server around it: the way in for tests that send anything at all.
//!
//! Deliberately absent: who may send a message, and what is done with it.

use tonic::Status;

use crate::meter::DebitBatch;
use crate::proto::v1;

use super::trouble::Trouble;
use super::{columns, unary};

/// The rows of a batch on a stream.
///
/// # Errors
/// How the stream would end, when the columns do not fit together.
pub fn of_columns(message: &v1::DebitBatch) -> Result<DebitBatch, Status> {
    let mut batch = DebitBatch::default();
    columns::push(message, &mut batch).map_err(|misfit| Trouble::malformed(misfit.to_string()))?;
    Ok(batch)
}

/// The rows of single debits.
#[must_use]
pub fn of_debits(debits: &[v1::Debit]) -> DebitBatch {
    let mut batch = DebitBatch::default();
    unary::push(debits, &mut batch);
    batch
}
