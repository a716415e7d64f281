//! Telling applications that a session has ended (OpenID Connect Back-Channel Logout 1.0).
//!
//! What has to be told is queued in the transaction that ends the session, so that nothing is forgotten by a crash. The node that ended it
//! takes the news upon itself and sends it at once; what fails waits in the queue, and whichever node looks first when it is due takes it.
//! An application may so hear of one end twice, never not at all.

mod token;

use std::{sync::Arc, time::Duration};

use metrics::counter;
use service_kit::{Clock, Entropy, Tasks, Timestamp};
use tokio::sync::oneshot;
use url::Url;

use crate::{
    application::{
        authenticate_client::ClientDirectory,
        delivery_lanes::{self, Lanes, Urgency},
        keyring::Keyring,
        policy::Policy,
        subjects::Subjects,
        token_error::TokenError,
    },
    domain::{
        client::Client,
        logout::{LogoutDelivery, LogoutPlan},
    },
    ports::{
        logout::{LogoutClaim, LogoutQueue},
        outbound::{Outbound, OutboundBody, OutboundError, OutboundRequest, Purpose},
        store::{StoreError, StoreResult},
    },
};

pub use token::{LOGOUT_TOKEN_LIFETIME, LOGOUT_TOKEN_TYP};

/// For how long a delivery is one node's: longer than it waits for its turn and then for the application.
pub(super) const CLAIM: Duration = Duration::from_secs(60);
/// How long a delivery waits for its turn. With the longest time that one may take in the configuration this stays within [`CLAIM`].
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Delivers logout tokens.
#[derive(Clone)]
pub struct LogoutDeliveries {
    queue: Arc<dyn LogoutQueue>,
    clients: ClientDirectory,
    policy: Arc<Policy>,
    keyring: Arc<Keyring>,
    subjects: Subjects,
    outbound: Arc<dyn Outbound>,
    lanes: Arc<Lanes>,
    tasks: Tasks,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

/// What the deliveries are made of.
#[derive(Debug)]
pub struct LogoutParts {
    pub policy: Arc<Policy>,
    pub keyring: Arc<Keyring>,
    pub subjects: Subjects,
    pub clients: ClientDirectory,
    pub outbound: Arc<dyn Outbound>,
    pub lanes: Arc<Lanes>,
    pub tasks: Tasks,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
}

/// Deliveries under way. They go on when this is dropped.
#[derive(Debug, Default)]
pub struct Told(Vec<oneshot::Receiver<()>>);

impl Told {
    /// Each sender is dropped when its delivery was tried, and never sends.
    pub(super) fn of(deliveries: impl IntoIterator<Item = oneshot::Receiver<()>>) -> Self {
        Self(deliveries.into_iter().collect())
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Waits until each of them was tried once.
    pub async fn tried(self) {
        for one in self.0 {
            // The sender is dropped when the delivery was tried, and never sends.
            let _ = one.await;
        }
    }

    /// As [`Told::tried`], but no longer than that.
    pub async fn tried_within(self, limit: Duration) {
        let _ = tokio::time::timeout(limit, self.tried()).await;
    }

    pub fn join(&mut self, other: Self) {
        self.0.extend(other.0);
    }
}

/// What became of one attempt.
enum Outcome {
    Delivered,
    /// Nothing would come of another attempt.
    Over(&'static str),
    Failed(&'static str),
}

/// Why nothing was sent.
#[derive(Debug, thiserror::Error)]
enum Unsent {
    #[error("storage failed")]
    Store(#[from] StoreError),
    #[error(transparent)]
    Token(#[from] TokenError),
}

impl std::fmt::Debug for LogoutDeliveries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogoutDeliveries").finish_non_exhaustive()
    }
}

impl LogoutDeliveries {
    pub fn new(queue: Arc<dyn LogoutQueue>, parts: LogoutParts) -> Self {
        Self {
            queue,
            clients: parts.clients,
            policy: parts.policy,
            keyring: parts.keyring,
            subjects: parts.subjects,
            outbound: parts.outbound,
            lanes: parts.lanes,
            tasks: parts.tasks,
            clock: parts.clock,
            entropy: parts.entropy,
        }
    }

    /// A plan by which this node takes upon itself what is queued now, to [`LogoutDeliveries::send`] it after the commit.
    pub fn plan(&self) -> LogoutPlan {
        let at = self.clock.now();
        LogoutPlan {
            at,
            claimed_until: Some(at + CLAIM),
        }
    }

    /// Sends at once what was queued by [`LogoutDeliveries::plan`] and committed.
    pub fn send(&self, queued: Vec<LogoutDelivery>) -> Told {
        self.start(queued, Urgency::Fresh)
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
        let claim = LogoutClaim {
            now,
            until: now + CLAIM,
            limit,
            per_client: delivery_lanes::PER_CLIENT,
            busy: &busy,
        };
        Ok(self.start(self.queue.claim_logouts(claim).await?, Urgency::Repeated))
    }

    /// How many deliveries wait or are under way, on all nodes.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn waiting(&self) -> StoreResult<u64> {
        self.queue.count_logouts().await
    }

    fn start(&self, deliveries: Vec<LogoutDelivery>, urgency: Urgency) -> Told {
        let started = deliveries.into_iter().map(|delivery| {
            let (trying, tried) = oneshot::channel();
            // Counted now and not when the task runs, so that the next look knows of it.
            let entry = self.lanes.enter(&delivery.client, urgency);
            let this = self.clone();
            self.tasks.spawn(async move {
                this.deliver(&delivery, &entry).await;
                drop(entry);
                drop(trying);
            });
            tried
        });
        Told::of(started)
    }

    async fn deliver(&self, delivery: &LogoutDelivery, entry: &delivery_lanes::Entry) {
        let done = match self.attempt(delivery, entry).await {
            Ok(outcome) => self.settle(delivery, outcome).await,
            Err(Unsent::Store(error)) => Err(error),
            Err(Unsent::Token(error)) => {
                tracing::error!(client.id = %delivery.client, %error, "a logout token could not be made");
                self.settle(delivery, Outcome::Failed("no token")).await
            }
        };
        if let Err(error) = done {
            // The claim runs out, and somebody tries again.
            tracing::warn!(client.id = %delivery.client, %error, "a logout delivery could not be looked after");
        }
    }

    async fn attempt(&self, delivery: &LogoutDelivery, entry: &delivery_lanes::Entry) -> Result<Outcome, Unsent> {
        let client = self.clients.find(&delivery.client).await?;
        let Some(client) = client.filter(|client| client.is_active()) else {
            return Ok(Outcome::Over("the client is gone or disabled"));
        };
        let Some(uri) = client.protocol.backchannel_logout_uri.as_deref() else {
            return Ok(Outcome::Over("the client wants no logout tokens any more"));
        };
        let host = host(uri);
        let turn = tokio::select! {
            turn = tokio::time::timeout(PATIENCE, entry.turn(&host)) => turn.ok(),
            () = self.tasks.stopping() => None,
        };
        let Some(Ok(_turn)) = turn else {
            return Ok(Outcome::Failed("no room"));
        };
        self.post(delivery, &client, uri).await
    }

    /// Back-Channel Logout §2.5.
    async fn post(&self, delivery: &LogoutDelivery, client: &Client, uri: &str) -> Result<Outcome, Unsent> {
        let token = self.token(delivery, client)?;
        let body = OutboundBody::Form(vec![("logout_token", token)]);
        let request = OutboundRequest::post(Purpose::BackchannelLogout, uri, body);
        Ok(match self.outbound.fetch(request).await {
            Ok(reply) if reply.is_success() => Outcome::Delivered,
            // §2.8: the application has understood, and will not. Everything else may be a proxy in front of it, or a mishap.
            Ok(reply) if reply.status == 400 => Outcome::Over("the client refused the logout token"),
            Ok(_) => Outcome::Failed("an answer that is no success"),
            Err(error) if error.may_pass() => Outcome::Failed(error.label()),
            Err(error @ OutboundError::Refused(_)) => {
                tracing::warn!(client.id = %client.client_id, %error, "the backchannel_logout_uri cannot be asked");
                Outcome::Over("refused")
            }
            Err(error) => Outcome::Over(error.label()),
        })
    }

    async fn settle(&self, delivery: &LogoutDelivery, outcome: Outcome) -> StoreResult<()> {
        let (client, attempts) = (&delivery.client, delivery.attempts);
        let label = match outcome {
            Outcome::Delivered => {
                self.queue.finish_logout(delivery).await?;
                tracing::debug!(client.id = %client, attempts, "a client was told of a logout");
                "delivered"
            }
            Outcome::Over(reason) => {
                self.queue.finish_logout(delivery).await?;
                tracing::warn!(client.id = %client, reason, "a client is not told of a logout");
                "over"
            }
            Outcome::Failed(reason) => {
                let next = delivery.next_attempt(self.clock.now(), self.chance());
                self.postpone(delivery, next, reason).await?
            }
        };
        counter!("logout_deliveries_total", "outcome" => label).increment(1);
        Ok(())
    }

    async fn postpone(
        &self,
        delivery: &LogoutDelivery,
        next: Option<Timestamp>,
        reason: &'static str,
    ) -> StoreResult<&'static str> {
        let (client, attempts) = (&delivery.client, delivery.attempts);
        if let Some(at) = next {
            self.queue.postpone_logout(delivery, at).await?;
            tracing::info!(client.id = %client, attempts, reason, "a client could not be told of a logout; it is tried again");
            return Ok("failed");
        }
        self.queue.finish_logout(delivery).await?;
        tracing::warn!(client.id = %client, attempts, reason, "a client could not be told of a logout for a day; nobody tries again");
        Ok("given_up")
    }

    fn chance(&self) -> u16 {
        let mut bytes = [0; 2];
        self.entropy.fill(&mut bytes);
        u16::from_ne_bytes(bytes)
    }
}

/// What is spared when it is slow: scheme, host and port.
pub(super) fn host(uri: &str) -> String {
    Url::parse(uri).map_or_else(|_| uri.to_owned(), |url| url.origin().ascii_serialization())
}
