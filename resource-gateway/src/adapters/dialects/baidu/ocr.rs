//! Text in pictures.

use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    Location, at, faults, form, no_such_model, one_picture,
    pictures::{Picture, PictureRequest},
    text_of,
};
use crate::{
    domain::{
        answer::{Answer, Line, Ocr},
        call::Call,
        fault::Fault,
        interface::Capability,
    },
    ports::codec::{Codec, EncodeError, Encoded, NoStream, Opening, Outcome, Received, StreamDecoder, Target},
};

/// The route's model is the last part of the path: those without `_basic` tell where the text stands.
#[derive(Debug, Clone, Copy, Default)]
pub struct BaiduOcr;

const MODELS: [(&str, &str); 4] = [
    ("general_basic", "/general_basic"),
    ("accurate_basic", "/accurate_basic"),
    ("general", "/general"),
    ("accurate", "/accurate"),
];

#[derive(Deserialize)]
struct Found {
    words_result: Vec<Read>,
    #[serde(default)]
    log_id: Value,
    #[serde(default)]
    direction: Option<Value>,
}

#[derive(Deserialize)]
struct Read {
    #[serde(default)]
    words: String,
    #[serde(default)]
    location: Option<Location>,
    #[serde(default)]
    probability: Option<Probability>,
    #[serde(default)]
    chars: Option<Vec<Glyph>>,
}

#[derive(Deserialize)]
struct Probability {
    #[serde(default)]
    average: Option<f64>,
}

#[derive(Deserialize)]
struct Glyph {
    #[serde(default)]
    char: String,
    #[serde(default)]
    location: Option<Location>,
}

impl From<Read> for Line {
    fn from(found: Read) -> Self {
        let mut more = Map::new();
        if let Some(location) = &found.location {
            more.insert("box".to_owned(), location.to_json());
        }
        if let Some(glyphs) = found.chars {
            let glyphs = glyphs.into_iter();
            let glyphs = glyphs.map(|glyph| {
                let location = glyph.location.as_ref().map(Location::to_json);
                json!({"text": glyph.char, "box": location})
            });
            more.insert("chars".to_owned(), glyphs.collect());
        }
        let average = found.probability.and_then(|probability| probability.average);
        Self {
            text: found.words,
            confidence: average.map(|average| average.clamp(0.0, 1.0)),
            polygon: found.location.as_ref().map(Location::polygon).unwrap_or_default(),
            more,
        }
    }
}

impl Codec for BaiduOcr {
    fn path(&self) -> &'static str {
        "/rest/2.0/ocr/v1"
    }

    fn encode(&self, call: &Call, target: Target<'_>) -> Result<Encoded, EncodeError> {
        let known = MODELS.iter().find(|(model, _)| *model == target.model);
        let (_, path) = known.ok_or_else(|| no_such_model(Capability::Ocr))?;
        let body = call.body();
        let mut request = PictureRequest::read(&body)?;
        if call.min_confidence.is_some() {
            // Without being asked it tells none, and there were nothing to judge by.
            let asked = request.options.entry("probability");
            asked.or_insert_with(|| "true".into());
        }
        let picture = match &request.image {
            Picture::Base64(data) => ("image", data.as_ref()),
            Picture::Url(url) => ("url", url.as_ref()),
        };
        Ok(at(form(&request.options, &[picture])?, path))
    }

    fn decode(&self, call: &Call, reply: Received<'_>) -> Result<Outcome, Fault> {
        let found: Found = faults::read(&reply.body)?;
        let lines: Vec<Line> = found.words_result.into_iter().map(Line::from).collect();
        let text: Vec<_> = lines.iter().map(|line| line.text.as_str()).collect();
        let direction = found.direction.filter(|direction| !direction.is_null());
        Ok(one_picture(Answer::Ocr(Ocr {
            id: text_of(&found.log_id),
            model: call.model.clone(),
            text: text.join("\n"),
            lines,
            filtered: 0,
            usage: None,
            more: direction
                .map(|direction| ("direction".to_owned(), direction))
                .into_iter()
                .collect(),
        })))
    }

    fn decode_fault(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
        faults::decode(status, headers, body)
    }

    fn stream(&self, _call: &Call, _: Opening<'_>) -> Box<dyn StreamDecoder> {
        Box::new(NoStream)
    }
}
