//! Holds a request to what its vendor's dialect can say, before the dialect sees it.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};

use crate::{
    domain::{
        call::Voice,
        chat::{ChatRequest, Content, Format, PartKind, Source, ToolChoice},
        fault::PublicError,
        interface::WhenUnsupported,
    },
    ports::{
        chat::{Images, Support},
        codec::{EncodeError, Fetched},
    },
};

/// Takes out what the dialect has no words for; answers the names of what was taken out.
///
/// # Errors
/// The interface wants such requests refused, or what cannot be said is what they are about.
pub(super) fn hold(
    request: &mut ChatRequest<'_>,
    support: &Support,
    rule: WhenUnsupported,
) -> Result<Vec<String>, PublicError> {
    check_content(request, support)?;
    check_names(&request.options, support)?;
    let mut dropped = Vec::new();
    let mut cannot = |field: &str| cannot(field, rule, &mut dropped);
    macro_rules! optional {
        ($($field:ident)+) => {$(
            if !support.$field && request.$field.take().is_some() {
                cannot(stringify!($field))?;
            }
        )+};
    }
    optional!(temperature top_p top_k presence_penalty frequency_penalty seed user reasoning);
    // One answer, tools side by side and no probabilities are what everybody does.
    if !support.n && request.n.take().is_some_and(|n| n != 1) {
        cannot("n")?;
    }
    if !support.parallel_tool_calls && request.parallel_tool_calls.take() == Some(false) {
        cannot("parallel_tool_calls")?;
    }
    if !support.logprobs {
        let asked = request.logprobs.take() == Some(true);
        if request.top_logprobs.take().is_some() || asked {
            cannot("logprobs")?;
        }
    }
    if request.stop.len() > support.stop {
        request.stop.truncate(support.stop);
        cannot("stop")?;
    }
    let told = matches!(
        request.tool_choice,
        Some(ToolChoice::Required | ToolChoice::Named(_) | ToolChoice::None)
    );
    if told && !support.tool_choice {
        request.tool_choice = None;
        cannot("tool_choice")?;
    }
    let cannot_format = match request.format {
        Some(Format::JsonObject) => !support.json_object,
        Some(Format::JsonSchema { .. }) => !support.json_schema,
        Some(Format::Text) | None => false,
    };
    if cannot_format {
        request.format = None;
        cannot("response_format")?;
    }
    let unknown: Vec<String> = request
        .openai
        .keys()
        .filter(|name| !support.openai.contains(&name.as_str()))
        .cloned()
        .collect();
    for name in unknown {
        request.openai.remove(&name);
        cannot(&name)?;
    }
    if !support.options {
        for name in std::mem::take(&mut request.options).keys() {
            cannot(name)?;
        }
    }
    Ok(dropped)
}

/// Nobody can tell this vendor how long an answer may be at most. Callers of Anthropic's format cannot leave that out, so it is
/// never a reason to refuse them.
pub(super) fn no_bound(voice: Voice, rule: WhenUnsupported, dropped: &mut Vec<String>) -> Result<(), PublicError> {
    let rule = match voice {
        Voice::Anthropic => WhenUnsupported::Drop,
        Voice::OpenAi | Voice::Responses => rule,
    };
    cannot("max_tokens", rule, dropped)
}

/// Asks for several calls of tools in one answer where they are the default of the caller's format, and the vendor's is one. OpenAI's
/// callers have a member of this very name in the vendor's own words: what they do not write is left to the vendor.
pub(super) fn ask_for_all_calls(request: &mut ChatRequest<'_>, support: &Support, voice: Voice) {
    let by_default = match voice {
        Voice::Anthropic | Voice::Responses => true,
        Voice::OpenAi => false,
    };
    if by_default && support.one_call_unless_asked && !request.tools.is_empty() {
        request.parallel_tool_calls.get_or_insert(true);
    }
}

/// Leaves a field out of a request, or refuses the request, by the interface's rule.
pub(super) fn cannot(field: &str, rule: WhenUnsupported, dropped: &mut Vec<String>) -> Result<(), PublicError> {
    match rule {
        WhenUnsupported::Drop => {
            dropped.push(field.to_owned());
            Ok(())
        }
        WhenUnsupported::Refuse => Err(unsupported(field)),
    }
}

/// What has a word of OpenAI's is said by that, also within members of the vendor's own.
fn check_names(options: &Map<String, Value>, support: &Support) -> Result<(), PublicError> {
    let check = |place: &str, members: &Map<String, Value>| {
        let known = |name: &str| support.second_names.iter().find(|(second, _)| *second == name);
        match members.keys().find_map(|name| known(name)) {
            None => Ok(()),
            Some((second, word)) => {
                let message = format!("The field '{place}{second}' is said as '{word}' here.");
                Err(PublicError::invalid(
                    Some(&format!("{place}{second}")),
                    "invalid_value",
                    message,
                ))
            }
        }
    };
    check("", options)?;
    for container in support.containers {
        if let Some(Value::Object(members)) = options.get(*container) {
            check(&format!("{container}."), members)?;
        }
    }
    Ok(())
}

/// What a request is about is never left out.
fn check_content(request: &ChatRequest<'_>, support: &Support) -> Result<(), PublicError> {
    let uses_tools = request.messages.iter().any(|message| !message.tool_calls.is_empty());
    if !support.tools && (uses_tools || !request.tools.is_empty()) {
        return Err(unsupported("tools"));
    }
    for (at, message) in request.messages.iter().enumerate() {
        let Content::Parts(parts) = &message.content else {
            continue;
        };
        for (part_at, part) in parts.iter().enumerate() {
            let supported = match &part.kind {
                PartKind::Text(_) => true,
                PartKind::Image { .. } => support.images != Images::None,
                PartKind::Audio { .. } => support.audio,
                PartKind::Document { .. } => support.documents,
            };
            if !supported {
                return Err(unsupported(&format!("messages[{at}].content[{part_at}]")));
            }
        }
    }
    Ok(())
}

pub(super) fn unsupported(field: &str) -> PublicError {
    let message = format!("The provider behind this model cannot obey the field '{field}'.");
    PublicError::invalid(Some(field), "unsupported_by_provider", message)
}

/// Puts bytes in the place of URLs, for vendors that do not look there themselves.
///
/// # Errors
/// The URLs whose bytes are not there yet.
pub(super) fn bring(request: &mut ChatRequest<'_>, support: &Support, fetched: &[Fetched]) -> Result<(), EncodeError> {
    if support.images != Images::Bytes {
        return Ok(());
    }
    let mut missing: Vec<String> = Vec::new();
    for message in &mut request.messages {
        let Content::Parts(parts) = &mut message.content else {
            continue;
        };
        for part in parts {
            let (PartKind::Image { source, .. } | PartKind::Document { source, .. }) = &mut part.kind else {
                continue;
            };
            let Source::Url(url) = source else { continue };
            match fetched.iter().find(|fetched| fetched.url == url.as_ref()) {
                Some(found) => {
                    *source = Source::Base64 {
                        media_type: Cow::Owned(found.media_type.clone()),
                        data: Cow::Owned(STANDARD.encode(&found.bytes)),
                    };
                }
                None if missing.iter().any(|known| known == url.as_ref()) => {}
                None => missing.push(url.to_string()),
            }
        }
    }
    match missing.is_empty() {
        true => Ok(()),
        false => Err(EncodeError::Fetch(missing)),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::chat::Part;

    #[test]
    fn nobody_says_by_a_second_name_what_has_been_ruled() {
        let support = Support {
            second_names: &[("maxOutputTokens", "max_tokens"), ("temperature", "temperature")],
            containers: &["config"],
            ..Support::NONE
        };
        for (body, param) in [
            (json!({"maxOutputTokens": 9}), "maxOutputTokens"),
            (json!({"config": {"maxOutputTokens": 9}}), "config.maxOutputTokens"),
            (
                json!({"max_tokens": 5, "config": {"temperature": 2}}),
                "config.temperature",
            ),
        ] {
            for rule in [WhenUnsupported::Refuse, WhenUnsupported::Drop] {
                assert_eq!(held(&body, &support, rule).unwrap_err(), param, "{body}");
            }
        }
        let harmless = json!({"temperature": 1, "config": {"other": 1}, "elsewhere": {"maxOutputTokens": 1}});
        assert!(held(&harmless, &support, WhenUnsupported::Refuse).is_ok());
    }

    fn held(body: &Value, support: &Support, rule: WhenUnsupported) -> Result<(Value, Vec<String>), String> {
        let mut body = body.clone();
        body["messages"] = json!([{"role": "user", "content": "x"}]);
        let text = body.to_string();
        let mut request = ChatRequest::read(text.as_bytes()).unwrap();
        let dropped = hold(&mut request, support, rule).map_err(|error| error.param.unwrap_or_default().to_string())?;
        let mut rest = request.to_openai();
        rest.remove("messages");
        Ok((Value::Object(rest), dropped))
    }

    #[test]
    fn what_cannot_be_obeyed_is_refused_or_dropped_with_notice() {
        for (field, value) in [
            ("top_k", json!(3)),
            ("seed", json!(1)),
            ("n", json!(2)),
            ("presence_penalty", json!(0.5)),
            ("frequency_penalty", json!(0.5)),
            ("logprobs", json!(true)),
            ("parallel_tool_calls", json!(false)),
            ("stop", json!(["a"])),
            ("user", json!("u")),
            ("tool_choice", json!("required")),
            ("response_format", json!({"type": "json_object"})),
            ("logit_bias", json!({"1": 1})),
        ] {
            let mut body = json!({});
            body[field] = value;
            let refused = held(&body, &Support::NONE, WhenUnsupported::Refuse);
            assert_eq!(refused, Err(field.to_owned()));
            let dropped = held(&body, &Support::NONE, WhenUnsupported::Drop);
            assert_eq!(dropped, Ok((json!({}), vec![field.to_owned()])));
        }
    }

    #[test]
    fn what_everybody_does_is_nothing_to_refuse() {
        let body =
            json!({"n": 1, "parallel_tool_calls": true, "logprobs": false, "tool_choice": "auto", "temperature": 1});
        let (rest, dropped) = held(&body, &Support::NONE, WhenUnsupported::Refuse).unwrap();
        assert_eq!(
            (rest, dropped.len()),
            (json!({"temperature": 1, "tool_choice": "auto"}), 0)
        );
        let body = json!({"top_k": 3, "vendors_own": 1});
        let support = Support {
            top_k: true,
            ..Support::NONE
        };
        assert_eq!(held(&body, &support, WhenUnsupported::Refuse).unwrap().0, body);
    }

    #[test]
    fn what_a_request_is_about_is_never_dropped() {
        for body in [
            json!({"messages": [], "tools": [{"type": "function", "function": {"name": "f"}}]}),
            json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://a.test/x"}}]}]}),
            json!({"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "eA==", "format": "wav"}}]}]}),
        ] {
            let text = body.to_string();
            let mut request = ChatRequest::read(text.as_bytes()).unwrap();
            assert!(
                hold(&mut request, &Support::NONE, WhenUnsupported::Drop).is_err(),
                "{body}"
            );
        }
    }

    #[test]
    fn urls_are_asked_for_once_and_then_stand_there_as_bytes() {
        let picture = json!({"type": "image_url", "image_url": {"url": "https://a.test/x"}});
        let body = json!({"messages": [{"role": "user", "content": [picture, picture]}]}).to_string();
        let mut request = ChatRequest::read(body.as_bytes()).unwrap();
        let support = Support {
            images: Images::Bytes,
            ..Support::NONE
        };
        let missing = bring(&mut request, &support, &[]);
        assert_eq!(missing, Err(EncodeError::Fetch(vec!["https://a.test/x".to_owned()])));
        let fetched = Fetched {
            url: "https://a.test/x".to_owned(),
            media_type: "image/png".to_owned(),
            bytes: Bytes::from_static(b"x"),
        };
        bring(&mut request, &support, &[fetched]).unwrap();
        let wanted: Vec<Part<'_>> = vec![
            Part::of(PartKind::Image {
                source: Source::Base64 {
                    media_type: "image/png".into(),
                    data: "eA==".into(),
                },
                detail: None,
            });
            2
        ];
        assert_eq!(request.messages[0].content, Content::Parts(wanted));
    }
}
