//! Ending a browser session: its tokens end with it, and the applications that it has reached are told.

use std::{slice, sync::Arc};

use oauth_wire::{RedirectUri, Revoked};
use service_kit::{Clock, Timestamp};
use url::Url;

use crate::{
    application::{
        authenticate_client::ClientDirectory,
        keyring::Keyring,
        logout_delivery::{LogoutDeliveries, Told},
        policy::Policy,
        revocations::RevocationLog,
    },
    domain::{
        client::Client,
        ids::{ClientId, SessionId, UserId},
        session::Session,
    },
    ports::store::{StoreError, StoreResult, StoreTx, Transactions},
};

/// Longest value that is kept with a request, in bytes. More is refused, never cut.
const MAX_VALUE_BYTES: usize = 4096;
/// Applications that one page logs out by their front channel.
const MAX_FRAMES: usize = 32;

/// The use cases around signing out.
#[derive(Clone)]
pub struct SignOut {
    pub policy: Arc<Policy>,
    pub clients: ClientDirectory,
    pub keyring: Arc<Keyring>,
    pub transactions: Arc<dyn Transactions>,
    pub revocations: Arc<RevocationLog>,
    pub deliveries: LogoutDeliveries,
    pub clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for SignOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignOut").finish_non_exhaustive()
    }
}

/// What a relying party asks when it sends somebody to log out (OpenID Connect RP-Initiated Logout §2).
#[derive(Debug, Default)]
pub struct LogoutRequest {
    pub id_token_hint: Option<String>,
    pub client_id: Option<String>,
    pub post_logout_redirect_uri: Option<String>,
    pub state: Option<String>,
    pub ui_locales: Option<String>,
}

/// A logout request that may be acted on.
#[derive(Debug)]
pub struct ValidLogout {
    pub client: Option<Arc<Client>>,
    /// The session that the hint's ID token was issued in.
    pub hinted: Option<SessionId>,
    /// Where the person goes afterwards: registered for the client that the hint names.
    pub redirect: Option<RedirectUri>,
    pub state: Option<String>,
    pub ui_locales: Option<String>,
}

impl ValidLogout {
    /// Whether the request itself shows that it means this session (§2: if not, the person MUST be asked). Only the application that the ID token
    /// was given to can show it, and only in the browser of that session.
    pub fn proves(&self, session: &Session) -> bool {
        self.hinted.as_ref() == Some(&session.sid)
    }
}

/// What has ended with a session.
#[derive(Debug, Default)]
pub struct Ended {
    /// The applications that the session has reached.
    pub clients: Vec<ClientId>,
    /// The news to those of them that want it by the back channel.
    pub told: Told,
}

/// What an ID token of ours says about where it came from.
struct Hint {
    audience: ClientId,
    sid: Option<SessionId>,
}

/// A logout request that is shown as an error page; it never redirects.
#[derive(Debug, thiserror::Error)]
pub enum LogoutError {
    #[error("{0}")]
    Invalid(&'static str),
    #[error("storage failed")]
    Store(#[from] StoreError),
}

impl LogoutRequest {
    fn check_lengths(&self) -> Result<(), LogoutError> {
        let is_long = |value: &Option<String>| value.as_ref().is_some_and(|value| value.len() > MAX_VALUE_BYTES);
        if is_long(&self.state) {
            return Err(LogoutError::Invalid("The parameter state is too long."));
        }
        if is_long(&self.ui_locales) {
            return Err(LogoutError::Invalid("The parameter ui_locales is too long."));
        }
        Ok(())
    }
}

/// Compared as strings: no parser has a say in where somebody is sent. The rules of registration are asked once more, since rows outlive them.
fn registered(client: Option<&Client>, asked: &str) -> Option<RedirectUri> {
    let registered = client?.post_logout_redirect_uri(asked)?;
    RedirectUri::parse(registered.as_str()).ok()
}

impl SignOut {
    /// Checks a relying party's request.
    ///
    /// # Errors
    /// [`LogoutError`].
    pub async fn validate(&self, request: LogoutRequest) -> Result<ValidLogout, LogoutError> {
        request.check_lengths()?;
        let hint = request.id_token_hint.as_deref();
        let hint = hint.map(|hint| self.hint(hint)).transpose()?;
        let (audience, hinted) = hint.map_or((None, None), |hint| (Some(hint.audience), hint.sid));
        let named = request.client_id.map(ClientId::new);
        if let (Some(named), Some(audience)) = (&named, &audience)
            && named != audience
        {
            return Err(LogoutError::Invalid(
                "The client_id is not the one that the id_token_hint was issued to.",
            ));
        }
        let client = match audience.as_ref().or(named.as_ref()) {
            Some(id) => self.client(id).await?,
            None => None,
        };
        let redirect = match request.post_logout_redirect_uri {
            None => None,
            // Without the hint nothing proves that the relying party sent this person (§2, §3): no redirect then.
            Some(_) if audience.is_none() => {
                return Err(LogoutError::Invalid(
                    "A post_logout_redirect_uri needs an id_token_hint.",
                ));
            }
            Some(asked) => Some(registered(client.as_deref(), &asked).ok_or(LogoutError::Invalid(
                "The post_logout_redirect_uri is not registered for this application.",
            ))?),
        };
        Ok(ValidLogout {
            client,
            hinted,
            redirect,
            state: request.state,
            ui_locales: request.ui_locales,
        })
    }

    /// The address, if it is still one that the client has registered: minutes may lie between a request and the person's answer to it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn still_registered(&self, client: &ClientId, uri: &str) -> StoreResult<Option<RedirectUri>> {
        Ok(registered(self.client(client).await?.as_deref(), uri))
    }

    /// A client, for the pages to name.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn client(&self, id: &ClientId) -> StoreResult<Option<Arc<Client>>> {
        Ok(self.clients.find(id).await?.filter(|client| client.is_active()))
    }

    /// What an ID token of ours says; one that has expired still counts (§2).
    fn hint(&self, hint: &str) -> Result<Hint, LogoutError> {
        const BAD: LogoutError = LogoutError::Invalid("The id_token_hint is not an ID token of this issuer.");
        let token = self.keyring.verify(hint).map_err(|_| BAD)?;
        let claim = |name: &str| token.claims.get(name).and_then(|value| value.as_str());
        // An authorization response (JARM) is a JWT of ours for the client as well, but about nobody.
        match (token.is_typ("JWT"), claim("iss"), claim("aud"), claim("sub")) {
            (true, Some(iss), Some(aud), Some(_)) if iss == self.policy.issuer => Ok(Hint {
                audience: ClientId::new(aud),
                sid: claim("sid").map(SessionId::new),
            }),
            _ => Err(BAD),
        }
    }

    /// Ends a session and every token that lives by it, and tells the applications that it has reached.
    ///
    /// # Errors
    /// When the store fails; nothing has ended then.
    pub async fn end_session(&self, sid: &SessionId) -> StoreResult<Ended> {
        let now = self.clock.now();
        let mut tx = self.transactions.begin().await?;
        if !tx.end_session(sid, now).await? {
            return Ok(Ended::default());
        }
        let clients = tx.clients_of_session(sid).await?;
        self.end_all(tx, slice::from_ref(sid), now)
            .await
            .map(|told| Ended { clients, told })
    }

    /// Ends every session of a person but one.
    ///
    /// # Errors
    /// When the store fails; nothing has ended then.
    pub async fn end_other_sessions(&self, user: &UserId, keep: &SessionId) -> StoreResult<Told> {
        let now = self.clock.now();
        let mut tx = self.transactions.begin().await?;
        let mut ended = tx.end_sessions_of(user, Some(keep), now).await?;
        ended.sort();
        self.end_all(tx, &ended, now).await
    }

    /// Ends every session of a person; what is told of clients is about the one in this browser.
    ///
    /// # Errors
    /// When the store fails; nothing has ended then.
    pub async fn end_every_session(&self, here: &Session) -> StoreResult<Ended> {
        let now = self.clock.now();
        let mut tx = self.transactions.begin().await?;
        let mut ended = tx.end_sessions_of(&here.user, None, now).await?;
        ended.sort();
        let clients = tx.clients_of_session(&here.sid).await?;
        self.end_all(tx, &ended, now).await.map(|told| Ended { clients, told })
    }

    /// What follows in the same transaction from the end of sessions, and then the news of it.
    async fn end_all(&self, mut tx: Box<dyn StoreTx>, ended: &[SessionId], now: Timestamp) -> StoreResult<Told> {
        let plan = self.deliveries.plan();
        let mut revocations = Vec::with_capacity(ended.len());
        let mut queued = Vec::new();
        for sid in ended {
            tx.revoke_families_of_session(sid, now).await?;
            let revocation = self.revocations.revocation(Revoked::Session {
                sid: sid.as_str().to_owned(),
            });
            tx.record_revocation(&revocation).await?;
            revocations.push(revocation);
            queued.extend(tx.queue_logouts(sid, plan).await?);
        }
        tx.commit().await?;
        self.revocations.announce(revocations);
        Ok(self.deliveries.send(queued))
    }

    /// The addresses that a page in the browser of an ended session loads, so that its applications end theirs (OpenID Connect Front-Channel
    /// Logout §2).
    ///
    /// # Errors
    /// When the store fails.
    pub async fn frames(&self, sid: &SessionId, clients: &[ClientId]) -> StoreResult<Vec<String>> {
        let mut frames = Vec::new();
        for id in clients {
            let client = self.client(id).await?;
            frames.extend(client.and_then(|client| self.frame(sid, &client)));
            if frames.len() == MAX_FRAMES {
                break;
            }
        }
        Ok(frames)
    }

    fn frame(&self, sid: &SessionId, client: &Client) -> Option<String> {
        let uri = client.protocol.frontchannel_logout_uri.as_deref()?;
        // Checked when it was registered, and here once more: it becomes part of a page of ours, and its host of that page's policy, where `;` and
        // `,` mean something.
        let mut url = Url::parse(uri).ok()?;
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']');
        if !matches!(url.scheme(), "https" | "http") || !url.host_str()?.bytes().all(is_plain) {
            return None;
        }
        // §2: both, whether or not the client said that it needs them.
        url.query_pairs_mut()
            .append_pair("iss", &self.policy.issuer)
            .append_pair("sid", sid.as_str());
        Some(url.into())
    }
}
