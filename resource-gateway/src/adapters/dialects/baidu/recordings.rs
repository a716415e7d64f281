//! What is said in short recordings.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    CUID, cuid, faults,
    recording::{RecordingRequest, Sound, Wav, format_of, seconds, segment, understood, wav},
    support,
};
use crate::{
    domain::{
        answer::TranscriptFormat,
        call::Call,
        fault::{Fault, FaultClass, PublicError},
        multipart::Form,
    },
    ports::codec::{Codec, EncodeError, Encoded, NoStream, Opening, Outcome, Received, StreamDecoder, Target},
};

/// A route's model that is a number is the vendor's `dev_pid`: 1537 for Mandarin, 1737 for English, …
///
/// The vendor tells no times. A WAV file tells how long it is, so its subtitles have one entry; of other formats there are none.
#[derive(Debug, Clone, Copy, Default)]
pub struct BaiduTranscription;

const FORMATS: [&str; 4] = ["pcm", "wav", "amr", "m4a"];
const RATES: [i64; 2] = [16_000, 8000];
/// Where neither the caller nor the recording says it.
const USUAL_RATE: u64 = 16_000;
/// A minute.
const MOST_MS: u64 = 60_000;
/// The vendor's members that are numbers. All that a form says is text.
const NUMBERS: [&str; 4] = ["dev_pid", "lm_id", "rate", "channel"];

impl Codec for BaiduTranscription {
    fn path(&self) -> &'static str {
        "/server_api"
    }

    fn home(&self) -> Option<&'static str> {
        Some("http://vop.baidu.com")
    }

    fn encode(&self, call: &Call, target: Target<'_>) -> Result<Encoded, EncodeError> {
        let mut request = RecordingRequest::read(call, target)?;
        let is_elsewhere = matches!(request.sound, Sound::Url(_));
        let sound = request.bring(target)?;
        let head = wav(&sound);
        let subtitles = matches!(call.transcript_format(), TranscriptFormat::Srt | TranscriptFormat::Vtt);
        // What was fetched is not kept until the answer, and how long it is stands nowhere else.
        if subtitles && (head.is_none() || is_elsewhere) {
            return Err(support::unsupported("response_format").into());
        }
        if head.is_some_and(|head| head.millis > MOST_MS) {
            let message = "The recording is longer than the minute that the provider takes.";
            return Err(PublicError::invalid(Some("file"), "file_too_large", message).into());
        }
        if request.wants_words {
            support::cannot(
                "timestamp_granularities[]",
                target.when_unsupported,
                &mut request.dropped,
            )?;
        }
        let dropped = std::mem::take(&mut request.dropped);
        let body = body(request, &sound, head, target)?;
        Ok(Encoded {
            dropped,
            ..Encoded::json(&Value::Object(body))
        })
    }

    fn decode(&self, call: &Call, reply: Received<'_>) -> Result<Outcome, Fault> {
        let found: Found = faults::read(&reply.body)?;
        // The best guess stands first.
        let first = found.result.into_iter().next();
        let text = first.ok_or_else(|| Fault::of(FaultClass::InvalidReply))?;
        let file = call.form().and_then(|form| form.get("file").ok().flatten());
        let head = file.and_then(|file| wav(&file.value)).map(|head| head.millis);
        let millis = head.or_else(|| call.form().and_then(bare_millis));
        let length = millis.map(seconds);
        let segments = length.map(|end| vec![segment(text.clone(), 0.0, end)]);
        Ok(understood(call, text, segments, None, length))
    }

    fn decode_fault(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
        faults::decode(status, headers, body)
    }

    fn stream(&self, _call: &Call, _: Opening<'_>) -> Box<dyn StreamDecoder> {
        Box::new(NoStream)
    }
}

fn body(
    mut request: RecordingRequest,
    sound: &Bytes,
    head: Option<Wav>,
    target: Target<'_>,
) -> Result<Map<String, Value>, PublicError> {
    let format = request.take("format").or(request.format.take());
    let format = format
        .filter(|format| FORMATS.contains(&format.as_str()))
        .ok_or_else(|| {
            let message = "The recording must be pcm, wav, amr or m4a, and its name must say which.";
            PublicError::invalid(Some("file"), "invalid_value", message)
        })?;
    let mut body = Map::new();
    for (name, text) in std::mem::take(&mut request.options) {
        let number = text.parse::<i64>().ok().filter(|_| NUMBERS.contains(&name.as_str()));
        body.insert(name, number.map_or_else(|| Value::from(text), Value::from));
    }
    let rate = match (body.get("rate").and_then(Value::as_i64), head) {
        (Some(rate), _) => rate,
        (None, Some(head)) => head.rate.into(),
        (None, None) => 16_000,
    };
    if !RATES.contains(&rate) {
        let message = "The recording must have 16,000 or 8,000 samples a second.";
        return Err(PublicError::invalid(Some("file"), "invalid_value", message));
    }
    if let Ok(dev_pid) = target.model.parse::<i64>() {
        body.insert("dev_pid".to_owned(), dev_pid.into());
    }
    body.entry(CUID).or_insert_with(|| cuid(target).into());
    body.entry("channel").or_insert(1.into());
    let ours = [
        ("format", Value::from(format)),
        ("rate", rate.into()),
        ("len", sound.len().into()),
        ("speech", STANDARD.encode(sound).into()),
    ];
    body.extend(ours.map(|(name, value)| (name.to_owned(), value)));
    // The signature's.
    body.remove("token");
    Ok(body)
}

/// How long samples without a head are: of 16 bits each, on one channel.
fn bare_millis(form: &Form) -> Option<u64> {
    let said = |name: &str| Some(form.get(name).ok().flatten()?.text());
    let file = form.get("file").ok().flatten()?;
    let named = file
        .file
        .as_ref()
        .and_then(|file| format_of(&file.name, &file.content_type));
    if said("format").map(str::to_owned).or(named).as_deref() != Some("pcm") {
        return None;
    }
    let rate = said("rate").and_then(|rate| rate.parse().ok()).unwrap_or(USUAL_RATE);
    let bytes = u64::try_from(file.value.len()).ok()?;
    bytes.saturating_mul(500).checked_div(rate)
}

#[derive(Deserialize)]
struct Found {
    result: Vec<String>,
}
