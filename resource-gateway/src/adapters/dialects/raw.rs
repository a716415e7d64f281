//! No format at all: what the caller sent goes to the vendor, and what the vendor answers comes back. What may pass is the policy's
//! business, and who we are the auth scheme's.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};

use super::error_object;
use crate::{
    domain::{
        answer::Answer,
        call::Call,
        estimate::Weight,
        fault::{Fault, FaultClass, VendorWords},
        said::Said,
    },
    ports::codec::{
        Codec, Decoded, EncodeError, Encoded, Manner, Opening, Outcome, Place, Progress, Pushed, Received,
        StreamDecoder, StreamEnd, Target, TokenUsage,
    },
};

/// Calls that are passed on.
#[derive(Debug, Clone, Copy)]
pub struct PassedOn {
    below: &'static str,
}

impl PassedOn {
    /// Callers' paths begin behind the vendor's base URL and `path`.
    pub fn below(path: &'static str) -> Self {
        Self { below: path }
    }
}

impl Codec for PassedOn {
    fn path(&self) -> &'static str {
        self.below
    }

    fn encode(&self, call: &Call, target: Target<'_>) -> Result<Encoded, EncodeError> {
        let (mut headers, passed) = match call.as_raw() {
            Some(raw) => (
                raw.headers.clone(),
                Some((raw.target.method.clone(), raw.target.path_and_query())),
            ),
            None => (HeaderMap::new(), None),
        };
        let mut take = |name, otherwise| headers.remove(name).unwrap_or(HeaderValue::from_static(otherwise));
        let content_type = take(header::CONTENT_TYPE, "application/octet-stream");
        let accept = take(header::ACCEPT, "*/*");
        let place = passed.map(|(method, path)| {
            Box::new(Place {
                method,
                path,
                headers,
                manner: Manner::Passed,
            })
        });
        Ok(Encoded {
            content_type,
            accept,
            body: call.for_vendor(target.model),
            dialogue: None,
            place,
            dropped: Vec::new(),
            ends_elsewhere: false,
        })
    }

    fn decode(&self, _call: &Call, reply: Received<'_>) -> Result<Outcome, Fault> {
        let answer = Answer::Ready {
            body: reply.body,
            content_type: "application/octet-stream",
        };
        Ok(Decoded {
            usage: Some(TokenUsage::default()),
            ..Decoded::of(answer)
        }
        .into())
    }

    fn decode_fault(&self, status: u16, headers: &HeaderMap, _body: &[u8]) -> Fault {
        let class = match status {
            300..=399 => FaultClass::Redirect,
            // A proxy before the vendor wants to know who we are.
            407 => FaultClass::Authentication,
            status => FaultClass::of_status(status),
        };
        Fault {
            class,
            status: Some(status),
            // Nothing is known of the body's format, so none of it is ours to tell.
            words: VendorWords::default(),
            hints: error_object::hints_of(headers),
            ended: false,
        }
    }

    fn stream(&self, _call: &Call, _: Opening<'_>) -> Box<dyn StreamDecoder> {
        Box::new(PassedStream { begun: false })
    }
}

/// Events that are let through unread. The end of the body is the end of the answer.
#[derive(Debug)]
struct PassedStream {
    begun: bool,
}

impl StreamDecoder for PassedStream {
    fn push(&mut self, bytes: Bytes) -> Pushed {
        self.begun |= !bytes.is_empty();
        Pushed { out: bytes, end: None }
    }

    fn finish(&mut self) -> Pushed {
        Pushed {
            out: Bytes::new(),
            end: Some(StreamEnd::Complete),
        }
    }

    fn progress(&self) -> Progress {
        Progress {
            usage: Some(TokenUsage::default()),
            // Any weight tells that the answer has begun.
            weight: Weight(u64::from(self.begun)),
        }
    }

    fn take_said(&mut self) -> Said {
        Said::default()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::opening, *};

    #[test]
    fn redirects_are_faults_that_nobody_is_sent_after() {
        let mut headers = HeaderMap::new();
        headers.insert("location", HeaderValue::from_static("https://evil.test/"));
        headers.insert("retry-after", HeaderValue::from_static("3"));
        for (status, class) in [
            (301, FaultClass::Redirect),
            (307, FaultClass::Redirect),
            (401, FaultClass::Authentication),
            (407, FaultClass::Authentication),
            (429, FaultClass::RateLimit),
            (503, FaultClass::Overloaded),
        ] {
            let fault = PassedOn::below("").decode_fault(status, &headers, b"{\"error\":{\"message\":\"at host-7\"}}");
            assert_eq!((fault.class, fault.words.clone()), (class, VendorWords::default()));
            assert_eq!(fault.hints.retry_after.as_deref(), Some("3"));
            assert!(!fault.to_public().message.contains("evil"));
        }
    }

    #[test]
    fn events_pass_as_they_come() {
        let headers = HeaderMap::new();
        let call = Call::read(
            crate::domain::interface::Capability::Chat,
            Bytes::from_static(b"{\"model\":\"m\",\"messages\":[]}"),
            None,
        );
        let mut stream = PassedOn::below("").stream(&call.unwrap(), opening(&headers));
        assert_eq!(stream.progress().weight, Weight::default());
        for piece in [&b"data: \xff"[..], b"\n\n: x\r\n"] {
            assert_eq!(stream.push(Bytes::from_static(piece)).out, piece);
        }
        assert_ne!(stream.progress().weight, Weight::default());
        assert!(matches!(stream.finish().end, Some(StreamEnd::Complete)));
    }
}
