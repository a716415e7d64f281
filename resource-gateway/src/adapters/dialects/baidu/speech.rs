//! Speech from texts.

use http::{HeaderMap, HeaderValue, header};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{CUID, cuid, faults, form, support};
use crate::{
    domain::{
        answer::Answer,
        call::Call,
        fault::{Fault, FaultClass, PublicError},
    },
    ports::codec::{
        Codec, Decoded, EncodeError, Encoded, NoStream, Opening, Outcome, Received, StreamDecoder, Target, TokenUsage,
    },
};

/// `text2audio`. A caller's `voice` is the vendor's number of one, and its `speed` becomes the vendor's, whose middle is 5.
#[derive(Debug, Clone, Copy, Default)]
pub struct BaiduSpeech;

/// Of a text in the vendor's own character set.
const MOST_GBK_BYTES: usize = 1024;
/// What is spoken at the usual speed.
const USUAL_SPEED: f64 = 5.0;
const TOP_SPEED: f64 = 15.0;

#[derive(Deserialize)]
struct Wanted {
    input: String,
    #[serde(default)]
    voice: Option<Value>,
    #[serde(default)]
    speed: Option<f64>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// A character takes two bytes there unless it is ASCII; what the set lacks takes four (GB 18030).
fn gbk_bytes(text: &str) -> usize {
    text.chars()
        .map(|c| match c.len_utf8() {
            1 => 1,
            4 => 4,
            _ => 2,
        })
        .sum()
}

fn wrong(field: &str, why: &str) -> PublicError {
    PublicError::invalid(Some(field), "invalid_value", format!("The field '{field}' {why}."))
}

fn parse(call: &Call) -> Result<Wanted, PublicError> {
    serde_json::from_slice(&call.body()).map_err(|_| wrong("input", "could not be read"))
}

impl Codec for BaiduSpeech {
    fn path(&self) -> &'static str {
        "/text2audio"
    }

    fn home(&self) -> Option<&'static str> {
        Some("http://tsn.baidu.com")
    }

    fn encode(&self, call: &Call, target: Target<'_>) -> Result<Encoded, EncodeError> {
        let mut wanted = parse(call)?;
        let mut dropped = Vec::new();
        if gbk_bytes(&wanted.input) > MOST_GBK_BYTES {
            return Err(wrong("input", "is longer than the 1,024 bytes of GBK that the provider takes").into());
        }
        for field in ["model", "response_format", "stream_format"] {
            wanted.rest.remove(field);
        }
        if wanted.rest.remove("instructions").is_some_and(|value| !value.is_null()) {
            support::cannot("instructions", target.when_unsupported, &mut dropped)?;
        }
        let options = &mut wanted.rest;
        // What was said in neutral words, and may have been ruled, goes before the vendor's own.
        let mut set = |name: &str, value: Value| drop(options.insert(name.to_owned(), value));
        match wanted.voice {
            None | Some(Value::Null) => {}
            Some(Value::Number(voice)) => set("per", voice.into()),
            Some(Value::String(voice)) if voice.parse::<u32>().is_ok() => set("per", voice.into()),
            // Another vendor's voice.
            Some(_) => support::cannot("voice", target.when_unsupported, &mut dropped)?,
        }
        if let Some(speed) = wanted.speed {
            let speed = (speed * USUAL_SPEED).round().clamp(0.0, TOP_SPEED);
            set("spd", Value::from(format!("{speed:.0}")));
        }
        match call.format {
            // What comes without a word.
            None | Some("mp3") => {}
            // 4 is PCM of 16,000 samples a second, 6 the same as WAV.
            Some("pcm") => set("aue", 4.into()),
            Some("wav") => set("aue", 6.into()),
            Some(_) => return Err(support::unsupported("response_format").into()),
        }
        let mut unless_said = |name: &str, value: Value| {
            options.entry(name).or_insert(value);
        };
        unless_said(CUID, cuid(target).into());
        unless_said("lan", "zh".into());
        unless_said("ctp", 1.into());
        // The signature's.
        options.remove("tok");
        let encoded = form(options, &[("tex", &wanted.input)])?;
        Ok(Encoded {
            accept: HeaderValue::from_static("*/*"),
            dropped,
            ..encoded
        })
    }

    fn decode(&self, call: &Call, reply: Received<'_>) -> Result<Outcome, Fault> {
        let content_type = reply.headers.get(header::CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
        let content_type = content_type.to_ascii_lowercase();
        if !content_type.starts_with("audio/") || reply.body.is_empty() {
            let fault = faults::in_band(&reply.body);
            return Err(fault.unwrap_or_else(|| Fault::of(FaultClass::InvalidReply)));
        }
        let characters = parse(call).map_or(0, |wanted| wanted.input.chars().count());
        let answer = Answer::Ready {
            body: reply.body,
            content_type: match content_type.split([';', '/']).nth(1).unwrap_or_default().trim() {
                "wav" | "x-wav" => "audio/wav",
                "basic" | "pcm" | "l16" => "audio/pcm",
                _ => "audio/mpeg",
            },
        };
        Ok(Decoded {
            usage: Some(TokenUsage {
                characters: characters as u64,
                ..TokenUsage::default()
            }),
            ..Decoded::of(answer)
        }
        .into())
    }

    fn decode_fault(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
        faults::decode(status, headers, body)
    }

    fn stream(&self, _call: &Call, _: Opening<'_>) -> Box<dyn StreamDecoder> {
        Box::new(NoStream)
    }
}
