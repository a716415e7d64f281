//! Faces: where they are, and whether two are alike.

use http::{HeaderMap, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    Location, at, faults, one_picture,
    pictures::{Picture, PictureRequest},
};
use crate::{
    domain::{
        answer::{Answer, Face, Faces},
        call::Call,
        fault::{Fault, FaultClass},
    },
    ports::codec::{Codec, EncodeError, Encoded, NoStream, Opening, Outcome, Received, StreamDecoder, Target},
};

/// `detect`, or `match` for two pictures. There is one model.
#[derive(Debug, Clone, Copy, Default)]
pub struct BaiduFaces;

/// A face that the vendor has seen before, by its name there.
const TOKEN: &str = "FACE_TOKEN";

#[derive(Serialize)]
struct Look<'a> {
    image: &'a str,
    image_type: &'static str,
    #[serde(flatten)]
    options: &'a Map<String, Value>,
}

fn look<'a>(picture: &'a Picture<'_>, by_token: bool, options: &'a Map<String, Value>) -> Look<'a> {
    let (image, image_type) = match picture {
        Picture::Base64(token) if by_token => (token, TOKEN),
        Picture::Base64(data) => (data, "BASE64"),
        Picture::Url(url) => (url, "URL"),
    };
    Look {
        image,
        image_type,
        options,
    }
}

#[derive(Deserialize)]
struct Found {
    result: Option<Looked>,
}

#[derive(Deserialize)]
struct Looked {
    /// From 0 to 100, of a comparison.
    #[serde(default)]
    score: Option<f64>,
    #[serde(default)]
    face_list: Option<Vec<Value>>,
}

#[derive(Deserialize)]
struct Seen {
    location: Location,
    #[serde(default)]
    face_probability: Option<f64>,
    #[serde(default)]
    face_token: Option<String>,
    #[serde(flatten)]
    attributes: Map<String, Value>,
}

impl From<Seen> for Face {
    fn from(seen: Seen) -> Self {
        let mut attributes = Map::new();
        for (name, value) in seen.attributes {
            // `{"type": "female", "probability": 0.99}`: what it is, and how sure that is.
            let judged = value.get("type").cloned().zip(value.get("probability").cloned());
            match judged {
                Some((kind, probability)) => {
                    attributes.insert(format!("{name}_probability"), probability);
                    attributes.insert(name, kind);
                }
                None => drop(attributes.insert(name, value)),
            }
        }
        let token = seen.face_token.map(|token| ("face_token".to_owned(), token.into()));
        Self {
            confidence: seen.face_probability.map(|score| score.clamp(0.0, 1.0)),
            r#box: seen.location.into(),
            attributes,
            more: token.into_iter().collect(),
        }
    }
}

impl Codec for BaiduFaces {
    fn path(&self) -> &'static str {
        "/rest/2.0/face/v3"
    }

    fn encode(&self, call: &Call, _: Target<'_>) -> Result<Encoded, EncodeError> {
        let body = call.body();
        let mut request = PictureRequest::read(&body)?;
        let by_token = request.options.remove("image_type").is_some_and(|kind| kind == TOKEN);
        let first = look(&request.image, by_token, &request.options);
        // Texts, numbers and names that are text: nothing that JSON lacks.
        let (body, path) = match &request.compare_to {
            None => (serde_json::to_vec(&first), "/detect"),
            Some(other) => {
                let other = look(other, by_token, &request.options);
                (serde_json::to_vec(&[first, other]), "/match")
            }
        };
        let json = HeaderValue::from_static("application/json");
        Ok(at(Encoded::of(json, body.unwrap_or_default().into()), path))
    }

    fn decode(&self, _call: &Call, reply: Received<'_>) -> Result<Outcome, Fault> {
        let found: Found = faults::read(&reply.body)?;
        let invalid = || Fault::of(FaultClass::InvalidReply);
        let looked = found.result.ok_or_else(invalid)?;
        let (mut faces, mut more) = (Vec::new(), Map::new());
        if let Some(score) = looked.score {
            more.insert("similarity".to_owned(), (score / 100.0).clamp(0.0, 1.0).into());
        } else {
            for seen in looked.face_list.ok_or_else(invalid)? {
                let seen: Seen = serde_json::from_value(seen).map_err(|_| invalid())?;
                faces.push(Face::from(seen));
            }
        }
        Ok(one_picture(Answer::Faces(Faces {
            faces,
            filtered: 0,
            more,
        })))
    }

    fn decode_fault(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
        faults::decode(status, headers, body)
    }

    fn stream(&self, _call: &Call, _: Opening<'_>) -> Box<dyn StreamDecoder> {
        Box::new(NoStream)
    }
}
