//! Requests that their callers repeat under a key of their own.

use std::{fmt, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use sha2::{Digest as _, Sha256};

use crate::{
    application::invoke::Invocation,
    domain::{
        caller::Caller,
        fault::{ErrorKind, PublicError},
        idempotency::{BadIdempotencyKey, IdempotencyKey},
        owner::Owner,
        recorded::Recorded,
    },
    ports::replies::{Beginning, Fingerprint, Replies, ReplyPlace},
};

/// What the caller calls its request.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that the answer is an earlier one.
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
const FIRST_REQUEST: HeaderName = HeaderName::from_static("idempotent-request-id");

/// Answers repeated requests once.
#[derive(Debug, Clone)]
pub struct Repeats {
    pub replies: Arc<dyn Replies>,
    /// Longer answers are not kept.
    pub largest: usize,
}

/// A request's own key while it is under way. Dropped without an answer it is given back.
pub(super) struct Claim {
    replies: Arc<dyn Replies>,
    place: ReplyPlace,
    request: Fingerprint,
    open: bool,
}

/// What a caller's key says about its request.
pub(super) enum Repeat {
    /// The caller named none.
    Unnamed,
    First(Claim),
    /// The answer of the first.
    Again(Arc<Recorded>),
}

impl Repeats {
    /// Looks at the caller's key, if it sends one.
    ///
    /// # Errors
    /// The key is none, is another request's, or its request is under way.
    pub(super) async fn begin(
        &self,
        sent: &HeaderMap,
        caller: &Caller,
        invocation: &Invocation,
    ) -> Result<Repeat, PublicError> {
        let Some((place, request)) = named(sent, caller, invocation)? else {
            return Ok(Repeat::Unnamed);
        };
        match self.replies.begin(place, request).await {
            Beginning::Begun => Ok(Repeat::First(Claim {
                replies: Arc::clone(&self.replies),
                place,
                request,
                open: true,
            })),
            Beginning::Finished(answer) => Ok(Repeat::Again(answer)),
            Beginning::UnderWay => Err(under_way()),
            Beginning::Another => Err(another()),
            Beginning::Unknown => Err(unavailable()),
        }
    }
}

/// What a caller calls its request, and what the request is. `None`: nothing.
///
/// # Errors
/// The key is none.
pub(in crate::application) fn named(
    sent: &HeaderMap,
    caller: &Caller,
    invocation: &Invocation,
) -> Result<Option<(ReplyPlace, Fingerprint)>, PublicError> {
    let mut values = sent.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().ok().filter(|_| values.next().is_none());
    let key = text.ok_or(BadIdempotencyKey).and_then(IdempotencyKey::read);
    let key = key.map_err(|error| PublicError::invalid(None, "invalid_idempotency_key", format!("{error}.")))?;
    Ok(Some((place(caller, &key), fingerprint(invocation))))
}

/// What the caller of a repeated request is told.
pub(super) fn tell(answer: &Recorded, headers: &mut HeaderMap) {
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    if let Ok(id) = HeaderValue::try_from(answer.request_id.as_str()) {
        headers.insert(FIRST_REQUEST, id);
    }
}

impl Claim {
    pub(super) fn finish(mut self, answer: Arc<Recorded>) {
        self.open = false;
        self.replies.finish(self.place, self.request, answer);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.open {
            self.replies.abandon(self.place);
        }
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim").finish_non_exhaustive()
    }
}

/// Draft §2.6.
fn under_way() -> PublicError {
    let message = "The request with this Idempotency-Key is under way; ask again when it is done.";
    let mut error = PublicError::new(409, ErrorKind::InvalidRequest, "idempotency_key_in_use", message);
    error.hints.retry_after = Some("1".into());
    error
}

/// The caller named a key because the request must not run twice; nobody can say whether it did.
fn unavailable() -> PublicError {
    let message = "Whether the request with this Idempotency-Key ran before cannot be told at the moment.";
    let mut error = PublicError::new(503, ErrorKind::Server, "idempotency_unavailable", message);
    error.hints.retry_after = Some("1".into());
    error
}

pub(in crate::application) fn another() -> PublicError {
    let message = "This Idempotency-Key was another request's.";
    PublicError::new(422, ErrorKind::InvalidRequest, "idempotency_key_reused", message)
}

/// Keys are a caller's own: of client, person and tenant together.
fn place(caller: &Caller, key: &IdempotencyKey) -> ReplyPlace {
    let owner = Owner::of(caller);
    // A tenant's name is never empty, so none is told from all.
    digest(&[
        owner.tenant_text().as_bytes(),
        owner.client_id.as_str().as_bytes(),
        owner.sub.as_str().as_bytes(),
        key.as_str().as_bytes(),
    ])
}

fn fingerprint(invocation: &Invocation) -> Fingerprint {
    let capability = invocation.capability.as_str().as_bytes();
    let Some(target) = &invocation.raw else {
        return match &invocation.verbatim {
            None => digest(&[capability, &invocation.body]),
            Some(said) => digest(&[capability, invocation.voice.as_str().as_bytes(), said]),
        };
    };
    // Of a raw call the body says the least.
    let kind = invocation.headers.0.get(header::CONTENT_TYPE);
    digest(&[
        capability,
        target.interface.as_bytes(),
        target.method.as_str().as_bytes(),
        target.path_and_query().as_bytes(),
        kind.map_or(&[], HeaderValue::as_bytes),
        &invocation.body,
    ])
}

fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}
