//! Every golden fixture through the adapters, as the conformance command plays them.

use std::path::Path;

use serde_json::{Value, json};

use crate::suite::Suite;

/// What is recorded and not offered by this version. Whatever joins this list or leaves it makes the test fail.
const NOT_YET: [&str; 0] = [];

#[test]
fn every_recording_of_every_vendors_sdk_is_understood() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/vendors");
    let verdicts = Suite::new().unwrap().play_all(&folder).unwrap();
    let failed: Vec<_> = verdicts.iter().filter(|verdict| verdict.fault.is_some()).collect();
    let names: Vec<_> = failed.iter().map(|verdict| verdict.name.as_str()).collect();
    assert_eq!(names, NOT_YET, "{failed:#?}");
    assert_eq!(verdicts.len(), 190);
}

/// Every file of the fixtures, read.
fn recordings() -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/vendors");
    let mut recordings = Vec::new();
    for vendor in std::fs::read_dir(folder).unwrap() {
        let vendor = vendor.unwrap().path();
        for file in std::fs::read_dir(&vendor).unwrap() {
            let file = file.unwrap().path();
            let name = file.strip_prefix(vendor.parent().unwrap()).unwrap();
            let text = std::fs::read_to_string(&file).unwrap();
            let name = name.display().to_string().replace('/', "-");
            recordings.push((name, serde_json::from_str(&text).unwrap()));
        }
    }
    recordings
}

#[test]
fn streams_mean_the_same_however_their_lines_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut written = 0;
    for (name, recording) in recordings() {
        let Some(pieces) = recording.pointer("/response/sse").and_then(Value::as_array) else {
            continue;
        };
        for (kind, end) in [("crlf", "\r\n"), ("cr", "\r")] {
            let with_end = |piece: &Value| json!(piece.as_str().unwrap().replace('\n', end));
            let mut other = recording.clone();
            other["response"]["sse"] = pieces.iter().map(with_end).collect();
            std::fs::write(folder.path().join(format!("{kind}-{name}")), other.to_string()).unwrap();
            written += 1;
        }
    }
    let verdicts = Suite::new().unwrap().play_all(folder.path()).unwrap();
    let failed: Vec<_> = verdicts.iter().filter(|verdict| verdict.fault.is_some()).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!(verdicts.len(), written);
    assert!(written >= 30, "{written}");
}

#[test]
fn no_expectation_is_passed_over() {
    /// What only the vendor has a use for, and what is kept from everybody because it may repeat a secret.
    const NOT_COMPARED: [&str; 3] = [
        "latency_ms",
        "request_id",
        "baidu-error-token-invalid-client.json/error/message",
    ];
    let folder = tempfile::tempdir().unwrap();
    let mut written = 0;
    for (name, recording) in recordings() {
        let mut places = Vec::new();
        let expect = &recording["expect"];
        for (key, value) in expect.as_object().unwrap() {
            match value {
                Value::Object(members) => places.extend(members.keys().map(|member| format!("{key}/{member}"))),
                _ => places.push(key.clone()),
            }
        }
        for place in places {
            let is_free = |free: &&str| *free == place || *free == format!("{name}/{place}");
            if NOT_COMPARED.iter().any(is_free) {
                continue;
            }
            let mut other = recording.clone();
            // Nothing that an answer could hold.
            let wrong = match expect.pointer(&format!("/{place}")).unwrap() {
                Value::Number(_) => json!(-987),
                Value::Bool(value) => json!(!value),
                _ => json!("certainly not this"),
            };
            *other["expect"].pointer_mut(&format!("/{place}")).unwrap() = wrong;
            let place = place.replace('/', "-");
            std::fs::write(folder.path().join(format!("{place}-{name}")), other.to_string()).unwrap();
            written += 1;
        }
    }
    let verdicts = Suite::new().unwrap().play_all(folder.path()).unwrap();
    let passed: Vec<_> = verdicts.iter().filter(|verdict| verdict.fault.is_none()).collect();
    assert!(passed.is_empty(), "{passed:#?}");
    assert_eq!(verdicts.len(), written);
    assert!(written > 500, "{written}");
}

#[test]
fn a_recording_that_does_not_fit_is_told_by_name() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/vendors/openai/chat-plain.json");
    let text = std::fs::read_to_string(source).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (name, from, to) in [
        ("request.json", "\"method\": \"POST\"", "\"method\": \"PUT\""),
        ("answer.json", "\"finish\": \"stop\"", "\"finish\": \"length\""),
        ("vendor.json", "\"vendor\": \"openai\"", "\"vendor\": \"nobody\""),
        ("text.json", "{", ""),
    ] {
        assert!(text.contains(from), "{name}");
        std::fs::write(folder.path().join(name), text.replacen(from, to, 1)).unwrap();
    }
    let verdicts = Suite::new().unwrap().play_all(folder.path()).unwrap();
    let faults: Vec<_> = verdicts
        .iter()
        .map(|verdict| verdict.fault.as_deref().unwrap_or("none"))
        .collect();
    assert_eq!(faults.len(), 4);
    assert!(faults[0].starts_with("answer: finish is"), "{faults:?}");
    assert!(faults[1].starts_with("request: method is"), "{faults:?}");
    assert!(verdicts[2].name.ends_with("text.json"), "{verdicts:?}");
    assert_eq!(faults[3], "there is no vendor nobody");
}

#[test]
fn a_response_that_ends_early_or_fails_is_told_as_that() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/vendors/openai/responses-stream.json");
    let recorded: Value = serde_json::from_str(&std::fs::read_to_string(source).unwrap()).unwrap();
    let said = "event: response.output_text.delta";
    let end = |kind: &str, response: Value| {
        let data = json!({"type": format!("response.{kind}"), "sequence_number": 9, "response": response});
        json!(format!("event: response.{kind}\ndata: {data}\n\n"))
    };
    let folder = tempfile::tempdir().unwrap();
    for (name, last, expect) in [
        (
            "incomplete.json",
            Some(end(
                "incomplete",
                json!({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}, "output": []}),
            )),
            json!({"text": "Hi!", "status": "incomplete", "finish": "content_filter"}),
        ),
        (
            "failed.json",
            Some(end(
                "failed",
                json!({"status": "failed", "error": {"code": "rate_limit_exceeded", "message": "m"}, "output": []}),
            )),
            json!({"status": "failed", "stream_error": {"class": "rate_limit", "code": "rate_limit_exceeded", "message": "m", "after_text": "Hi!"}}),
        ),
        (
            "truncated.json",
            None,
            json!({"stream_error": {"class": "transport", "after_text": "Hi!"}}),
        ),
    ] {
        let mut fixture = recorded.clone();
        let pieces = fixture["response"]["sse"].as_array_mut().unwrap();
        let spoken = pieces
            .iter()
            .rposition(|piece| piece.as_str().unwrap().starts_with(said));
        pieces.truncate(spoken.unwrap() + 1);
        pieces.extend(last);
        fixture["expect"] = expect;
        std::fs::write(folder.path().join(name), fixture.to_string()).unwrap();
    }
    let verdicts = Suite::new().unwrap().play_all(folder.path()).unwrap();
    assert!(verdicts.iter().all(|verdict| verdict.fault.is_none()), "{verdicts:#?}");
    assert_eq!(verdicts.len(), 3);
}
