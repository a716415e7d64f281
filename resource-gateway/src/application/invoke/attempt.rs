//! One call to one address.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode};
use secrecy::SecretString;
use serde_json::Value;
use service_kit::Timestamp;

use super::{
    DROPPED_FIELDS, FILTERED, Invoke, WholeReply,
    attempts::Journey,
    course::Stop,
    paced::{Paced, fault_of},
    passing::{self, Head},
    steps,
};
use crate::{
    domain::{
        call::Call,
        estimate::Weight,
        fault::{Fault, FaultClass, PublicError},
        field_rules::listed,
        raw,
        said::Said,
    },
    ports::{
        codec::{
            Codec, Decoded, EncodeError, Encoded, Fetched, Manner, Opening, Outcome, Outgoing, Pushed, Received,
            StreamDecoder, StreamEnd, Target, TokenUsage,
        },
        transport::{Deadlines, Transport, UpstreamReply},
    },
};

/// An answer that is longer than this is not an answer. Embeddings of the largest batch are some 70 MB as text.
pub(super) const MAX_REPLY_BYTES: usize = 128 * 1024 * 1024;
/// Of an error's body no more is read.
const MAX_FAULT_BYTES: usize = 64 * 1024;
/// An error's body has this long to come, once its status is there.
const FAULT_BODY_TIME: Duration = Duration::from_secs(5);

/// Of what comes before the first content no more is held back.
const MAX_HELD_BYTES: usize = 64 * 1024;

/// An attempt that failed, with where it failed.
pub(super) struct Lost<'a> {
    pub(super) stop: Stop<'a>,
    pub(super) fault: Fault,
    /// Whether the vendor may have taken the call.
    pub(super) reached: bool,
}

impl Invoke {
    /// One call to one address, up to the first byte that may go to the caller. What it says about the address is noted here, except
    /// for a stream, whose end says it.
    pub(super) async fn attempt<'a>(journey: Journey<'a>, mut stop: Stop<'a>) -> Result<(Stop<'a>, Answer), Lost<'a>> {
        let mut reached = false;
        match Self::send(journey, &stop, &mut reached).await {
            Ok(answer) => {
                stop.permit.answered();
                // What was wrong with the request says nothing of the address.
                if matches!(&answer, Answer::Whole { reply, .. } if !reply.status.is_client_error()) {
                    stop.permit.succeed();
                }
                Ok((stop, answer))
            }
            Err(mut fault) => {
                stop.way.vendor.hide_in(&mut fault.words);
                let wait = fault.hints.wait(journey.now());
                stop.permit.fail(&fault, wait, &stop.way.route.model);
                Err(Lost { stop, fault, reached })
            }
        }
    }

    /// One call to one vendor, up to the first byte that may go to the caller.
    async fn send(journey: Journey<'_>, stop: &Stop<'_>, reached: &mut bool) -> Result<Answer, Fault> {
        let errand = Errand::new(journey, stop);
        let encoded = match errand.encode(&[]) {
            Ok(encoded) => encoded,
            Err(EncodeError::Refused(error)) => return Err(Fault::unsupported(error)),
            Err(EncodeError::Fetch(urls)) => Box::pin(errand.encode_with(urls)).await?,
        };
        if encoded.ends_elsewhere && !journey.brought.is_on() {
            let message = "The provider puts what it makes of this where it would have to be fetched from, and nothing is fetched here.";
            let refused = PublicError::invalid(None, "results_not_fetched", message);
            return Err(Fault::unsupported(refused));
        }
        match stop.way.vendor.signer.exchange() {
            None => errand.run(encoded, None, reached).await,
            Some(_) => Box::pin(errand.run_with_token(encoded, reached)).await,
        }
    }
}

/// A call on its way to one address.
#[derive(Clone, Copy)]
pub(super) struct Errand<'e> {
    pub(super) journey: Journey<'e>,
    pub(super) stop: &'e Stop<'e>,
    began: tokio::time::Instant,
    /// When the whole request must be over.
    pub(super) deadline: tokio::time::Instant,
}

impl<'e> Errand<'e> {
    pub(super) fn new(journey: Journey<'e>, stop: &'e Stop<'e>) -> Self {
        Self {
            journey,
            stop,
            began: tokio::time::Instant::now(),
            deadline: tokio::time::Instant::from_std(journey.invocation.began) + journey.interface.timeouts.total,
        }
    }
}

impl Errand<'_> {
    pub(super) fn codec(&self) -> &dyn Codec {
        self.stop.way.codec.as_ref()
    }

    pub(super) fn target<'t>(&'t self, fetched: &'t [Fetched]) -> Target<'t> {
        Target {
            model: self.stop.way.model,
            vendor: &self.stop.way.vendor.row,
            when_unsupported: self.journey.interface.policy.when_unsupported,
            fetched,
            entropy: self.journey.entropy,
        }
    }

    fn encode(&self, fetched: &[Fetched]) -> Result<Encoded, EncodeError> {
        self.codec().encode(self.journey.call, self.target(fetched))
    }

    /// Writes the call with what lies behind URLs that the vendor does not look at itself.
    async fn encode_with(&self, urls: Vec<String>) -> Result<Encoded, Fault> {
        let brought = self.journey.brought;
        match brought
            .with(urls, self.deadline, |fetched| self.encode(fetched))
            .await?
        {
            Ok(encoded) => Ok(encoded),
            Err(EncodeError::Refused(error)) => Err(Fault::unsupported(error)),
            // It was there, and the codec asks for it again.
            Err(EncodeError::Fetch(_)) => Err(Fault::of(FaultClass::InvalidRequest)),
        }
    }

    /// The same for vendors whose calls are signed by a token that is bought. One that was taken back before its time is bought once
    /// more.
    async fn run_with_token(&self, encoded: Encoded, reached: &mut bool) -> Result<Answer, Fault> {
        let vendor = self.stop.way.vendor;
        let again = encoded.clone();
        let token = vendor.token(self.at()).await?;
        let fault = match self.run(encoded, token.as_ref(), reached).await {
            Err(fault) if fault.class == FaultClass::Authentication => fault,
            done => return done,
        };
        let Some(token) = token else { return Err(fault) };
        vendor.tokens.forget(&token);
        let token = vendor.token(self.at()).await?;
        self.run(again, token.as_ref(), reached).await
    }

    pub(super) fn at(&self) -> Timestamp {
        let invocation = self.journey.invocation;
        invocation.arrived + invocation.began.elapsed()
    }

    fn deadlines(&self) -> Deadlines {
        let timeouts = self.journey.interface.timeouts;
        let left = self.deadline.saturating_duration_since(tokio::time::Instant::now());
        let head = timeouts.first_byte.min(left);
        Deadlines {
            connect: timeouts.connect.min(head),
            head,
        }
    }

    /// A call to the vendor, signed.
    fn outgoing(&self, encoded: Encoded, token: Option<&SecretString>) -> Result<Outgoing, Fault> {
        let Journey { invocation, .. } = self.journey;
        let vendor = self.stop.way.vendor;
        let base = self.stop.member.uri(invocation.capability);
        let mut request = vendor.outgoing(base, encoded)?;
        if let Some(traceparent) = &invocation.traceparent {
            request.headers.insert("traceparent", traceparent.clone());
        }
        vendor.signer.sign(&mut request, self.at(), token);
        Ok(request)
    }

    /// The same, for whoever cannot tell anybody why there is none.
    pub(super) fn signed(&self, encoded: Encoded, token: Option<&SecretString>) -> Option<Outgoing> {
        self.outgoing(encoded, token).ok()
    }

    pub(super) fn transport(&self) -> Arc<dyn Transport> {
        Arc::clone(self.stop.member.transport())
    }

    /// Signs and sends.
    pub(super) async fn post(
        &self,
        encoded: Encoded,
        token: Option<&SecretString>,
        reached: &mut bool,
    ) -> Result<UpstreamReply, Fault> {
        let request = self.outgoing(encoded, token)?.within(self.deadlines());
        let sent = self.stop.member.transport().send(request).await;
        *reached = !sent.as_ref().is_err_and(|error| error.is_before_the_call());
        sent.map_err(fault_of)
    }

    async fn run(
        &self,
        mut encoded: Encoded,
        token: Option<&SecretString>,
        reached: &mut bool,
    ) -> Result<Answer, Fault> {
        let Journey { interface, call, .. } = self.journey;
        let (way, timeouts) = (self.stop.way, interface.timeouts);
        let dropped = std::mem::take(&mut encoded.dropped);
        let passes = encoded
            .place
            .as_ref()
            .is_some_and(|place| place.manner == Manner::Passed);
        let reply = self.post(encoded, token, reached).await?;
        let status = reply.status;
        let answers = status.is_success() || (passes && raw::is_answer(status));
        if !answers {
            return Err(read_fault(self.codec(), reply).await);
        }
        let head = match passes {
            true => passing::head(call, &reply, way.vendor),
            false => None,
        };
        if call.stream || (passes && status.is_success() && self.codec().is_stream(&reply.headers)) {
            // The first byte of a stream is its first event, so it has to come in the time for first bytes, which each attempt
            // has for itself: the vendor before may have used up its own.
            let first_by = self.began + timeouts.first_byte;
            let opened = self.open_stream(reply, first_by).await;
            return opened.map(|answer| answer.with(head).told(&dropped));
        }
        let body = Paced::new(reply.body, timeouts.idle, self.deadline)
            .collect(MAX_REPLY_BYTES)
            .await?;
        let decoded = match self
            .codec()
            .decode(call, self.received(&reply.headers, body, &Value::Null))
        {
            Ok(Outcome::Answer(decoded)) => *decoded,
            Ok(Outcome::Next(step)) => Box::pin(steps::follow(self, *step, token)).await?,
            Err(fault) => no_result(fault, call)?,
        };
        Ok(finish_whole(call, decoded).with(head).told(&dropped))
    }

    pub(super) fn received<'r>(&'r self, headers: &'r HeaderMap, body: Bytes, state: &'r Value) -> Received<'r> {
        Received {
            headers,
            body,
            model: self.stop.way.model,
            at: self.at(),
            state,
            found: &[],
        }
    }
}

/// The notice of fields that the vendor did not get; their names may be the caller's own, with any character in them.
fn dropped_names(dropped: &[String]) -> Option<HeaderValue> {
    HeaderValue::try_from(listed(dropped.iter().map(String::as_str))?).ok()
}

/// Nothing to find is an answer where answers are lists.
pub(super) fn no_result(fault: Fault, call: &Call) -> Result<Decoded, Fault> {
    let empty = match fault.class {
        FaultClass::NoResult => crate::domain::answer::Answer::empty(call.capability(), &call.model),
        _ => None,
    };
    let answer = empty.ok_or(fault)?;
    Ok(Decoded {
        usage: Some(TokenUsage {
            images: 1,
            ..TokenUsage::default()
        }),
        ..Decoded::of(answer)
    })
}

/// What a vendor answered.
pub(super) enum Answer {
    Whole {
        reply: WholeReply,
        usage: Option<TokenUsage>,
        said: Said,
    },
    Stream {
        upstream: Paced,
        decoder: Box<dyn StreamDecoder>,
        first: Pushed,
        /// The vendor's own, where that is passed on.
        head: Option<Box<Head>>,
        /// For the caller, beside the stream.
        notices: HeaderMap,
    },
}

impl Answer {
    /// With the notice to the caller of what its vendor did not get.
    fn told(mut self, dropped: &[String]) -> Self {
        let Some(names) = dropped_names(dropped) else {
            return self;
        };
        match &mut self {
            Self::Whole { reply, .. } => drop(reply.headers.insert(DROPPED_FIELDS, names)),
            Self::Stream { notices, .. } => drop(notices.insert(DROPPED_FIELDS, names)),
        }
        self
    }

    /// With the vendor's own head instead of one of ours.
    fn with(mut self, own: Option<Box<Head>>) -> Self {
        let Some(own) = own else { return self };
        match &mut self {
            Self::Whole { reply, .. } => {
                reply.status = own.status;
                reply.content_type = own.content_type;
                reply.headers.extend(own.headers);
            }
            Self::Stream { head, .. } => *head = Some(own),
        }
        self
    }
}

/// Holds an answer to its threshold, and writes it as the caller reads it. Nothing that comes after this sees more than the caller.
fn finish_whole(call: &Call, decoded: Decoded) -> Answer {
    let Decoded {
        mut answer,
        usage,
        said,
        mut headers,
    } = decoded;
    if let Some(least) = call.min_confidence {
        headers.insert(FILTERED, answer.hold_to(least).into());
    }
    let (body, content_type) = answer.into_body();
    Answer::Whole {
        reply: WholeReply {
            status: StatusCode::OK,
            body,
            content_type: HeaderValue::from_static(content_type),
            headers,
        },
        usage,
        said,
    }
}

pub(super) async fn read_fault(codec: &dyn Codec, reply: UpstreamReply) -> Fault {
    let deadline = tokio::time::Instant::now() + FAULT_BODY_TIME;
    let body = Paced::new(reply.body, FAULT_BODY_TIME, deadline)
        .collect_some(MAX_FAULT_BYTES)
        .await;
    let mut fault = codec.decode_fault(reply.status.as_u16(), &reply.headers, &body);
    fault.words.find_request_id(&reply.headers);
    fault
}

impl Errand<'_> {
    /// Some servers report an error under a status of success, as JSON in place of the stream: limits, quotas and filters keep
    /// their meaning. Whatever else comes is no answer.
    async fn read_no_stream(&self, reply: UpstreamReply, deadline: tokio::time::Instant) -> Fault {
        let deadline = deadline.min(tokio::time::Instant::now() + FAULT_BODY_TIME);
        let body = Paced::new(reply.body, FAULT_BODY_TIME, deadline)
            .collect_some(MAX_FAULT_BYTES)
            .await;
        let received = self.received(&reply.headers, body, &Value::Null);
        match self.codec().decode(self.journey.call, received) {
            Err(fault) if fault.class != FaultClass::InvalidReply => fault,
            Ok(_) | Err(_) => Fault {
                status: Some(reply.status.as_u16()),
                ..Fault::of(FaultClass::InvalidReply)
            },
        }
    }

    /// Reads up to the first content for the caller: until then a failure still has a status of its own, and another
    /// vendor may be asked.
    async fn open_stream(&self, reply: UpstreamReply, first_by: tokio::time::Instant) -> Result<Answer, Fault> {
        let (call, deadline) = (self.journey.call, self.deadline);
        if !self.codec().is_stream(&reply.headers) {
            return Err(self.read_no_stream(reply, first_by.min(deadline)).await);
        }
        let mut decoder = self.codec().stream(
            call,
            Opening {
                headers: &reply.headers,
                model: self.stop.way.model,
                at: self.at(),
            },
        );
        let mut upstream = Paced::new(reply.body, self.journey.interface.timeouts.idle, deadline);
        let first = async {
            // What comes before the first content only opens the answer (a role, a comment to keep the connection): it is held back, so
            // that another vendor can still open its own.
            let mut held = BytesMut::new();
            loop {
                let mut pushed = match std::future::poll_fn(|cx| upstream.poll_next(cx)).await {
                    Some(bytes) => decoder.push(bytes?),
                    None => decoder.finish(),
                };
                let begun = decoder.progress().weight != Weight::default();
                if let (false, Some(StreamEnd::Failed(fault))) = (begun, &pushed.end) {
                    return Err(fault.clone());
                }
                if begun || pushed.end.is_some() || held.len() + pushed.out.len() > MAX_HELD_BYTES {
                    if !held.is_empty() {
                        held.extend_from_slice(&pushed.out);
                        pushed.out = held.freeze();
                    }
                    return Ok(pushed);
                }
                held.extend_from_slice(&pushed.out);
            }
        };
        let first = tokio::time::timeout_at(first_by.min(deadline), first)
            .await
            .unwrap_or_else(|_| Err(Fault::of(FaultClass::Timeout)))?;
        Ok(Answer::Stream {
            upstream,
            decoder,
            first,
            head: None,
            notices: HeaderMap::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_odd_name_among_those_that_were_dropped_hides_no_other() {
        let notice = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            dropped_names(&names).map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(notice(&[]), None);
        assert_eq!(notice(&["seed", "a\nb", "c,d"]).unwrap(), "seed,a%0Ab,c%2Cd");
        assert_eq!(notice(&[&"x".repeat(5000), "seed"]).unwrap(), "...");
    }
}
