//! Baidu AIP. Its SDK has a method for each path, so the path tells which one it was.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use resource_gateway::domain::{
    interface::Capability,
    vendor::{SecretKey, Vendor},
};
use serde_json::{Map, Value, json};

use super::openai;
use crate::suite::{Body, Errand, File, Fixture, Suite};

const TOKEN: &str = "/oauth/2.0/token";

pub(crate) fn play(fixture: &Fixture, suite: &Suite) -> Result<(), String> {
    let vendor = vendor(fixture);
    if path(fixture) == TOKEN {
        return suite.buy(fixture, vendor, &[]);
    }
    suite.call(fixture, errand(fixture, vendor)?)
}

fn path(fixture: &Fixture) -> &str {
    let path = fixture.request().get("path").and_then(Value::as_str);
    path.unwrap_or_default()
}

fn vendor(fixture: &Fixture) -> Vendor {
    let mut vendor = Vendor::named("v", "baidu");
    vendor.credential.app_id = fixture.input("app_id").map(str::to_owned);
    vendor.credential.secret_id = fixture.input("api_key").map(str::to_owned);
    if let Some(key) = fixture.input("secret_key") {
        vendor.credential.secret_key = SecretKey::Present(key.to_owned().into());
    }
    vendor
}

fn errand(fixture: &Fixture, vendor: Vendor) -> Result<Errand, String> {
    let Value::Object(params) = fixture.params() else {
        return Err("there are no params".to_owned());
    };
    let path = path(fixture);
    let model = path.rsplit('/').next().unwrap_or_default();
    let options = params.get("options").and_then(Value::as_object).cloned();
    let mut body = options.unwrap_or_default();
    if let Some(place) = path.strip_prefix("/rest/2.0/") {
        let (product, _) = place.split_once('/').unwrap_or_default();
        let capability = match product {
            "ocr" => Capability::Ocr,
            "face" => Capability::Faces,
            "image-classify" => Capability::Labels,
            "solution" => Capability::Moderation,
            other => return Err(format!("nothing is known of {other}")),
        };
        match (capability, model) {
            (Capability::Moderation, _) => drop(body.insert("input".to_owned(), reviewed(&params))),
            (_, "match") => {
                // What the SDK was told is only a name for each; the options stand in the request.
                let (first, other) = compared(fixture, &mut body)?;
                body.insert("image".to_owned(), first);
                body.insert("compare_to".to_owned(), other);
            }
            _ => {
                let image = picture(fixture, &params, &mut body);
                body.insert("image".to_owned(), image);
            }
        }
        return Ok(Errand::json(vendor, capability, model, Value::Object(body)));
    }
    match path {
        "/server_api" => recording(fixture, vendor, &params, body),
        "/text2audio" => Ok(speech(fixture, vendor, &params, body)),
        other => Err(format!("nothing is known of {other}")),
    }
}

/// The picture that the SDK was told, or else the one that it sent.
fn picture(fixture: &Fixture, params: &Map<String, Value>, options: &mut Map<String, Value>) -> Value {
    if let Some(url) = params.get("url").or(params.get("image_url")) {
        return json!({"url": url});
    }
    if let Some(data) = params.get("image_base64") {
        return json!({"base64": data});
    }
    let request = fixture.request();
    let form = request.get("form").and_then(Value::as_array);
    let field = |wanted: &str| {
        form.into_iter()
            .flatten()
            .find(|pair| pair[0] == wanted)
            .map(|pair| pair[1].clone())
    };
    if let Some(url) = field("url") {
        return json!({"url": url});
    }
    let image = request.pointer("/body/image").cloned().or(field("image"));
    match request.pointer("/body/image_type").and_then(Value::as_str) {
        Some("URL") => json!({"url": image}),
        Some("FACE_TOKEN") => {
            options.insert("image_type".to_owned(), "FACE_TOKEN".into());
            json!({"base64": image})
        }
        _ => json!({"base64": image}),
    }
}

fn reviewed(params: &Map<String, Value>) -> Value {
    if let Some(text) = params.get("text") {
        return text.clone();
    }
    let data = || {
        let data = params.get("image_base64").and_then(Value::as_str);
        Value::from(format!("data:image/png;base64,{}", data.unwrap_or_default()))
    };
    let url = params.get("url").cloned().unwrap_or_else(data);
    json!([{"type": "image_url", "image_url": {"url": url}}])
}

fn compared(fixture: &Fixture, options: &mut Map<String, Value>) -> Result<(Value, Value), String> {
    let sent = fixture.request().get("body").and_then(Value::as_array);
    let [first, other] = sent.map(Vec::as_slice).unwrap_or_default() else {
        return Err("two pictures are compared".to_owned());
    };
    let picture = |sent: &Value| match sent["image_type"].as_str() {
        Some("URL") => json!({"url": sent["image"]}),
        _ => json!({"base64": sent["image"]}),
    };
    for (name, value) in first.as_object().into_iter().flatten() {
        let is_token = value == "FACE_TOKEN";
        if is_token || !matches!(name.as_str(), "image" | "image_type") {
            options.insert(name.clone(), value.clone());
        }
    }
    Ok((picture(first), picture(other)))
}

/// The SDK makes its name of the token; any will do, so the caller has the same.
fn cuid(fixture: &Fixture) -> Option<String> {
    let request = fixture.request();
    let in_body = request.pointer("/body/cuid").and_then(Value::as_str);
    let form = request.get("form").and_then(Value::as_array);
    let in_form = form.into_iter().flatten().find(|pair| pair[0] == "cuid");
    in_body.or(in_form.and_then(|pair| pair[1].as_str())).map(str::to_owned)
}

fn recording(
    fixture: &Fixture,
    vendor: Vendor,
    params: &Map<String, Value>,
    options: Map<String, Value>,
) -> Result<Errand, String> {
    let text = |name: &str| params.get(name).and_then(Value::as_str).unwrap_or_default();
    let bytes = STANDARD
        .decode(text("speech_base64"))
        .map_err(|error| error.to_string())?;
    let mut fields: Vec<_> = options
        .iter()
        .map(|(name, value)| (name.clone(), openai::plain(value)))
        .collect();
    if let Some(rate) = params.get("rate") {
        fields.push(("rate".to_owned(), openai::plain(rate)));
    }
    fields.extend(cuid(fixture).map(|cuid| ("cuid".to_owned(), cuid)));
    let file = File {
        name: format!("recording.{}", text("format")),
        content_type: "application/octet-stream".to_owned(),
        bytes,
    };
    let body = Body::Form(fields, file);
    Ok(Errand::new(vendor, Capability::Transcription, "short", body))
}

fn speech(fixture: &Fixture, vendor: Vendor, params: &Map<String, Value>, mut options: Map<String, Value>) -> Errand {
    options.insert("input".to_owned(), params.get("text").cloned().unwrap_or_default());
    for (name, theirs) in [("lang", "lan"), ("lan", "lan"), ("ctp", "ctp")] {
        if let Some(value) = params.get(name) {
            options.insert(theirs.to_owned(), value.clone());
        }
    }
    options.extend(cuid(fixture).map(|cuid| ("cuid".to_owned(), cuid.into())));
    Errand::json(vendor, Capability::Speech, "speech", Value::Object(options))
}
