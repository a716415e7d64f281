//! Recordings: `SentenceRecognition` for what is surely short, a file task for the rest.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    ASR, JobState, PATH, faults, read,
    recording::{RecordingRequest, Sound, joined, seconds, segment, understood, wav, word},
};
use crate::{
    domain::{
        answer::Segment,
        call::Call,
        fault::{Fault, FaultClass, PublicError},
    },
    ports::codec::{Codec, EncodeError, Encoded, NoStream, Opening, Outcome, Received, StreamDecoder, Target},
};

/// The route's model is the vendor's engine: `16k_zh`, `16k_en`, `8k_zh`, …
///
/// Fields of the form that nobody here knows are the vendor's members. A URL is a file task, unless it comes with a `VoiceFormat`,
/// which only short recordings have; `ChannelNum` or `ResTextFormat` make a file task of any.
#[derive(Debug, Clone, Copy, Default)]
pub struct TencentTranscription;

/// A minute, and 3 MB as base64.
const SHORT_MS: u64 = 60_000;
const SHORT_BYTES: usize = 3 * 1024 * 1024 / 4 * 3;
/// Of what does not tell its length: a minute at 64 kbit/s. What is sparser than that and longer is refused by the vendor.
const SHORT_COMPRESSED_BYTES: usize = 480 * 1000;
/// What a file task takes; longer recordings have to lie behind a URL.
const MOST_BYTES: usize = 5 * 1024 * 1024;

/// The vendor's members that are numbers. All that a form says is text.
const NUMBERS: [&str; 17] = [
    "ChannelNum",
    "ConvertNumMode",
    "EmotionRecognition",
    "EmotionalEnergy",
    "FilterDirty",
    "FilterModal",
    "FilterPunc",
    "InputSampleRate",
    "ProjectId",
    "ReinforceHotword",
    "ResTextFormat",
    "SentenceMaxLength",
    "SourceType",
    "SpeakerDiarization",
    "SpeakerNumber",
    "SubServiceType",
    "WordInfo",
];

impl Codec for TencentTranscription {
    fn path(&self) -> &'static str {
        PATH
    }

    fn home(&self) -> Option<&'static str> {
        Some(ASR.home)
    }

    fn encode(&self, call: &Call, target: Target<'_>) -> Result<Encoded, EncodeError> {
        let mut request = RecordingRequest::read(call, target)?;
        let dropped = std::mem::take(&mut request.dropped);
        let encoded = match is_short(&request) {
            true => sentence(request, target.model)?,
            false => task(request, target.model)?,
        };
        Ok(Encoded { dropped, ..encoded })
    }

    fn decode(&self, call: &Call, reply: Received<'_>) -> Result<Outcome, Fault> {
        let found: Found = read(&reply.body)?;
        match (found.data, found.result) {
            (Some(task), _) => of_task(call, task, JobState::read(reply.state)),
            (None, Some(text)) => Ok(of_sentence(call, text, found.audio_duration, found.word_list)),
            (None, None) => Err(Fault::of(FaultClass::InvalidReply)),
        }
    }

    fn decode_fault(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
        faults::decode(status, headers, body)
    }

    fn stream(&self, _call: &Call, _: Opening<'_>) -> Box<dyn StreamDecoder> {
        Box::new(NoStream)
    }
}

fn is_short(request: &RecordingRequest) -> bool {
    let has = |wanted: &str| request.options.iter().any(|(name, _)| name == wanted);
    if has("ChannelNum") || has("ResTextFormat") {
        // Only file tasks have these.
        return false;
    }
    match &request.sound {
        Sound::Url(_) => has("VoiceFormat"),
        Sound::Bytes(bytes) => match wav(bytes) {
            Some(wav) => wav.millis <= SHORT_MS && bytes.len() <= SHORT_BYTES,
            None => bytes.len() <= SHORT_COMPRESSED_BYTES,
        },
    }
}

/// The vendor's own members.
fn members(request: &mut RecordingRequest) -> Map<String, Value> {
    let options = std::mem::take(&mut request.options).into_iter();
    let options = options.map(|(name, text)| {
        let number = text.parse::<i64>().ok().filter(|_| NUMBERS.contains(&name.as_str()));
        (name, number.map_or_else(|| Value::from(text), Value::from))
    });
    options.collect()
}

/// Where the sound is, in the words that both actions have.
fn put_sound(body: &mut Map<String, Value>, sound: Sound) {
    // One or the other, whatever the caller wrote by these names.
    for name in ["Data", "DataLen"] {
        body.remove(name);
    }
    let mut set = |name: &str, value: Value| drop(body.insert(name.to_owned(), value));
    match sound {
        Sound::Bytes(bytes) => {
            set("SourceType", 1.into());
            set("DataLen", bytes.len().into());
            set("Data", STANDARD.encode(&bytes).into());
        }
        Sound::Url(url) => {
            set("SourceType", 0.into());
            set("Url", url.into());
        }
    }
}

fn sentence(mut request: RecordingRequest, engine: &str) -> Result<Encoded, PublicError> {
    let mut body = members(&mut request);
    let mut set = |name: &str, value: Value| {
        body.entry(name).or_insert(value);
    };
    let format = request.format.as_deref().map(|format| match format {
        "ogg" | "opus" => "ogg-opus",
        format => format,
    });
    if let Some(format) = format {
        set("VoiceFormat", format.into());
    }
    if request.wants_words {
        // With the punctuation between them.
        set("WordInfo", 2.into());
    }
    if !body.contains_key("VoiceFormat") {
        let message = "The name of the field 'file' must end in the format of the recording, as in speech.wav.";
        return Err(PublicError::invalid(Some("file"), "invalid_value", message));
    }
    // The route's model, in the vendor's own spelling.
    body.insert("EngSerViceType".to_owned(), engine.into());
    put_sound(&mut body, request.sound);
    Ok(ASR.call("SentenceRecognition", &body))
}

fn task(mut request: RecordingRequest, engine: &str) -> Result<Encoded, PublicError> {
    if matches!(&request.sound, Sound::Bytes(bytes) if bytes.len() > MOST_BYTES) {
        let message =
            "The recording is larger than the 5 MB that the provider takes. It can be named by its 'url' instead.";
        return Err(PublicError::invalid(Some("file"), "file_too_large", message));
    }
    let mut body = members(&mut request);
    // It is told by the sound itself there.
    body.remove("VoiceFormat");
    let mut set = |name: &str, value: Value| {
        body.entry(name).or_insert(value);
    };
    set("ChannelNum", 1.into());
    // Sentences with their times.
    set("ResTextFormat", 3.into());
    // The route's model.
    body.insert("EngineModelType".to_owned(), engine.into());
    put_sound(&mut body, request.sound);
    Ok(ASR.call("CreateRecTask", &body))
}

/// What was understood, or the task that will tell.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Found {
    #[serde(default)]
    data: Option<Stand>,
    #[serde(default)]
    result: Option<String>,
    /// In milliseconds.
    #[serde(default)]
    audio_duration: Option<u64>,
    #[serde(default)]
    word_list: Option<Vec<SaidWord>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SaidWord {
    word: String,
    #[serde(default)]
    start_time: u64,
    #[serde(default)]
    end_time: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Stand {
    task_id: Option<u64>,
    #[serde(default)]
    status: Option<u64>,
    #[serde(default)]
    result: Option<String>,
    #[serde(default)]
    error_msg: Option<String>,
    /// In seconds.
    #[serde(default)]
    audio_duration: Option<f64>,
    #[serde(default)]
    result_detail: Option<Vec<Passage>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Passage {
    #[serde(default)]
    final_sentence: String,
    #[serde(default)]
    start_ms: u64,
    #[serde(default)]
    end_ms: u64,
    #[serde(default)]
    speaker_id: Option<Value>,
    #[serde(default)]
    words: Option<Vec<SentenceWord>>,
}

/// Its times count from the beginning of its sentence.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SentenceWord {
    word: String,
    #[serde(default)]
    offset_start_ms: u64,
    #[serde(default)]
    offset_end_ms: u64,
}

fn of_sentence(call: &Call, text: String, millis: Option<u64>, words: Option<Vec<SaidWord>>) -> Outcome {
    let words = words.map(|words| {
        let words = words.into_iter();
        words
            .map(|said| word(said.word, said.start_time, said.end_time))
            .collect()
    });
    let segments = millis.map(|millis| vec![segment(text.clone(), 0.0, seconds(millis))]);
    understood(call, text, segments, words, millis.map(seconds))
}

fn of_task(call: &Call, task: Stand, state: JobState) -> Result<Outcome, Fault> {
    let asks = |state: &JobState| {
        let id = state.job_id.as_u64().map(Value::from);
        ASR.call("DescribeTaskStatus", &json!({"TaskId": id}))
    };
    match (task.status, task.task_id) {
        (None, Some(id)) => Ok(state.begun(id.into()).asked_by(asks)),
        (Some(0), _) if state.is_known() => Ok(state.with_status("queued").asked_by(asks)),
        (Some(1), _) if state.is_known() => Ok(state.with_status("running").asked_by(asks)),
        (Some(2), _) => Ok(of_result(call, task)),
        (Some(3), _) => {
            let message = task.error_msg.unwrap_or_default();
            Err(faults::told(FaultClass::ServerError, None, &message).of_ended_work())
        }
        _ => Err(Fault::of(FaultClass::InvalidReply)),
    }
}

fn of_result(call: &Call, task: Stand) -> Outcome {
    let mut words = Vec::new();
    let segments: Vec<Segment> = match task.result_detail.filter(|sentences| !sentences.is_empty()) {
        Some(sentences) => sentences
            .into_iter()
            .map(|sentence| {
                let said = sentence.words.unwrap_or_default().into_iter();
                words.extend(said.map(|said| {
                    let at = |offset: u64| sentence.start_ms.saturating_add(offset);
                    word(said.word, at(said.offset_start_ms), at(said.offset_end_ms))
                }));
                let (start, end) = (seconds(sentence.start_ms), seconds(sentence.end_ms));
                let mut segment = segment(sentence.final_sentence, start, end);
                let speaker = sentence.speaker_id.filter(|speaker| !speaker.is_null());
                segment
                    .more
                    .extend(speaker.map(|speaker| ("speaker".to_owned(), speaker)));
                segment
            })
            .collect(),
        None => task
            .result
            .as_deref()
            .unwrap_or_default()
            .lines()
            .filter_map(line)
            .collect(),
    };
    let text = joined(&segments);
    let words = (!words.is_empty()).then_some(words);
    understood(call, text, Some(segments), words, task.audio_duration)
}

/// A line of a result without details: `[0:0.020,0:2.380]  text`, perhaps with the speaker's number behind the times.
fn line(line: &str) -> Option<Segment> {
    let line = line.trim();
    if line.is_empty() {
        return None;
    }
    let timed = || {
        let (times, text) = line.strip_prefix('[')?.split_once(']')?;
        let mut times = times.split(',').map(|time| {
            let (minutes, seconds) = time.trim().split_once(':')?;
            let minutes: f64 = minutes.parse().ok()?;
            Some(minutes * 60.0 + seconds.parse::<f64>().ok()?)
        });
        let (start, end) = (times.next()??, times.next()??);
        Some(segment(text.trim().to_owned(), start, end))
    };
    Some(timed().unwrap_or_else(|| segment(line.to_owned(), 0.0, 0.0)))
}
