//! Telling clients that a person has decided (CIBA §10.2).
//!
//! As with logouts the news is queued by the statement that notes the decision, so that nothing is forgotten by a crash; the node that noted it
//! sends it at once, and what fails is repeated by whichever node looks first, until the request expires. A client that hears nothing may
//! always poll.

use std::sync::Arc;

use metrics::counter;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::json;
use service_kit::{Clock, Entropy, Tasks, Timestamp};
use token_keys::SealingKey;
use tokio::sync::oneshot;

use crate::{
    application::{
        authenticate_client::ClientDirectory,
        delivery_lanes::{self, Lanes, Urgency},
        logout_delivery::{CLAIM, PATIENCE, Told, host},
        token_error::TokenError,
    },
    domain::{
        ciba::{DeliveryMode, NotificationToken, Ping},
        client::Client,
        decoupled::{DecoupledRequest, SealedPing},
        ids::CodeDigest,
    },
    ports::{
        decoupled::{PingClaim, PingQueue},
        outbound::{Outbound, OutboundBody, OutboundError, OutboundRequest, Purpose},
        store::StoreResult,
    },
};

/// Seals what a client is told with. The store holds but a digest of the request's id and has no business with the client's token, and both
/// are needed in clear when the client is told.
#[derive(Debug, Clone)]
pub struct PingSeal(SealingKey);

/// What is sealed.
#[derive(Serialize, Deserialize)]
struct Opened {
    auth_req_id: String,
    token: String,
}

impl PingSeal {
    /// `key` is derived from the master key for this purpose alone.
    pub fn new(key: SealingKey) -> Self {
        Self(key)
    }

    /// # Errors
    /// When OpenSSL refuses.
    pub fn seal(
        &self,
        digest: &CodeDigest,
        auth_req_id: &str,
        token: &NotificationToken,
    ) -> Result<SealedPing, TokenError> {
        let told = Opened {
            auth_req_id: auth_req_id.to_owned(),
            token: token.as_str().to_owned(),
        };
        let told = serde_json::to_vec(&told).map_err(TokenError::internal)?;
        // For this very request: moved to another row it does not open.
        let sealed = self.0.seal(&digest.0, &told).map_err(TokenError::internal)?;
        Ok(SealedPing(sealed))
    }

    fn open(&self, ping: &Ping) -> Option<Opened> {
        let opened = self.0.unseal(&ping.digest.0, &ping.sealed.0).ok()?;
        serde_json::from_slice(&opened).ok()
    }
}

/// Sends the news.
#[derive(Clone)]
pub struct CibaPings {
    pub queue: Arc<dyn PingQueue>,
    pub clients: ClientDirectory,
    pub seal: PingSeal,
    pub outbound: Arc<dyn Outbound>,
    pub lanes: Arc<Lanes>,
    pub tasks: Tasks,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
}

impl std::fmt::Debug for CibaPings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CibaPings").finish_non_exhaustive()
    }
}

/// What became of one attempt.
enum Outcome {
    Delivered,
    /// Nothing would come of another attempt.
    Over(&'static str),
    Failed(&'static str),
}

impl CibaPings {
    /// Sends at once what was decided and noted just now, if the client is to be told.
    pub fn send(&self, request: &DecoupledRequest) -> Told {
        let ping = request.ping.clone().map(|sealed| Ping {
            digest: request.digest,
            client: request.client.clone(),
            sealed,
            attempts: 1,
            ends_at: request.expires_at,
        });
        self.start(ping, Urgency::Fresh)
    }

    /// Takes what is due, as far as there is room, and sends it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn send_due(&self) -> StoreResult<Told> {
        let (limit, busy) = self.lanes.room();
        if limit == 0 {
            return Ok(Told::default());
        }
        let now = self.clock.now();
        let claim = PingClaim {
            now,
            until: now + CLAIM,
            limit,
            per_client: delivery_lanes::PER_CLIENT,
            busy: &busy,
        };
        Ok(self.start(self.queue.claim_pings(claim).await?, Urgency::Repeated))
    }

    /// How much news waits or is under way, on all nodes.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn waiting(&self) -> StoreResult<u64> {
        self.queue.count_pings(self.clock.now()).await
    }

    fn start(&self, pings: impl IntoIterator<Item = Ping>, urgency: Urgency) -> Told {
        let started = pings.into_iter().map(|ping| {
            let (trying, tried) = oneshot::channel();
            // Counted now and not when the task runs, so that the next look knows of it.
            let entry = self.lanes.enter(&ping.client, urgency);
            let this = self.clone();
            self.tasks.spawn(async move {
                if let Err(error) = this.deliver(&ping, &entry).await {
                    // The claim runs out, and somebody tries again.
                    tracing::warn!(client.id = %ping.client, %error, "the news of a decision could not be looked after");
                }
                drop(entry);
                drop(trying);
            });
            tried
        });
        Told::of(started)
    }

    async fn deliver(&self, ping: &Ping, entry: &delivery_lanes::Entry) -> StoreResult<()> {
        let outcome = self.attempt(ping, entry).await?;
        self.settle(ping, outcome).await
    }

    async fn attempt(&self, ping: &Ping, entry: &delivery_lanes::Entry) -> StoreResult<Outcome> {
        let client = self.clients.find(&ping.client).await?;
        let Some(client) = client.filter(|client| client.is_active()) else {
            return Ok(Outcome::Over("the client is gone or disabled"));
        };
        let Some(endpoint) = endpoint(&client) else {
            return Ok(Outcome::Over("the client does not want to be told any more"));
        };
        let Some(told) = self.seal.open(ping) else {
            return Ok(Outcome::Over("it does not open with this master key"));
        };
        let host = host(endpoint);
        let turn = tokio::select! {
            turn = tokio::time::timeout(PATIENCE, entry.turn(&host)) => turn.ok(),
            () = self.tasks.stopping() => None,
        };
        let Some(Ok(_turn)) = turn else {
            return Ok(Outcome::Failed("no room"));
        };
        let body = OutboundBody::Json(json!({"auth_req_id": told.auth_req_id}));
        let request = OutboundRequest::post(Purpose::CibaNotification, endpoint, body)
            .with_bearer(SecretString::from(told.token));
        Ok(match self.outbound.fetch(request).await {
            // 204, or 200 with a body that nobody reads. The way out follows no redirect.
            Ok(reply) if reply.is_success() => Outcome::Delivered,
            // The client has understood, and will not: the token is not one that it knows (RFC 6750 §3.1).
            Ok(reply) if reply.status == 400 || reply.status == 401 => Outcome::Over("the client refused the news"),
            Ok(_) => Outcome::Failed("an answer that is no success"),
            Err(error) if error.may_pass() => Outcome::Failed(error.label()),
            Err(error @ OutboundError::Refused(_)) => {
                tracing::warn!(client.id = %client.client_id, %error, "the backchannel_client_notification_endpoint cannot be asked");
                Outcome::Over("refused")
            }
            Err(error) => Outcome::Over(error.label()),
        })
    }

    async fn settle(&self, ping: &Ping, outcome: Outcome) -> StoreResult<()> {
        let (client, attempts) = (&ping.client, ping.attempts);
        let label = match outcome {
            Outcome::Delivered => {
                self.queue.finish_ping(&ping.digest).await?;
                tracing::debug!(client.id = %client, attempts, "a client was told of a decision");
                "delivered"
            }
            Outcome::Over(reason) => {
                self.queue.finish_ping(&ping.digest).await?;
                tracing::warn!(client.id = %client, reason, "a client is not told of a decision");
                "over"
            }
            Outcome::Failed(reason) => {
                let next = ping.next_attempt(self.clock.now(), self.chance());
                self.postpone(ping, next, reason).await?
            }
        };
        counter!("ciba_notifications_total", "outcome" => label).increment(1);
        Ok(())
    }

    async fn postpone(&self, ping: &Ping, next: Option<Timestamp>, reason: &'static str) -> StoreResult<&'static str> {
        let (client, attempts) = (&ping.client, ping.attempts);
        if let Some(at) = next {
            self.queue.postpone_ping(&ping.digest, at).await?;
            tracing::info!(client.id = %client, attempts, reason, "a client could not be told of a decision; it is tried again");
            return Ok("failed");
        }
        self.queue.finish_ping(&ping.digest).await?;
        tracing::warn!(client.id = %client, attempts, reason, "a client could not be told of a decision in time");
        Ok("given_up")
    }

    fn chance(&self) -> u16 {
        let mut bytes = [0; 2];
        self.entropy.fill(&mut bytes);
        u16::from_ne_bytes(bytes)
    }
}

/// Where the client is told, if it is by its present registration.
fn endpoint(client: &Client) -> Option<&str> {
    let endpoint = client.protocol.backchannel_client_notification_endpoint.as_deref();
    endpoint.filter(|_| client.delivery_mode() == Some(DeliveryMode::Ping))
}

#[cfg(test)]
mod tests {
    use token_keys::MasterKey;

    use super::*;
    use crate::domain::ids::ClientId;

    #[test]
    fn what_is_sealed_opens_for_its_own_request_only() {
        let master = MasterKey::load_or_create(tempfile::tempdir().unwrap().path()).unwrap();
        let seal = PingSeal::new(master.sealing("ciba-ping").unwrap());
        let token = NotificationToken::parse("token".to_owned()).unwrap();
        let sealed = seal.seal(&CodeDigest([1; 32]), "hgb_x", &token).unwrap();
        let ping = |byte| Ping {
            digest: CodeDigest([byte; 32]),
            client: ClientId::new("c"),
            sealed: sealed.clone(),
            attempts: 1,
            ends_at: Timestamp::from_seconds(1),
        };
        let opened = seal.open(&ping(1)).unwrap();
        assert_eq!((opened.auth_req_id.as_str(), opened.token.as_str()), ("hgb_x", "token"));
        assert!(seal.open(&ping(2)).is_none());
        assert!(!String::from_utf8_lossy(&sealed.0).contains("token"));
    }
}
