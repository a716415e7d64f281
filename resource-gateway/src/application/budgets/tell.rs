//! News of budgets that run out: told until they are taken, and not for ever.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use metrics::{counter, describe_counter};
use secrecy::SecretString;
use serde_json::json;
use service_kit::Clock;
use sha2::{Digest as _, Sha256};
use token_keys::MacKey;
use tokio_util::sync::CancellationToken;

use crate::{
    application::{snapshots::Snapshots, webhook_signer::WebhookSigner},
    domain::{
        budget::{Budget, Match},
        job::webhook_pause,
    },
    ports::{
        config_source::StoreResult,
        jobs::{Told, WebhookFault, WebhookMessage, WebhookSender},
        notices::{DueNotice, NoticeOutbox},
    },
};

const DELIVERIES: &str = "gateway_budget_webhooks_total";

/// How often what is due is looked for, while anybody wants to be told of a budget.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A node that took a notice has this long to bring it; longer than any attempt takes.
const LEASE: Duration = Duration::from_secs(60);

/// The secrets that news of budgets are signed with: one for each budget of a tenant.
#[derive(Debug)]
pub struct NoticeSecrets(WebhookSigner);

impl NoticeSecrets {
    /// What the key is derived for.
    pub const PURPOSE: &'static str = "budget-webhook";

    pub fn new(key: MacKey) -> Self {
        Self(WebhookSigner::new(key))
    }

    /// As libraries take it. `None` when OpenSSL refuses.
    pub fn show(&self, budget: &Budget) -> Option<SecretString> {
        self.0.show(&receiver(budget))
    }
}

/// The name alone would do for one tenant; another's budget of the same name, later on, is not to have its secret.
fn receiver(budget: &Budget) -> [&str; 2] {
    let tenant = match &budget.selector.tenant {
        Some(Match::Is(tenant)) => tenant.as_str(),
        Some(Match::Each) | None => "",
    };
    [tenant, budget.name.as_str()]
}

/// Tells those who want to know that a share of a budget has been reached.
#[derive(Debug)]
pub struct TellNotices {
    pub outbox: Arc<dyn NoticeOutbox>,
    pub webhooks: Arc<dyn WebhookSender>,
    pub secrets: Arc<NoticeSecrets>,
    pub snapshots: Arc<Snapshots>,
    pub clock: Arc<dyn Clock>,
}

impl TellNotices {
    /// Tells until `stop`. An attempt that is cut off is made again by whoever comes next.
    pub async fn run(&self, stop: CancellationToken) {
        describe_counter!(DELIVERIES, "Attempts to tell of budgets, by what became of them");
        let work = async {
            loop {
                if self.snapshots.current().budgets().tells()
                    && let Err(error) = self.tell_all().await
                {
                    tracing::warn!(%error, "news of budgets cannot be looked up");
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        stop.run_until_cancelled(work).await;
    }

    async fn tell_all(&self) -> StoreResult<()> {
        loop {
            let now = self.clock.now();
            let Some(notice) = self.outbox.claim_notice(now, now + LEASE).await? else {
                return Ok(());
            };
            let told = match self.tell(&notice).await {
                Ok(()) => Told::Delivered,
                Err(fault) => self.judge(&notice, fault),
            };
            let word = match told {
                Told::Delivered => "delivered",
                Told::Again(_) => "again",
                Told::Dead => "dead",
            };
            counter!(DELIVERIES, "outcome" => word).increment(1);
            self.outbox.note_notice(&notice, told).await?;
        }
    }

    /// As the budget stands now: a receiver that was mended or moved meanwhile is told.
    async fn tell(&self, notice: &DueNotice) -> Result<(), WebhookFault> {
        let snapshot = self.snapshots.current();
        let budget = snapshot.budgets().find(notice.budget.as_str());
        let budget = budget.ok_or(WebhookFault::Refused)?;
        let url = SecretString::from(budget.notify_url().ok_or(WebhookFault::Refused)?);
        let (id, at) = (id(notice), self.clock.now().as_seconds());
        let body = body(&id, notice, budget);
        let headers = self.secrets.0.headers(&receiver(budget), &id, at, &body);
        let message = WebhookMessage {
            url: &url,
            headers: headers.ok_or(WebhookFault::Refused)?,
            body,
        };
        self.webhooks.post(message).await
    }

    fn judge(&self, notice: &DueNotice, fault: WebhookFault) -> Told {
        let name = notice.budget.as_str();
        // RFC 9110 §15.5.11: nobody is there any more, and nobody will be.
        let hopeless = matches!(fault, WebhookFault::Status(410) | WebhookFault::Refused);
        if let Some(pause) = webhook_pause(notice.attempts).filter(|_| !hopeless) {
            tracing::info!(budget.name = name, attempt = notice.attempts, %fault, "the news of a budget was not taken");
            Told::Again(self.clock.now() + pause)
        } else {
            tracing::warn!(budget.name = name, attempt = notice.attempts, %fault, "the news of a budget is given up");
            Told::Dead
        }
    }
}

/// The same in every attempt, and another for every share and period.
fn id(notice: &DueNotice) -> String {
    let mut hash = Sha256::new();
    // Lengths and numbers are of one width, so no two notices are one text.
    hash.update((notice.key.len() as u64).to_be_bytes());
    hash.update(notice.key.as_bytes());
    hash.update(notice.period.as_micros().to_be_bytes());
    hash.update(notice.share.to_be_bytes());
    let digest = hash.finalize();
    let mut id = "notice_".to_owned();
    for byte in digest.iter().take(16) {
        // Writing to a string never fails.
        let _ = write!(id, "{byte:02x}");
    }
    id
}

fn body(id: &str, notice: &DueNotice, budget: &Budget) -> String {
    let money = budget.money.as_ref();
    json!({
        "id": id,
        "object": "budget_notice",
        "budget": notice.budget,
        "key": notice.key,
        "share": f64::from(notice.share) / 1000.0,
        "spent": notice.spent.to_string(),
        "amount": notice.amount.to_string(),
        "currency": notice.currency,
        "period": money.map(|money| money.period.as_str()),
        "period_start": notice.period.as_seconds(),
        "hard": money.is_none_or(|money| money.firmness.is_hard()),
        "reached_at": notice.at.as_seconds(),
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        ids::BudgetName,
        money::{Currency, Nanos},
    };
    use service_kit::Timestamp;

    #[test]
    fn every_share_of_every_account_and_period_has_an_id_of_its_own() {
        let notice = |key: &str, period: i64, share: u32, attempts: i64| DueNotice {
            key: key.to_owned(),
            period: Timestamp::from_seconds(period),
            share,
            budget: BudgetName::new("b"),
            spent: Nanos(1),
            amount: Nanos(1),
            currency: Currency::parse("EUR").unwrap(),
            at: Timestamp::from_seconds(0),
            attempts,
        };
        let first = id(&notice("b|sub=a", 86_400, 800, 1));
        assert_eq!(first, id(&notice("b|sub=a", 86_400, 800, 2)));
        assert_eq!(first.len(), "notice_".len() + 32);
        for other in [("b|sub=b", 86_400, 800), ("b|sub=a", 0, 800), ("b|sub=a", 86_400, 1000)] {
            assert_ne!(first, id(&notice(other.0, other.1, other.2, 1)));
        }
    }
}
