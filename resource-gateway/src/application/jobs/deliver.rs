//! News of ends: told until they are taken, and not for ever.

use std::{sync::Arc, time::Duration};

use secrecy::SecretString;
use serde_json::json;
use service_kit::Tasks;
use tokio::sync::Mutex;

use super::Jobs;
use crate::{
    application::invoke::Invoke,
    domain::job::{JobStatus, webhook_pause},
    ports::jobs::{Delivery, Told, WebhookFault, WebhookMessage},
};

/// Messages that are under way at once.
const TELLERS: usize = 4;
/// A node that took a message has this long to bring it; longer than any attempt takes.
const LEASE: Duration = Duration::from_secs(60);

/// Tells ends of jobs to those who asked for it.
#[derive(Debug)]
pub struct TellEnds {
    pub jobs: Arc<Jobs>,
    pub invoke: Invoke,
    /// The URL under which callers reach the gateway, without a trailing slash.
    pub public_url: String,
    /// Of all tellers one looks for work.
    pub turn: Mutex<()>,
}

impl TellEnds {
    /// Runs until shutdown.
    pub fn start(self: &Arc<Self>, tasks: &Tasks) {
        for _ in 0..TELLERS {
            let (this, stop) = (Arc::clone(self), tasks.stop_token());
            tasks.spawn(async move {
                // An attempt that is cut off is made again by whoever comes next.
                stop.run_until_cancelled(this.run()).await;
            });
        }
    }

    async fn run(&self) {
        loop {
            let delivery = {
                let _turn = self.turn.lock().await;
                self.next().await
            };
            self.tell(delivery).await;
        }
    }

    async fn next(&self) -> Delivery {
        loop {
            let now = self.jobs.clock.now();
            match self.jobs.store.claim_delivery(now, now + LEASE).await {
                Ok(Some(delivery)) => return delivery,
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "news of jobs cannot be looked up"),
            }
            let pause = super::work::pause(&self.invoke);
            let _ = tokio::time::timeout(pause, self.jobs.wakes.ended.notified()).await;
        }
    }

    async fn tell(&self, delivery: Delivery) {
        let outcome = match &delivery.url {
            Some(url) => self.post(&delivery, url).await,
            None => Err(WebhookFault::Refused),
        };
        let told = match outcome {
            Ok(()) => Told::Delivered,
            Err(fault) => self.judge(&delivery, fault),
        };
        if let Err(error) = self
            .jobs
            .store
            .note_delivery(&delivery.id, delivery.attempts, told)
            .await
        {
            tracing::warn!(job.id = %delivery.id, %error, "what became of a job's news cannot be written down; it is told again");
        }
    }

    fn judge(&self, delivery: &Delivery, fault: WebhookFault) -> Told {
        // RFC 9110 §15.5.11: nobody is there any more, and nobody will be.
        let hopeless = matches!(fault, WebhookFault::Status(410) | WebhookFault::Refused);
        if let Some(pause) = webhook_pause(delivery.attempts).filter(|_| !hopeless) {
            tracing::info!(job.id = %delivery.id, attempt = delivery.attempts, %fault, "the news of a job was not taken");
            Told::Again(self.jobs.clock.now() + pause)
        } else {
            tracing::warn!(job.id = %delivery.id, attempt = delivery.attempts, %fault, "the news of a job is given up");
            Told::Dead
        }
    }

    async fn post(&self, delivery: &Delivery, url: &SecretString) -> Result<(), WebhookFault> {
        let (id, at) = (delivery.id.as_str(), self.jobs.clock.now().as_seconds());
        let result_url =
            (delivery.status == JobStatus::Succeeded).then(|| format!("{}/v1/jobs/{id}/result", self.public_url));
        let body = json!({"id": id, "object": "job", "status": delivery.status.as_str(),
            "finished_at": delivery.finished_at.as_seconds(), "result_url": result_url})
        .to_string();
        let signature = self.jobs.secrets.sign(&delivery.owner, id, at, &body);
        let headers = [
            ("webhook-id", id.to_owned()),
            ("webhook-timestamp", at.to_string()),
            ("webhook-signature", signature.ok_or(WebhookFault::Refused)?),
        ];
        self.jobs.webhooks.post(WebhookMessage { url, headers, body }).await
    }
}
