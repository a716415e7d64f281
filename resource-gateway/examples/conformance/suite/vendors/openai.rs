//! OpenAI, and vendors whose SDK is OpenAI's: their words are the callers' own.

mod responses;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use resource_gateway::domain::{
    interface::Capability,
    vendor::{BaseUrl, SecretKey, Vendor},
};
use serde_json::Value;

use crate::suite::{Body, Errand, File, Fixture, Suite};

pub(crate) fn play(fixture: &Fixture, suite: &Suite) -> Result<(), String> {
    let mut vendor = vendor(fixture, "openai")?;
    for name in ["organization", "project"] {
        if let Some(value) = fixture.input(name) {
            vendor.options.insert(name.to_owned(), value.to_owned());
        }
    }
    if fixture.asks_for_models() {
        return suite.models(fixture, vendor, None);
    }
    if path(fixture).ends_with("/responses") {
        return responses::play(fixture, suite, vendor);
    }
    suite.call(fixture, errand(fixture, vendor)?)
}

fn path(fixture: &Fixture) -> &str {
    let path = fixture.request().get("path").and_then(Value::as_str);
    path.unwrap_or_default()
}

/// The account of a fixture.
pub(crate) fn vendor(fixture: &Fixture, strategy: &str) -> Result<Vendor, String> {
    let mut vendor = Vendor::named("v", strategy);
    if let Some(key) = fixture.input("api_key") {
        vendor.credential.secret_key = SecretKey::Present(key.to_owned().into());
    }
    if let Some(url) = fixture.input("base_url") {
        vendor.base_url = Some(BaseUrl::parse(url).map_err(|error| format!("base_url {error}"))?);
    }
    Ok(vendor)
}

/// A call in OpenAI's words, by where it went.
pub(crate) fn errand(fixture: &Fixture, vendor: Vendor) -> Result<Errand, String> {
    let path = path(fixture);
    let ends = [
        ("/chat/completions", Capability::Chat),
        ("/embeddings", Capability::Embeddings),
        ("/audio/transcriptions", Capability::Transcription),
        ("/audio/speech", Capability::Speech),
        ("/images/generations", Capability::Image),
        ("/moderations", Capability::Moderation),
    ];
    let (_, capability) = ends
        .into_iter()
        .find(|(end, _)| path.ends_with(end))
        .ok_or_else(|| format!("nothing is known of {path}"))?;
    let params = fixture.params();
    let model = params
        .get("model")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let body = match capability {
        Capability::Transcription => form(&params)?,
        _ => Body::Json(params),
    };
    let mut errand = Errand::new(vendor, capability, &model, body);
    // The SDK asks for base64 by itself.
    errand.tolerances = |body| {
        if let Some(members) = body.as_object_mut().filter(|members| members.contains_key("input")) {
            members.remove("encoding_format");
        }
        // The gateway always asks for usage, to account for the call.
        if let Some(members) = body
            .as_object_mut()
            .filter(|members| members.get("stream") == Some(&Value::Bool(true)))
        {
            members.remove("stream_options");
        }
    };
    Ok(errand)
}

fn form(params: &Value) -> Result<Body, String> {
    let mut fields = Vec::new();
    let mut file = None;
    for (name, value) in params.as_object().into_iter().flatten() {
        match value {
            Value::Object(_) if name == "file" => {
                let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
                file = Some(File {
                    name: text("filename").to_owned(),
                    content_type: text("content_type").to_owned(),
                    bytes: STANDARD.decode(text("base64")).map_err(|error| error.to_string())?,
                });
            }
            Value::Array(values) => {
                for value in values {
                    fields.push((format!("{name}[]"), plain(value)));
                }
            }
            _ if name == "model" => {}
            value => fields.push((name.clone(), plain(value))),
        }
    }
    Ok(Body::Form(fields, file.ok_or("there is no file")?))
}

/// As it stands in a form.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
