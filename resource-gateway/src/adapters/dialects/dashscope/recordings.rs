//! Recordings. Models whose names say `realtime` hear them over a WebSocket; all others are told by a URL where a recording lies,
//! and are asked until they have written it down.

use std::collections::VecDeque;

use bytes::Bytes;
use http::HeaderMap;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Map, Value, json};

use super::{
    ASYNC, ENABLE, faults,
    faults::Failure,
    read,
    recording::{RecordingRequest, Sound, joined, seconds, segment, understood, wav, word},
    tasks::{Task, TaskStatus},
};
use crate::{
    adapters::dialects::reading,
    domain::{
        answer::{Segment, Word},
        call::Call,
        fault::{Fault, FaultClass, PublicError},
        lines::lines,
    },
    ports::{
        codec::{
            Ask, Codec, EncodeError, Encoded, NoStream, Opening, Outcome, Received, Step, StreamDecoder, Target,
            has_media_type,
        },
        transport::{Dialogue, SocketMessage},
    },
};

const FILES: &str = "/api/v1/services/audio/asr/transcription";
const SOCKET: &str = "/api-ws/v1/inference";
/// A message of sound is not longer: 400 ms of 16 kHz in 16 bits.
const MAX_SOUND_BYTES: usize = 12_800;
/// What is not said by the recording itself, nor by the caller.
const USUAL_RATE: u32 = 16_000;

/// Recordings as text. Fields of the form that nobody here knows are the vendor's parameters; what reads as JSON there (a number, a
/// list) is that.
#[derive(Debug, Clone, Copy, Default)]
pub struct DashScopeTranscription;

impl Codec for DashScopeTranscription {
    fn path(&self) -> &'static str {
        ""
    }

    fn encode(&self, call: &Call, target: Target<'_>) -> Result<Encoded, EncodeError> {
        let mut request = RecordingRequest::read_knowing(&["language"], call, target)?;
        let dropped = std::mem::take(&mut request.dropped);
        let encoded = match target.model.contains("realtime") {
            true => by_socket(request, target)?,
            false => by_url(request, target.model)?,
        };
        Ok(Encoded { dropped, ..encoded })
    }

    fn decode(&self, call: &Call, reply: Received<'_>) -> Result<Outcome, Fault> {
        if has_media_type(reply.headers, "application/x-ndjson") {
            return heard(call, &reply.body);
        }
        if reply.state.get("results").is_some() {
            return written_down(call, &reply);
        }
        let told: Told = read(&reply.body)?;
        let task = Task::deserialize(reply.state).unwrap_or_default();
        match TaskStatus::read(told.output.task_status.as_deref()) {
            Some(TaskStatus::Done) => results(told),
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

/// The vendor's own parameters.
fn parameters(request: &mut RecordingRequest) -> Map<String, Value> {
    let mut parameters = Map::new();
    if let Some(language) = request.take("language") {
        parameters.insert("language_hints".to_owned(), json!([language]));
    }
    for (name, text) in std::mem::take(&mut request.options) {
        let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        parameters.insert(name, value);
    }
    parameters
}

fn by_url(mut request: RecordingRequest, model: &str) -> Result<Encoded, PublicError> {
    let Sound::Url(url) = std::mem::replace(&mut request.sound, Sound::Bytes(Bytes::new())) else {
        let message = "The provider takes recordings for this interface only from where they lie: name its 'url'.";
        return Err(PublicError::invalid(Some("file"), "unsupported_value", message));
    };
    let body = json!({"model": model, "parameters": parameters(&mut request), "input": {"file_urls": [url]}});
    let encoded = Encoded::json(&body).at(http::Method::POST, FILES).with(ASYNC, ENABLE);
    Ok(encoded.ending_elsewhere(true))
}

fn by_socket(mut request: RecordingRequest, target: Target<'_>) -> Result<Encoded, EncodeError> {
    let sound = request.bring(target)?;
    let format = request.format.clone();
    let mut parameters = parameters(&mut request);
    if let (Some(format), false) = (format, parameters.contains_key("format")) {
        parameters.insert("format".to_owned(), format.into());
    }
    if !parameters.contains_key("format") {
        let message = "The name of the field 'file' must end in the format of the recording, as in speech.wav.";
        return Err(PublicError::invalid(Some("file"), "invalid_value", message).into());
    }
    let rate = || wav(&sound).map_or(USUAL_RATE, |head| head.rate);
    parameters.entry("sample_rate").or_insert_with(|| rate().into());
    let mut task_id = [0; 16];
    target.entropy.fill(&mut task_id);
    let task_id = format!("{:032x}", u128::from_ne_bytes(task_id));
    let frame = |action: &str, payload: Value| {
        let header = json!({"action": action, "task_id": task_id, "streaming": "duplex"});
        SocketMessage::Text(json!({"header": header, "payload": payload}).to_string().into())
    };
    let run = frame(
        "run-task",
        json!({"model": target.model, "task_group": "audio", "task": "asr", "function": "recognition",
            "parameters": parameters, "input": {}}),
    );
    let mut heard = Vec::with_capacity(sound.len() / MAX_SOUND_BYTES + 2);
    let mut rest = sound;
    while !rest.is_empty() {
        heard.push(SocketMessage::Binary(rest.split_to(rest.len().min(MAX_SOUND_BYTES))));
    }
    heard.push(frame("finish-task", json!({"input": {}})));
    Ok(Encoded::socket(
        SOCKET,
        Dialogue {
            // The vendor says that it has begun before it is told anything.
            turns: VecDeque::from([vec![run], heard]),
            is_last,
        },
    ))
}

fn is_last(frame: &[u8]) -> bool {
    let frame = serde_json::from_slice::<Frame<IgnoredAny>>(frame);
    frame.map_or(true, |frame| matches!(frame.header.kind.as_str(), FINISHED | FAILED))
}

const RESULT: &str = "result-generated";
const FINISHED: &str = "task-finished";
const FAILED: &str = "task-failed";

#[derive(Deserialize)]
struct Frame<P> {
    header: Event,
    #[serde(default = "none")]
    payload: Option<P>,
}

fn none<P>() -> Option<P> {
    None
}

#[derive(Deserialize)]
struct Event {
    #[serde(default, rename = "event")]
    kind: String,
    #[serde(default, deserialize_with = "reading::word")]
    error_code: Option<String>,
    #[serde(default, deserialize_with = "reading::word")]
    error_message: Option<String>,
}

#[derive(Deserialize)]
struct Heard {
    #[serde(default)]
    output: Option<HeardOutput>,
    #[serde(default, deserialize_with = "reading::if_object")]
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct HeardOutput {
    #[serde(default)]
    sentence: Option<Sentence>,
}

/// Times are milliseconds.
#[derive(Deserialize)]
struct Sentence {
    #[serde(default, deserialize_with = "reading::count")]
    begin_time: Option<u64>,
    /// Not there as long as it goes on.
    #[serde(default, deserialize_with = "reading::count")]
    end_time: Option<u64>,
    #[serde(default)]
    text: String,
    #[serde(default, rename = "sentence_end")]
    is_over: Option<bool>,
    /// Nothing was said; the connection is kept.
    #[serde(default)]
    heartbeat: Option<bool>,
    #[serde(default)]
    words: Option<Vec<SaidWord>>,
}

#[derive(Deserialize)]
struct SaidWord {
    #[serde(default, deserialize_with = "reading::count")]
    begin_time: Option<u64>,
    #[serde(default, deserialize_with = "reading::count")]
    end_time: Option<u64>,
    #[serde(default)]
    text: String,
    #[serde(default)]
    punctuation: Option<String>,
}

/// In seconds.
#[derive(Deserialize)]
struct Usage {
    #[serde(default, deserialize_with = "reading::if_readable")]
    duration: Option<f64>,
}

/// What was said, sentence by sentence.
#[derive(Default)]
struct Protocol {
    segments: Vec<Segment>,
    words: Vec<Word>,
}

impl Protocol {
    fn add(&mut self, sentence: Sentence) {
        let begin = sentence.begin_time.unwrap_or(0);
        let end = sentence.end_time.unwrap_or(begin);
        for said in sentence.words.into_iter().flatten() {
            let text = said.text + said.punctuation.as_deref().unwrap_or_default();
            let begin = said.begin_time.unwrap_or(0);
            self.words.push(word(text, begin, said.end_time.unwrap_or(begin)));
        }
        self.segments.push(segment(sentence.text, seconds(begin), seconds(end)));
    }

    fn told(self, call: &Call, duration: Option<f64>) -> Outcome {
        let text = joined(&self.segments);
        let words = (!self.words.is_empty()).then_some(self.words);
        understood(call, text, Some(self.segments), words, duration)
    }
}

/// The frames of a whole conversation, a line each.
fn heard(call: &Call, body: &[u8]) -> Result<Outcome, Fault> {
    let mut protocol = Protocol::default();
    // The sentence that goes on: each frame tells all of it.
    let mut open: Option<Sentence> = None;
    let mut duration = None;
    for line in lines(body) {
        let frame: Frame<Heard> = serde_json::from_slice(line).map_err(|_| Fault::of(FaultClass::InvalidReply))?;
        match frame.header.kind.as_str() {
            FAILED => return Err(Failure::new(frame.header.error_code, frame.header.error_message).fault(None)),
            FINISHED => {
                let left = open.filter(|sentence| !sentence.text.is_empty());
                if let Some(sentence) = left {
                    protocol.add(sentence);
                }
                return Ok(protocol.told(call, duration));
            }
            RESULT => {}
            _ => continue,
        }
        let Some(payload) = frame.payload else { continue };
        duration = payload.usage.and_then(|usage| usage.duration).or(duration);
        let sentence = payload.output.and_then(|output| output.sentence);
        let Some(sentence) = sentence.filter(|sentence| sentence.heartbeat != Some(true)) else {
            continue;
        };
        if sentence.is_over.unwrap_or(sentence.end_time.is_some()) {
            open = None;
            protocol.add(sentence);
        } else {
            open = Some(sentence);
        }
    }
    // It hung up before it had finished.
    Err(Fault::of(FaultClass::Transport))
}

#[derive(Deserialize)]
struct Told {
    output: Output,
    #[serde(default, deserialize_with = "reading::if_object")]
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Output {
    #[serde(default)]
    task_id: Option<String>,
    #[serde(default)]
    task_status: Option<String>,
    #[serde(default)]
    results: Option<Vec<FileResult>>,
    #[serde(default, deserialize_with = "reading::word")]
    code: Option<String>,
    #[serde(default, deserialize_with = "reading::word")]
    message: Option<String>,
}

/// What became of a file.
#[derive(Deserialize)]
struct FileResult {
    #[serde(default)]
    file_url: Option<String>,
    #[serde(default)]
    transcription_url: Option<String>,
    #[serde(default)]
    subtask_status: Option<String>,
    #[serde(default, deserialize_with = "reading::word")]
    code: Option<String>,
    #[serde(default, deserialize_with = "reading::word")]
    message: Option<String>,
}

/// It is done: what was understood lies somewhere else.
fn results(told: Told) -> Result<Outcome, Fault> {
    let (mut place, mut failure, mut results) = (None, None, Vec::new());
    for file in told.output.results.unwrap_or_default() {
        let status = match TaskStatus::read(file.subtask_status.as_deref()) {
            Some(TaskStatus::Done) => "done",
            Some(TaskStatus::Waiting(word)) => word,
            Some(TaskStatus::Failed | TaskStatus::Unknown) | None => "failed",
        };
        let url = file.transcription_url.filter(|url| !url.is_empty());
        results.push(json!({"file_url": file.file_url, "status": status, "transcription_url": url, "code": file.code}));
        match url.filter(|_| status == "done") {
            Some(url) => place = place.or(Some(url)),
            None => failure = Some(Failure::new(file.code, file.message)),
        }
    }
    let Some(url) = place else {
        let failure = failure.map(|failure| failure.fault(None));
        return Err(failure
            .unwrap_or_else(|| Fault::of(FaultClass::InvalidReply))
            .of_ended_work());
    };
    let duration = told.usage.and_then(|usage| usage.duration);
    Ok(Outcome::Next(Box::new(Step {
        ask: Ask::Url(url),
        after: std::time::Duration::ZERO,
        state: json!({"job_status": "done", "results": results, "duration_s": duration}),
        cancel: None,
    })))
}

/// What lies there.
#[derive(Deserialize)]
struct Written {
    #[serde(default)]
    properties: Option<Properties>,
    transcripts: Vec<Channel>,
}

#[derive(Deserialize)]
struct Properties {
    #[serde(default)]
    original_duration_in_milliseconds: Option<u64>,
}

#[derive(Deserialize)]
struct Channel {
    #[serde(default, rename = "channel_id")]
    id: Option<u64>,
    #[serde(default)]
    text: String,
    #[serde(default)]
    sentences: Option<Vec<Sentence>>,
}

fn written_down(call: &Call, reply: &Received<'_>) -> Result<Outcome, Fault> {
    let written: Written = serde_json::from_slice(&reply.body).map_err(|_| Fault::of(FaultClass::InvalidReply))?;
    let several = written.transcripts.len() > 1;
    let mut protocol = Protocol::default();
    let mut texts = Vec::new();
    for channel in written.transcripts {
        let from = protocol.segments.len();
        for sentence in channel.sentences.into_iter().flatten() {
            protocol.add(sentence);
        }
        if let (true, Some(id)) = (several, channel.id) {
            for segment in protocol.segments.iter_mut().skip(from) {
                segment.more.insert("channel_id".to_owned(), id.into());
            }
        }
        texts.push(channel.text);
    }
    let counted = reply.state.get("duration_s").and_then(Value::as_f64);
    let length = written
        .properties
        .and_then(|known| known.original_duration_in_milliseconds);
    let words = (!protocol.words.is_empty()).then_some(protocol.words);
    Ok(understood(
        call,
        texts.join("\n"),
        Some(protocol.segments),
        words,
        counted.or(length.map(seconds)),
    ))
}
