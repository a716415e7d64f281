//! Calls as a caller makes them, answers as vendors send them, and the codecs between the two.

use std::{fs, path::PathBuf, sync::Arc};

use bytes::Bytes;
use http::HeaderMap;
use resource_gateway::{
    application::registry::{BoundVendor, Registry},
    bootstrap::{Ambient, registry},
    domain::{
        call::{Call, Voice},
        interface::{Capability, WhenUnsupported},
        vendor::{BaseUrl, SecretKey, Vendor},
    },
    ports::codec::{Codec, Encoded, Opening, Received, Target},
};
use serde_json::{Value, json};
use service_kit::Timestamp;

/// A codec with everything that it is measured on.
pub struct Case {
    pub name: &'static str,
    bound: BoundVendor,
    call: Call,
    streamed: Call,
    picture: Call,
    answer: Bytes,
    answer_headers: HeaderMap,
    /// The stream, cut into its events.
    pieces: Vec<Bytes>,
    stream_headers: HeaderMap,
}

/// Name, strategy, the caller's format, the fixtures of a plain answer and of a stream.
const CASES: [(&str, &str, Voice, &str, &str); 9] = [
    ("openai → openai (spliced)", "openai", Voice::OpenAi, "openai/chat-plain", "openai/chat-stream-usage"),
    ("anthropic → anthropic (spliced)", "anthropic", Voice::Anthropic, "anthropic/messages-plain", "anthropic/messages-stream"),
    ("openai → anthropic", "anthropic", Voice::OpenAi, "anthropic/messages-plain", "anthropic/messages-stream"),
    ("anthropic → openai", "openai", Voice::Anthropic, "openai/chat-plain", "openai/chat-stream-usage"),
    ("openai → gemini", "gemini", Voice::OpenAi, "gemini/generate-plain", "gemini/generate-stream"),
    ("openai → bedrock", "bedrock", Voice::OpenAi, "aws-bedrock/converse-plain", "aws-bedrock/converse-stream-plain"),
    ("openai → dashscope", "dashscope", Voice::OpenAi, "dashscope/chat-plain", "dashscope/chat-stream-incremental"),
    ("openai → tencent", "tencent", Voice::OpenAi, "tencent/chat-plain", "tencent/chat-stream"),
    ("openai → ollama", "ollama", Voice::OpenAi, "ollama/chat-plain", "ollama/chat-stream"),
];

/// Bytes of the large picture, in base64.
pub const PICTURE: usize = 10 << 20;

/// Every codec of this version. One that is missing is an error: figures of the others would stand for all.
pub fn cases() -> Result<Vec<Case>, String> {
    let registry = registry(&Ambient::default(), None).map_err(|error| error.to_string())?;
    CASES.iter().map(|case| build(&registry, *case)).collect()
}

fn build(registry: &Registry, (name, strategy, voice, plain, stream): (&'static str, &str, Voice, &str, &str)) -> Result<Case, String> {
    let mut vendor = Vendor::named("v", strategy);
    vendor.base_url = BaseUrl::parse("https://bedrock-runtime.eu-west-1.amazonaws.com").ok();
    if strategy == "bedrock" {
        vendor.options.insert("region".to_owned(), "eu-west-1".to_owned());
    }
    vendor.credential.secret_key = SecretKey::Present("secret-of-the-bench".to_owned().into());
    if matches!(strategy, "bedrock" | "tencent") {
        vendor.credential.secret_id = Some("id-of-the-bench".to_owned());
    }
    let bound = registry.bind_one(&Arc::new(vendor)).map_err(|why| format!("{strategy}: {why}"))?;
    let (plain, stream) = (Answer::load(plain)?, Answer::load(stream)?);
    Ok(Case {
        name,
        bound,
        call: call(voice, &request(), false)?,
        streamed: call(voice, &request(), true)?,
        picture: call(voice, &looking(), false)?,
        answer: plain.pieces.concat().into(),
        answer_headers: plain.headers,
        pieces: stream.pieces,
        stream_headers: stream.headers,
    })
}

/// A conversation with tools, as an assistant has it.
fn request() -> Value {
    let tool = |name: &str| {
        json!({"type": "function", "function": {"name": name, "description": "Looks something up.",
            "parameters": {"type": "object", "properties": {"query": {"type": "string"}, "limit": {"type": "integer"}}, "required": ["query"]}}})
    };
    let mut messages = vec![json!({"role": "system", "content": "You are a helpful assistant. ".repeat(10)})];
    for turn in 0..5 {
        messages.push(json!({"role": "user", "content": format!("Question {turn}: {}", "what about this? ".repeat(8))}));
        messages.push(json!({"role": "assistant", "content": format!("Answer {turn}: {}", "that is so because. ".repeat(12))}));
    }
    messages.push(json!({"role": "user", "content": "And now?"}));
    json!({"model": "chat", "messages": messages, "tools": [tool("search"), tool("open")], "max_tokens": 500, "temperature": 0.2})
}

fn looking() -> Value {
    let url = format!("data:image/png;base64,{}", "A".repeat(PICTURE));
    json!({"model": "chat", "max_tokens": 5, "messages": [{"role": "user", "content": [
        {"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": url}}]}]})
}

fn call(voice: Voice, body: &Value, stream: bool) -> Result<Call, String> {
    let mut body = body.clone();
    if stream {
        body["stream"] = json!(true);
        body["stream_options"] = json!({"include_usage": true});
    }
    let call = Call::read(Capability::Chat, body.to_string().into(), None).map_err(|error| format!("{error:?}"))?;
    Ok(match voice {
        Voice::OpenAi => call,
        // The same words; what matters is that they pass as they are.
        voice => call.said_as(voice, body.to_string().into()),
    })
}

struct Answer {
    headers: HeaderMap,
    pieces: Vec<Bytes>,
}

impl Answer {
    fn load(name: &str) -> Result<Self, String> {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../resource-gateway/tests/fixtures/vendors");
        let file = root.join(format!("{name}.json"));
        let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        let fixture: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        let response = &fixture["response"];
        let kind = response["headers"]["content-type"].as_str().unwrap_or("application/json");
        let kind = kind.parse().map_err(|_| "a content type that is none")?;
        let texts = |name: &str| {
            let pieces = response[name].as_array()?;
            Some(pieces.iter().map(|piece| Bytes::from(piece.as_str().unwrap_or_default().to_owned())).collect::<Vec<_>>())
        };
        let pieces = texts("sse")
            .or_else(|| texts("chunks"))
            .or_else(|| texts("chunks_base64").map(|pieces| pieces.iter().map(|piece| unbase64(piece)).collect()))
            .unwrap_or_else(|| vec![response["body"].to_string().into()]);
        Ok(Self {
            headers: HeaderMap::from_iter([(http::header::CONTENT_TYPE, kind)]),
            pieces,
        })
    }
}

/// Standard base64 without line breaks; a bench needs no library for that.
fn unbase64(text: &[u8]) -> Bytes {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut held) = (0u32, 0);
    for byte in text {
        let Some(value) = ALPHABET.iter().position(|known| known == byte) else { continue };
        bits = bits << 6 | value as u32;
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
        }
    }
    out.into()
}

const AT: Timestamp = Timestamp::from_seconds(1_741_964_966);

impl Case {
    fn codec(&self) -> &Arc<dyn Codec> {
        self.bound.codec(Capability::Chat).expect("every strategy of the bench chats")
    }

    fn encode_call(&self, call: &Call) -> Encoded {
        let target = Target {
            model: "vendors-model",
            vendor: &self.bound.row,
            when_unsupported: WhenUnsupported::Drop,
            fetched: &[],
            entropy: &service_kit::SystemEntropy,
        };
        self.codec().encode(call, target).expect("the request can be said in every dialect")
    }

    /// The request for the vendor.
    pub fn encode(&self) -> Encoded {
        self.encode_call(&self.call)
    }

    /// The same with a large picture.
    pub fn encode_picture(&self) -> Encoded {
        self.encode_call(&self.picture)
    }

    /// A whole answer, translated for the caller.
    pub fn decode(&self) -> usize {
        let received = Received {
            headers: &self.answer_headers,
            body: self.answer.clone(),
            model: "vendors-model",
            at: AT,
            state: &Value::Null,
            found: &[],
        };
        let outcome = self.codec().decode(&self.call, received).expect("the answer is one");
        std::mem::size_of_val(&outcome)
    }

    /// A streamed answer, translated piece by piece; the bytes for the caller.
    pub fn stream(&self) -> usize {
        let opening = Opening {
            headers: &self.stream_headers,
            model: "vendors-model",
            at: AT,
        };
        let mut decoder = self.codec().stream(&self.streamed, opening);
        let mut out = 0;
        for piece in &self.pieces {
            let pushed = decoder.push(piece.clone());
            out += pushed.out.len();
            if pushed.end.is_some() {
                return out;
            }
        }
        out + decoder.finish().out.len()
    }

    /// Pieces of the stream.
    pub fn pieces(&self) -> usize {
        self.pieces.len()
    }
}
