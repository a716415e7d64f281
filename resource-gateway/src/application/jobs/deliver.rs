//! News of ends: told until they are taken, and not for ever.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use secrecy::SecretString;
use serde_json::json;
use service_kit::Tasks;
use tokio::sync::Mutex;

use super::Jobs;
use crate::{
    application::invoke::Invoke,
    domain::{
        ids::{ClientId, TenantId},
        job::{JobStatus, webhook_pause},
    },
    ports::jobs::{Delivery, Told, WebhookFault, WebhookMessage},
};

/// Messages that are under way at once.
const TELLERS: usize = 16;
/// And for one client: a server of one that is slow must not keep the others' news back.
const MOST_PER_CLIENT: usize = 2;
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
    /// Whom messages under way are for.
    pub under_way: UnderWay,
}

/// Clients that are being told something, each as often as there are messages.
#[derive(Debug, Default)]
pub struct UnderWay(std::sync::Mutex<Vec<Client>>);

type Client = (Option<TenantId>, ClientId);

impl UnderWay {
    fn clients(&self) -> std::sync::MutexGuard<'_, Vec<Client>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, client: &Client) {
        self.clients().push(client.clone());
    }

    fn end(&self, client: &Client) {
        let mut clients = self.clients();
        if let Some(at) = clients.iter().position(|known| known == client) {
            clients.swap_remove(at);
        }
    }

    /// Those who have as many messages under way as they may.
    fn busy(&self) -> Vec<Client> {
        let clients = self.clients();
        let count = |client: &Client| clients.iter().filter(|known| *known == client).count();
        let mut busy: Vec<_> = clients
            .iter()
            .filter(|client| count(client) >= MOST_PER_CLIENT)
            .cloned()
            .collect();
        busy.dedup();
        busy
    }
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
            let client = (delivery.owner.tenant.clone(), delivery.owner.client_id.clone());
            self.tell(delivery).await;
            self.under_way.end(&client);
            // Its other news may go now.
            self.jobs.wakes.ended.notify_one();
        }
    }

    async fn next(&self) -> Delivery {
        loop {
            let now = self.jobs.clock.now();
            let busy = self.under_way.busy();
            match self.jobs.store.claim_delivery(now, now + LEASE, &busy).await {
                Ok(Some(delivery)) => {
                    let client = (delivery.owner.tenant.clone(), delivery.owner.client_id.clone());
                    self.under_way.begin(&client);
                    return delivery;
                }
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
        let headers = self.jobs.secrets.headers(&delivery.owner, id, at, &body);
        let headers = headers.ok_or(WebhookFault::Refused)?;
        self.jobs.webhooks.post(WebhookMessage { url, headers, body }).await
    }
}
