//! Holds a request to what its vendor's dialect can say, before the dialect sees it.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};

use crate::{
    domain::{
        call::Voice,
        chat::{ChatRequest, Content, Format, Part, PartKind, Reasoning, Role, STORE, Source, Tool, ToolChoice},
        fault::PublicError,
        interface::WhenUnsupported,
    },
    ports::{
        chat::{Images, Support},
        codec::{EncodeError, Fetched, MOST_URLS},
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
    if !support.tool_choice && request.tool_choice == Some(ToolChoice::None) {
        // Who calls no tool is offered none.
        request.tools.clear();
        (request.tool_choice, request.parallel_tool_calls) = (None, None);
    }
    let mut dropped = Vec::new();
    hold_hints(request, support, rule, &mut dropped)?;
    if !support.is_error {
        tell_failures(request);
    }
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
    let told = matches!(request.tool_choice, Some(ToolChoice::Required | ToolChoice::Named(_)));
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

/// What is said of tools, messages and pictures beside what they are. A hint that says what is so anyway is no reason to refuse.
fn hold_hints(
    request: &mut ChatRequest<'_>,
    support: &Support,
    rule: WhenUnsupported,
    dropped: &mut Vec<String>,
) -> Result<(), PublicError> {
    // A refusal names the first place, a notice all of them at once.
    let mut cannot = |first: Option<String>, all: &str| match (first, rule) {
        (None, _) => Ok(()),
        (Some(_), WhenUnsupported::Drop) => cannot(all, rule, dropped),
        (Some(first), WhenUnsupported::Refuse) => Err(unsupported(&first)),
    };
    let mut first = None;
    for (at, tool) in request.tools.iter_mut().enumerate().filter(|_| !support.strict) {
        if tool.strict.take() == Some(true) {
            first.get_or_insert_with(|| format!("tools[{at}].function.strict"));
        }
    }
    cannot(first, "tools[].function.strict")?;
    let mut first = None;
    let named = request.messages.iter_mut().enumerate();
    for (at, message) in named.filter(|(_, message)| !support.names && message.role != Role::Tool) {
        if message.name.take().is_some() {
            first.get_or_insert_with(|| format!("messages[{at}].name"));
        }
    }
    cannot(first, "messages[].name")?;
    let mut first = None;
    for (at, message) in request.messages.iter_mut().enumerate().filter(|_| !support.detail) {
        let Content::Parts(parts) = &mut message.content else {
            continue;
        };
        for (part_at, part) in parts.iter_mut().enumerate() {
            if let PartKind::Image { detail, .. } = &mut part.kind
                && detail.take().is_some_and(|detail| detail != "auto")
            {
                first.get_or_insert_with(|| format!("messages[{at}].content[{part_at}].image_url.detail"));
            }
        }
    }
    cannot(first, "messages[].content[].image_url.detail")?;
    let shown = request
        .reasoning
        .as_mut()
        .filter(|_| support.reasoning && !support.display);
    let shown = shown.and_then(|reasoning| reasoning.display.take());
    cannot(shown.map(|_| "thinking.display".to_owned()), "thinking.display")
}

/// The tool that is chosen by its name.
pub(super) fn named_tool<'r, 'a>(request: &'r ChatRequest<'a>, name: &str) -> Result<&'r Tool<'a>, PublicError> {
    let tool = request.tools.iter().find(|tool| tool.name == name);
    tool.ok_or_else(|| {
        let message = "The field 'tool_choice' names a function that is not among the tools.";
        PublicError::invalid(Some("tool_choice"), "invalid_value", message)
    })
}

/// That there shall be no thinking, where only OpenAI's word for it can be said and the caller did not use it. It is never a reason to
/// refuse: most models of such vendors do not think unless they are asked to, and others cannot help it.
pub(super) fn silence_unsaid(reasoning: Option<&Reasoning<'_>>) -> Option<String> {
    let silent = reasoning.filter(|reasoning| reasoning.thinks() == Some(false));
    let unsaid = silent.filter(|reasoning| reasoning.effort.as_deref() != Some("none"));
    unsaid.map(|_| "thinking".to_owned())
}

/// How hard and how long to think, as far as it was said. Vendors that only know whether to think are no reason to let none of it happen.
pub(super) fn degrees(reasoning: &Reasoning<'_>) -> Vec<String> {
    let thinks = reasoning.enabled != Some(false);
    let hard = reasoning.effort.as_deref().filter(|effort| thinks && *effort != "none");
    let long = reasoning.budget.filter(|budget| thinks && *budget > 0);
    let names = [
        hard.map(|_| "reasoning_effort".to_owned()),
        long.map(|_| "thinking.budget_tokens".to_owned()),
    ];
    names.into_iter().flatten().collect()
}

/// Lets the model read that a tool has failed, where its vendor has no word for that. It is neither refused nor left out: the caller
/// lost nothing, and a failure that reads like a result would be taken for one.
fn tell_failures(request: &mut ChatRequest<'_>) {
    const FAILED: &str = "Error";
    let told = |text: &str| {
        let begin = text.trim_start().get(..FAILED.len());
        begin.is_some_and(|begin| begin.eq_ignore_ascii_case(FAILED))
    };
    let with = |text: &str| match text {
        "" => FAILED.to_owned(),
        text => format!("{FAILED}: {text}"),
    };
    for message in &mut request.messages {
        if !std::mem::take(&mut message.is_error) || message.role != Role::Tool {
            continue;
        }
        match &mut message.content {
            Content::None => message.content = Content::Text(FAILED.into()),
            Content::Text(text) if told(text) => {}
            Content::Text(text) => *text = with(text).into(),
            Content::Parts(parts) => match parts.first_mut().map(|part| &mut part.kind) {
                Some(PartKind::Text(text)) if told(text) => {}
                Some(PartKind::Text(text)) => *text = with(text).into(),
                Some(_) | None => parts.insert(0, Part::text(FAILED.into())),
            },
        }
    }
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

/// Whether two spellings are one name to some reader: Google's takes `maxOutputTokens` and `max_output_tokens`, Go's any case.
fn alike(one: &str, other: &str) -> bool {
    let letters = |name: &str| -> Vec<u8> {
        let letters = name.bytes().filter(|byte| *byte != b'_');
        letters.map(|byte| byte.to_ascii_lowercase()).collect()
    };
    letters(one) == letters(other)
}

/// What has a word of OpenAI's is said by that, also within members of the vendor's own.
fn check_names(options: &Map<String, Value>, support: &Support) -> Result<(), PublicError> {
    let check = |place: &str, members: &Map<String, Value>| {
        // A name that is its own word stands where rules see it, and nowhere else.
        let is_seen = |name: &str, word: &str| place.is_empty() && name == word;
        let known = |name: &str| {
            let mut names = support.second_names.iter();
            let found = names.find(|(second, word)| alike(second, name) && !is_seen(name, word));
            found.map(|(_, word)| (name.to_owned(), word))
        };
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
    let held = options.iter().filter(|(name, _)| {
        let mut containers = support.containers.iter();
        containers.any(|container| alike(container, name))
    });
    for (name, value) in held {
        if let Value::Object(members) = value {
            check(&format!("{name}."), members)?;
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
        // Its sound lies at the vendor that spoke, which is one with a word for it.
        if message.audio.is_some() && !support.openai.contains(&"audio") {
            return Err(unsupported(&format!("messages[{at}].audio")));
        }
        let Content::Parts(parts) = &message.content else {
            continue;
        };
        for (part_at, part) in parts.iter().enumerate() {
            let reachable = support.stored || !is_stored(&part.kind);
            let supported = match &part.kind {
                PartKind::Text(_) => true,
                PartKind::Image { .. } => support.images != Images::None,
                PartKind::Audio { .. } => support.audio,
                PartKind::Document { .. } => support.documents,
            };
            if !supported || !reachable {
                return Err(unsupported(&format!("messages[{at}].content[{part_at}]")));
            }
        }
    }
    Ok(())
}

/// Whether it lies in Google's storage.
fn is_stored(part: &PartKind<'_>) -> bool {
    let (PartKind::Image { source, .. } | PartKind::Document { source, .. }) = part else {
        return false;
    };
    matches!(source, Source::Url { url, .. } if url.starts_with(STORE))
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
            let Source::Url { url, .. } = source else {
                continue;
            };
            match fetched.iter().find(|fetched| fetched.url == url.as_ref()) {
                Some(found) => {
                    *source = Source::Base64 {
                        media_type: Cow::Owned(found.media_type.clone()),
                        data: Cow::Owned(STANDARD.encode(&found.bytes)),
                    };
                }
                // They are too many already, and looking on would take long.
                None if missing.len() > MOST_URLS => break,
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
            second_names: &[
                ("maxOutputTokens", "max_tokens"),
                ("temperature", "temperature"),
                ("thinkingConfig", "thinkingConfig"),
            ],
            containers: &["someConfig"],
            ..Support::NONE
        };
        for (body, param) in [
            (json!({"maxOutputTokens": 9}), "maxOutputTokens"),
            (json!({"max_output_tokens": 9}), "max_output_tokens"),
            (json!({"MaxOutputTokens": 9}), "MaxOutputTokens"),
            (json!({"thinking_config": {}}), "thinking_config"),
            (
                json!({"someConfig": {"maxOutputTokens": 9}}),
                "someConfig.maxOutputTokens",
            ),
            (
                json!({"some_config": {"max_output_tokens": 9}}),
                "some_config.max_output_tokens",
            ),
            (
                json!({"max_tokens": 5, "someConfig": {"temperature": 2}}),
                "someConfig.temperature",
            ),
            (
                json!({"someConfig": {"thinkingConfig": {}}}),
                "someConfig.thinkingConfig",
            ),
        ] {
            for rule in [WhenUnsupported::Refuse, WhenUnsupported::Drop] {
                assert_eq!(held(&body, &support, rule).unwrap_err(), param, "{body}");
            }
        }
        let harmless = json!({"temperature": 1, "thinkingConfig": {}, "someConfig": {"other": 1}, "elsewhere": {"maxOutputTokens": 1}});
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
    fn hints_for_which_there_is_no_word_are_refused_or_dropped_with_notice() {
        let picture =
            |detail: &str| json!({"type": "image_url", "image_url": {"url": "https://a.test/x", "detail": detail}});
        let tool = |strict: bool| json!({"type": "function", "function": {"name": "f", "strict": strict}});
        let body = json!({
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "x"}, picture("auto"), picture("high")]},
                {"role": "user", "name": "Ann", "content": "x"},
                {"role": "user", "name": "Bob", "content": "x"}],
            "tools": [tool(false), tool(true), tool(true)],
            "thinking": {"type": "enabled", "display": "omitted"},
        });
        let all = Support {
            tools: true,
            images: Images::Any,
            reasoning: true,
            display: true,
            strict: true,
            names: true,
            detail: true,
            ..Support::NONE
        };
        let held = |support: &Support, rule: WhenUnsupported| {
            let text = body.to_string();
            let mut request = ChatRequest::read(text.as_bytes()).unwrap();
            let dropped =
                hold(&mut request, support, rule).map_err(|error| error.param.unwrap_or_default().to_string())?;
            Ok::<_, String>((Value::Object(request.to_openai()), dropped))
        };
        assert_eq!(held(&all, WhenUnsupported::Refuse), Ok((body.clone(), vec![])));
        let cases: [(Support, &str, &str); 4] = [
            (
                Support { strict: false, ..all },
                "tools[1].function.strict",
                "tools[].function.strict",
            ),
            (Support { names: false, ..all }, "messages[1].name", "messages[].name"),
            (
                Support { detail: false, ..all },
                "messages[0].content[2].image_url.detail",
                "messages[].content[].image_url.detail",
            ),
            (
                Support { display: false, ..all },
                "thinking.display",
                "thinking.display",
            ),
        ];
        for (support, first, every) in cases {
            assert_eq!(held(&support, WhenUnsupported::Refuse), Err(first.to_owned()));
            let (rest, dropped) = held(&support, WhenUnsupported::Drop).unwrap();
            assert_eq!(dropped, [every]);
            let word = every.rsplit('.').next().unwrap();
            let word = if word == "name" {
                "\"name\":\"Ann\"".to_owned()
            } else {
                format!("\"{word}\":")
            };
            assert!(!rest.to_string().contains(&word), "{rest}");
        }
    }

    #[test]
    fn hints_at_what_is_so_anyway_are_nothing_to_refuse() {
        let support = Support {
            tools: true,
            images: Images::Any,
            ..Support::NONE
        };
        let body = json!({
            "messages": [
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://a.test/x", "detail": "auto"}}]},
                {"role": "tool", "tool_call_id": "c", "name": "f", "content": "x"}],
            "tools": [{"type": "function", "function": {"name": "f", "strict": false}}],
        });
        let text = body.to_string();
        let mut request = ChatRequest::read(text.as_bytes()).unwrap();
        assert_eq!(hold(&mut request, &support, WhenUnsupported::Refuse), Ok(vec![]));
        assert_eq!(request.tools[0].strict, None);
        assert_eq!(request.messages[1].name.as_deref(), Some("f"));
    }

    #[test]
    fn a_model_reads_that_a_tool_has_failed_where_its_vendor_has_no_word_for_that() {
        let text = |text: &str| json!([{"type": "text", "text": text}]);
        for (content, wanted) in [
            (json!("no such file"), json!("Error: no such file")),
            (json!("{\"code\":1}"), json!("Error: {\"code\":1}")),
            // It reads so already.
            (json!(" error: no such file"), json!(" error: no such file")),
            (json!(""), json!("Error")),
            (Value::Null, json!("Error")),
            (text("no"), text("Error: no")),
            (text("ERROR 5"), text("ERROR 5")),
            (json!([]), text("Error")),
        ] {
            let mut body = json!({"messages": [
                {"role": "tool", "tool_call_id": "c", "content": content, "is_error": true},
                {"role": "tool", "tool_call_id": "d", "content": "fine", "is_error": false}]});
            let read = body.to_string();
            for rule in [WhenUnsupported::Refuse, WhenUnsupported::Drop] {
                let mut request = ChatRequest::read(read.as_bytes()).unwrap();
                assert_eq!(hold(&mut request, &Support::NONE, rule), Ok(vec![]));
                let told = request.to_openai();
                assert_eq!(told["messages"][0]["content"], wanted);
                assert_eq!(told["messages"][0].get("is_error"), None);
                assert_eq!(told["messages"][1]["content"], "fine");
            }
            let has_a_word = Support {
                is_error: true,
                ..Support::NONE
            };
            let mut request = ChatRequest::read(read.as_bytes()).unwrap();
            hold(&mut request, &has_a_word, WhenUnsupported::Refuse).unwrap();
            body["messages"][1].as_object_mut().unwrap().remove("is_error");
            assert_eq!(Value::Object(request.to_openai()), body);
        }
    }

    #[test]
    fn who_wants_no_tool_called_offers_none_where_there_is_no_word_for_that() {
        let tool = json!({"type": "function", "function": {"name": "f", "strict": true}});
        let body = json!({"tools": [tool], "tool_choice": "none", "parallel_tool_calls": false});
        let no_word = Support {
            tools: true,
            ..Support::NONE
        };
        let said = held(&body, &no_word, WhenUnsupported::Refuse);
        assert_eq!(said, Ok((json!({}), vec![])));
        let has_a_word = Support {
            tool_choice: true,
            strict: true,
            parallel_tool_calls: true,
            ..no_word
        };
        let said = held(&body, &has_a_word, WhenUnsupported::Refuse);
        assert_eq!(said, Ok((body, vec![])));
    }

    #[test]
    fn a_store_that_only_its_owner_looks_into_is_refused_elsewhere() {
        for (type_, member) in [("image_url", "url"), ("file", "file_url")] {
            let mut part = json!({"type": type_});
            part[type_] = json!({});
            part[type_][member] = json!("gs://bucket/x");
            let text = json!({"messages": [{"role": "user", "content": [part]}]}).to_string();
            let request = ChatRequest::read(text.as_bytes()).unwrap();
            let looks = Support {
                images: Images::Bytes,
                documents: true,
                ..Support::NONE
            };
            let refused = check_content(&request, &looks).unwrap_err();
            assert_eq!(refused.param.as_deref(), Some("messages[0].content[0]"));
            assert!(check_content(&request, &Support { stored: true, ..looks }).is_ok());
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
            json!({"messages": [{"role": "assistant", "content": null, "audio": {"id": "audio_1"}}]}),
            json!({"messages": [{"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": "{}"}}]}),
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
    fn urls_are_looked_for_until_they_are_too_many() {
        let picture = |at: usize| json!({"type": "image_url", "image_url": {"url": format!("https://a.test/{at}")}});
        let talk = |pictures: usize| {
            let messages: Vec<_> = (0..2)
                .map(|turn| json!({"role": "user", "content": (0..pictures).map(|at| picture(at + turn)).collect::<Vec<_>>()}))
                .collect();
            json!({"messages": messages}).to_string()
        };
        let support = Support {
            images: Images::Bytes,
            ..Support::NONE
        };
        for (pictures, wanted) in [(5, 6), (MOST_URLS, MOST_URLS + 1), (500, MOST_URLS + 1)] {
            let body = talk(pictures);
            let mut request = ChatRequest::read(body.as_bytes()).unwrap();
            let Err(EncodeError::Fetch(missing)) = bring(&mut request, &support, &[]) else {
                panic!()
            };
            assert_eq!(missing.len(), wanted);
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
