//! What is asked in other words, and what stays byte for byte.

use super::*;
use crate::adapters::dialects::recut::encoded;

#[test]
fn chat_is_what_each_vendors_own_library_sends_and_reads() {
    for (vendor, begin, quirks) in VENDORS {
        for golden in Golden::of(vendor, begin) {
            let (codec, row, model) = (chat(quirks), row(&golden), model(&golden));
            let body = openai_body(&golden);
            let call = call(Capability::Chat, &body);
            let encoded = codec.encode(&call, target(&model, &row)).unwrap();
            golden.check_body(&encoded);
            let (path, query) = golden.place();
            match quirks.place {
                Place::Plain => assert!(path.ends_with(codec.path()), "{path}"),
                Place::Deployment => {
                    let query = form_urlencoded::Serializer::new(String::new())
                        .extend_pairs(query)
                        .finish();
                    assert_eq!(encoded.place.as_ref().unwrap().path, format!("{path}?{query}"));
                    assert_eq!(codec.path(), "");
                }
            }
            let app_id = encoded.place.as_ref().and_then(|place| place.headers.get("appid"));
            assert_eq!(app_id.and_then(|id| id.to_str().ok()), golden.input("appid"));
            golden.check_chat(&codec, &call);
        }
    }
}

#[test]
fn embeddings_and_pictures_take_the_same_tables() {
    for (vendor, _, quirks) in VENDORS {
        if ["deepseek", "moonshot", "openai", "iflytek", "dashscope", "tencent"].contains(&vendor) {
            continue;
        }
        for golden in Golden::of(vendor, "embeddings-") {
            let codec = Shaped {
                quirks,
                codec: &OpenAiEmbeddings,
            };
            let mut body = openai_body(&golden);
            if let Some(inputs) = body.as_object_mut().unwrap().remove("inputs") {
                body["input"] = inputs;
            }
            let (row, model) = (row(&golden), model(&golden));
            let call = call(Capability::Embeddings, &body);
            golden.check_body(&codec.encode(&call, target(&model, &row)).unwrap());
            let headers = golden.headers();
            let reply = received(&headers, golden.body());
            let answer = decoded(codec.decode(&call, reply).unwrap());
            assert_eq!(
                answer.usage.map(|usage| usage.input),
                golden.expect()["usage"]["input_tokens"].as_u64()
            );
        }
    }
    let golden = Golden::of("volcengine-ark", "images-").remove(0);
    let codec = Shaped {
        quirks: &Quirks::VOLCENGINE,
        codec: &OpenAiImages,
    };
    let call = call(Capability::Image, &openai_body(&golden));
    golden.check_body(&codec.encode(&call, target(&model(&golden), &row(&golden))).unwrap());
    let headers = golden.headers();
    let reply = received(&headers, golden.body());
    let usage = decoded(codec.decode(&call, reply).unwrap()).usage;
    assert_eq!(usage.map(|usage| (usage.images, usage.output)), Some((1, 4096)));
}

#[test]
fn words_are_exchanged_and_all_else_stays_byte_for_byte() {
    let row = Vendor::named("v", "mistral");
    let text = r#"{ "x" : 1.50, "seed":4,"model":"m","messages":[{"role":"developer","content":"b\u00e9"},{"role":"assistant", "reasoning_content":"hm","content":"a"}],"max_completion_tokens":7,"tool_choice":"required","stream":true,"stream_options":{"include_usage":true} }"#;
    let sent = Call::read(Capability::Chat, text.into(), None).unwrap();
    let encoded = chat(&Quirks::MISTRAL).encode(&sent, target("up", &row)).unwrap();
    assert_eq!(
        String::from_utf8(encoded.body.concat()).unwrap(),
        r#"{"max_tokens":7,"random_seed":4, "x" : 1.50,"model":"up","messages":[{"role":"system","content":"b\u00e9"},{"role":"assistant","content":"a"}],"tool_choice":"any","stream":true }"#
    );
    // Said in another format, the same comes to the same.
    let other = foreign(Capability::Chat, &serde_json::from_str(text).unwrap());
    let translated = chat(&Quirks::MISTRAL).encode(&other, target("up", &row)).unwrap();
    assert_eq!(json_of(&translated), json_of(&encoded));
    // Where nothing has to be exchanged, nothing is copied.
    let plain = r#"{"model":"m","messages":[{"role":"user","content":"x"}]}"#;
    let sent = Call::read(Capability::Chat, plain.into(), None).unwrap();
    let untouched = chat(&Quirks::MISTRAL).encode(&sent, target("up", &row)).unwrap();
    assert_eq!(untouched.body, sent.for_vendor("up"));
}

#[test]
fn a_name_in_two_spellings_is_not_exchanged_by_chance() {
    let row = Vendor::named("v", "mistral");
    for text in [
        r#"{"model":"m","messages":[],"seed":1,"Seed":2}"#,
        r#"{"model":"m","messages":[],"seed":1,"seed":2}"#,
    ] {
        let sent = Call::read(Capability::Chat, text.into(), None).unwrap();
        assert!(
            chat(&Quirks::MISTRAL).encode(&sent, target("up", &row)).is_err(),
            "{text}"
        );
    }
    // The newer name goes first where both are there.
    let text = r#"{"model":"m","messages":[],"max_tokens":1,"max_completion_tokens":2}"#;
    let sent = Call::read(Capability::Chat, text.into(), None).unwrap();
    let encoded = chat(&Quirks::DEEPSEEK).encode(&sent, target("up", &row)).unwrap();
    assert_eq!(
        json_of(&encoded),
        json!({"model": "up", "messages": [], "max_tokens": 2})
    );
}

#[test]
fn usage_is_asked_for_where_it_has_to_be() {
    let row = Vendor::named("v", "s");
    for (quirks, unasked, asked) in [
        (&PLAIN, true, true),
        (&Quirks::DEEPSEEK, true, true),
        (&Quirks::MOONSHOT, false, true),
        (&Quirks::ZHIPU, false, false),
        (&Quirks::MISTRAL, false, false),
    ] {
        let mut body = json!({"model": "m", "messages": [], "stream": true});
        let has = |body: &Value| {
            let encoded = chat(quirks)
                .encode(&call(Capability::Chat, body), target("up", &row))
                .unwrap();
            json_of(&encoded).get("stream_options").is_some()
        };
        assert_eq!(has(&body), unasked, "{quirks:?}");
        body["stream_options"] = json!({"include_usage": true});
        assert_eq!(has(&body), asked, "{quirks:?}");
    }
}

#[test]
fn a_deployment_cannot_leave_its_place_in_the_path() {
    let mut row = Vendor::named("v", "azure-openai");
    row.options.insert(API_VERSION.to_owned(), "2024-10-21&x=y".to_owned());
    let sent = call(Capability::Chat, &json!({"model": "m", "messages": []}));
    for (model, wanted) in [
        ("gpt-4.1_x~", "gpt-4.1_x~"),
        ("a/../b?c#d", "a%2F..%2Fb%3Fc%23d"),
        ("..", "%2E%2E"),
        ("\u{e9}", "%C3%A9"),
    ] {
        let encoded = chat(&Quirks::AZURE).encode(&sent, target(model, &row)).unwrap();
        assert_eq!(
            encoded.place.unwrap().path,
            format!("/openai/deployments/{wanted}/chat/completions?api-version=2024-10-21%26x%3Dy")
        );
    }
}

#[test]
fn whether_to_think_is_said_in_the_vendors_own_word() {
    let row = Vendor::named("v", "v");
    let said = |quirks: &'static Quirks, more: Value| {
        let mut body = json!({"messages": [{"role": "user", "content": "x"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let encoded = encoded(&ShapedDialect::new(quirks), &body, &row).unwrap();
        let written: Value = serde_json::from_slice(&encoded.body.concat()).unwrap();
        let told = ["thinking", "enable_thinking", "reasoning_effort"].map(|name| written[name].clone());
        (told, encoded.dropped)
    };
    let enabled = || json!({"thinking": {"type": "enabled", "budget_tokens": 2048}});
    let disabled = || json!({"thinking": {"type": "disabled"}});
    let budget = vec!["thinking.budget_tokens".to_owned()];
    let word = |word: &str| json!({"type": word});
    assert_eq!(
        said(&Quirks::ZHIPU, enabled()),
        ([word("enabled"), Value::Null, Value::Null], budget.clone())
    );
    assert_eq!(
        said(&Quirks::VOLCENGINE, disabled()),
        ([word("disabled"), Value::Null, Value::Null], vec![])
    );
    assert_eq!(
        said(&Quirks::DASHSCOPE, enabled()),
        ([Value::Null, json!(true), Value::Null], budget)
    );
    assert_eq!(
        said(&Quirks::QIANFAN, disabled()),
        ([Value::Null, json!(false), Value::Null], vec![])
    );
    let none = json!({"reasoning_effort": "none"});
    assert_eq!(
        said(&Quirks::ZHIPU, none),
        ([word("disabled"), Value::Null, Value::Null], vec![])
    );
    // A word for how hard is none for not at all.
    assert_eq!(
        said(&Quirks::DEEPSEEK, enabled()),
        ([Value::Null, Value::Null, json!("low")], vec![])
    );
    assert_eq!(
        said(&Quirks::DEEPSEEK, disabled()),
        ([Value::Null, Value::Null, Value::Null], vec!["thinking".to_owned()])
    );
    // It is said by that word all the same, and nothing is lost.
    assert_eq!(
        said(&Quirks::DEEPSEEK, json!({"reasoning_effort": "none"})),
        ([Value::Null, Value::Null, json!("none")], vec![])
    );
    assert_eq!(
        said(&Quirks::ZHIPU, json!({})),
        ([Value::Null, Value::Null, Value::Null], vec![])
    );
}

#[test]
fn what_a_vendors_list_of_parameters_lacks_is_refused_or_dropped_with_notice() {
    let row = Vendor::named("v", "v");
    let asked = |quirks: &'static Quirks, call: &Call, rule: WhenUnsupported| {
        let target = Target {
            when_unsupported: rule,
            ..target("up", &row)
        };
        match chat(quirks).encode(call, target) {
            Ok(encoded) => Ok((json_of(&encoded), encoded.dropped)),
            Err(EncodeError::Refused(error)) => Err(error.param.unwrap_or_default().to_string()),
            Err(other) => panic!("{other:?}"),
        }
    };
    let messages = json!([{"role": "user", "content": "x"}]);
    let top_k = json!({"model": "m", "messages": messages, "top_k": 3});
    let plain = json!({"model": "up", "messages": messages});
    for (quirks, has) in [
        (&Quirks::AZURE, false),
        (&Quirks::DEEPSEEK, false),
        (&Quirks::MOONSHOT, false),
        (&Quirks::ZHIPU, false),
        (&Quirks::VOLCENGINE, false),
        (&Quirks::MISTRAL, false),
        (&Quirks::SPARK, true),
        (&Quirks::DASHSCOPE, true),
    ] {
        let translated = foreign(Capability::Chat, &top_k);
        let (refused, dropped) = (
            asked(quirks, &translated, WhenUnsupported::Refuse),
            asked(quirks, &translated, WhenUnsupported::Drop).unwrap(),
        );
        if has {
            assert_eq!(refused.unwrap().0["top_k"], 3);
        } else {
            assert_eq!(refused, Err("top_k".to_owned()));
            assert_eq!(dropped, (plain.clone(), vec!["top_k".to_owned()]));
        }
        // Who speaks the vendor's format hears from the vendor itself what it does not know, unless that is more than it takes.
        let own = asked(quirks, &call_of(&top_k), WhenUnsupported::Refuse);
        match quirks.refuses_unknown {
            true => assert_eq!(own, Err("top_k".to_owned())),
            false => assert_eq!(own.unwrap().0["top_k"], 3),
        }
    }
    for (name, value) in [
        ("logit_bias", json!({"1": 2})),
        ("logprobs", json!(true)),
        ("user", json!("u")),
        ("store", json!(true)),
    ] {
        let mut body = json!({"model": "m", "messages": messages});
        body[name] = value;
        let own = call_of(&body);
        assert_eq!(
            asked(&Quirks::MISTRAL, &own, WhenUnsupported::Refuse),
            Err(name.to_owned())
        );
        let wanted = (plain.clone(), vec![name.to_owned()]);
        assert_eq!(asked(&Quirks::MISTRAL, &own, WhenUnsupported::Drop), Ok(wanted));
    }
    let nothing = json!({"model": "m", "messages": messages, "logprobs": false, "store": false, "user": null, "safe_prompt": true});
    let (written, dropped) = asked(&Quirks::MISTRAL, &call_of(&nothing), WhenUnsupported::Refuse).unwrap();
    assert_eq!(
        (written, dropped),
        (
            json!({"model": "up", "messages": messages, "safe_prompt": true}),
            vec![]
        )
    );
    let named = json!({"model": "m", "messages": [{"role": "user", "name": "Ann", "content": "x"}]});
    let named = foreign(Capability::Chat, &named);
    let refused = asked(&Quirks::MISTRAL, &named, WhenUnsupported::Refuse);
    assert_eq!(refused, Err("messages[0].name".to_owned()));
    assert!(asked(&Quirks::DEEPSEEK, &named, WhenUnsupported::Refuse).is_ok());
}

#[test]
fn calls_of_a_translated_conversation_have_names_that_the_vendor_takes() {
    let body = json!({"messages": [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": null, "tool_calls": [
            {"id": "toolu_01AbCdEfGh", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            {"id": "D681PevKs", "type": "function", "function": {"name": "f", "arguments": "{}"}},
        ]},
        {"role": "tool", "tool_call_id": "D681PevKs", "content": "1"},
        {"role": "tool", "tool_call_id": "toolu_01AbCdEfGh", "content": "2"},
    ]});
    let ids = |quirks: &'static Quirks| {
        let row = Vendor::named("v", "s");
        let written = json_of(&encoded(&ShapedDialect::new(quirks), &body, &row).unwrap());
        let messages = written["messages"].clone();
        let id = |value: &Value| value.as_str().unwrap().to_owned();
        let calls = &messages[1]["tool_calls"];
        let made = [id(&calls[0]["id"]), id(&calls[1]["id"])];
        (
            made,
            [id(&messages[2]["tool_call_id"]), id(&messages[3]["tool_call_id"])],
        )
    };
    let ([first, second], answered) = ids(&Quirks::MISTRAL);
    assert_eq!((first.len(), second.as_str()), (9, "D681PevKs"));
    assert_eq!(answered, [second, first]);
    let (made, _) = ids(&Quirks::MOONSHOT);
    assert_eq!(made[0], "toolu_01AbCdEfGh", "elsewhere they are what they are");
}
