//! What was said in a recording, and OpenAI's five ways of writing it down.

use std::fmt::Write as _;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    answer,
    confidence::{Confidence, Scored, is_sure},
};

/// `response_format` of a transcription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TranscriptFormat {
    Json,
    Text,
    Srt,
    Verbose,
    Vtt,
}

impl TranscriptFormat {
    /// The words that callers write; the first is what they get without a word.
    pub const WORDS: [&'static str; 5] = ["json", "text", "srt", "verbose_json", "vtt"];

    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "json" => Self::Json,
            "text" => Self::Text,
            "srt" => Self::Srt,
            "verbose_json" => Self::Verbose,
            "vtt" => Self::Vtt,
            _ => return None,
        })
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json | Self::Verbose => "application/json",
            Self::Text => "text/plain; charset=utf-8",
            Self::Srt => "application/x-subrip; charset=utf-8",
            Self::Vtt => "text/vtt; charset=utf-8",
        }
    }
}

/// A recording as text.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Transcript {
    pub text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segments: Option<Vec<Segment>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<Vec<Word>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Value>,
    /// Only where a threshold held: the shape is OpenAI's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filtered: Option<u64>,
    /// `language`, `duration` and whatever else the vendor knows.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// Some seconds of a recording.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Segment {
    #[serde(default)]
    pub start: f64,
    #[serde(default)]
    pub end: f64,
    pub text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// Whisper's: the mean of the logarithms of its tokens' probabilities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avg_logprob: Option<f64>,
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

impl Scored for Segment {
    /// A probability's logarithm is a probability all the same.
    fn score(&self) -> Option<f64> {
        self.confidence.or(self.avg_logprob.map(|log| log.exp().min(1.0)))
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Word {
    pub word: String,
    pub start: f64,
    pub end: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// Some servers' word for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probability: Option<f64>,
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

impl Scored for Word {
    fn score(&self) -> Option<f64> {
        self.confidence.or(self.probability)
    }
}

impl Word {
    fn lies_in(&self, segment: &Segment) -> bool {
        let middle = f64::midpoint(self.start, self.end);
        segment.start <= middle && middle < segment.end
    }
}

impl Transcript {
    /// Drops segments and words that are not sure enough; the words of a dropped segment go with it, whatever they score. The text
    /// is made again of what stays.
    pub(super) fn hold_to(&mut self, least: Confidence) -> u64 {
        let (kept, dropped): (Vec<_>, Vec<_>) = self
            .segments
            .take()
            .map(|segments| segments.into_iter().partition(|segment| is_sure(segment, least)))
            .unwrap_or_default();
        let had_segments = !(kept.is_empty() && dropped.is_empty());
        let mut filtered = dropped.len() as u64;
        if let Some(words) = &mut self.words {
            let before = words.len();
            let tells = |word: &Word| {
                dropped.iter().any(|segment| word.lies_in(segment)) && !kept.iter().any(|segment| word.lies_in(segment))
            };
            words.retain(|word| is_sure(word, least) && !tells(word));
            filtered += (before - words.len()) as u64;
        }
        if had_segments {
            if !dropped.is_empty() {
                let text: String = kept.iter().map(|segment| segment.text.as_str()).collect();
                text.trim().clone_into(&mut self.text);
            }
            self.segments = Some(kept);
        } else if let Some(words) = &self.words
            && filtered > 0
        {
            let words: Vec<_> = words.iter().map(|word| word.word.trim()).collect();
            self.text = words.join(" ");
        }
        *self.filtered.insert(self.filtered.unwrap_or(0) + filtered)
    }

    /// Only what was asked for by `timestamp_granularities`, as OpenAI reads it: words are told to those who want words, and segments to
    /// all but those who want nothing else.
    #[must_use]
    pub fn narrowed(self, granularities: &[&str], format: TranscriptFormat) -> Self {
        let only_words = !granularities.is_empty() && !granularities.contains(&"segment");
        Self {
            words: self.words.filter(|_| granularities.contains(&"word")),
            segments: self
                .segments
                .filter(|_| format != TranscriptFormat::Verbose || !only_words),
            ..self
        }
    }

    /// The transcript as the caller wants it.
    pub fn render(&self, format: TranscriptFormat) -> Bytes {
        match format {
            TranscriptFormat::Verbose => answer::json(self),
            TranscriptFormat::Json => {
                let mut short = json!({"text": self.text});
                for (name, value) in [
                    ("usage", self.usage.clone()),
                    ("filtered", self.filtered.map(Value::from)),
                    ("sandbox", self.more.get("sandbox").cloned()),
                ] {
                    if let (Some(members), Some(value)) = (short.as_object_mut(), value) {
                        members.insert(name.to_owned(), value);
                    }
                }
                short.to_string().into()
            }
            TranscriptFormat::Text => format!("{}\n", self.text).into(),
            TranscriptFormat::Srt => self.subtitles("", ',', true),
            TranscriptFormat::Vtt => self.subtitles("WEBVTT\n\n", '.', false),
        }
    }

    fn subtitles(&self, head: &str, point: char, numbered: bool) -> Bytes {
        let mut out = head.to_owned();
        for (at, segment) in self.segments.iter().flatten().enumerate() {
            if numbered {
                // Writing to a string cannot fail.
                let _ = writeln!(out, "{}", at + 1);
            }
            let (start, end) = (clock(segment.start, point), clock(segment.end, point));
            let _ = write!(out, "{start} --> {end}\n{}\n\n", segment.text.trim());
        }
        out.into()
    }
}

/// `00:01:02,345`.
fn clock(seconds: f64, point: char) -> String {
    let millis = std::time::Duration::try_from_secs_f64(seconds)
        .unwrap_or_default()
        .as_millis();
    let (hours, minutes) = (millis / 3_600_000, millis / 60_000 % 60);
    format!(
        "{hours:02}:{minutes:02}:{:02}{point}{:03}",
        millis / 1000 % 60,
        millis % 1000
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transcript() -> Transcript {
        serde_json::from_value(json!({"task": "transcribe", "language": "en", "duration": 3661.5, "text": "Hello there. Mumble. Bye.",
            "segments": [
                {"id": 0, "start": 0.0, "end": 1.5, "text": " Hello there.", "avg_logprob": -0.105},
                {"id": 1, "start": 1.5, "end": 3.0, "text": " Mumble.", "avg_logprob": -2.3},
                {"id": 2, "start": 3600.0, "end": 3661.5, "text": " Bye.", "confidence": 0.9, "avg_logprob": -5.0}],
            "words": [
                {"word": "Hello", "start": 0.0, "end": 0.5}, {"word": "there", "start": 0.5, "end": 1.4, "probability": 0.3},
                {"word": "Mumble", "start": 1.6, "end": 2.0, "confidence": 1.0}, {"word": "Bye", "start": 3600.5, "end": 3601.0}]}))
        .unwrap()
    }

    #[test]
    fn a_dropped_segment_takes_its_words_and_its_text_along() {
        let mut held = transcript();
        assert_eq!(held.hold_to(Confidence::new(0.9).unwrap()), 3);
        assert_eq!(held.text, "Hello there. Bye.");
        assert_eq!(held.segments.as_ref().unwrap().len(), 2);
        let words: Vec<_> = held
            .words
            .as_ref()
            .unwrap()
            .iter()
            .map(|word| word.word.as_str())
            .collect();
        assert_eq!(words, ["Hello", "Bye"]);
        let json: Value = serde_json::from_slice(&held.render(TranscriptFormat::Json)).unwrap();
        assert_eq!(json, json!({"text": "Hello there. Bye.", "filtered": 3}));
        for format in [
            TranscriptFormat::Text,
            TranscriptFormat::Srt,
            TranscriptFormat::Vtt,
            TranscriptFormat::Verbose,
        ] {
            let text = String::from_utf8(held.render(format).to_vec()).unwrap();
            assert!(text.contains("Bye.") && !text.contains("Mumble"), "{text}");
        }
    }

    #[test]
    fn words_alone_are_held_to_the_rule_as_well() {
        let mut words = Transcript {
            segments: None,
            ..transcript()
        };
        assert_eq!(words.hold_to(Confidence::new(0.5).unwrap()), 1);
        assert_eq!(words.text, "Hello Mumble Bye");
        assert!(words.segments.is_none());
        let mut nothing = Transcript { words: None, ..words };
        nothing.filtered = None;
        assert_eq!(nothing.hold_to(Confidence::new(1.0).unwrap()), 0);
        assert_eq!(
            nothing.text, "Hello Mumble Bye",
            "without scores there is nothing to judge by"
        );
    }

    #[test]
    fn subtitles_are_written_as_players_read_them() {
        let text = |format| String::from_utf8(transcript().render(format).to_vec()).unwrap();
        assert!(text(TranscriptFormat::Srt).starts_with("1\n00:00:00,000 --> 00:00:01,500\nHello there.\n\n2\n"));
        assert!(text(TranscriptFormat::Vtt).starts_with("WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nHello there.\n\n"));
        assert!(text(TranscriptFormat::Vtt).ends_with("01:00:00.000 --> 01:01:01.500\nBye.\n\n"));
        assert_eq!(text(TranscriptFormat::Text), "Hello there. Mumble. Bye.\n");
        assert_eq!(clock(-1.0, '.'), "00:00:00.000");
        assert_eq!(clock(f64::NAN, '.'), "00:00:00.000");
    }

    #[test]
    fn what_nobody_touched_is_what_came() {
        let before = serde_json::to_value(transcript()).unwrap();
        assert_eq!(before["language"], "en");
        assert_eq!(before["segments"][0]["id"], 0);
        assert!(before.get("filtered").is_none());
        for word in TranscriptFormat::WORDS {
            assert!(TranscriptFormat::parse(word).is_some());
        }
    }
}
