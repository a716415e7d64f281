//! Baidu AIP: forms and JSON, a path for each model, and status 200 whatever happened.
//!
//! Members of a request that nobody here knows are the vendor's, by its own names: fields of its forms, or members of its JSON.

mod faces;
mod faults;
mod labels;
mod moderation;
mod ocr;
mod recordings;
mod speech;

#[cfg(test)]
mod tests;

use http::{HeaderValue, Method};
use serde::Deserialize;
use serde_json::{Map, Number, Value, json};

pub use self::{
    faces::BaiduFaces, labels::BaiduLabels, moderation::BaiduModeration, ocr::BaiduOcr, recordings::BaiduTranscription,
    speech::BaiduSpeech,
};
use super::{pictures, recordings as recording, support};
use crate::{
    domain::{
        answer::{Answer, FaceBox},
        fault::PublicError,
        interface::Capability,
    },
    ports::codec::{Decoded, Encoded, Outcome, Target, TokenUsage},
};

const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");
/// Who asks, for vendors' statistics: any name will do that stays the same.
const CUID: &str = "cuid";

/// A form with the vendor's own fields and ours. Ours go before those of the same name.
fn form(options: &Map<String, Value>, ours: &[(&str, &str)]) -> Result<Encoded, PublicError> {
    let length: usize = ours.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
    // Of base64 one character in thirty-two or so takes three.
    let room = String::with_capacity(length + length / 8 + 64);
    let mut form = form_urlencoded::Serializer::new(room);
    for (name, value) in ours {
        form.append_pair(name, value);
    }
    for (name, value) in options
        .iter()
        .filter(|(name, _)| !ours.iter().any(|(our, _)| our == name))
    {
        match value {
            Value::Null => {}
            Value::String(text) => drop(form.append_pair(name, text)),
            Value::Bool(_) | Value::Number(_) => drop(form.append_pair(name, &value.to_string())),
            Value::Array(_) | Value::Object(_) => {
                let message = format!("The field '{name}' must be a text, a number, true or false.");
                return Err(PublicError::invalid(Some(name), "invalid_value", message));
            }
        }
    }
    Ok(Encoded::of(FORM, form.finish().into()))
}

fn at(encoded: Encoded, path: &str) -> Encoded {
    encoded.at(Method::POST, path)
}

/// Who asks, unless the caller says it.
fn cuid(target: Target<'_>) -> &str {
    target.vendor.credential.app_id.as_deref().unwrap_or("hexgate")
}

/// The route names a model that is none of this capability's.
fn no_such_model(capability: Capability) -> PublicError {
    let message = format!("The provider has no such model for {}.", capability.as_str());
    PublicError::invalid(Some("model"), "model_not_found", message)
}

fn one_picture(answer: Answer) -> Outcome {
    Decoded {
        usage: Some(TokenUsage {
            images: 1,
            ..TokenUsage::default()
        }),
        ..Decoded::of(answer)
    }
    .into()
}

/// Where something is, in pixels.
#[derive(Debug, Clone, Deserialize)]
struct Location {
    left: Number,
    top: Number,
    width: Number,
    height: Number,
}

impl From<Location> for FaceBox {
    fn from(location: Location) -> Self {
        Self {
            x: location.left,
            y: location.top,
            width: location.width,
            height: location.height,
        }
    }
}

impl Location {
    /// Its corners, from the upper left one clockwise.
    fn polygon(&self) -> Vec<[Number; 2]> {
        let (Some(right), Some(bottom)) = (sum(&self.left, &self.width), sum(&self.top, &self.height)) else {
            return Vec::new();
        };
        vec![
            [self.left.clone(), self.top.clone()],
            [right.clone(), self.top.clone()],
            [right, bottom.clone()],
            [self.left.clone(), bottom],
        ]
    }

    fn to_json(&self) -> Value {
        json!(FaceBox::from(self.clone()))
    }
}

/// Whole numbers stay whole.
fn sum(one: &Number, other: &Number) -> Option<Number> {
    match (one.as_i64(), other.as_i64()) {
        (Some(one), Some(other)) => one.checked_add(other).map(Number::from),
        _ => Number::from_f64(one.as_f64()? + other.as_f64()?),
    }
}

/// A number or a text, as the vendor pleases: ids over 2^53 come as either.
fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// A score that may be a text.
fn score_of(value: &Value) -> Option<f64> {
    let score = match value {
        Value::String(text) => text.parse().ok()?,
        other => other.as_f64()?,
    };
    Some(score.clamp(0.0, 1.0))
}
