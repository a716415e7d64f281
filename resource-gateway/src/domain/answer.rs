//! Answers in neutral words: what vendors say of pictures, sound and documents, whatever their own formats.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

use super::{
    confidence::{Confidence, Scored, hold},
    interface::Capability,
};

pub use super::transcript::{Segment, Transcript, TranscriptFormat, Word};

const JSON: &str = "application/json";

/// An answer on its way from a codec to the caller.
#[derive(Debug)]
pub enum Answer {
    /// In the caller's format as it came. No threshold can hold here.
    Ready {
        body: Bytes,
        content_type: &'static str,
    },
    Ocr(Ocr),
    Labels(Labels),
    Faces(Faces),
    Ranking(Ranking),
    Transcript {
        transcript: Box<Transcript>,
        format: TranscriptFormat,
    },
}

impl Answer {
    pub fn json(body: Bytes) -> Self {
        Self::Ready {
            body,
            content_type: JSON,
        }
    }

    /// The answer that there is nothing, where answers are lists.
    pub fn empty(capability: Capability, model: &str) -> Option<Self> {
        match capability {
            Capability::Ocr => Some(Self::Ocr(Ocr {
                id: String::new(),
                model: model.to_owned(),
                text: String::new(),
                lines: Vec::new(),
                filtered: 0,
                usage: None,
                more: Map::new(),
            })),
            Capability::Labels => Some(Self::Labels(Labels {
                labels: Vec::new(),
                filtered: 0,
                more: Map::new(),
            })),
            Capability::Faces => Some(Self::Faces(Faces {
                faces: Vec::new(),
                filtered: 0,
                more: Map::new(),
            })),
            _ => None,
        }
    }

    /// Drops what is not sure enough and counts it in `filtered`. The one place where thresholds act, so that neither logs nor
    /// caches see more than the caller.
    ///
    /// Moderation has no part in this: its scores say how bad a text is, not how sure the vendor is, and a flag that was dropped
    /// would read as "harmless".
    pub fn hold_to(&mut self, least: Confidence) -> u64 {
        match self {
            Self::Ready { .. } => 0,
            Self::Ocr(ocr) => ocr.hold_to(least),
            Self::Labels(labels) => {
                labels.filtered += hold(&mut labels.labels, least);
                labels.filtered
            }
            Self::Faces(faces) => {
                faces.filtered += hold(&mut faces.faces, least);
                faces.filtered
            }
            Self::Ranking(ranking) => {
                let filtered = ranking.filtered.unwrap_or(0) + hold(&mut ranking.results, least);
                ranking.filtered = Some(filtered);
                filtered
            }
            Self::Transcript { transcript, .. } => transcript.hold_to(least),
        }
    }

    /// The answer's bytes and their media type.
    pub fn into_body(self) -> (Bytes, &'static str) {
        match self {
            Self::Ready { body, content_type } => (body, content_type),
            Self::Ocr(ocr) => (json(&ocr), JSON),
            Self::Labels(labels) => (json(&labels), JSON),
            Self::Faces(faces) => (json(&faces), JSON),
            Self::Ranking(ranking) => (json(&ranking), JSON),
            Self::Transcript { transcript, format } => (transcript.render(format), format.content_type()),
        }
    }
}

/// These values have nothing that JSON lacks: text, finite numbers, and names that are text.
pub(super) fn json(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).unwrap_or_default().into()
}

/// The text of a picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ocr {
    #[serde(default)]
    pub id: String,
    #[serde(default)]
    pub model: String,
    /// All lines.
    pub text: String,
    pub lines: Vec<Line>,
    #[serde(default)]
    pub filtered: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Value>,
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    pub text: String,
    /// `None` when the vendor does not say. Such parts stay, whatever the threshold: there is nothing to judge them by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// Corners in pixels; empty when the vendor does not say.
    #[serde(default)]
    pub polygon: Vec<[Number; 2]>,
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

impl Ocr {
    fn hold_to(&mut self, least: Confidence) -> u64 {
        let dropped = hold(&mut self.lines, least);
        if dropped > 0 {
            // What was dropped must not stand in the text.
            let lines: Vec<_> = self.lines.iter().map(|line| line.text.as_str()).collect();
            self.text = lines.join("\n");
        }
        self.filtered += dropped;
        self.filtered
    }
}

impl Scored for Line {
    fn score(&self) -> Option<f64> {
        self.confidence
    }
}

/// What a picture shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Labels {
    pub labels: Vec<Label>,
    #[serde(default)]
    pub filtered: u64,
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Label {
    pub name: String,
    /// As for [`Line`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

impl Scored for Label {
    fn score(&self) -> Option<f64> {
        self.confidence
    }
}

/// The faces in a picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Faces {
    pub faces: Vec<Face>,
    #[serde(default)]
    pub filtered: u64,
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Face {
    /// As for [`Line`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// In pixels.
    pub r#box: FaceBox,
    #[serde(default)]
    pub attributes: Map<String, Value>,
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FaceBox {
    pub x: Number,
    pub y: Number,
    pub width: Number,
    pub height: Number,
}

impl Scored for Face {
    fn score(&self) -> Option<f64> {
        self.confidence
    }
}

/// Documents in the order of their relevance, in the shape that rerankers have in common.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ranking {
    pub results: Vec<Ranked>,
    /// Only where a threshold held: the shape is not ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filtered: Option<u64>,
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ranked {
    pub index: u64,
    pub relevance_score: f64,
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

impl Scored for Ranked {
    fn score(&self) -> Option<f64> {
        Some(self.relevance_score)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn held(mut answer: Answer, least: f64) -> (u64, Value) {
        let dropped = answer.hold_to(Confidence::new(least).unwrap());
        let (body, content_type) = answer.into_body();
        assert_eq!(content_type, JSON);
        (dropped, serde_json::from_slice(&body).unwrap())
    }

    #[test]
    fn a_dropped_line_leaves_the_text_as_well() {
        let ocr = || {
            let ocr = json!({"id": "1", "model": "m", "text": "one\ntwo\nthree", "lines": [
                {"text": "one", "confidence": 0.5, "polygon": [[0, 0], [9.5, 0], [9.5, 4], [0, 4]]},
                {"text": "two", "confidence": 0.49},
                {"text": "three", "confidence": 1.0, "language": "en"}], "x": 1});
            Answer::Ocr(serde_json::from_value(ocr).unwrap())
        };
        let (dropped, all) = held(ocr(), 0.0);
        assert_eq!(
            (dropped, &all["filtered"], all["lines"].as_array().unwrap().len()),
            (0, &json!(0), 3)
        );
        assert_eq!(all["text"], "one\ntwo\nthree");
        let (dropped, some) = held(ocr(), 0.5);
        assert_eq!(dropped, 1);
        assert_eq!(
            some,
            json!({"id": "1", "model": "m", "text": "one\nthree", "filtered": 1, "x": 1, "lines": [
                {"text": "one", "confidence": 0.5, "polygon": [[0, 0], [9.5, 0], [9.5, 4], [0, 4]]},
                {"text": "three", "confidence": 1.0, "polygon": [], "language": "en"}]})
        );
        assert_eq!(held(ocr(), 1.0).1["text"], "three");
    }

    #[test]
    fn what_no_vendor_scored_stays_and_gets_no_score_from_us() {
        let faces = json!({"faces": [{"box": {"x": 1, "y": 2, "width": 3, "height": 4}, "attributes": {}}]});
        let (dropped, held) = held(Answer::Faces(serde_json::from_value(faces.clone()).unwrap()), 1.0);
        assert_eq!((dropped, &held["faces"]), (0, &faces["faces"]));
    }

    #[test]
    fn labels_faces_and_documents_are_held_to_the_same_rule() {
        let labels = json!({"labels": [{"name": "cat", "confidence": 0.9}, {"name": "dog", "confidence": 0.2}]});
        let (dropped, labels) = held(Answer::Labels(serde_json::from_value(labels).unwrap()), 0.9);
        assert_eq!(dropped, 1);
        assert_eq!(
            labels,
            json!({"labels": [{"name": "cat", "confidence": 0.9}], "filtered": 1})
        );
        let face = |confidence: f64| json!({"confidence": confidence, "box": {"x": 1, "y": 2, "width": 3, "height": 4.5}, "attributes": {"glasses": true}});
        let faces = json!({"faces": [face(0.1), face(0.7)]});
        let (dropped, faces) = held(Answer::Faces(serde_json::from_value(faces).unwrap()), 0.7);
        assert_eq!((dropped, faces), (1, json!({"faces": [face(0.7)], "filtered": 1})));
        let ranking = json!({"id": "r", "results": [{"index": 1, "relevance_score": 0.8, "document": {"text": "x"}}, {"index": 0, "relevance_score": 0.1}]});
        let (dropped, ranked) = held(Answer::Ranking(serde_json::from_value(ranking).unwrap()), 0.5);
        assert_eq!(dropped, 1);
        assert_eq!(
            ranked,
            json!({"id": "r", "results": [{"index": 1, "relevance_score": 0.8, "document": {"text": "x"}}], "filtered": 1})
        );
    }

    #[test]
    fn what_is_ready_passes_as_it_is() {
        let mut ready = Answer::json(Bytes::from_static(b"{\"confidence\":0.1}"));
        assert_eq!(ready.hold_to(Confidence::new(1.0).unwrap()), 0);
        assert_eq!(ready.into_body(), (Bytes::from_static(b"{\"confidence\":0.1}"), JSON));
    }
}
