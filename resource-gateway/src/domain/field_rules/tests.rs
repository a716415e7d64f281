use super::*;
use crate::domain::{
    interface::{Capability, JsonPointer},
    json_object::apply,
    multipart::Boundary,
    vendor::Switch,
};
use proptest::prelude::*;
use serde_json::{Map, json};

fn rule(pointer: &str, action: FieldAction) -> FieldRule {
    FieldRule {
        pointer: JsonPointer::parse(pointer).unwrap(),
        action,
        enabled: Switch::On,
    }
}

fn fill(value: Value) -> FieldAction {
    FieldAction::Fill(value)
}

fn force(value: Value) -> FieldAction {
    FieldAction::Force(value)
}

fn shape(capability: Capability) -> &'static Shape {
    Shape::of(capability).unwrap()
}

/// The text after one rule and what of it was forced, or the code of the error.
fn after(text: &str, pointer: &str, action: FieldAction) -> Result<(String, Option<String>), String> {
    let mut draft = Draft::parse(text.as_bytes()).unwrap();
    let mut forced = Forced::default();
    obey(&mut draft, shape(Capability::Chat), &rule(pointer, action), &mut forced)
        .map_err(|error| error.code.unwrap())?;
    Ok((apply(text, draft.edits()), forced.to_header()))
}

#[test]
fn fill_force_and_forbid_do_what_they_say() {
    for (text, pointer, action, wanted) in [
        (r#"{"a":1}"#, "/b", fill(json!(2)), Ok(r#"{"b":2,"a":1}"#)),
        (r#"{"a":1}"#, "/a", fill(json!(2)), Ok(r#"{"a":1}"#)),
        // Sent as null is sent.
        (r#"{"a":null}"#, "/a", fill(json!(2)), Ok(r#"{"a":null}"#)),
        (r#"{"a" : 1 }"#, "/a", force(json!("x")), Ok(r#"{"a" : "x" }"#)),
        (r"{}", "/a/b/c", force(json!([1])), Ok(r#"{"a":{"b":{"c":[1]}}}"#)),
        (
            r#" {"a": {"x":1}}"#,
            "/a/b",
            force(json!(true)),
            Ok(r#" {"a": {"b":true,"x":1}}"#),
        ),
        (
            r#"{"a":[{"n":1},{"n":2}]}"#,
            "/a/1/n",
            force(json!(9)),
            Ok(r#"{"a":[{"n":1},{"n":9}]}"#),
        ),
        (r#"{"a/b":1}"#, "/a~1b", force(json!(2)), Ok(r#"{"a/b":2}"#)),
        (r#"{"a":1}"#, "/a", FieldAction::Forbid, Err("unsupported_parameter")),
        (r#"{"a":1}"#, "/b", FieldAction::Forbid, Ok(r#"{"a":1}"#)),
        (r#"{"a":1}"#, "/a/b", force(json!(1)), Err("invalid_value")),
        (r#"{"a":1}"#, "/a/b", fill(json!(1)), Ok(r#"{"a":1}"#)),
        (r#"{"a":1}"#, "/a/b", FieldAction::Forbid, Ok(r#"{"a":1}"#)),
        (r#"{"a":1,"a":2}"#, "/a", FieldAction::Forbid, Err("invalid_value")),
        (r#"{"a":[1]}"#, "/a/7", force(json!(1)), Err("invalid_value")),
        // RFC 6901 §4: an index has no zeros and no sign in front.
        (r#"{"a":[1,2]}"#, "/a/01", force(json!(1)), Err("invalid_value")),
        (r#"{"a":[1,2]}"#, "/a/+1", force(json!(1)), Err("invalid_value")),
        (r#"{"a":1,"a":2}"#, "/a", force(json!(1)), Err("invalid_value")),
        // Some readers take `A` for `a`.
        (r#"{"A":1}"#, "/a", FieldAction::Forbid, Err("invalid_value")),
        (r#"{"a":1,"A":2}"#, "/a", force(json!(1)), Err("invalid_value")),
        (r#"{"a":{"B":2}}"#, "/a/b", fill(json!(1)), Err("invalid_value")),
        // An escape is no disguise.
        (
            r#"{"\u0061":1}"#,
            "/a",
            FieldAction::Forbid,
            Err("unsupported_parameter"),
        ),
        (r#"{"\u0061":1}"#, "/a", force(json!(2)), Ok(r#"{"\u0061":2}"#)),
        (r#"{"a":1,"\u0061":3}"#, "/a", force(json!(2)), Err("invalid_value")),
    ] {
        let got = after(text, pointer, action).map(|(text, _)| text);
        assert_eq!(got.as_deref().map_err(String::as_str), wanted, "{text} {pointer}");
    }
}

#[test]
fn a_star_is_every_element_and_a_dash_the_one_behind_the_last() {
    let messages = r#"{"m":[ {"r":"u","n":1} , {"r":"a"}],"x":[],"s":"t"}"#;
    for (pointer, action, wanted) in [
        ("/m/*/n", FieldAction::Forbid, Err("unsupported_parameter")),
        ("/m/*/k", FieldAction::Forbid, Ok(messages)),
        ("/x/*", FieldAction::Forbid, Ok(messages)),
        (
            "/m/*/n",
            force(json!(7)),
            Ok(r#"{"m":[ {"r":"u","n":7} , {"n":7,"r":"a"}],"x":[],"s":"t"}"#),
        ),
        (
            "/m/*/n",
            fill(json!(7)),
            Ok(r#"{"m":[ {"r":"u","n":1} , {"n":7,"r":"a"}],"x":[],"s":"t"}"#),
        ),
        ("/m/*/r/*", fill(json!(7)), Ok(messages)),
        ("/m/*/r/q", force(json!(7)), Err("invalid_value")),
        // Of nothing there is no element, and none is made.
        ("/none/*/n", force(json!(7)), Ok(messages)),
        ("/m/*/k/*/n", force(json!(7)), Ok(messages)),
        ("/x/*", force(json!(7)), Ok(messages)),
        ("/s/*", force(json!(7)), Err("invalid_value")),
        (
            "/x/-",
            force(json!("e")),
            Ok(r#"{"m":[ {"r":"u","n":1} , {"r":"a"}],"x":["e"],"s":"t"}"#),
        ),
        (
            "/m/-",
            force(json!({})),
            Ok(r#"{"m":[ {"r":"u","n":1} , {"r":"a"},{}],"x":[],"s":"t"}"#),
        ),
        (
            "/y/-",
            force(json!("e")),
            Ok(r#"{"y":["e"],"m":[ {"r":"u","n":1} , {"r":"a"}],"x":[],"s":"t"}"#),
        ),
    ] {
        let got = after(messages, pointer, action).map(|(text, _)| text);
        assert_eq!(got.as_deref().map_err(String::as_str), wanted, "{pointer}");
    }
    assert_eq!(
        after(r#"{"m":[{"n":1,"n":2}]}"#, "/m/*/n", force(json!(1))).unwrap_err(),
        "invalid_value"
    );
    assert_eq!(
        after(r#"{"m":[{"x":1},{"N":2}]}"#, "/m/*/n", FieldAction::Forbid).unwrap_err(),
        "invalid_value"
    );
}

#[test]
fn a_rule_holds_for_the_other_names_of_its_field() {
    for (text, pointer, action, wanted) in [
        (
            r#"{"max_completion_tokens":9,"a":1}"#,
            "/max_tokens",
            force(json!(5)),
            Ok((r#"{"max_tokens":5,"a":1}"#, Some("/max_tokens"))),
        ),
        (
            r#"{"max_tokens":5,"max_completion_tokens":9}"#,
            "/max_tokens",
            force(json!(5)),
            Ok((r#"{"max_tokens":5}"#, Some("/max_tokens"))),
        ),
        (
            r#"{"max_tokens":9}"#,
            "/max_completion_tokens",
            fill(json!(5)),
            Ok((r#"{"max_tokens":9}"#, None)),
        ),
        (
            r#"{"functions":[]}"#,
            "/tools",
            FieldAction::Forbid,
            Err("unsupported_parameter"),
        ),
        (
            r#"{"Functions":[]}"#,
            "/tools",
            FieldAction::Forbid,
            Err("invalid_value"),
        ),
        (
            r#"{"maxCompletionTokens":9}"#,
            "/max_tokens",
            force(json!(5)),
            Err("invalid_value"),
        ),
        (
            r#"{"maxTokens":9}"#,
            "/max_tokens",
            force(json!(5)),
            Err("invalid_value"),
        ),
    ] {
        let got = after(text, pointer, action);
        let got = got.as_ref().map(|(text, forced)| (text.as_str(), forced.as_deref()));
        assert_eq!(got.map_err(String::as_str), wanted, "{text} {pointer}");
    }
}

#[test]
fn a_rule_holds_for_the_names_that_vendors_have_for_its_field() {
    for (text, pointer, action, wanted) in [
        (
            r#"{"random_seed":4}"#,
            "/seed",
            force(json!(5)),
            Ok((r#"{"seed":5}"#, Some("/seed"))),
        ),
        (
            r#"{"user_id":"u"}"#,
            "/user",
            FieldAction::Forbid,
            Err("unsupported_parameter"),
        ),
        (
            r#"{"enable_thinking":true,"thinking_budget":9,"a":1}"#,
            "/thinking",
            force(json!({"type": "disabled"})),
            Ok((r#"{"thinking":{"type":"disabled"},"a":1}"#, Some("/thinking"))),
        ),
        (
            r#"{"think":"high"}"#,
            "/reasoning_effort",
            force(json!("low")),
            Ok((r#"{"reasoning_effort":"low"}"#, Some("/reasoning_effort"))),
        ),
        (
            r#"{"thinkingConfig":{"thinkingBudget":9}}"#,
            "/thinking",
            FieldAction::Forbid,
            Err("unsupported_parameter"),
        ),
        (
            r#"{"thinking_config":{"thinking_budget":9}}"#,
            "/thinking",
            FieldAction::Forbid,
            Err("invalid_value"),
        ),
        (
            r#"{"thinking_budget":9}"#,
            "/thinking/budget_tokens",
            FieldAction::Forbid,
            Err("unsupported_parameter"),
        ),
        (
            r#"{"thinking":{"type":"enabled"},"reasoning_effort":"low"}"#,
            "/thinking/budget_tokens",
            FieldAction::Forbid,
            Ok((r#"{"thinking":{"type":"enabled"},"reasoning_effort":"low"}"#, None)),
        ),
    ] {
        let got = after(text, pointer, action);
        let got = got.as_ref().map(|(text, forced)| (text.as_str(), forced.as_deref()));
        assert_eq!(got.map_err(String::as_str), wanted, "{text} {pointer}");
    }
}

#[test]
fn only_what_differs_from_what_was_sent_counts_as_forced() {
    for (text, pointer, action, forced) in [
        (r#"{"a":1}"#, "/a", force(json!(1)), false),
        (r#"{"a":1}"#, "/a", force(json!(2)), true),
        (r#"{"a":1}"#, "/b", force(json!(2)), true),
        (r#"{"a":1}"#, "/b", fill(json!(2)), false),
        // The same value in other letters.
        (r#"{"a":"\u0078"}"#, "/a", force(json!("x")), false),
        (r#"{"a":{"y": 2,"x":1}}"#, "/a", force(json!({"x": 1, "y": 2})), false),
        (r#"{"a":{"x":1}}"#, "/a/x", force(json!(1)), false),
        (r#"{"a":{"x":1}}"#, "/a/x", force(json!(2)), true),
        (r#"{"a":{"x":1}}"#, "/a/y", force(json!(2)), true),
        (r#"{"a":[1,1]}"#, "/a/*", force(json!(1)), false),
        (r#"{"a":[1,2]}"#, "/a/*", force(json!(1)), true),
        (r#"{"a":[]}"#, "/a/*", force(json!(1)), false),
        (r#"{"a":[]}"#, "/a/-", force(json!(1)), true),
    ] {
        let (_, header) = after(text, pointer, action).unwrap();
        assert_eq!(header.as_deref(), forced.then_some(pointer), "{text}");
    }
}

#[test]
fn the_header_is_ascii_and_has_an_end() {
    let forced = |pointers: &[&str]| {
        let mut forced = Forced::default();
        for pointer in pointers {
            forced.note(&rule(pointer, FieldAction::Forbid));
        }
        forced.to_header()
    };
    assert_eq!(forced(&[]), None);
    assert_eq!(forced(&["/a", "/b~1c/0"]).unwrap(), "/a,/b~1c/0");
    assert_eq!(forced(&["/a,b", "/%\n\u{e9} x"]).unwrap(), "/a%2Cb,/%25%0A%C3%A9%20x");
    let long = format!("/{}", "x".repeat(250));
    let many = forced(&[long.as_str(); 9]).unwrap();
    assert!(
        many.len() <= MAX_HEADER_BYTES && many.ends_with(",..."),
        "{}",
        many.len()
    );
    assert_eq!(many.split(',').count(), 5);
}

fn form(fields: &[(&str, &str)]) -> Form {
    let mut form = Form::empty(Boundary::of_content_type("multipart/form-data; boundary=b0").unwrap());
    for (name, value) in fields {
        let mut values: Vec<String> = form.texts(name).map(str::to_owned).collect();
        values.push((*value).to_owned());
        form.set(name, values).unwrap();
    }
    form
}

#[test]
fn forms_obey_the_same_rules() {
    let sent = [("model", "m"), ("temperature", "0.9"), ("l[]", "a"), ("l[]", "b")];
    for (pointer, action, wanted) in [
        ("/temperature", force(json!(0)), Ok((vec!["0"], true))),
        ("/temperature", force(json!(0.9)), Ok((vec!["0.9"], false))),
        ("/temperature", fill(json!(0)), Ok((vec!["0.9"], false))),
        ("/language", fill(json!("en")), Ok((vec!["en"], false))),
        ("/language", force(json!("en")), Ok((vec!["en"], true))),
        ("/flag", force(json!(true)), Ok((vec!["true"], true))),
        ("/l[]", force(json!(["c"])), Ok((vec!["c"], true))),
        ("/l[]", force(json!(["a", "b"])), Ok((vec!["a", "b"], false))),
        ("/temperature", FieldAction::Forbid, Err("unsupported_parameter")),
        ("/Temperature", FieldAction::Forbid, Err("invalid_value")),
        ("/temperature[]", force(json!([1])), Err("invalid_value")),
        ("/prompt", force(json!("x\r\n--b0--")), Err("invalid_form")),
    ] {
        let mut form = form(&sent);
        let mut forced = Forced::default();
        let rule = rule(pointer, action);
        let got = obey_in_form(&mut form, shape(Capability::Transcription), &rule, &mut forced);
        let got = got.map_err(|error| error.code.unwrap());
        let seen = (
            form.texts(pointer.trim_start_matches('/')).collect::<Vec<_>>(),
            forced.to_header().is_some(),
        );
        assert_eq!(got.as_ref().map(|()| seen).map_err(|code| &**code), wanted, "{pointer}");
    }
}

#[test]
fn rules_that_cannot_hold_are_known_beforehand() {
    for (capability, pointer, action, refused) in [
        (Capability::Chat, "/model", force(json!("x")), true),
        (Capability::Chat, "/stream", force(json!(true)), true),
        (Capability::Chat, "/stream", FieldAction::Forbid, false),
        (Capability::Chat, "/stop/-", force(json!("x")), false),
        (Capability::Chat, "/stop/-", fill(json!("x")), true),
        (Capability::Chat, "/stop/-", FieldAction::Forbid, true),
        (Capability::Chat, "/messages/-/role", force(json!("x")), true),
        (Capability::Chat, "/min_confidence", force(json!(1)), false),
        (Capability::Ocr, "/min_confidence", force(json!(1)), true),
        (Capability::Ocr, "/min_confidence", FieldAction::Forbid, false),
        (Capability::Transcription, "/file", force(json!("x")), true),
        (Capability::Transcription, "/file", FieldAction::Forbid, true),
        (Capability::Transcription, "/a/b", force(json!("x")), true),
        (Capability::Transcription, "/a", force(json!(null)), true),
        (Capability::Transcription, "/a", force(json!(["x"])), true),
        (Capability::Transcription, "/a[]", force(json!(["x"])), false),
        (Capability::Transcription, "/temperature", force(json!(0)), false),
    ] {
        assert_eq!(
            shape(capability).refuses(&rule(pointer, action)).is_some(),
            refused,
            "{capability:?} {pointer}"
        );
    }
}

/// All values of a member that a reader may see: of each member of that name, as it stands.
fn seen(text: &str, name: &str) -> Vec<Value> {
    let object = JsonObject::parse(text.as_bytes()).unwrap();
    let members = object.members().iter();
    let same =
        members.filter(|member| super::super::json_object::is_respelt(&member.name, name) || member.name == name);
    same.map(|member| serde_json::from_str(member.value).unwrap()).collect()
}

/// Ways of writing a name.
fn spelling(name: &'static str) -> impl Strategy<Value = String> {
    let escaped = name.replace('m', "\\u006d").replace('t', "\\u0074");
    let half = format!("{}{}", &name[..1], name[1..].replace('o', "\\u006f"));
    prop_oneof![
        4 => Just(name.to_owned()),
        1 => Just(escaped),
        1 => Just(half),
        1 => Just(name.to_uppercase()),
        1 => Just(name.replace('_', "")),
        1 => Just(name.replace('k', "\u{212a}")),
    ]
}

fn member() -> impl Strategy<Value = (String, Value)> {
    let name = prop_oneof![
        3 => spelling("max_tokens"),
        3 => spelling("max_completion_tokens"),
        1 => "[a-c]".prop_map(|name| name),
    ];
    (
        name,
        prop_oneof![
            (0..9u8).prop_map(|n| json!(n)),
            Just(json!(null)),
            Just(json!({"max_tokens": 7})),
            Just(json!([1]))
        ],
    )
}

proptest! {
    /// However the caller writes it: either the request is refused, or every reader (a strict one, one that takes the last of two,
    /// one that takes the first, one that knows no case) sees the forced value, and the field's other names are gone.
    #[test]
    fn no_reader_sees_anything_else_than_the_forced_value(
        members in proptest::collection::vec(member(), 0..5),
        value in prop_oneof![Just(json!(5)), Just(json!("x")), Just(json!({"a": [1]}))],
    ) {
        let inner: Vec<String> = members.iter().map(|(name, value)| format!("\"{name}\": {value}")).collect();
        let text = format!("{{{}}}", inner.join(" , "));
        let Ok((after, _)) = after(&text, "/max_tokens", force(value.clone())) else {
            // Refused only for a reason: a name twice, or another spelling of one.
            let plain: Map<String, Value> = serde_json::from_str(&text).unwrap();
            let known = |name: &String| name == "max_tokens" || name == "max_completion_tokens" || name.len() == 1;
            prop_assert!(plain.len() < members.len() || !plain.keys().all(known), "{text}");
            return Ok(());
        };
        prop_assert_eq!(seen(&after, "max_tokens"), vec![value]);
        prop_assert_eq!(seen(&after, "max_completion_tokens"), Vec::<Value>::new());
    }

    /// Rules act on the text as they would on the parsed value, and the rest stays as it was.
    #[test]
    fn rules_on_text_are_rules_on_values(
        elements in proptest::collection::vec(proptest::collection::btree_map("[a-c]", 0..3u8, 0..3), 0..4),
        name in "[a-c]",
        forced in any::<bool>(),
        pretty in any::<bool>(),
    ) {
        let before = json!({"list": elements, "rest": {"x": [1.5, null]}});
        let text = if pretty { serde_json::to_string_pretty(&before).unwrap() } else { before.to_string() };
        let pointer = format!("/list/*/{name}");
        let action = if forced { force(json!(9)) } else { fill(json!(9)) };
        let (once, header) = after(&text, &pointer, action.clone()).unwrap();
        let mut wanted = before.clone();
        for element in wanted["list"].as_array_mut().unwrap() {
            if forced || element.get(&name).is_none() {
                element[&name] = json!(9);
            }
        }
        prop_assert_eq!(serde_json::from_str::<Value>(&once).unwrap(), wanted.clone());
        prop_assert_eq!(header.is_some(), forced && wanted != before);
        let (twice, header) = after(&once, &pointer, action).unwrap();
        prop_assert_eq!((twice, header), (once, None));
    }
}
