//! One call to one address.

use std::time::Duration;

use bytes::BytesMut;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::{
    FILTERED, Invoke, WholeReply,
    attempts::Journey,
    course::Stop,
    paced::{Paced, fault_of},
    passing::{self, Head},
};
use crate::{
    domain::{
        call::Call,
        estimate::Weight,
        fault::{Fault, FaultClass},
        raw,
        said::Said,
    },
    ports::{
        codec::{Codec, Decoded, Encoded, Pushed, Received, StreamDecoder, StreamEnd, TokenUsage},
        transport::{Deadlines, TransportError, UpstreamReply, UpstreamRequest},
    },
};

/// An answer that is longer than this is not an answer. Embeddings of the largest batch are some 70 MB as text.
const MAX_REPLY_BYTES: usize = 128 * 1024 * 1024;
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
            Err(fault) => {
                let wait = fault.hints.wait(journey.now());
                stop.permit.fail(&fault, wait, &stop.way.route.model);
                Err(Lost { stop, fault, reached })
            }
        }
    }

    /// One call to one vendor, up to the first byte that may go to the caller.
    async fn send(journey: Journey<'_>, stop: &Stop<'_>, reached: &mut bool) -> Result<Answer, Fault> {
        let Journey {
            invocation,
            interface,
            call,
        } = journey;
        let (way, timeouts) = (stop.way, interface.timeouts);
        let began = tokio::time::Instant::now();
        let deadline = tokio::time::Instant::from_std(invocation.began) + timeouts.total;
        let left = deadline.saturating_duration_since(began);
        let head = timeouts.first_byte.min(left);
        let mut uri = stop.member.uri(invocation.capability);
        let Encoded {
            content_type,
            accept,
            body,
            passed,
        } = way.codec.encode(call, way.model);
        let mut headers = way.vendor.headers();
        headers.insert(header::CONTENT_TYPE, content_type);
        headers.insert(header::ACCEPT, accept);
        let passes = passed.is_some();
        let mut method = Method::POST;
        if let Some(passed) = passed {
            method = passing::prepare(*passed, &mut uri, &mut headers, body.is_empty());
        }
        if let Some(traceparent) = &invocation.traceparent {
            headers.insert("traceparent", traceparent.clone());
        }
        way.vendor.signer.sign(&mut headers);
        let request = UpstreamRequest {
            method,
            uri: uri.ok_or_else(|| Fault::of(FaultClass::Transport))?,
            headers,
            body,
            deadlines: Deadlines {
                connect: timeouts.connect.min(head),
                head,
            },
        };
        let sent = stop.member.transport().send(request).await;
        *reached = !matches!(sent, Err(TransportError::Connect | TransportError::ConnectTimeout));
        let reply = sent.map_err(fault_of)?;
        let status = reply.status;
        let answers = status.is_success() || (passes && raw::is_answer(status));
        if !answers {
            return Err(read_fault(way.codec.as_ref(), reply).await);
        }
        let head = match passes {
            true => passing::head(call, &reply, way.vendor.signer.as_ref()),
            false => None,
        };
        if call.stream || (passes && status.is_success() && is_event_stream(&reply.headers)) {
            // The first byte of a stream is its first event, so it has to come in the time for first bytes, which each attempt
            // has for itself: the vendor before may have used up its own.
            let first_by = began + timeouts.first_byte;
            let opened = open_stream(way.codec.as_ref(), call, reply, timeouts.idle, deadline, first_by).await;
            return opened.map(|answer| answer.with(head));
        }
        let body = Paced::new(reply.body, timeouts.idle, deadline)
            .collect(MAX_REPLY_BYTES)
            .await?;
        let received = Received {
            headers: &reply.headers,
            body,
        };
        Ok(finish_whole(call, way.codec.decode(call, received)?).with(head))
    }
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
    },
}

impl Answer {
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

async fn read_fault(codec: &dyn Codec, reply: UpstreamReply) -> Fault {
    let deadline = tokio::time::Instant::now() + FAULT_BODY_TIME;
    let body = Paced::new(reply.body, FAULT_BODY_TIME, deadline)
        .collect_some(MAX_FAULT_BYTES)
        .await;
    codec.decode_fault(reply.status.as_u16(), &reply.headers, &body)
}

/// Some servers report an error under a status of success, as JSON in place of the stream: limits, quotas and filters keep
/// their meaning. Whatever else comes is no answer.
async fn read_no_stream(codec: &dyn Codec, call: &Call, reply: UpstreamReply, deadline: tokio::time::Instant) -> Fault {
    let deadline = deadline.min(tokio::time::Instant::now() + FAULT_BODY_TIME);
    let body = Paced::new(reply.body, FAULT_BODY_TIME, deadline)
        .collect_some(MAX_FAULT_BYTES)
        .await;
    let received = Received {
        headers: &reply.headers,
        body,
    };
    match codec.decode(call, received) {
        Err(fault) if fault.class != FaultClass::InvalidReply => fault,
        Ok(_) | Err(_) => Fault {
            status: Some(reply.status.as_u16()),
            ..Fault::of(FaultClass::InvalidReply)
        },
    }
}

/// Reads up to the first content for the caller: until then a failure still has a status of its own, and another
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
        return Err(read_no_stream(codec, call, reply, first_by.min(deadline)).await);
    }
    let mut decoder = codec.stream(call);
    let mut upstream = Paced::new(reply.body, idle, deadline);
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
    })
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.is_some_and(|value| {
        let media_type = value.split(';').next().unwrap_or_default();
        media_type.trim().eq_ignore_ascii_case("text/event-stream")
    })
}
