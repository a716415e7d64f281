//! The one path that every AI call takes, whatever its capability, dialect and vendor. It alone calls a transport, so that
//! deadlines, faults, usage and logs cannot drift apart between endpoints.

mod paced;
mod reply_stream;
mod settlement;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use service_kit::{Entropy, Timestamp};

pub use reply_stream::ReplyStream;

use self::{
    paced::{Paced, fault_of},
    settlement::Settlement,
};
use super::{
    limits::{Admission, Applicant, Limiter},
    meters::{Meters, Refusal},
    registry::{BoundVendor, Registry},
    snapshots::Snapshots,
};
use crate::{
    domain::{
        call::Call,
        caller::{Caller, Denied},
        fault::{ErrorKind, Fault, FaultClass, PublicError, RetryHints},
        ids::RequestId,
        interface::{Capability, Interface, Route},
        plan::order_routes,
        snapshot::Snapshot,
        usage::{UsageRecord, UsageState},
    },
    ports::{
        codec::{Codec, Progress, Pushed, StreamEnd},
        transport::{Deadlines, UpstreamReply, UpstreamRequest},
        usage::UsageSink,
    },
};

/// An answer that is longer than this is not an answer. Embeddings of the largest batch are some 70 MB as text.
const MAX_REPLY_BYTES: usize = 128 * 1024 * 1024;
/// Of an error's body no more is read.
const MAX_FAULT_BYTES: usize = 64 * 1024;
/// An error's body has this long to come, once its status is there.
const FAULT_BODY_TIME: Duration = Duration::from_secs(5);

/// How an error in the middle of a stream is written in the caller's dialect.
pub type ErrorEvent = fn(&PublicError) -> Bytes;

/// Runs AI calls.
#[derive(Debug)]
pub struct Invoke {
    pub snapshots: Arc<Snapshots>,
    pub registry: Arc<Registry>,
    pub limits: Arc<Limiter>,
    pub usage: Arc<dyn UsageSink>,
    pub meters: Arc<Meters>,
    pub entropy: Arc<dyn Entropy>,
}

/// A call that is to be run.
#[derive(Debug)]
pub struct Invocation {
    pub caller: Arc<Caller>,
    pub capability: Capability,
    pub body: Bytes,
    pub request_id: RequestId,
    /// W3C trace context for the vendor.
    pub traceparent: Option<HeaderValue>,
    pub arrived: Timestamp,
    pub began: Instant,
    pub error_event: ErrorEvent,
}

/// An answer for the caller.
#[derive(Debug)]
pub enum Reply {
    /// Whole, and accounted for.
    Whole(Bytes),
    Stream(Box<ReplyStream>),
}

/// Why there is no answer.
#[derive(Debug)]
pub enum InvokeError {
    /// The caller may not use the interface.
    Denied(Denied),
    Error(PublicError),
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
        let capability = invocation.capability;
        let (interface, call) = self.admit(&invocation, &snapshot)?;
        let admission = self.limit(&invocation, &snapshot, &interface, &call, headers).await?;
        let vendors = self.registry.bind(&snapshot);
        let usable = |route: &Route| {
            vendors
                .find(&route.vendor)
                .is_some_and(|v| v.codec(capability).is_some())
        };
        let order = order_routes(&interface.routes, usable, || self.chance());
        let record = new_record(&invocation, &interface, call.stream);
        let mut settlement = Settlement::open(
            record,
            call.estimated_input,
            invocation.began,
            admission,
            Arc::clone(&self.usage),
            Arc::clone(&self.meters),
        );
        let routes = order.into_iter().filter_map(|at| interface.routes.get(at));
        let mut ways = routes.filter_map(|route| {
            let vendor = vendors.find(&route.vendor)?;
            Some(Way {
                vendor,
                codec: vendor.codec(capability)?,
                model: route.model.as_str(),
                route,
            })
        });
        let Some(mut way) = ways.next() else {
            settlement.settle(UsageState::UpstreamError);
            return Err(no_route().into());
        };
        loop {
            settlement.attempt(&way.vendor.name, &way.route.model);
            let fault = match self.attempt(&invocation, &interface, &call, &way).await {
                Ok(Answer::Whole { body, progress }) => {
                    settlement.note(progress);
                    settlement.first_byte();
                    settlement.settle(UsageState::Completed);
                    return Ok(Reply::Whole(body));
                }
                Ok(Answer::Stream {
                    upstream,
                    decoder,
                    first,
                }) => {
                    let stream = ReplyStream::new(upstream, decoder, first, settlement, invocation.error_event);
                    return Ok(Reply::Stream(Box::new(stream)));
                }
                Err(fault) => fault,
            };
            settlement.fault(&fault);
            let may_go_on = invocation.began.elapsed() < interface.timeouts.total
                && settlement.attempts() < interface.policy.max_attempts;
            way = match ways.next() {
                Some(next) if fault.is_retryable() && may_go_on => next,
                _ => {
                    settlement.settle(UsageState::UpstreamError);
                    return Err(fault.to_public().into());
                }
            };
        }
    }

    /// Everything that may turn a call away before a vendor hears of it.
    fn admit(&self, invocation: &Invocation, snapshot: &Snapshot) -> Result<(Arc<Interface>, Call), InvokeError> {
        let capability = invocation.capability;
        let call = Call::read(capability, invocation.body.clone())?;
        let interface = snapshot
            .find_interface(&call.model)
            .filter(|interface| interface.enabled.is_on() && interface.capability == capability)
            .ok_or_else(|| unknown_model(&call.model, Some(capability)))?;
        if let Err(denied) = invocation
            .caller
            .check_interface(interface, invocation.arrived.as_seconds())
        {
            self.meters.refused(refusal_of(&denied));
            self.reject(invocation, interface, call.stream);
            return Err(InvokeError::Denied(denied));
        }
        let asked_to_stream = call.stream;
        let call = call.shaped_by(capability, interface.field_rules()).inspect_err(|_| {
            self.reject(invocation, interface, asked_to_stream);
        })?;
        self.usage.admit().map_err(|error| {
            tracing::error!(request.id = %invocation.request_id, %error, "calls are refused: usage cannot be recorded");
            let message = "The gateway cannot account for calls now.";
            PublicError::new(503, ErrorKind::Server, "usage_unavailable", message)
        })?;
        Ok((Arc::clone(interface), call))
    }

    /// Takes what the call needs of its limits.
    async fn limit(
        &self,
        invocation: &Invocation,
        snapshot: &Arc<Snapshot>,
        interface: &Interface,
        call: &Call,
        headers: &mut HeaderMap,
    ) -> Result<Admission, InvokeError> {
        let applicant = Applicant {
            interface,
            caller: &invocation.caller,
            request_id: invocation.request_id.as_str(),
            tokens: call.estimated_input.saturating_add(call.asked_output),
        };
        let admitted = self.limits.admit(snapshot, applicant, headers).await;
        admitted.map_err(|error| {
            self.meters.refused(Refusal::RateLimit);
            self.reject(invocation, interface, call.stream);
            InvokeError::Error(error)
        })
    }

    /// One call to one vendor, up to the first byte that may go to the caller.
    async fn attempt(
        &self,
        invocation: &Invocation,
        interface: &Interface,
        call: &Call,
        way: &Way<'_>,
    ) -> Result<Answer, Fault> {
        let timeouts = interface.timeouts;
        let began = tokio::time::Instant::now();
        let deadline = tokio::time::Instant::from_std(invocation.began) + timeouts.total;
        let left = deadline.saturating_duration_since(began);
        let head = timeouts.first_byte.min(left);
        let uri = way.vendor.pick_uri(invocation.capability, || self.chance());
        let mut headers = way.vendor.headers();
        let accept = if call.stream {
            "text/event-stream"
        } else {
            "application/json"
        };
        headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
        if let Some(traceparent) = &invocation.traceparent {
            headers.insert("traceparent", traceparent.clone());
        }
        way.vendor.signer.sign(&mut headers);
        let request = UpstreamRequest {
            method: Method::POST,
            uri: uri.ok_or_else(|| Fault::of(FaultClass::Transport))?,
            headers,
            body: way.codec.encode(call, way.model),
            deadlines: Deadlines {
                connect: timeouts.connect.min(head),
                head,
            },
        };
        let reply = way.vendor.transport.send(request).await.map_err(fault_of)?;
        if !reply.status.is_success() {
            return Err(read_fault(way.codec.as_ref(), reply).await);
        }
        if call.stream {
            // The first byte of a stream is its first event, so it has to come in the time for first bytes, which each attempt
            // has for itself: the vendor before may have used up its own.
            let first_by = began + timeouts.first_byte;
            return open_stream(way.codec.as_ref(), call, reply, timeouts.idle, deadline, first_by).await;
        }
        let body = Paced::new(reply.body, timeouts.idle, deadline)
            .collect(MAX_REPLY_BYTES)
            .await?;
        let decoded = way.codec.decode(body)?;
        let progress = Progress {
            usage: decoded.usage,
            weight: decoded.weight,
        };
        Ok(Answer::Whole {
            body: decoded.body,
            progress,
        })
    }

    /// Leaves a record of a refused call, if the interface wants those.
    fn reject(&self, invocation: &Invocation, interface: &Interface, stream: bool) {
        if !interface.log.metadata.is_on() {
            return;
        }
        let record = new_record(invocation, interface, stream);
        let (sink, meters) = (Arc::clone(&self.usage), Arc::clone(&self.meters));
        let nothing = Admission::unlimited();
        Settlement::open(record, 0, invocation.began, nothing, sink, meters).settle(UsageState::Rejected);
    }

    fn chance(&self) -> u64 {
        let mut bytes = [0; 8];
        self.entropy.fill(&mut bytes);
        u64::from_ne_bytes(bytes)
    }
}

/// A route with what it leads to.
struct Way<'a> {
    vendor: &'a BoundVendor,
    codec: &'a Arc<dyn Codec>,
    model: &'a str,
    route: &'a Route,
}

enum Answer {
    Whole {
        body: Bytes,
        progress: Progress,
    },
    Stream {
        upstream: Paced,
        decoder: Box<dyn crate::ports::codec::StreamDecoder>,
        first: Pushed,
    },
}

async fn read_fault(codec: &dyn Codec, reply: UpstreamReply) -> Fault {
    let deadline = tokio::time::Instant::now() + FAULT_BODY_TIME;
    let body = Paced::new(reply.body, FAULT_BODY_TIME, deadline)
        .collect_some(MAX_FAULT_BYTES)
        .await;
    codec.decode_fault(reply.status.as_u16(), &reply.headers, &body)
}

/// Some servers report an error under a status of success, as JSON in place of the stream: limits, quotas and filters keep
/// their meaning. Whatever else comes is no answer.
async fn read_no_stream(codec: &dyn Codec, reply: UpstreamReply, deadline: tokio::time::Instant) -> Fault {
    let deadline = deadline.min(tokio::time::Instant::now() + FAULT_BODY_TIME);
    let body = Paced::new(reply.body, FAULT_BODY_TIME, deadline)
        .collect_some(MAX_FAULT_BYTES)
        .await;
    match codec.decode(body) {
        Err(fault) if fault.class != FaultClass::InvalidReply => fault,
        Ok(_) | Err(_) => Fault {
            status: Some(reply.status.as_u16()),
            ..Fault::of(FaultClass::InvalidReply)
        },
    }
}

/// Reads up to the first bytes that may go to the caller: until then a failure still has a status of its own, and another
/// vendor may be asked.
async fn open_stream(
    codec: &dyn Codec,
    call: &Call,
    reply: UpstreamReply,
    idle: Duration,
    deadline: tokio::time::Instant,
    first_by: tokio::time::Instant,
) -> Result<Answer, Fault> {
    if !is_event_stream(&reply.headers) {
        return Err(read_no_stream(codec, reply, first_by.min(deadline)).await);
    }
    let mut decoder = codec.stream(call);
    let mut upstream = Paced::new(reply.body, idle, deadline);
    let first = async {
        loop {
            let pushed = match std::future::poll_fn(|cx| upstream.poll_next(cx)).await {
                Some(bytes) => decoder.push(bytes?),
                None => decoder.finish(),
            };
            match pushed {
                Pushed {
                    out,
                    end: Some(StreamEnd::Failed(fault)),
                } if out.is_empty() => return Err(fault),
                Pushed { out, end: None } if out.is_empty() => {}
                pushed => return Ok(pushed),
            }
        }
    };
    let first = tokio::time::timeout_at(first_by.min(deadline), first)
        .await
        .unwrap_or_else(|_| Err(Fault::of(FaultClass::Timeout)))?;
    Ok(Answer::Stream {
        upstream,
        decoder,
        first,
    })
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.is_some_and(|value| {
        let media_type = value.split(';').next().unwrap_or_default();
        media_type.trim().eq_ignore_ascii_case("text/event-stream")
    })
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
        access_key: None,
        node: None,
        charges: Vec::new(),
    }
}

pub(super) fn refusal_of(denied: &Denied) -> Refusal {
    match denied {
        Denied::Scope(_) => Refusal::Scope,
        Denied::Interface => Refusal::Interface,
        Denied::Details | Denied::DetailsEnded => Refusal::Details,
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
