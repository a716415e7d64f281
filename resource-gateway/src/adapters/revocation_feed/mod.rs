//! The provider's revocations by poll (RFC 8936).

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use oauth_wire::RevocationEvent;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use crate::ports::provider::{FeedError, KeysError, Polled, ProviderKeys, RevocationFeed, SecurityEvent, Wait};

/// `typ` of a security event token (RFC 8417 §2.3).
const SET_TYP: &str = "secevent+jwt";
/// The provider holds a poll for 25 s at most; a connection that is silent for longer is dead.
const LONG_POLL: Duration = Duration::from_secs(40);
const SHORT_POLL: Duration = Duration::from_secs(10);
const MAX_EVENTS: u32 = 500;
/// Longer than the time in which an unknown key is not asked for again.
const SECOND_LOOK: Duration = Duration::from_millis(1500);

/// How we prove who we are.
#[derive(Debug)]
pub enum FeedCredential {
    /// Derived from the master key that both services share.
    Service(SecretString),
    /// A client that holds the permission `events:poll`.
    Client {
        client_id: String,
        client_secret: SecretString,
    },
}

/// The feed of one issuer.
pub struct HttpRevocationFeed {
    url: String,
    issuer: String,
    http: reqwest::Client,
    credential: FeedCredential,
    keys: Arc<dyn ProviderKeys>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Poll<'a> {
    max_events: u32,
    return_immediately: bool,
    ack: &'a [String],
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PollReply {
    #[serde(default)]
    sets: BTreeMap<String, String>,
    #[serde(default)]
    more_available: bool,
}

impl fmt::Debug for HttpRevocationFeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpRevocationFeed")
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

impl HttpRevocationFeed {
    /// `stream` names this process: what it acknowledged is not sent to it again.
    pub fn new(
        issuer: String,
        stream: &str,
        http: reqwest::Client,
        credential: FeedCredential,
        keys: Arc<dyn ProviderKeys>,
    ) -> Self {
        let url = format!("{}/events/poll?stream={stream}", issuer.trim_end_matches('/'));
        Self {
            url,
            issuer,
            http,
            credential,
            keys,
        }
    }

    /// Reads an event token; `None` when its signature does not hold.
    async fn read(&self, id: &str, set: &str) -> Result<Option<SecurityEvent>, FeedError> {
        let verified = match self.keys.verify(set).await {
            Ok(verified) => verified,
            // Not acknowledged, so it comes again once there are keys to read it with.
            Err(KeysError::NotLoaded) => return Err(FeedError::Unavailable("no keys are known yet".to_owned())),
            Err(KeysError::Invalid) => return Ok(None),
        };
        let from_issuer = verified.jwt.claims.get("iss").and_then(serde_json::Value::as_str) == Some(&self.issuer);
        // RFC 8417 §2.3: the type tells event tokens from all others that the keys sign.
        let event = (verified.jwt.is_typ(SET_TYP) && from_issuer)
            .then(|| RevocationEvent::from_claims(&verified.jwt.claims).ok())
            .flatten();
        if event.is_none() {
            tracing::warn!(
                event.id = id,
                "a security event is of a kind that this version does not know"
            );
        }
        Ok(Some(SecurityEvent {
            id: id.to_owned(),
            event,
        }))
    }

    /// Events whose signature did not hold. An unknown key is asked for at most so often, and whoever floods us with made-up
    /// keys must not make us miss a revocation: so they are looked at once more, later. What does not hold then is passed over,
    /// since it must not keep the events after it away.
    async fn read_again(&self, unread: BTreeMap<String, String>) -> Result<Vec<SecurityEvent>, FeedError> {
        tokio::time::sleep(SECOND_LOOK).await;
        let mut events = Vec::with_capacity(unread.len());
        for (id, set) in unread {
            events.push(self.read(&id, &set).await?.unwrap_or_else(|| {
                tracing::error!(
                    event.id = id,
                    "a security event's signature does not hold; it is passed over"
                );
                SecurityEvent { id, event: None }
            }));
        }
        Ok(events)
    }
}

#[async_trait]
impl RevocationFeed for HttpRevocationFeed {
    async fn poll(&self, acknowledged: &[String], wait: Wait) -> Result<Polled, FeedError> {
        let poll = Poll {
            max_events: MAX_EVENTS,
            return_immediately: wait == Wait::No,
            ack: acknowledged,
        };
        let request = self.http.post(&self.url).json(&poll).timeout(match wait {
            Wait::No => SHORT_POLL,
            Wait::Long => LONG_POLL,
        });
        let request = match &self.credential {
            FeedCredential::Service(credential) => request.bearer_auth(credential.expose_secret()),
            FeedCredential::Client {
                client_id,
                client_secret,
            } => {
                // RFC 6749 §2.3.1: both are form-encoded before they go into the header.
                let encode = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
                request.basic_auth(encode(client_id), Some(encode(client_secret.expose_secret())))
            }
        };
        let unavailable = |error: reqwest::Error| FeedError::Unavailable(error.without_url().to_string());
        let response = request.send().await.map_err(unavailable)?;
        let status = response.status();
        if matches!(status.as_u16(), 401 | 403) {
            return Err(FeedError::Refused(status.as_u16()));
        }
        let reply: PollReply = response
            .error_for_status()
            .map_err(unavailable)?
            .json()
            .await
            .map_err(unavailable)?;
        let mut events = Vec::with_capacity(reply.sets.len());
        let mut unread = BTreeMap::new();
        for (id, set) in reply.sets {
            match self.read(&id, &set).await? {
                Some(event) => events.push(event),
                None => {
                    unread.insert(id, set);
                }
            }
        }
        // What can be read goes first; the rest stays unacknowledged and comes again.
        if events.is_empty() && !unread.is_empty() {
            let events = self.read_again(unread).await?;
            return Ok(Polled {
                events,
                more: reply.more_available,
            });
        }
        Ok(Polled {
            events,
            more: reply.more_available || !unread.is_empty(),
        })
    }
}
