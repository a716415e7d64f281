//! Anthropic: what its SDK was told is what a caller of `/v1/messages` says. It is played twice, once as it is passed on word for word,
//! and once as it is written anew from OpenAI's words.

use resource_gateway::domain::{call::Voice, chat::messages_to_openai, interface::Capability};
use serde_json::Value;

use super::openai::vendor;
use crate::suite::{Errand, Fixture, Suite};

pub(crate) fn play(fixture: &Fixture, suite: &Suite) -> Result<(), String> {
    let mut vendor = vendor(fixture, "anthropic")?;
    if let Some(version) = fixture.input("anthropic_version") {
        vendor.options.insert("version".to_owned(), version.to_owned());
    }
    // Either header is good for both versions; the SDK's choice is compared.
    let headers = fixture.request().get("headers");
    if headers.is_some_and(|headers| headers.get("authorization").is_some()) {
        vendor.options.insert("auth".to_owned(), "bearer".to_owned());
    }
    let params = fixture.params();
    if fixture.asks_for_models() {
        let limit = params.get("limit").and_then(Value::as_u64);
        return suite.models(fixture, vendor, limit.and_then(|limit| limit.try_into().ok()));
    }
    let model = params
        .get("model")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let translated = messages_to_openai(params.to_string().as_bytes());
    let translated = translated.map_err(|error| format!("translation: {error:?}"))?;
    let mut body: Value = serde_json::from_str(&translated).map_err(|error| error.to_string())?;
    if let Some(members) = body.as_object_mut() {
        members.remove("model");
    }
    let mut errand = Errand::json(vendor, Capability::Chat, &model, body);
    if fixture.asks_to_count() {
        errand.tolerances = forgive;
        return suite.count_tokens(fixture, &errand);
    }
    errand.verbatim = Some((Voice::Anthropic, params));
    suite
        .call(fixture, errand.clone())
        .map_err(|why| format!("word for word: {why}"))?;
    errand.verbatim = None;
    errand.tolerances = forgive;
    suite
        .call(fixture, errand)
        .map_err(|why| format!("written anew: {why}"))
}

/// That a tool has not failed need not be said.
fn forgive(body: &mut Value) {
    let messages = body.get_mut("messages").and_then(Value::as_array_mut);
    for message in messages.into_iter().flatten() {
        let blocks = message.get_mut("content").and_then(Value::as_array_mut);
        for block in blocks.into_iter().flatten() {
            if let Some(members) = block.as_object_mut()
                && members.get("is_error") == Some(&Value::Bool(false))
            {
                members.remove("is_error");
            }
        }
    }
}
