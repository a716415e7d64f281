//! Sound in OpenAI's format: forms with a recording in, bytes of audio out.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    super::{reading::if_readable, support},
    error_object,
    usage::Usage,
};
use crate::{
    domain::{
        answer::{Answer, Transcript, TranscriptFormat},
        call::Call,
        fault::{Fault, FaultClass},
        said::Said,
    },
    ports::codec::{
        Codec, Decoded, EncodeError, Encoded, NoStream, Opening, Outcome, Received, StreamDecoder, Target, TokenUsage,
    },
};

/// Said by the simulator of answers that are no JSON.
const SANDBOX: HeaderName = HeaderName::from_static("x-sandbox");

/// `POST /audio/transcriptions`.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenAiTranscription;

/// `POST /audio/speech`.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenAiSpeech;

impl Codec for OpenAiTranscription {
    fn path(&self) -> &'static str {
        "/audio/transcriptions"
    }

    fn encode(&self, call: &Call, target: Target<'_>) -> Result<Encoded, EncodeError> {
        if call.form().is_some_and(|form| form.texts("url").next().is_some()) {
            return Err(support::unsupported("url").into());
        }
        Ok(Encoded {
            // Made of characters that boundaries may have.
            content_type: HeaderValue::try_from(call.content_type().as_ref())
                .unwrap_or(HeaderValue::from_static("multipart/form-data")),
            accept: HeaderValue::from_static("*/*"),
            body: call.for_vendor(target.model),
            dialogue: None,
            place: None,
            dropped: Vec::new(),
            ends_elsewhere: false,
        })
    }

    fn decode(&self, call: &Call, reply: Received<'_>) -> Result<Outcome, Fault> {
        let format = call.transcript_format();
        let is_json = matches!(format, TranscriptFormat::Json | TranscriptFormat::Verbose);
        // The vendor was asked for the one format that the others can be made of.
        let verbose = call.min_confidence.is_some() || call.timed;
        if !is_json && !verbose {
            return decode_text(format, reply).map(Outcome::from);
        }
        let read: Recorded = parse(&reply.body)?;
        let usage = read.usage();
        let said = match usage {
            Some(_) => Said::default(),
            None => Said::of(&read.text),
        };
        // What the caller asked for is what it gets, byte by byte.
        let as_it_is = call.min_confidence.is_none() && (!call.timed || format == TranscriptFormat::Verbose);
        let answer = match as_it_is {
            true => Answer::json(reply.body),
            false => Answer::Transcript {
                transcript: Box::new(transcript(&reply.body, call.min_confidence.is_some())?),
                format,
            },
        };
        Ok(Decoded {
            usage,
            said,
            ..Decoded::of(answer)
        }
        .into())
    }

    fn decode_fault(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
        error_object::decode(status, headers, body)
    }

    fn stream(&self, _call: &Call, _: Opening<'_>) -> Box<dyn StreamDecoder> {
        Box::new(NoStream)
    }
}

fn decode_text(format: TranscriptFormat, reply: Received<'_>) -> Result<Decoded, Fault> {
    let kind = media_type(reply.headers);
    // A proxy's page is no transcript.
    let text = std::str::from_utf8(&reply.body).ok().filter(|_| kind != "text/html");
    let said = match text {
        Some(text) => Said::of(text),
        None => return Err(Fault::of(FaultClass::InvalidReply)),
    };
    if kind == "application/json" {
        refuse_error(&reply.body)?;
    }
    let answer = Answer::Ready {
        body: reply.body,
        content_type: format.content_type(),
    };
    Ok(Decoded {
        said,
        headers: marks(reply.headers),
        ..Decoded::of(answer)
    })
}

impl Codec for OpenAiSpeech {
    fn path(&self) -> &'static str {
        "/audio/speech"
    }

    fn encode(&self, call: &Call, target: Target<'_>) -> Result<Encoded, EncodeError> {
        Ok(super::json(call, target.model, "*/*"))
    }

    fn decode(&self, call: &Call, reply: Received<'_>) -> Result<Outcome, Fault> {
        let kind = media_type(reply.headers);
        if kind == "application/json" {
            refuse_error(&reply.body)?;
        }
        let is_sound = kind.starts_with("audio/") || kind == "application/octet-stream";
        if !is_sound || reply.body.is_empty() {
            return Err(Fault::of(FaultClass::InvalidReply));
        }
        let answer = Answer::Ready {
            content_type: sound_type(&kind, call.format.unwrap_or_default()),
            body: reply.body,
        };
        Ok(Decoded {
            usage: Some(TokenUsage {
                characters: characters_of(call),
                ..TokenUsage::default()
            }),
            headers: marks(reply.headers),
            ..Decoded::of(answer)
        }
        .into())
    }

    fn decode_fault(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
        error_object::decode(status, headers, body)
    }

    fn stream(&self, _call: &Call, _: Opening<'_>) -> Box<dyn StreamDecoder> {
        Box::new(NoStream)
    }
}

/// How much was spoken.
fn characters_of(call: &Call) -> u64 {
    #[derive(Deserialize)]
    struct Spoken {
        input: String,
    }
    let spoken = serde_json::from_slice::<Spoken>(&call.body());
    spoken.map_or(0, |spoken| spoken.input.chars().count() as u64)
}

/// What a vendor says that it sent, in the spelling that is registered; where that says nothing, what was asked for. A vendor may make
/// another format than OpenAI's when it is told none.
fn sound_type(kind: &str, format: &str) -> &'static str {
    match kind {
        "audio/mpeg" | "audio/mp3" => "audio/mpeg",
        "audio/wav" | "audio/x-wav" | "audio/wave" | "audio/vnd.wave" => "audio/wav",
        "audio/flac" | "audio/x-flac" => "audio/flac",
        "audio/aac" | "audio/x-aac" => "audio/aac",
        // Opus comes in Ogg.
        "audio/ogg" if format != "opus" => "audio/ogg",
        "audio/opus" => "audio/opus",
        "audio/webm" => "audio/webm",
        "audio/mp4" => "audio/mp4",
        "audio/pcm" | "audio/l16" => "audio/pcm",
        _ => match format {
            "opus" => "audio/opus",
            "aac" => "audio/aac",
            "flac" => "audio/flac",
            "wav" => "audio/wav",
            "pcm" => "audio/pcm",
            _ => "audio/mpeg",
        },
    }
}

fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.unwrap_or_default().split(';').next().unwrap_or_default();
    essence.trim().to_ascii_lowercase()
}

fn marks(headers: &HeaderMap) -> HeaderMap {
    let mark = headers.get(&SANDBOX).cloned();
    mark.into_iter().map(|mark| (SANDBOX, mark)).collect()
}

/// Reads a transcript. Parts that cannot be read are left out of it, unless it is to be held to what is known of them.
fn transcript(body: &Bytes, held: bool) -> Result<Transcript, Fault> {
    serde_json::from_slice(body).or_else(|_| {
        let mut members: Map<String, Value> = parse(body)?;
        if !held {
            members.retain(|name, _| !matches!(name.as_str(), "segments" | "words"));
        }
        serde_json::from_value(members.into()).map_err(|_| Fault::of(FaultClass::InvalidReply))
    })
}

/// JSON where something else was wanted: an error, or no answer at all.
fn refuse_error(body: &Bytes) -> Result<(), Fault> {
    super::read(body)?;
    Err(Fault::of(FaultClass::InvalidReply))
}

fn parse<T: serde::de::DeserializeOwned>(body: &Bytes) -> Result<T, Fault> {
    serde_json::from_slice(body).or_else(|_| {
        // If it is an error object, it says so itself.
        super::read(body)?;
        Err(Fault::of(FaultClass::InvalidReply))
    })
}

/// The parts of a transcript that are counted.
#[derive(Deserialize)]
struct Recorded {
    text: String,
    #[serde(default)]
    duration: Option<Value>,
    #[serde(default)]
    usage: Option<Value>,
    #[serde(default, deserialize_with = "if_readable")]
    segments: Option<Vec<Part>>,
}

#[derive(Deserialize)]
struct Part {
    #[serde(default, deserialize_with = "if_readable")]
    end: Option<f64>,
}

impl Recorded {
    /// Usage is in tokens, or in seconds; then there are no tokens, and none to estimate.
    fn usage(&self) -> Option<TokenUsage> {
        let audio_ms = self.audio_ms();
        let tokens = self.usage.as_ref().filter(|usage| usage.get("input_tokens").is_some());
        let tokens: Option<TokenUsage> = tokens.and_then(|usage| Usage::deserialize(usage).ok()?.told());
        if tokens.is_none() && audio_ms == 0 {
            return None;
        }
        Some(TokenUsage {
            audio_ms,
            ..tokens.unwrap_or_default()
        })
    }

    fn audio_ms(&self) -> u64 {
        let billed = self.usage.as_ref().and_then(|usage| usage.get("seconds"));
        // Some servers write the duration as text.
        let seconds = billed.or(self.duration.as_ref()).and_then(|seconds| match seconds {
            Value::String(text) => text.parse().ok(),
            seconds => seconds.as_f64(),
        });
        // Who does not tell the whole tells its last part.
        let parts = self.segments.iter().flatten().filter_map(|part| part.end);
        let seconds = seconds.or_else(|| parts.reduce(f64::max));
        let duration = seconds.and_then(|seconds| std::time::Duration::try_from_secs_f64(seconds).ok());
        duration.map_or(0, |duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }
}
