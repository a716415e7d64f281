//! Work whose result is not in the answer: pictures are a task that is asked for until it is done, speech lies behind a URL.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{ASYNC, ENABLE, MULTIMODAL, Wanted, faults, faults::Failure, read, wire, wrong};
use crate::{
    adapters::dialects::{
        drawn::{self, Drawn},
        reading::{count, if_object, word},
    },
    domain::{
        answer::Answer,
        call::Call,
        chat::Counts,
        fault::{Fault, FaultClass, PublicError},
    },
    ports::codec::{
        Ask, Codec, Decoded, EncodeError, Encoded, NoStream, Opening, Outcome, Received, Step, StreamDecoder, Target,
    },
};

const PICTURES: &str = "/api/v1/services/aigc/text2image/image-synthesis";
/// Of one task, where nobody says how many there shall be.
const MOST_PICTURES: usize = 4;
/// Between two questions: often at first, more slowly later.
const PAUSES_MS: [u64; 5] = [1000, 1000, 1500, 2000, 3000];

/// OpenAI's words for pictures that the vendor has no counterpart for.
const UNKNOWN_THERE: [&str; 8] = [
    "background",
    "moderation",
    "output_compression",
    "output_format",
    "partial_images",
    "quality",
    "style",
    "user",
];

/// Pictures by a text.
#[derive(Debug, Clone, Copy, Default)]
pub struct DashScopeImages;

/// What is known of a task between two answers.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Task {
    job_id: String,
    job_status: String,
    asked: usize,
}

/// How a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TaskStatus {
    /// With the neutral word for it.
    Waiting(&'static str),
    Done,
    Failed,
    /// It has expired, or never was.
    Unknown,
}

impl TaskStatus {
    pub(super) fn read(word: Option<&str>) -> Option<Self> {
        Some(match word? {
            "PENDING" => Self::Waiting("queued"),
            "RUNNING" => Self::Waiting("running"),
            "SUCCEEDED" => Self::Done,
            "FAILED" | "CANCELED" => Self::Failed,
            "UNKNOWN" => Self::Unknown,
            _ => return None,
        })
    }
}

impl Task {
    /// Asks again how it stands. `id` is what the vendor calls it, where it says so again.
    ///
    /// # Errors
    /// There is no name that could be asked for.
    pub(super) fn question(mut self, id: Option<String>, status: &str) -> Result<Outcome, Fault> {
        if let Some(id) = id {
            self.job_id = id;
        }
        if !is_name(&self.job_id) {
            return Err(Fault::of(FaultClass::InvalidReply));
        }
        status.clone_into(&mut self.job_status);
        let pause = PAUSES_MS.get(self.asked).or(PAUSES_MS.last()).copied();
        self.asked = self.asked.saturating_add(1);
        let place = place_of(&self.job_id);
        Ok(Outcome::Next(Box::new(Step {
            ask: Ask::Vendor(Encoded::get(&place)),
            after: Duration::from_millis(pause.unwrap_or(1000)),
            state: json!(self),
            // As long as it waits there; what runs already runs to its end.
            cancel: Some(
                Encoded::of(HeaderValue::from_static("application/json"), Bytes::new())
                    .at(Method::POST, format!("{place}/cancel")),
            ),
        })))
    }
}

/// Where a task is asked for. Its name was checked.
fn place_of(id: &str) -> String {
    format!("/api/v1/tasks/{id}")
}

/// A name that stands in a path.
fn is_name(id: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=128).contains(&id.len()) && id.bytes().all(legal)
}

#[derive(Deserialize)]
struct Told {
    output: Output,
    #[serde(default, deserialize_with = "if_object")]
    usage: Option<ImageUsage>,
}

#[derive(Deserialize)]
struct Output {
    #[serde(default)]
    task_id: Option<String>,
    #[serde(default)]
    task_status: Option<String>,
    #[serde(default)]
    results: Option<Vec<Picture>>,
    #[serde(default, deserialize_with = "word")]
    code: Option<String>,
    #[serde(default, deserialize_with = "word")]
    message: Option<String>,
}

#[derive(Deserialize)]
struct ImageUsage {
    #[serde(default, deserialize_with = "count")]
    image_count: Option<u64>,
}

/// A picture, or why there is none: a task can be done and lack some.
#[derive(Deserialize)]
struct Picture {
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    actual_prompt: Option<String>,
    #[serde(default, deserialize_with = "word")]
    code: Option<String>,
    #[serde(default, deserialize_with = "word")]
    message: Option<String>,
}

impl Codec for DashScopeImages {
    fn path(&self) -> &'static str {
        ""
    }

    fn encode(&self, call: &Call, target: Target<'_>) -> Result<Encoded, EncodeError> {
        let mut wanted = Wanted::read(call, target)?;
        check_format(&wanted.members)?;
        let format = wanted.take("response_format");
        let fetched = drawn::are_wanted(format.as_ref().and_then(Value::as_str));
        wanted.leave_out(&UNKNOWN_THERE)?;
        let mut input = Map::new();
        for name in ["prompt", "negative_prompt"] {
            input.extend(wanted.take(name).map(|text| (name.to_owned(), text)));
        }
        match wanted.take("size") {
            None => {}
            Some(Value::String(size)) if size == "auto" => {}
            // The vendor writes 1024*1024.
            Some(Value::String(size)) => {
                let size = size.replace(['x', 'X'], "*");
                wanted.members.insert("size".to_owned(), size.into());
            }
            Some(_) => return Err(wrong("size", "must be a width and a height, like 1024x1024").into()),
        }
        let encoded = wanted.into_request(target.model, PICTURES, &Value::Object(input));
        Ok(encoded.with(ASYNC, ENABLE).ending_elsewhere(fetched))
    }

    fn decode(&self, call: &Call, reply: Received<'_>) -> Result<Outcome, Fault> {
        if let Some(answer) = drawn::brought(&reply) {
            return answer;
        }
        let task = Task::deserialize(reply.state).unwrap_or_default();
        let told: Told = read(&reply.body)?;
        match TaskStatus::read(told.output.task_status.as_deref()) {
            Some(TaskStatus::Done) => done(call, told, reply.at.as_seconds()),
            Some(TaskStatus::Failed) => Err(Failure::new(told.output.code, told.output.message)
                .fault(None)
                .of_ended_work()),
            Some(TaskStatus::Unknown) => Err(Fault::of(FaultClass::NotFound).of_ended_work()),
            Some(TaskStatus::Waiting(word)) => task.question(told.output.task_id, word),
            None => Err(Fault::of(FaultClass::InvalidReply)),
        }
    }

    fn decode_fault(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
        faults::decode(status, headers, body)
    }

    fn stream(&self, _call: &Call, _: Opening<'_>) -> Box<dyn StreamDecoder> {
        Box::new(NoStream)
    }
}

/// Whether the caller wants the pictures or their places is between the two of us.
fn check_format(members: &Map<String, Value>) -> Result<(), PublicError> {
    match members.get("response_format").unwrap_or(&Value::Null) {
        Value::Null => Ok(()),
        Value::String(format) if format == "url" || format == "b64_json" => Ok(()),
        _ => Err(wrong("response_format", "must be url or b64_json")),
    }
}

fn done(call: &Call, told: Told, at: i64) -> Result<Outcome, Fault> {
    let mut failure = None;
    let mut pictures = Vec::new();
    for picture in told.output.results.unwrap_or_default() {
        match Drawn::at(picture.url, picture.actual_prompt) {
            Some(drawn) => pictures.push(drawn),
            None => failure = Some(Failure::new(picture.code, picture.message)),
        }
    }
    if let (true, Some(failure)) = (pictures.is_empty(), failure) {
        return Err(failure.fault(None).of_ended_work());
    }
    let count = told.usage.and_then(|usage| usage.image_count);
    drawn::handed_out(call, pictures, MOST_PICTURES, count, at)
}

/// Speech by a text. The vendor writes the sound to a place of its own.
#[derive(Debug, Clone, Copy, Default)]
pub struct DashScopeSpeech;

#[derive(Deserialize)]
struct Spoken {
    output: SpokenOutput,
    #[serde(default, deserialize_with = "if_object")]
    usage: Option<wire::Usage>,
}

#[derive(Deserialize)]
struct SpokenOutput {
    #[serde(default)]
    audio: Option<Audio>,
}

#[derive(Deserialize)]
struct Audio {
    #[serde(default)]
    url: Option<String>,
    /// The sound itself in base64, where it lies nowhere.
    #[serde(default)]
    data: Option<String>,
}

impl Codec for DashScopeSpeech {
    fn path(&self) -> &'static str {
        ""
    }

    fn encode(&self, call: &Call, target: Target<'_>) -> Result<Encoded, EncodeError> {
        let mut wanted = Wanted::read(call, target)?;
        // What it writes is told with the answer; there is nothing to choose.
        match wanted.members.get("response_format").and_then(Value::as_str) {
            Some("wav") => drop(wanted.take("response_format")),
            _ => wanted.leave_out(&["response_format"])?,
        }
        wanted.leave_out(&["speed", "instructions", "stream_format"])?;
        let input = json!({"text": wanted.take("input"), "voice": wanted.take("voice")});
        let encoded = wanted.into_request(target.model, MULTIMODAL, &input);
        // It may come in the answer, but as a rule does not.
        Ok(encoded.ending_elsewhere(true))
    }

    fn decode(&self, _call: &Call, reply: Received<'_>) -> Result<Outcome, Fault> {
        if reply.state.get("audio_url").is_some() {
            let kind = reply.headers.get(header::CONTENT_TYPE);
            let kind = kind.and_then(|value| value.to_str().ok());
            let usage = reply.state.get("usage");
            let usage = usage.and_then(|usage| wire::Usage::deserialize(usage).ok());
            return sound(reply.body, kind.unwrap_or_default(), usage);
        }
        let spoken: Spoken = read(&reply.body)?;
        let unreadable = || Fault::of(FaultClass::InvalidReply);
        let audio = spoken.output.audio.ok_or_else(unreadable)?;
        let Some(url) = audio.url.filter(|url| !url.is_empty()) else {
            let data = STANDARD.decode(audio.data.unwrap_or_default());
            return sound(data.map_err(|_| unreadable())?.into(), "", spoken.usage);
        };
        let usage = spoken.usage.map(|usage| {
            json!({"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens, "total_tokens": usage.total_tokens})
        });
        Ok(Outcome::Next(Box::new(Step {
            state: json!({"audio_url": url, "usage": usage}),
            ask: Ask::Url(url),
            after: Duration::ZERO,
            cancel: None,
        })))
    }

    fn decode_fault(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
        faults::decode(status, headers, body)
    }

    fn stream(&self, _call: &Call, _: Opening<'_>) -> Box<dyn StreamDecoder> {
        Box::new(NoStream)
    }
}

/// The sound has come. Object stores do not always know what it is, but its first bytes do.
fn sound(bytes: Bytes, kind: &str, usage: Option<wire::Usage>) -> Result<Outcome, Fault> {
    let content_type = match (bytes.as_ref(), kind) {
        ([], _) => return Err(Fault::of(FaultClass::InvalidReply)),
        ([b'R', b'I', b'F', b'F', ..], _) => "audio/wav",
        ([b'I', b'D', b'3', ..] | [0xff, 0xe0..=0xff, ..], _) => "audio/mpeg",
        ([b'O', b'g', b'g', b'S', ..], _) => "audio/ogg",
        (_, kind) if kind.to_ascii_lowercase().starts_with("audio/") => known(kind),
        _ => return Err(Fault::of(FaultClass::InvalidReply)),
    };
    Ok(Decoded {
        usage: usage.map(Counts::from).filter(Counts::says_anything).map(Into::into),
        ..Decoded::of(Answer::Ready {
            body: bytes,
            content_type,
        })
    }
    .into())
}

/// What has no first bytes to be known by is what the place says, where that is a kind of sound that there is.
fn known(kind: &str) -> &'static str {
    let kind = kind.split(';').next().unwrap_or_default().trim();
    [
        "audio/pcm",
        "audio/aac",
        "audio/flac",
        "audio/opus",
        "audio/mp4",
        "audio/amr",
        "audio/basic",
    ]
    .into_iter()
    .find(|known| known.eq_ignore_ascii_case(kind))
    .unwrap_or("application/octet-stream")
}
