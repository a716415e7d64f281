//! What an interface has decided about a request, and that no vendor's own words lead around it.

use serde_json::{Value, json};

use super::{
    anthropic::AnthropicDialect,
    bedrock::{BedrockChat, BedrockMessages},
    cohere::Cohere,
    dashscope::DashScopeChat,
    gemini::Gemini,
    golden::{call, foreign},
    ollama::Ollama,
    openai::{
        OpenAiDialect,
        quirks::{Quirks, ShapedDialect},
    },
    recut::{encoded, json_of},
    responses::ResponsesDialect,
    spark::Spark,
    tencent::TencentChat,
    testing::target,
    translated::Chat,
};
use crate::{
    domain::{interface::Capability, vendor::Vendor},
    ports::{
        chat::ChatDialect,
        codec::{Codec as _, EncodeError},
    },
};

fn asked(dialect: &dyn ChatDialect, more: &Value) -> Result<Value, String> {
    let mut body = json!({"messages": [{"role": "user", "content": "x"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    match encoded(dialect, &body, &Vendor::named("v", "v")) {
        Ok(encoded) => Ok(json_of(&encoded)),
        Err(EncodeError::Refused(error)) => Err(error.param.unwrap_or_default().into()),
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn what_has_a_word_of_its_own_is_not_said_by_a_vendors() {
    let cases: [(&dyn ChatDialect, Value, &str); 17] = [
        (&Gemini, json!({"candidate_count": 8}), "candidate_count"),
        (
            &Gemini,
            json!({"generationConfig": {"max_output_tokens": 9}}),
            "generationConfig.max_output_tokens",
        ),
        (
            &Gemini,
            json!({"generation_config": {"maxOutputTokens": 9}}),
            "generation_config.maxOutputTokens",
        ),
        (
            &Gemini,
            json!({"generationConfig": {"thinkingConfig": {"thinkingBudget": 9}}}),
            "generationConfig.thinkingConfig",
        ),
        (&Gemini, json!({"thinking_config": {}}), "thinking_config"),
        (
            &Gemini,
            json!({"response_mime_type": "text/plain"}),
            "response_mime_type",
        ),
        (&Ollama, json!({"numPredict": 9}), "numPredict"),
        (&Ollama, json!({"options": {"NUM_PREDICT": 9}}), "options.NUM_PREDICT"),
        (&Cohere, json!({"stopSequences": ["x"]}), "stopSequences"),
        (&TencentChat, json!({"EnableThinking": true}), "EnableThinking"),
        (
            &BedrockChat,
            json!({"additionalModelRequestFields": {"thinking": {"type": "enabled"}}}),
            "additionalModelRequestFields.thinking",
        ),
        (
            &BedrockChat,
            json!({"additionalModelRequestFields": {"reasoning_effort": "high"}}),
            "additionalModelRequestFields.reasoning_effort",
        ),
        (
            &BedrockChat,
            json!({"additionalModelRequestFields": {"reasoning_config": {}}}),
            "additionalModelRequestFields.reasoning_config",
        ),
        (
            &AnthropicDialect,
            json!({"output_config": {"effort": "max"}}),
            "output_config.effort",
        ),
        (
            &AnthropicDialect,
            json!({"output_config": {"format": {}}}),
            "output_config.format",
        ),
        (
            &BedrockMessages,
            json!({"output_config": {"effort": "max"}}),
            "output_config.effort",
        ),
        (&Spark, json!({"Domain": "lite"}), "Domain"),
    ];
    for (dialect, more, param) in cases {
        assert_eq!(asked(dialect, &more), Err(param.to_owned()), "{dialect:?}");
    }
}

#[test]
fn what_was_said_in_openais_words_stays() {
    let off = |more: Value| {
        let mut body = json!({"thinking": {"type": "disabled"}});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let gemini = asked(&Gemini, &off(json!({"thinkingConfig": {"thinkingBudget": 9}}))).unwrap();
    assert_eq!(
        gemini["generationConfig"]["thinkingConfig"],
        json!({"thinkingBudget": 0})
    );
    let ollama = asked(&Ollama, &off(json!({"think": "high"}))).unwrap();
    assert_eq!(ollama["think"], json!(false));
    let more = json!({"enable_thinking": true, "result_format": "text", "incremental_output": false, "stream": true});
    let dashscope = asked(&DashScopeChat, &off(more)).unwrap();
    assert_eq!(
        dashscope["parameters"],
        json!({"enable_thinking": false, "result_format": "message", "incremental_output": true})
    );
    let qianfan = ShapedDialect::new(&Quirks::QIANFAN);
    let qianfan = asked(&qianfan, &off(json!({"enable_thinking": true}))).unwrap();
    assert_eq!(qianfan["enable_thinking"], json!(false));
    let mistral = ShapedDialect::new(&Quirks::MISTRAL);
    let mistral = asked(&mistral, &json!({"seed": 1, "random_seed": 2})).unwrap();
    assert_eq!((&mistral["random_seed"], &mistral["seed"]), (&json!(1), &Value::Null));
}

#[test]
fn callers_of_the_vendors_format_say_no_second_time_what_was_said() {
    let row = Vendor::named("v", "v");
    let asked = |quirks: &'static Quirks, more: Value| {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let own = call(Capability::Chat, &body);
        json_of(&Chat(ShapedDialect::new(quirks)).encode(&own, target(&row)).unwrap())
    };
    let seeded = asked(&Quirks::MISTRAL, json!({"random_seed": 2, "seed": 1}));
    assert_eq!((&seeded["random_seed"], &seeded["seed"]), (&json!(1), &Value::Null));
    for quirks in [&Quirks::DASHSCOPE, &Quirks::QIANFAN] {
        let off = asked(
            quirks,
            json!({"thinking": {"type": "disabled"}, "enable_thinking": true}),
        );
        assert_eq!(
            (&off["enable_thinking"], &off["thinking"]),
            (&json!(false), &Value::Null)
        );
        // Nothing that this vendor could be told.
        let open = json!({"thinking": {"type": "auto"}, "enable_thinking": true});
        assert_eq!(asked(quirks, open)["enable_thinking"], json!(true));
    }
    let zhipu = asked(&Quirks::ZHIPU, json!({"thinking": {"type": "disabled"}}));
    assert_eq!(zhipu["thinking"], json!({"type": "disabled"}));
}

#[test]
fn no_model_takes_the_failure_of_a_tool_for_its_result() {
    let function = json!({"name": "f", "arguments": "{}"});
    let body = json!({"model": "m", "messages": [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": null, "tool_calls": [{"id": "c", "type": "function", "function": function}]},
        {"role": "tool", "tool_call_id": "c", "content": "no such file", "is_error": true}],
        "tools": [{"type": "function", "function": {"name": "f"}}]});
    let dialects: [(&dyn ChatDialect, &str); 11] = [
        (&OpenAiDialect, "Error: no such file"),
        (&ShapedDialect::new(&Quirks::DEEPSEEK), "Error: no such file"),
        (&ResponsesDialect, "Error: no such file"),
        (&DashScopeChat, "Error: no such file"),
        (&TencentChat, "Error: no such file"),
        (&Cohere, "Error: no such file"),
        (&Ollama, "Error: no such file"),
        (&AnthropicDialect, "\"is_error\":true"),
        (&BedrockMessages, "\"is_error\":true"),
        (&BedrockChat, "\"status\":\"error\""),
        (&Gemini, "{\"error\":\"no such file\"}"),
    ];
    for (dialect, told) in dialects {
        let encoded = encoded(dialect, &body, &Vendor::named("v", "v")).unwrap();
        let text = String::from_utf8(encoded.body.concat()).unwrap();
        assert!(text.contains(told), "{dialect:?}: {text}");
        assert_eq!(text.matches("no such file").count(), 1, "{dialect:?}");
    }
    // Callers of Messages have the word, and it is no part of what other vendors get.
    let call = foreign(Capability::Chat, &body);
    let row = Vendor::named("v", "v");
    let written = Chat(ShapedDialect::new(&Quirks::MOONSHOT))
        .encode(&call, target(&row))
        .unwrap();
    assert_eq!(json_of(&written)["messages"][2]["content"], "Error: no such file");
    assert_eq!(json_of(&written)["messages"][2].get("is_error"), None);
}
