//! The vendors' fixtures, run through codecs.

use std::{fs, path::Path};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value, json};

use super::testing::{opening, received};
use crate::{
    domain::{
        call::{Call, Voice},
        fault::FaultClass,
        interface::{Capability, WhenUnsupported},
        vendor::Vendor,
    },
    ports::codec::{Codec, Encoded, Outcome, Received, StreamEnd, Target},
};

/// A recording.
pub(super) struct Golden {
    pub(super) name: String,
    pub(super) file: Value,
}

impl Golden {
    /// The recordings of a vendor whose names begin so.
    pub(super) fn of(vendor: &str, begin: &str) -> Vec<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures/vendors")
            .join(vendor);
        let mut found: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(begin))
            .map(|path| Self {
                name: path.display().to_string(),
                file: serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap(),
            })
            .collect();
        found.sort_by(|one, other| one.name.cmp(&other.name));
        assert!(!found.is_empty(), "{vendor}/{begin}");
        found
    }

    pub(super) fn params(&self) -> Map<String, Value> {
        self.file["inputs"]["params"].as_object().unwrap().clone()
    }

    pub(super) fn input(&self, name: &str) -> Option<&str> {
        self.file["inputs"][name].as_str()
    }

    pub(super) fn expect(&self) -> &Value {
        &self.file["expect"]
    }

    pub(super) fn status(&self) -> u16 {
        self.file["response"]["status"].as_u64().unwrap().try_into().unwrap()
    }

    pub(super) fn headers(&self) -> HeaderMap {
        let headers = self.file["response"]["headers"].as_object().unwrap();
        let header = |(name, value): (&String, &Value)| {
            let value = HeaderValue::from_str(value.as_str().unwrap()).unwrap();
            (HeaderName::try_from(name.as_str()).unwrap(), value)
        };
        headers.iter().map(header).collect()
    }

    pub(super) fn body(&self) -> Bytes {
        let response = &self.file["response"];
        if let Some(pieces) = response["sse"].as_array() {
            return pieces
                .iter()
                .map(|piece| piece.as_str().unwrap())
                .collect::<String>()
                .into();
        }
        match &response["body"] {
            Value::String(text) => text.clone().into(),
            body => body.to_string().into(),
        }
    }

    pub(super) fn is_stream(&self) -> bool {
        self.file["response"]["sse"].is_array()
    }

    /// Where the request goes, behind the host: path and query.
    pub(super) fn place(&self) -> (String, Vec<(String, String)>) {
        let request = &self.file["request"];
        let pairs = request["query"].as_array().unwrap().iter();
        let pairs = pairs.map(|pair| (pair[0].as_str().unwrap().into(), pair[1].as_str().unwrap().into()));
        (request["path"].as_str().unwrap().to_owned(), pairs.collect())
    }

    /// Compares a request with the recorded one; members that are `null` count as absent.
    pub(super) fn check_body(&self, encoded: &Encoded) {
        let mut body: Value = serde_json::from_slice(&encoded.body.concat()).unwrap();
        let recorded = &self.file["request"]["body"];
        // The gateway asks what a stream has used, to account for it, whether its caller asks or not.
        if recorded["stream"] == true && recorded["stream_options"].is_null() {
            body.as_object_mut().unwrap().remove("stream_options");
        }
        assert_eq!(lean(&body), lean(recorded), "{}", self.name);
    }

    /// What a failure is.
    pub(super) fn check_fault(&self, codec: &dyn Codec) {
        let fault = codec.decode_fault(self.status(), &self.headers(), &self.body());
        let expected = &self.expect()["error"];
        assert_eq!(fault.class.label(), expected["class"], "{}", self.name);
        assert_eq!(fault.is_retryable(), expected["retryable"], "{}", self.name);
        assert_eq!(
            fault.status.map(u64::from),
            expected["status"].as_u64(),
            "{}",
            self.name
        );
        for (name, told) in [("code", &fault.words.code), ("message", &fault.words.message)] {
            if let Some(expected) = expected[name].as_str() {
                assert_eq!(told.as_deref(), Some(expected), "{}", self.name);
            }
        }
        let wait = fault.hints.wait(0).map(|wait| wait.as_secs_f64());
        assert_eq!(wait, expected["retry_after_s"].as_f64(), "{}", self.name);
    }

    /// Reads a chat answer, whole or streamed, as OpenAI's callers and as others see it.
    pub(super) fn check_chat(&self, codec: &dyn Codec, call: &Call) {
        let expected = self.expect();
        let seen = self.answer(codec, call);
        let text = |name: &str| expected[name].as_str().unwrap_or_default();
        assert_eq!(seen.text, text("text"), "{}", self.name);
        assert_eq!(seen.reasoning, text("reasoning_text"), "{}", self.name);
        assert_eq!(seen.finish.as_deref(), expected["finish"].as_str(), "{}", self.name);
        let calls = expected["tool_calls"].as_array().cloned().unwrap_or_default();
        let calls: Vec<_> = calls
            .iter()
            .map(|call| (call["name"].clone(), call["arguments"].clone()))
            .collect();
        let said: Vec<_> = seen
            .tools
            .iter()
            .map(|(name, arguments)| (json!(name), json!(arguments)))
            .collect();
        assert_eq!(said, calls, "{}", self.name);
        for (name, count) in seen.counts {
            assert_eq!(count, expected["usage"][name].as_u64(), "{} {name}", self.name);
        }
        if !self.is_stream() {
            return;
        }
        // However it is cut.
        let whole = streamed(codec, call, &self.headers(), &self.body(), &[]);
        for cut in 0..self.body().len() {
            let again = streamed(codec, call, &self.headers(), &self.body(), &[cut]);
            assert_eq!(again, whole, "{} cut at {cut}", self.name);
        }
    }

    fn answer(&self, codec: &dyn Codec, call: &Call) -> Seen {
        if self.is_stream() {
            let (out, end) = streamed(codec, call, &self.headers(), &self.body(), &[]);
            assert_eq!(end, None, "{}", self.name);
            return Seen::in_stream(&out);
        }
        let headers = self.headers();
        let outcome = codec.decode(call, received(&headers, self.body())).unwrap();
        let Outcome::Answer(decoded) = outcome else {
            panic!("{}", self.name)
        };
        let body: Value = serde_json::from_slice(&decoded.answer.into_body().0).unwrap();
        Seen::whole(&body)
    }
}

/// A chat answer as an OpenAI client sees it.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) text: String,
    pub(super) reasoning: String,
    pub(super) finish: Option<String>,
    pub(super) tools: Vec<(String, String)>,
    pub(super) counts: Vec<(&'static str, Option<u64>)>,
}

impl Seen {
    fn whole(body: &Value) -> Self {
        let mut seen = Self::default();
        seen.take(&body["choices"][0], "message");
        seen.count(&body["usage"]);
        seen
    }

    pub(super) fn in_stream(out: &str) -> Self {
        let mut seen = Self::default();
        for event in out.split("\n\n") {
            let Some(data) = event.lines().find_map(|line| line.strip_prefix("data:")) else {
                continue;
            };
            if data.trim() == "[DONE]" {
                continue;
            }
            let chunk: Value = serde_json::from_str(data).unwrap();
            seen.take(&chunk["choices"][0], "delta");
            let usage = [&chunk["usage"], &chunk["choices"][0]["usage"]];
            for usage in usage.into_iter().filter(|usage| usage.is_object()) {
                seen.count(usage);
            }
        }
        seen
    }

    fn take(&mut self, choice: &Value, member: &str) {
        let said = &choice[member];
        self.text += said["content"].as_str().unwrap_or_default();
        self.reasoning += said["reasoning_content"].as_str().unwrap_or_default();
        for (at, call) in said["tool_calls"].as_array().into_iter().flatten().enumerate() {
            let at = call["index"].as_u64().map_or(at, |at| at.try_into().unwrap());
            if self.tools.len() <= at {
                self.tools.resize(at + 1, Default::default());
            }
            self.tools[at].0 += call["function"]["name"].as_str().unwrap_or_default();
            self.tools[at].1 += call["function"]["arguments"].as_str().unwrap_or_default();
        }
        if let Some(finish) = choice["finish_reason"].as_str() {
            self.finish = Some(finish.to_owned());
        }
    }

    fn count(&mut self, usage: &Value) {
        self.counts = vec![
            ("input_tokens", usage["prompt_tokens"].as_u64()),
            ("output_tokens", usage["completion_tokens"].as_u64()),
        ];
    }
}

/// The caller's bytes of a stream that is cut at some places, and how it ended.
pub(super) fn streamed(
    codec: &dyn Codec,
    call: &Call,
    headers: &HeaderMap,
    body: &Bytes,
    cuts: &[usize],
) -> (String, Option<FaultClass>) {
    let mut decoder = codec.stream(call, opening(headers));
    let mut out = Vec::new();
    let class = |end| match end {
        StreamEnd::Complete => None,
        StreamEnd::Failed(fault) => Some(fault.class),
    };
    // Vendors send what they like.
    let text = |out: Vec<u8>| String::from_utf8_lossy(&out).into_owned();
    let mut from = 0;
    for cut in cuts.iter().copied().chain([body.len()]) {
        let pushed = decoder.push(body.slice(from..cut));
        from = cut;
        out.extend_from_slice(&pushed.out);
        if let Some(end) = pushed.end {
            return (text(out), class(end));
        }
    }
    let pushed = decoder.finish();
    out.extend_from_slice(&pushed.out);
    (text(out), class(pushed.end.unwrap()))
}

/// Without members that are `null`.
pub(super) fn lean(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let kept = members.iter().filter(|(_, value)| !value.is_null());
            kept.map(|(name, value)| (name.clone(), lean(value)))
                .collect::<Map<_, _>>()
                .into()
        }
        Value::Array(elements) => elements.iter().map(lean).collect(),
        Value::Number(number) => json!(number.as_f64()),
        other => other.clone(),
    }
}

/// A call in OpenAI's words.
pub(super) fn call(capability: Capability, body: &Value) -> Call {
    Call::read(capability, body.to_string().into(), None).unwrap()
}

/// The same, as if its caller had said it in another format.
pub(super) fn foreign(capability: Capability, body: &Value) -> Call {
    call(capability, body).said_as(Voice::Anthropic, Bytes::from_static(b"{}"))
}

/// A vendor row's model.
pub(super) fn target<'a>(model: &'a str, vendor: &'a Vendor) -> Target<'a> {
    Target {
        model,
        vendor,
        when_unsupported: WhenUnsupported::Refuse,
        fetched: &[],
        entropy: &service_kit::SystemEntropy,
    }
}

/// An answer on the way, with what the step before left.
pub(super) fn step<'a>(headers: &'a HeaderMap, body: &Value, state: &'a Value) -> Received<'a> {
    Received {
        state,
        ..received(headers, body.to_string())
    }
}
