//! Simulated speech and transcription: tones that last as long as the text, and sentences that last as long as the recording.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Answer, Refusal, score::Draw};
use crate::domain::{
    answer::{Segment, Transcript, TranscriptFormat, Word},
    multipart::{Boundary, Form},
};

const RATE: u32 = 8000;
/// Each character sounds for so many samples, up to ten seconds in all.
const SAMPLES_PER_CHAR: usize = 400;
const MAX_SAMPLES: usize = 80_000;
/// OpenAI's limit.
const MAX_CHARS: usize = 4096;
const SENTENCES: [&str; 4] = [
    " This is the Hexgate sandbox.",
    " It is a simulator and not a model.",
    " It did not listen.",
    " It only looked at how long the recording is.",
];

#[derive(Deserialize)]
struct SpeechRequest {
    input: String,
    #[serde(default)]
    voice: Option<Value>,
    #[serde(default)]
    response_format: Option<String>,
    #[serde(default)]
    speed: Option<f64>,
}

pub(super) fn speak(body: &[u8]) -> Result<Answer, Refusal> {
    let request: SpeechRequest =
        serde_json::from_slice(body).map_err(|error| Refusal::new("input", format!("Invalid request: {error}.")))?;
    if request.voice.is_none_or(|voice| voice.is_null()) {
        return Err(Refusal::new("voice", "A voice is needed."));
    }
    if request.input.chars().count() > MAX_CHARS {
        return Err(Refusal::new(
            "input",
            format!("There can be {MAX_CHARS} characters at most."),
        ));
    }
    let speed = request.speed.unwrap_or(1.0);
    if !(0.25..=4.0).contains(&speed) {
        return Err(Refusal::new("speed", "The speed must be from 0.25 to 4."));
    }
    let samples = tones(&request.input, speed);
    let (content_type, body) = match request.response_format.as_deref() {
        Some("wav") => ("audio/wav", wav(&samples)),
        Some("pcm") => ("audio/pcm", samples),
        _ => {
            let why = "The simulator speaks wav and pcm only: ask for one of them as response_format.";
            return Err(Refusal::new("response_format", why));
        }
    };
    Ok(Answer::Bytes {
        content_type,
        body: body.into(),
    })
}

/// A tone for each character, as 16-bit samples.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "small numbers, and the last bit of a tone is not heard"
)]
fn tones(text: &str, speed: f64) -> Vec<u8> {
    let length = (SAMPLES_PER_CHAR as f64 / speed) as usize;
    let mut samples = Vec::new();
    for c in text.chars() {
        let hertz = f64::from(200 + u32::from(c) % 64 * 12);
        let sample = |at: usize| {
            let angle = at as f64 / f64::from(RATE) * hertz * std::f64::consts::TAU;
            (angle.sin() * 8000.0) as i16
        };
        samples.extend((0..length).map(sample).flat_map(i16::to_le_bytes));
        if samples.len() >= MAX_SAMPLES * 2 {
            samples.truncate(MAX_SAMPLES * 2);
            break;
        }
    }
    samples
}

/// A RIFF file around 16-bit samples of one channel.
fn wav(samples: &[u8]) -> Vec<u8> {
    let length = u32::try_from(samples.len()).unwrap_or(u32::MAX);
    let mut file = Vec::with_capacity(44 + samples.len());
    file.extend_from_slice(b"RIFF");
    file.extend_from_slice(&length.saturating_add(36).to_le_bytes());
    file.extend_from_slice(b"WAVEfmt ");
    file.extend_from_slice(&16u32.to_le_bytes());
    // PCM, one channel.
    file.extend_from_slice(&[1, 0, 1, 0]);
    file.extend_from_slice(&RATE.to_le_bytes());
    file.extend_from_slice(&(RATE * 2).to_le_bytes());
    // Two bytes a sample, 16 bits.
    file.extend_from_slice(&[2, 0, 16, 0]);
    file.extend_from_slice(b"data");
    file.extend_from_slice(&length.to_le_bytes());
    file.extend_from_slice(samples);
    file
}

/// How long a recording is: exactly for WAV, guessed at 128 kbit/s for all else.
fn seconds(file: &[u8]) -> f64 {
    let (length, rate) = wav_length(file).unwrap_or((file.len(), 16_000));
    let exact = f64::from(u32::try_from(length).unwrap_or(u32::MAX)) / f64::from(rate.max(1));
    (exact * 1000.0).round() / 1000.0
}

/// The bytes of sound in a RIFF file, and how many of them make a second.
fn wav_length(file: &[u8]) -> Option<(usize, u32)> {
    let number = |at: usize| Some(u32::from_le_bytes(file.get(at..at.checked_add(4)?)?.try_into().ok()?));
    if !file.starts_with(b"RIFF") || file.get(8..12)? != b"WAVE" {
        return None;
    }
    let (mut at, mut rate) = (12, None);
    loop {
        let (kind, length) = (file.get(at..at + 4)?, usize::try_from(number(at + 4)?).ok()?);
        let inside = at.checked_add(8)?;
        match kind {
            b"fmt " => rate = number(inside + 8),
            // Some writers do not know the length yet when they write this.
            b"data" => return Some((length.min(file.len() - inside), rate?)),
            _ => {}
        }
        // Chunks begin at even places.
        at = inside.checked_add(length)?.checked_add(length % 2)?;
    }
}

pub(super) fn write_down(content_type: &str, body: &Bytes) -> Result<Answer, Refusal> {
    let odd = || Refusal::new("file", "The form could not be read.");
    let boundary = Boundary::of_content_type(content_type).ok_or_else(odd)?;
    let form = Form::parse(body, &boundary).map_err(|_| odd())?;
    let text = |name: &'static str| form.texts(name).next().unwrap_or_default();
    let file = form.get("file").ok().flatten().ok_or_else(odd)?;
    if file.value.is_empty() {
        return Err(Refusal::new("file", "The recording is empty."));
    }
    let word = Some(text("response_format")).filter(|word| !word.is_empty());
    let format = word.map_or(Some(TranscriptFormat::Json), TranscriptFormat::parse);
    let format = format.ok_or_else(|| Refusal::new("response_format", "The simulator does not know this format."))?;
    let granularities: Vec<_> = form.texts("timestamp_granularities[]").collect();
    let transcript = transcribe(&file.value, text("language")).narrowed(&granularities, format);
    let body = transcript.render(format);
    match format {
        TranscriptFormat::Json | TranscriptFormat::Verbose => {
            serde_json::from_slice(&body).map(Answer::Whole).map_err(|_| odd())
        }
        TranscriptFormat::Text | TranscriptFormat::Srt | TranscriptFormat::Vtt => Ok(Answer::Bytes {
            content_type: format.content_type(),
            body,
        }),
    }
}

fn transcribe(file: &[u8], language: &str) -> Transcript {
    let duration = seconds(file);
    let mut draw = Draw::of(file);
    let scores = draw.scores(4);
    let part = duration / 4.0;
    let (mut segments, mut words) = (Vec::new(), Vec::new());
    for ((at, text), score) in (0u8..).zip(SENTENCES).zip(scores) {
        let (start, end) = (part * f64::from(at), part * f64::from(at + 1));
        let spoken: Vec<_> = text.split_whitespace().collect();
        let step = part / f64::from(u8::try_from(spoken.len()).unwrap_or(1).max(1));
        for (place, word) in (0u8..).zip(&spoken) {
            words.push(Word {
                word: word.trim_end_matches('.').to_owned(),
                start: start + step * f64::from(place),
                end: start + step * f64::from(place + 1),
                confidence: Some(score),
                probability: None,
                more: Map::new(),
            });
        }
        let more = json!({"id": at, "seek": 0, "tokens": [], "temperature": 0.0, "compression_ratio": 1.0, "no_speech_prob": 0.0});
        segments.push(Segment {
            start,
            end,
            text: text.to_owned(),
            confidence: Some(score),
            avg_logprob: Some(score.max(0.001).ln()),
            more: more.as_object().cloned().unwrap_or_default(),
        });
    }
    let language = if language.is_empty() { "english" } else { language };
    let more = json!({"task": "transcribe", "language": language, "duration": duration, "sandbox": true});
    Transcript {
        text: SENTENCES.concat().trim().to_owned(),
        segments: Some(segments),
        words: Some(words),
        // OpenAI bills whole seconds.
        usage: Some(json!({"type": "duration", "seconds": duration.ceil()})),
        filtered: None,
        more: more.as_object().cloned().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spoken(format: &str, text: &str) -> Result<Bytes, &'static str> {
        let body = json!({"model": "m", "input": text, "voice": "alloy", "response_format": format}).to_string();
        match speak(body.as_bytes()) {
            Ok(Answer::Bytes { body, .. }) => Ok(body),
            Ok(_) => Err("not bytes"),
            Err(refusal) => Err(refusal.param),
        }
    }

    fn heard(file: &[u8], fields: &[(&str, &str)]) -> Answer {
        let boundary = Boundary::of_content_type("multipart/form-data; boundary=B").unwrap();
        let mut form = Form::empty(boundary);
        for (name, value) in fields {
            form.set(name, vec![(*value).to_owned()]).unwrap();
        }
        let head = b"--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\n";
        let body = [head.as_slice(), file, b"\r\n", &form.render().concat()].concat();
        write_down("multipart/form-data; boundary=B", &body.into())
            .map_err(|refusal| refusal.message)
            .unwrap()
    }

    #[test]
    fn what_was_spoken_lasts_as_long_when_it_is_heard() {
        let wav = spoken("wav", "twelve chars").unwrap();
        assert_eq!(wav.len(), 44 + 12 * 800);
        assert!((seconds(&wav) - 0.6).abs() < 1e-9);
        assert_eq!(spoken("pcm", "twelve chars").unwrap(), wav.slice(44..));
        assert_eq!(spoken("wav", &"x".repeat(4000)).unwrap().len(), 44 + 160_000);
        let Answer::Whole(verbose) = heard(
            &wav,
            &[
                ("response_format", "verbose_json"),
                ("timestamp_granularities[]", "word"),
            ],
        ) else {
            panic!("not JSON")
        };
        assert_eq!(verbose["duration"], 0.6);
        assert_eq!(verbose["usage"], json!({"type": "duration", "seconds": 1.0}));
        assert!(verbose.get("segments").is_none());
        assert_eq!(verbose["words"][0]["word"], "This");
        let Answer::Whole(json) = heard(&wav, &[]) else {
            panic!("not JSON")
        };
        assert_eq!(json["sandbox"], true);
        let Answer::Bytes { content_type, body } = heard(b"no wav at all", &[("response_format", "vtt")]) else {
            panic!("not bytes")
        };
        assert!(content_type.starts_with("text/vtt") && body.starts_with(b"WEBVTT\n\n"));
    }

    #[test]
    fn what_the_simulator_cannot_say_is_refused() {
        assert_eq!(spoken("mp3", "x"), Err("response_format"));
        assert_eq!(spoken("wav", &"x".repeat(5000)), Err("input"));
        for (body, param) in [
            (json!({"model": "m", "input": "x", "response_format": "wav"}), "voice"),
            (
                json!({"model": "m", "input": "x", "voice": "v", "response_format": "wav", "speed": 9}),
                "speed",
            ),
            (json!({"model": "m", "input": "x", "voice": "v"}), "response_format"),
        ] {
            assert_eq!(
                speak(body.to_string().as_bytes()).err().map(|refusal| refusal.param),
                Some(param)
            );
        }
    }

    #[test]
    fn broken_files_are_guessed_at() {
        let wav = spoken("wav", "x").unwrap();
        for end in 0..60 {
            assert!(seconds(wav.get(..end).unwrap()) >= 0.0);
        }
        assert!((seconds(&vec![0; 32_000]) - 2.0).abs() < 1e-9);
    }
}
