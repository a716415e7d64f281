//! Requests about recordings in OpenAI's form, for vendors that have another one.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, json};

use super::support;
use crate::{
    domain::{
        answer::{Answer, Segment, Transcript, Word},
        call::Call,
        fault::PublicError,
        interface::WhenUnsupported,
        multipart::Form,
    },
    ports::codec::{Decoded, EncodeError, Outcome, Target, TokenUsage},
};

/// OpenAI's words that not every vendor has a counterpart for.
const UNKNOWN_THERE: [&str; 7] = [
    "language",
    "prompt",
    "temperature",
    "include[]",
    "chunking_strategy",
    "known_speaker_names[]",
    "known_speaker_references[]",
];
/// Words that are read elsewhere.
const OURS: [&str; 7] = [
    "file",
    "url",
    "model",
    "stream",
    "min_confidence",
    "response_format",
    GRANULARITIES,
];
const GRANULARITIES: &str = "timestamp_granularities[]";

/// Somebody wants a recording written down.
#[derive(Debug)]
pub(super) struct RecordingRequest {
    pub(super) sound: Sound,
    /// By the file's name, else by its media type: `wav`, `mp3`, …; none if neither says.
    pub(super) format: Option<String>,
    pub(super) wants_words: bool,
    /// What nobody here knows: it is the vendor's.
    pub(super) options: Vec<(String, String)>,
    pub(super) dropped: Vec<String>,
}

/// Where a recording is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sound {
    Bytes(Bytes),
    Url(String),
}

impl RecordingRequest {
    /// Reads a form that was checked before.
    ///
    /// # Errors
    /// It asks for what its vendor cannot do, and the interface wants that refused.
    pub(super) fn read(call: &Call, target: Target<'_>) -> Result<Self, PublicError> {
        Self::read_knowing(&[], call, target)
    }

    /// The same for a vendor that has some of OpenAI's words: they become options.
    ///
    /// # Errors
    /// As above.
    pub(super) fn read_knowing(known: &[&str], call: &Call, target: Target<'_>) -> Result<Self, PublicError> {
        let mut request = Self {
            sound: Sound::Bytes(Bytes::new()),
            format: None,
            wants_words: false,
            options: Vec::new(),
            dropped: Vec::new(),
        };
        for part in call.form().into_iter().flat_map(Form::parts) {
            let name = part.name.as_ref();
            match (name, &part.file) {
                ("file", Some(file)) => {
                    request.format = format_of(&file.name, &file.content_type);
                    request.sound = Sound::Bytes(part.value.clone());
                }
                ("url", _) => {
                    let path = part.text().split(['?', '#']).next().unwrap_or_default();
                    request.format = format_of(path, "");
                    request.sound = Sound::Url(part.text().to_owned());
                }
                (GRANULARITIES, _) => request.wants_words |= part.text() == "word",
                (name, _) if UNKNOWN_THERE.contains(&name) && !known.contains(&name) => {
                    request.leave_out(name, target.when_unsupported)?;
                }
                (name, _) if OURS.contains(&name) => {}
                (name, _) => request.options.push((name.to_owned(), part.text().to_owned())),
            }
        }
        Ok(request)
    }

    fn leave_out(&mut self, name: &str, rule: WhenUnsupported) -> Result<(), PublicError> {
        match self.dropped.iter().any(|known| known == name) {
            true => Ok(()),
            false => support::cannot(name, rule, &mut self.dropped),
        }
    }

    /// The sound itself, for vendors that look behind no URL.
    ///
    /// # Errors
    /// It has to be fetched first.
    pub(super) fn bring(&mut self, target: Target<'_>) -> Result<Bytes, EncodeError> {
        match &self.sound {
            Sound::Bytes(bytes) => Ok(bytes.clone()),
            Sound::Url(url) => match target.fetched.iter().find(|fetched| fetched.url == *url) {
                Some(found) => {
                    self.learn(&found.media_type);
                    Ok(found.bytes.clone())
                }
                None => Err(EncodeError::Fetch(vec![url.clone()])),
            },
        }
    }

    /// What lay behind the URL, by its media type, if its name did not say it.
    fn learn(&mut self, media_type: &str) {
        if self.format.is_none() {
            self.format = format_of("", media_type);
        }
    }

    /// Takes an option out.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        let at = self.options.iter().position(|(known, _)| known == name)?;
        Some(self.options.swap_remove(at).1)
    }
}

/// The format of a recording, by what its sender says of it.
pub(super) fn format_of(name: &str, content_type: &str) -> Option<String> {
    let known = |format: &str| {
        FORMATS
            .iter()
            .find(|(known, _)| *known == format)
            .map(|(format, _)| *format)
    };
    let by_name = name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
    let by_type = || {
        let content_type = content_type.to_ascii_lowercase();
        let found = FORMATS.iter().find(|(_, types)| types.contains(&content_type.as_str()));
        found.map(|(format, _)| *format)
    };
    by_name.as_deref().and_then(known).or_else(by_type).map(str::to_owned)
}

const FORMATS: [(&str, &[&str]); 11] = [
    ("wav", &["audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave"]),
    ("mp3", &["audio/mpeg", "audio/mp3"]),
    ("pcm", &["audio/pcm", "audio/l16"]),
    ("m4a", &["audio/mp4", "audio/m4a", "audio/x-m4a"]),
    ("aac", &["audio/aac"]),
    ("amr", &["audio/amr"]),
    ("ogg", &["audio/ogg", "application/ogg"]),
    ("opus", &["audio/opus"]),
    ("flac", &["audio/flac", "audio/x-flac"]),
    ("speex", &["audio/speex"]),
    ("silk", &["audio/silk"]),
];

/// What the head of a WAV file tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wav {
    pub(super) rate: u32,
    pub(super) millis: u64,
}

/// Reads the head of a WAV file: chunks of a name, a length and so many bytes, padded to an even number.
pub(super) fn wav(bytes: &[u8]) -> Option<Wav> {
    let number = |bytes: &[u8]| Some(u32::from_le_bytes(bytes.try_into().ok()?));
    let mut rest = bytes.strip_prefix(b"RIFF")?.get(4..)?.strip_prefix(b"WAVE")?;
    let mut pace = None;
    loop {
        let (name, length) = (rest.get(..4)?, number(rest.get(4..8)?)?);
        let length = usize::try_from(length).ok()?;
        rest = rest.get(8..)?;
        if name == b"fmt " {
            pace = Some((number(rest.get(4..8)?)?, number(rest.get(8..12)?)?));
        }
        if name == b"data" {
            let (rate, bytes_per_second) = pace?;
            // Who does not know the length beforehand writes one that is too long.
            let length = u64::try_from(length.min(rest.len())).ok()?;
            let millis = (length * 1000).checked_div(u64::from(bytes_per_second))?;
            return Some(Wav { rate, millis });
        }
        rest = rest.get(length.checked_add(length % 2)?..)?;
    }
}

pub(super) fn seconds(millis: u64) -> f64 {
    Duration::from_millis(millis).as_secs_f64()
}

/// A word; its times are milliseconds.
pub(super) fn word(word: String, start_ms: u64, end_ms: u64) -> Word {
    Word {
        word,
        start: seconds(start_ms),
        end: seconds(end_ms),
        confidence: None,
        probability: None,
        more: Map::new(),
    }
}

/// A passage; its times are seconds.
pub(super) fn segment(text: String, start: f64, end: f64) -> Segment {
    Segment {
        start,
        end,
        text,
        confidence: None,
        avg_logprob: None,
        more: Map::new(),
    }
}

/// Passages as one text.
pub(super) fn joined(segments: &[Segment]) -> String {
    let mut text = String::new();
    for segment in segments {
        // Scripts without spaces need none between sentences, either.
        let both_spaced = text.ends_with(|c: char| c.is_ascii()) && segment.text.starts_with(|c: char| c.is_ascii());
        if both_spaced && !text.ends_with(' ') && !segment.text.starts_with(' ') {
            text.push(' ');
        }
        text.push_str(&segment.text);
    }
    text
}

/// What was understood, as the caller wants it written. The duration is in seconds.
pub(super) fn understood(
    call: &Call,
    text: String,
    segments: Option<Vec<Segment>>,
    words: Option<Vec<Word>>,
    duration: Option<f64>,
) -> Outcome {
    let millis = duration.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let more = duration.map(|seconds| ("duration".to_owned(), json!(seconds)));
    Decoded {
        // How long it was nobody knows otherwise, and nothing is not how long.
        usage: millis.map(|millis| TokenUsage {
            audio_ms: u64::try_from(millis.as_millis()).unwrap_or(u64::MAX),
            ..TokenUsage::default()
        }),
        ..Decoded::of(Answer::Transcript {
            transcript: Box::new(Transcript {
                text,
                segments,
                words,
                more: more.into_iter().collect(),
                ..Transcript::default()
            }),
            format: call.transcript_format(),
        })
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_format_is_what_the_name_says_or_else_the_type() {
        for (name, content_type, wanted) in [
            ("a.MP3", "application/octet-stream", Some("mp3")),
            ("a.b.wav", "audio/mpeg", Some("wav")),
            ("blob", "audio/x-m4a", Some("m4a")),
            ("a.txt", "AUDIO/OGG", Some("ogg")),
            ("a.txt", "text/plain", None),
            ("", "", None),
        ] {
            assert_eq!(
                format_of(name, content_type).as_deref(),
                wanted,
                "{name} {content_type}"
            );
        }
    }

    fn sample(rate: u32, seconds: u32) -> Vec<u8> {
        let length = rate * 2 * seconds;
        let mut out = b"RIFF\0\0\0\0WAVELIST\x03\0\0\0abc\0fmt \x10\0\0\0\x01\0\x01\0".to_vec();
        out.extend(rate.to_le_bytes());
        out.extend((rate * 2).to_le_bytes());
        out.extend(b"\x02\0\x10\0data");
        out.extend(length.to_le_bytes());
        out.resize(out.len() + usize::try_from(length).unwrap(), 0);
        out
    }

    #[test]
    fn a_wav_file_tells_how_long_it_is() {
        let wanted = |rate, millis| Some(Wav { rate, millis });
        assert_eq!(wav(&sample(16_000, 3)), wanted(16_000, 3000));
        let mut endless = sample(8000, 1);
        let at = endless.windows(4).position(|name| name == b"data").unwrap();
        endless[at + 4..at + 8].copy_from_slice(&[0xff; 4]);
        assert_eq!(wav(&endless), wanted(8000, 1000));
        assert_eq!(wav(b"RIFF\0\0\0\0WAVEdata\0\0\0\0"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_fail(mut bytes in proptest::collection::vec(any::<u8>(), 0..80), cut in 0usize..60) {
            wav(&bytes);
            let mut head = sample(8000, 0);
            head.truncate(cut);
            head.append(&mut bytes);
            wav(&head);
        }
    }
}
