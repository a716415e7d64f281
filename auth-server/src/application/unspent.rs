//! What a request may show once: the assertion by which its client authenticates, its proof of possession.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::{
    application::sender_constraint::SenderError,
    ports::store::{SingleUse, SingleUseId, StoreTx, Transactions},
};

/// To be spent before anything leaves: in the transaction that does what the request asks for, so that a step of the protocol is one transaction,
/// or by itself. The default has nothing to spend.
#[derive(Clone, Default)]
pub struct Unspent(Option<Arc<Shown>>);

struct Shown {
    /// Of the client's authentication (RFC 7523 §3).
    authentication: Vec<SingleUseId>,
    /// Of the DPoP proof (RFC 9449 §11.1).
    proof: Option<SingleUseId>,
    single_use: Arc<dyn SingleUse>,
    is_spent: AtomicBool,
}

impl std::fmt::Debug for Unspent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Unspent").field(&self.is_pending()).finish()
    }
}

impl Unspent {
    pub fn new(single_use: Arc<dyn SingleUse>, authentication: Vec<SingleUseId>, proof: Option<SingleUseId>) -> Self {
        if authentication.is_empty() && proof.is_none() {
            return Self::default();
        }
        Self(Some(Arc::new(Shown {
            authentication,
            proof,
            single_use,
            is_spent: AtomicBool::new(false),
        })))
    }

    fn pending(&self) -> Option<&Shown> {
        self.0
            .as_deref()
            .filter(|shown| !shown.is_spent.load(Ordering::Relaxed))
    }

    /// Whether there is something to spend yet.
    pub fn is_pending(&self) -> bool {
        self.pending().is_some()
    }

    /// Spends what there is to spend, in a statement of its own.
    ///
    /// # Errors
    /// [`SenderError`] when it was used before.
    pub async fn spend(&self) -> Result<(), SenderError> {
        let Some(shown) = self.pending() else {
            return Ok(());
        };
        match shown.single_use.spend(&shown.all()).await? {
            true => {
                self.committed();
                Ok(())
            }
            false => Err(self.refused().await?),
        }
    }

    /// Begins a transaction with what there is to spend. Once it is durable, [`Unspent::committed`] is to be called; until then nothing is spent.
    ///
    /// # Errors
    /// [`SenderError`] when it was used before.
    pub async fn begin(&self, transactions: &dyn Transactions) -> Result<Box<dyn StoreTx>, SenderError> {
        let mut tx = transactions.begin().await?;
        if let Some(shown) = self.pending()
            && !tx.spend(&shown.all()).await?
        {
            drop(tx);
            return Err(self.refused().await?);
        }
        Ok(tx)
    }

    /// It is spent: its transaction is durable.
    pub fn committed(&self) {
        if let Some(shown) = &self.0 {
            shown.is_spent.store(true, Ordering::Relaxed);
        }
    }

    /// One of them was used before, and none is noted now. Which one it was decides what the client is told; a fresh assertion beside an old
    /// proof is spent by that.
    async fn refused(&self) -> Result<SenderError, SenderError> {
        let Some(shown) = self.pending() else {
            return Ok(SenderError::Replayed);
        };
        let authentication = &shown.authentication;
        let is_fresh = authentication.is_empty() || shown.single_use.spend(authentication).await?;
        self.committed();
        Ok(match is_fresh {
            true => SenderError::Replayed,
            false => SenderError::AssertionReplayed,
        })
    }
}

impl Shown {
    fn all(&self) -> Vec<SingleUseId> {
        self.authentication.iter().chain(&self.proof).cloned().collect()
    }
}
