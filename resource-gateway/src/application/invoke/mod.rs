//! The one path that every AI call takes, whatever its capability, dialect and vendor. It alone calls a transport, so that
//! deadlines, faults, usage and logs cannot drift apart between endpoints.

mod abandoned;
mod attempt;
mod attempts;
mod caller_headers;
mod count;
mod course;
mod deferred;
mod fetching;
mod paced;
pub(super) mod passing;
mod payload_tap;
mod purse;
mod reply_stream;
mod settlement;
mod steps;
mod talk;
mod uncounted;

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use service_kit::{Entropy, Tasks, Timestamp};

pub use caller_headers::CallerHeaders;
pub use count::{Counted, Counter};
pub use fetching::Fetching;
pub(super) use paced::{Paced, fault_of};
pub use passing::Head;
pub use reply_stream::ReplyStream;
pub use talk::{CONVERSATION, KeptStream};

use self::{
    attempts::Journey,
    course::Course,
    fetching::Brought,
    payload_tap::PayloadTap,
    settlement::{Books, Settlement},
};
use super::{
    budgets::{BudgetError, Budgets},
    conversations::{Continuation, Conversations, Turn},
    limits::{Admission, Applicant, Limiter, Part},
    meters::{Meters, Refusal},
    registry::Registry,
    replay::{Before, IDEMPOTENCY_KEY, Replay, Wanted},
    snapshots::Snapshots,
    tally::Tally,
};
use crate::{
    domain::{
        balance::Dice,
        call::{Call, Voice},
        caller::{Caller, Denied},
        fault::{ErrorKind, PublicError, RetryHints},
        ids::RequestId,
        interface::{Capability, Interface},
        multipart::Boundary,
        raw::RawTarget,
        recorded::Recorded,
        snapshot::Snapshot,
        usage::{UsageRecord, UsageState},
    },
    ports::{payload_log::PayloadLog, usage::UsageSink},
};

/// The fields that rules forced to something else than what the caller sent: their pointers, separated by commas.
pub const FORCED_FIELDS: HeaderName = HeaderName::from_static("x-hexgate-forced-fields");
/// The fields that the vendor of the answer did not get, because it cannot obey them: separated by commas.
pub const DROPPED_FIELDS: HeaderName = HeaderName::from_static("x-hexgate-dropped-fields");
/// How many parts of the answer were dropped, because they were not sure enough.
pub const FILTERED: HeaderName = HeaderName::from_static("x-hexgate-filtered");

/// How an error in the middle of a stream is written in the caller's dialect.
pub type ErrorEvent = fn(&PublicError) -> Bytes;

/// Runs AI calls.
#[derive(Debug, Clone)]
pub struct Invoke {
    pub snapshots: Arc<Snapshots>,
    pub registry: Arc<Registry>,
    pub limits: Arc<Limiter>,
    pub replay: Replay,
    pub usage: Arc<dyn UsageSink>,
    pub payloads: Arc<dyn PayloadLog>,
    pub budgets: Arc<Budgets>,
    pub conversations: Arc<Conversations>,
    pub meters: Arc<Meters>,
    pub tally: Arc<Tally>,
    pub fetching: Arc<Fetching>,
    /// Runs what goes on when a request is over.
    pub background: Tasks,
    pub entropy: Arc<dyn Entropy>,
}

/// A call that is to be run.
#[derive(Debug)]
pub struct Invocation {
    pub caller: Arc<Caller>,
    pub capability: Capability,
    /// Where a call goes that is passed on as it is.
    pub raw: Option<Box<RawTarget>>,
    pub body: Bytes,
    /// For settings that name one of them.
    pub headers: CallerHeaders,
    /// Of a body that is a form.
    pub boundary: Option<Boundary>,
    /// The format in which the caller speaks, and what it said in it where `body` is a translation of that.
    pub voice: Voice,
    pub verbatim: Option<Bytes>,
    pub request_id: RequestId,
    /// W3C trace context for the vendor.
    pub traceparent: Option<HeaderValue>,
    pub arrived: Timestamp,
    pub began: Instant,
    pub error_event: ErrorEvent,
    pub audience: Audience,
}

/// Who gets the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// A caller, whose connection saves usage records before anything is written to it (see [`UsageSink::flush`]).
    Connection,
    /// Whoever asks for it later. A limit that is used up only puts the call off: it is not refused, and comes again.
    Job,
}

/// An answer for the caller.
#[derive(Debug)]
pub enum Reply {
    /// Whole, and accounted for.
    Whole(WholeReply),
    Stream(Box<ReplyStream>),
    /// One that was given before.
    Recorded(Arc<Recorded>),
    /// A stream that is stored before it ends.
    Kept(Box<KeptStream>),
}

/// A whole answer in the caller's format.
#[derive(Debug)]
pub struct WholeReply {
    pub status: StatusCode,
    pub body: Bytes,
    pub content_type: HeaderValue,
    /// What the answer says about itself beside its body.
    pub headers: HeaderMap,
}

impl WholeReply {
    /// The body as far as people can read it: of sound there is only to tell how long it is.
    fn outline(&self) -> Bytes {
        if !self.content_type.as_bytes().starts_with(b"audio/") {
            return self.body.clone();
        }
        let kind = String::from_utf8_lossy(self.content_type.as_bytes());
        format!("[{kind} {} bytes]", self.body.len()).into()
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub enum InvokeError {
    /// The caller may not use the interface.
    Denied(Denied),
    Error(PublicError),
    /// A limit is used up, or budgets cannot be looked into, for a call that comes again. It leaves no record.
    PutOff(PublicError),
}

impl From<PublicError> for InvokeError {
    fn from(error: PublicError) -> Self {
        Self::Error(error)
    }
}

impl Invoke {
    /// Runs a call: resolve, authorise, shape, plan, then attempt by attempt until one answers.
    ///
    /// Dropping the future ends the call at the vendor and settles it. `headers` gets what the caller is told beside the answer,
    /// and beside an error as well.
    ///
    /// # Errors
    /// [`InvokeError`]; usage is settled.
    pub async fn run(&self, invocation: Invocation, headers: &mut HeaderMap) -> Result<Reply, InvokeError> {
        let snapshot = self.snapshots.current();
        let (interface, call) = self.resolve(&invocation, &snapshot)?;
        // What is said in a conversation costs the database something, so that there may be a request is asked before; how large it
        // is shows later.
        let early = if call.conversation.is_some() {
            let early = self.limit(&invocation, &snapshot, (&interface, &call), Part::Requests, headers);
            Some(Box::pin(early).await?)
        } else {
            None
        };
        // Before the field rules: they hold for what was said earlier, too, and so do limits.
        let (call, turn) = self.converse(&invocation, &snapshot, &interface, call).await?;
        let call = self.admit(&invocation, &snapshot, (&interface, call), headers)?;
        // What is said in a conversation is answered anew, because an answer out of memory would be missing in it.
        let before = match &turn {
            Some(_) => Ok(Before::Go(Wanted::default())),
            None => {
                self.replay
                    .before(&invocation, &snapshot, (&interface, &call), headers)
                    .await
            }
        };
        let mut wanted = match before {
            Ok(Before::Go(wanted)) => wanted,
            Ok(Before::Again(answer)) => return Ok(Reply::Recorded(answer)),
            Err(error) => {
                self.reject(&invocation, &snapshot, &interface, call.stream);
                return Err(error.into());
            }
        };
        let part = if early.is_some() { Part::Tokens } else { Part::All };
        let admission = self
            .limit(&invocation, &snapshot, (&interface, &call), part, headers)
            .await?;
        let admission = early.unwrap_or_default().and(admission);
        let found = wanted.take_found(&invocation, headers);
        let vendors = self.registry.bind(&snapshot);
        let record = new_record(&invocation, &interface, call.stream);
        let mut settlement = Settlement::open(
            record,
            invocation.began,
            admission,
            self.books(&snapshot, invocation.audience),
        );
        if let Some(route) = call.raw_route() {
            settlement.route(route.clone());
        }
        if let Some(tap) = PayloadTap::of(&interface, &call, &self.payloads) {
            settlement.keep(tap);
        }
        if let Some(answer) = found {
            settlement.replay(&answer);
            return Ok(Reply::Recorded(answer));
        }
        settlement.keep_answer(self.replay.keeper(wanted, &invocation));
        settlement.asks(call.words());
        self.reserve(&invocation, &interface, &call, &mut settlement).await?;
        let course = Course::new(&invocation, &interface, &vendors, Dice::new(self.chance()));
        let brought = Brought::new(&self.fetching, interface.capability);
        let journey = Journey {
            invocation: &invocation,
            interface: &interface,
            call: &call,
            brought: &brought,
            entropy: self.entropy.as_ref(),
            background: &self.background,
        };
        let reply = self.travel(journey, course, settlement).await?;
        match turn {
            None => Ok(reply),
            Some(turn) => talk::keep(turn, reply, headers, invocation.error_event).await,
        }
    }

    /// What the call is, and whether the caller may make it.
    fn resolve(
        &self,
        invocation: &Invocation,
        snapshot: &Arc<Snapshot>,
    ) -> Result<(Arc<Interface>, Call), InvokeError> {
        let capability = invocation.capability;
        let body = invocation.body.clone();
        let call = match &invocation.raw {
            None => {
                let call = Call::read(capability, body, invocation.boundary.as_ref())?;
                match &invocation.verbatim {
                    None => call,
                    Some(said) => call
                        .said_as(invocation.voice, said.clone())
                        .said_beside(&invocation.headers.0),
                }
            }
            Some(target) => Call::passed((**target).clone(), body),
        };
        let interface = snapshot
            .find_interface(&call.model)
            .filter(|interface| interface.enabled.is_on() && interface.capability == capability)
            .ok_or_else(|| unknown_model(&call.model, Some(capability)))?;
        if let Err(denied) = invocation
            .caller
            .check_interface(interface, invocation.arrived.as_seconds())
        {
            self.reject(invocation, snapshot, interface, call.stream);
            return Err(InvokeError::Denied(denied));
        }
        if invocation.raw.is_none() {
            return Ok((Arc::clone(interface), call));
        }
        let call = call.routed(interface, &invocation.headers.0);
        let call = call.inspect_err(|_| self.reject(invocation, snapshot, interface, false))?;
        Ok((Arc::clone(interface), call))
    }

    /// Puts what was said before in front of a call that continues a conversation.
    async fn converse(
        &self,
        invocation: &Invocation,
        snapshot: &Arc<Snapshot>,
        interface: &Interface,
        call: Call,
    ) -> Result<(Call, Option<Turn>), InvokeError> {
        let Some(asked) = call.conversation.clone() else {
            return Ok((call, None));
        };
        let request = Continuation {
            caller: &invocation.caller,
            interface,
            request_id: &invocation.request_id,
        };
        let stream = call.stream;
        let joined = async {
            if invocation.headers.0.contains_key(IDEMPOTENCY_KEY) {
                let message =
                    "A call in a conversation has no Idempotency-Key: what was answered stands in the conversation.";
                return Err(PublicError::invalid(None, "conversation_not_repeatable", message));
            }
            let (turn, earlier) = self.conversations.join(&asked, request, call.messages()?).await?;
            Ok::<_, PublicError>((call.continued(&earlier)?, Some(turn)))
        };
        // Rare enough to be put on the heap, where it does not make every other call's future larger.
        let joined = Box::pin(joined).await;
        Ok(joined.inspect_err(|_| self.reject(invocation, snapshot, interface, stream))?)
    }

    /// Everything else that may turn a call away before a vendor hears of it.
    fn admit(
        &self,
        invocation: &Invocation,
        snapshot: &Arc<Snapshot>,
        (interface, call): (&Interface, Call),
        headers: &mut HeaderMap,
    ) -> Result<Call, InvokeError> {
        let asked_to_stream = call.stream;
        let call = call.shaped_by(interface.field_rules()).inspect_err(|_| {
            self.reject(invocation, snapshot, interface, asked_to_stream);
        })?;
        if let Some(forced) = call
            .forced_fields()
            .and_then(|fields| HeaderValue::try_from(fields).ok())
        {
            headers.insert(FORCED_FIELDS, forced);
        }
        let timed = purse::is_timed(snapshot, interface, invocation.arrived);
        let call = call.held_to(interface.policy.min_confidence).timed(timed);
        self.usage.admit().map_err(|error| {
            tracing::error!(request.id = %invocation.request_id, %error, "calls are refused: usage cannot be recorded");
            let message = "The gateway cannot account for calls now.";
            PublicError::new(503, ErrorKind::Server, "usage_unavailable", message)
        })?;
        Ok(call)
    }

    /// Takes what the call needs of its limits.
    async fn limit(
        &self,
        invocation: &Invocation,
        snapshot: &Arc<Snapshot>,
        (interface, call): (&Interface, &Call),
        part: Part,
        headers: &mut HeaderMap,
    ) -> Result<Admission, InvokeError> {
        let applicant = Applicant {
            interface,
            caller: &invocation.caller,
            request_id: invocation.request_id.as_str(),
            tokens: call.estimated_input.saturating_add(call.asked_output),
            part,
        };
        let admitted = self.limits.admit(snapshot, applicant, headers).await;
        admitted.map_err(|error| {
            if invocation.audience == Audience::Job {
                return InvokeError::PutOff(error);
            }
            self.meters.refused(Refusal::RateLimit);
            self.reject(invocation, snapshot, interface, call.stream);
            InvokeError::Error(error)
        })
    }

    /// Has every budget that the call counts against hold back what it may cost.
    async fn reserve(
        &self,
        invocation: &Invocation,
        interface: &Interface,
        call: &Call,
        settlement: &mut Settlement,
    ) -> Result<(), InvokeError> {
        let (caller, at) = (&invocation.caller, invocation.arrived);
        let refused = match purse::demands(settlement.snapshot(), caller, interface, call, at) {
            Ok(demands) if demands.is_empty() => return Ok(()),
            Ok(demands) => match self.budgets.reserve(demands).await {
                Ok(reservation) => {
                    settlement.back(reservation);
                    return Ok(());
                }
                Err(BudgetError::Unavailable) if invocation.audience == Audience::Job => {
                    settlement.forget();
                    return Err(InvokeError::PutOff(purse::refusal(BudgetError::Unavailable)));
                }
                Err(error) => purse::refusal(error).into(),
            },
            Err(error) => error,
        };
        match interface.log.metadata.is_on() {
            true => settlement.settle(UsageState::Rejected),
            false => settlement.forget(),
        }
        Err(refused)
    }

    /// Leaves a record of a refused call, if the interface wants those.
    fn reject(&self, invocation: &Invocation, snapshot: &Arc<Snapshot>, interface: &Interface, stream: bool) {
        if !interface.log.metadata.is_on() {
            return;
        }
        let record = new_record(invocation, interface, stream);
        let nothing = Admission::unlimited();
        Settlement::open(
            record,
            invocation.began,
            nothing,
            self.books(snapshot, invocation.audience),
        )
        .settle(UsageState::Rejected);
    }

    fn books(&self, snapshot: &Arc<Snapshot>, audience: Audience) -> Books {
        Books {
            snapshot: Arc::clone(snapshot),
            sink: Arc::clone(&self.usage),
            meters: Arc::clone(&self.meters),
            tally: Arc::clone(&self.tally),
            audience,
        }
    }

    fn chance(&self) -> u64 {
        let mut bytes = [0; 8];
        self.entropy.fill(&mut bytes);
        u64::from_ne_bytes(bytes)
    }
}

fn new_record(invocation: &Invocation, interface: &Interface, stream: bool) -> UsageRecord {
    UsageRecord {
        request_id: invocation.request_id.clone(),
        time: invocation.arrived,
        tenant: invocation.caller.tenant.clone(),
        client_id: invocation.caller.client_id.clone(),
        sub: invocation.caller.sub.clone(),
        interface: interface.name.clone(),
        capability: interface.capability,
        vendor: None,
        model: None,
        state: UsageState::Rejected,
        stream,
        input_tokens: 0,
        output_tokens: 0,
        cached_input_tokens: None,
        reasoning_tokens: None,
        estimated: false,
        attempts: 0,
        duration_ms: 0,
        first_byte_ms: None,
        images: 0,
        audio_ms: 0,
        characters: 0,
        cost: None,
        currency: None,
        price: None,
        access_key: invocation.caller.access_key.clone(),
        node: None,
        charges: Vec::new(),
    }
}

/// OpenAI's words, because SDKs branch on the code.
pub(super) fn unknown_model(name: &str, capability: Option<Capability>) -> PublicError {
    // Names are short; what is not is not repeated.
    let shown: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
    let message = match capability {
        Some(capability) => format!("There is no model '{shown}' for {}.", capability.as_str()),
        None => format!("There is no model '{shown}' for you."),
    };
    let error = PublicError::new(404, ErrorKind::InvalidRequest, "model_not_found", message);
    PublicError {
        param: Some("model".into()),
        ..error
    }
}

fn no_route() -> PublicError {
    PublicError {
        hints: RetryHints {
            should_retry: Some("false".into()),
            ..RetryHints::default()
        },
        ..PublicError::new(
            503,
            ErrorKind::Server,
            "no_provider",
            "All providers of this model are switched off.",
        )
    }
}
