use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn redact(text: &str) -> String {
    let redaction = Redaction {
        keep_base64: false,
        max_bytes: 1 << 20,
    };
    redaction.apply(text.as_bytes()).text
}

#[test]
fn data_gives_way_to_length_and_hash_and_stays_when_it_is_wanted() {
    let picture = "iVBORw0KGgo".repeat(40);
    let body = json!({"messages": [{"content": [{"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{picture}")}}]}],
        "image": {"base64": picture}, "note": "short"});
    let redacted: Value = serde_json::from_str(&redact(&body.to_string())).unwrap();
    let url = redacted
        .pointer("/messages/0/content/0/image_url/url")
        .unwrap()
        .as_str()
        .unwrap();
    assert!(
        url.starts_with("data:image/png;base64,[base64 440 bytes sha256:"),
        "{url}"
    );
    assert!(
        redacted["image"]["base64"]
            .as_str()
            .unwrap()
            .starts_with("[base64 440 bytes sha256:")
    );
    assert_eq!(redacted["note"], "short");
    let kept = Redaction {
        keep_base64: true,
        max_bytes: 1 << 20,
    };
    assert_eq!(kept.apply(body.to_string().as_bytes()).text, body.to_string());
}

#[test]
fn secrets_are_masked_by_what_they_are() {
    let jwt = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl";
    for (text, wanted) in [
        (
            r#"{"a":"key sk-abcdefghijklmnop here"}"#.to_owned(),
            r#"{"a":"key [api-key] here"}"#,
        ),
        (
            r#"{"a":"sk-ant-api03-0123456789"}"#.to_owned(),
            r#"{"a":"[anthropic-key]"}"#,
        ),
        (format!(r#"{{"a":"see {jwt}"}}"#), r#"{"a":"see [jwt]"}"#),
        (
            r#"{"a":"Authorization: Bearer 0123456789abcdef0"}"#.to_owned(),
            r#"{"a":"Authorization: Bearer [bearer-token]"}"#,
        ),
        (
            r#"{"password":"hunter2","Api-Key":"x","n":1}"#.to_owned(),
            r#"{"password":"[secret]","Api-Key":"[secret]","n":1}"#,
        ),
        (
            r#"{"password" : "a\"b","b":"c"}"#.to_owned(),
            r#"{"password" : "[secret]","b":"c"}"#,
        ),
        (
            r#"{"a":"-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY----- bye"}"#.to_owned(),
            r#"{"a":"[private-key] bye"}"#,
        ),
        ("no json: AKIAABCDEFGHIJKLMNOP.".to_owned(), "no json: [aws-key]"),
        (
            "data: {\"t\":\"ghp_0123456789abcdefghij\"}\n\n".to_owned(),
            "data: {\"t\":\"[github-token]\"}\n\n",
        ),
        // Behind a sign that could be a part of it, and behind an escape.
        (
            r#"{"a":"OPENAI_API_KEY=sk-abcdefghijklmnop"}"#.to_owned(),
            r#"{"a":"OPENAI_API_KEY=[api-key]"}"#,
        ),
        (
            r#"{"a":"https://x.example/v1?key=AIzaSyA0123456789&x=1 https://x.example/ghp_0123456789abcdefghij"}"#
                .to_owned(),
            r#"{"a":"https://x.example/v1?key=[google-key]&x=1 https://x.example/[github-token]"}"#,
        ),
        (
            r#"{"a":"one\nsk-abcdefghijklmnop\u0009sk-abcdefghijklmnop\\sk-abcdefghijklmnop"}"#.to_owned(),
            r#"{"a":"one\n[api-key]\u0009[api-key]\\[api-key]"}"#,
        ),
        (
            r#"{"a":"hgks_0123456789abcdef whsec_0123456789abcdef"}"#.to_owned(),
            r#"{"a":"[access-key-secret] [webhook-secret]"}"#,
        ),
        (
            r#"{"token":["a","b",["c"]],"b":"d","secret":{"is":"e","of":[1,"f"]},"x-api-key":"g","n":"h"}"#.to_owned(),
            r#"{"token":["[secret]","[secret]",["[secret]"]],"b":"d","secret":{"is":"[secret]","of":[1,"[secret]"]},"x-api-key":"[secret]","n":"h"}"#,
        ),
        (
            r#"{"a":{"password":"x","b":{"token":5,"c":"d"}},"e":"f"}"#.to_owned(),
            r#"{"a":{"password":"[secret]","b":{"token":5,"c":"d"}},"e":"f"}"#,
        ),
        // Words that only look like them.
        (
            r#"{"a":"sk-short, eyJustAWord0123456789, token"}"#.to_owned(),
            r#"{"a":"sk-short, eyJustAWord0123456789, token"}"#,
        ),
        (
            r#"{"max_tokens":5,"token_count":"5"}"#.to_owned(),
            r#"{"max_tokens":5,"token_count":"5"}"#,
        ),
    ] {
        assert_eq!(redact(&text), wanted);
    }
}

#[test]
fn what_is_not_text_is_described() {
    assert!(redact_bytes(&[0xff, 0xfe, 1]).starts_with("[binary 3 bytes sha256:"));
}

fn redact_bytes(bytes: &[u8]) -> String {
    let redaction = Redaction {
        keep_base64: false,
        max_bytes: 1000,
    };
    redaction.apply(bytes).text
}

#[test]
fn texts_end_at_the_limit_between_characters() {
    let text = "\u{20ac}".repeat(10);
    for max_bytes in 0..=text.len() {
        let redacted = Redaction {
            keep_base64: false,
            max_bytes,
        }
        .apply(text.as_bytes());
        assert_eq!(redacted.text.len(), max_bytes / 3 * 3);
        assert_eq!(redacted.cut, max_bytes < text.len());
    }
}

proptest! {
    #[test]
    fn no_planted_secret_survives_and_json_stays_json(
        before in "\\PC{0,20}", after in "\\PC{0,20}", secret in "[a-zA-Z0-9]{20,40}", name in "[a-z]{1,8}",
        sign in "[ =/+:&?,;()\n\t\\\\\"\u{1}\u{20ac}]",
    ) {
        let planted = format!("sk-{secret}");
        let body = json!({&name: format!("{before}{sign}{planted} {after}"), "list": [planted.clone(), {"client_secret": secret.clone()}]});
        let text = redact(&body.to_string());
        prop_assert!(!text.contains(&planted), "{text}");
        prop_assert!(!text.contains(&secret), "{text}");
        prop_assert!(serde_json::from_str::<Value>(&text).is_ok(), "{text}");
    }

    #[test]
    fn any_bytes_are_taken_and_never_grow_past_the_limit(bytes in proptest::collection::vec(any::<u8>(), 0..400), max_bytes in 0usize..300) {
        let redacted = Redaction { keep_base64: false, max_bytes }.apply(&bytes);
        prop_assert!(redacted.text.len() <= max_bytes);
    }
}
