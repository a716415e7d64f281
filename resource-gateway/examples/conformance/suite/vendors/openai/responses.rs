//! OpenAI's Responses: what its SDK was told is what a caller of `/v1/responses` says. It is played twice, once as it is passed on
//! word for word, and once as it is written anew from the words of chat completions.

use resource_gateway::domain::{call::Voice, chat::responses_to_openai, interface::Capability, vendor::Vendor};
use serde_json::{Map, Value, json};

use crate::suite::{Errand, Fixture, Suite};

pub(crate) fn play(fixture: &Fixture, suite: &Suite, mut vendor: Vendor) -> Result<(), String> {
    vendor.options.insert("api".to_owned(), "responses".to_owned());
    let params = fixture.params();
    let model = params
        .get("model")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let translated = responses_to_openai(params.to_string().as_bytes());
    let translated = translated.map_err(|error| format!("translation: {error:?}"))?;
    let mut body: Value = serde_json::from_str(&translated).map_err(|error| error.to_string())?;
    if let Some(members) = body.as_object_mut() {
        members.remove("model");
    }
    let mut errand = Errand::json(vendor, Capability::Chat, &model, body);
    errand.verbatim = Some((Voice::Responses, params));
    errand.tolerances = nothing_is_kept;
    suite
        .call(fixture, errand.clone())
        .map_err(|why| format!("word for word: {why}"))?;
    errand.verbatim = None;
    errand.tolerances = in_one_manner;
    suite
        .call(fixture, errand)
        .map_err(|why| format!("written anew: {why}"))
}

/// The gateway always asks that nothing be kept; thoughts that do not hold their own content cannot be found again, then.
fn nothing_is_kept(body: &mut Value) {
    let Some(members) = body.as_object_mut() else { return };
    if members.get("store") == Some(&json!(false)) {
        members.remove("store");
    }
    if let Some(items) = members.get_mut("input").and_then(Value::as_array_mut) {
        items.retain(|item| text(item, "type") != "reasoning" || !text(item, "encrypted_content").is_empty());
    }
}

/// What means the same, said in the same way.
fn in_one_manner(body: &mut Value) {
    nothing_is_kept(body);
    let Some(members) = body.as_object_mut() else { return };
    let input = members.remove("input").unwrap_or_default();
    let mut items = match input {
        Value::Array(items) => items,
        said => vec![json!({"role": "user", "content": said})],
    };
    if let Some(instructions) = members.remove("instructions").filter(|text| !text.is_null()) {
        items.insert(0, json!({"role": "system", "content": instructions}));
    }
    // Thoughts go back to who has thought them, word for word or not at all.
    items.retain(|item| text(item, "type") != "reasoning");
    for item in items.iter_mut().filter_map(Value::as_object_mut) {
        plain_item(item);
    }
    members.insert("input".to_owned(), items.into());
    for tool in members
        .get_mut("tools")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        without(tool, &[("strict", json!(false)), ("strict", Value::Null)]);
    }
    if let Some(name) = members.remove("safety_identifier") {
        members.entry("user").or_insert(name);
    }
    // What only this format says, and rules do not read.
    for name in ["include", "truncation", "stream_options", "background"] {
        members.remove(name);
    }
    if let Some(reasoning) = members.get_mut("reasoning").and_then(Value::as_object_mut) {
        reasoning.retain(|name, _| name == "effort");
    }
    members.retain(|name, value| !value.is_null() && (name != "reasoning" || *value != json!({})));
}

fn plain_item(item: &mut Map<String, Value>) {
    item.retain(|name, value| !value.is_null() && !matches!(name.as_str(), "id" | "status" | "phase"));
    item.entry("type").or_insert_with(|| json!("message"));
    let assistant = item.get("role") == Some(&json!("assistant"));
    for name in ["content", "output"] {
        let Some(content) = item.get_mut(name) else { continue };
        if let Value::String(said) = content {
            let kind = if assistant { "output_text" } else { "input_text" };
            *content = json!([{"type": kind, "text": said}]);
        }
        for part in content.as_array_mut().into_iter().flatten() {
            without(
                part,
                &[
                    ("annotations", json!([])),
                    ("logprobs", json!([])),
                    ("detail", Value::Null),
                ],
            );
        }
    }
}

/// Leaves members out that have these values, which are those that they have anyway.
fn without(value: &mut Value, members: &[(&str, Value)]) {
    if let Some(object) = value.as_object_mut() {
        object.retain(|name, value| !members.iter().any(|(known, usual)| known == name && usual == value));
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}
