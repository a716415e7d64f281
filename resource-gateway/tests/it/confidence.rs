//! `min_confidence`: of the interface, and a stricter one of the call.

use serde_json::{Value, json};

use crate::{
    forms,
    recorder::{interface, world},
    running::Running,
};

/// The places whose answers have scores: capability, route, member with the parts, member with the score.
const SCORED: [(&str, &str, &str, &str); 4] = [
    ("ocr", "/v1/ocr", "lines", "confidence"),
    ("labels", "/v1/images/labels", "labels", "confidence"),
    ("faces", "/v1/faces/detect", "faces", "confidence"),
    ("rerank", "/v1/rerank", "results", "relevance_score"),
];

fn request(capability: &str) -> Value {
    match capability {
        "rerank" => json!({"model": capability, "query": "red apple pie now",
            "documents": ["red apple pie now", "red apple pie", "red apple", "red", "none of it"]}),
        _ => json!({"model": capability, "image": {"base64": "aGVsbG8="}}),
    }
}

fn scores(reply: &Value, parts: &str, score: &str) -> Vec<f64> {
    let parts = reply[parts].as_array().unwrap();
    parts.iter().map(|part| part[score].as_f64().unwrap()).collect()
}

fn document(more: &str) -> String {
    SCORED
        .map(|(capability, ..)| interface(capability, capability, "sandbox", more))
        .concat()
}

async fn ask(world: &Running, capability: &str, path: &str, threshold: Option<f64>) -> (Value, String) {
    let mut body = request(capability);
    if let Some(threshold) = threshold {
        body["min_confidence"] = threshold.into();
    }
    let answer = world.post(path, &world.token(), &body).await;
    (answer.ok(), answer.header("x-hexgate-filtered").to_owned())
}

#[tokio::test]
async fn what_is_not_sure_enough_is_dropped_and_counted_and_what_is_exactly_sure_enough_stays() {
    let (world, _) = world(&document("")).await;
    for (capability, path, parts, score) in SCORED {
        let (all, header) = ask(&world, capability, path, None).await;
        let all = scores(&all, parts, score);
        assert!(header.is_empty() && all.len() >= 3, "{capability}: {all:?}");
        // At each score that there is: it stays itself, and all below it go.
        for threshold in all.iter().copied().chain([0.0, 1.0]) {
            let (some, header) = ask(&world, capability, path, Some(threshold)).await;
            let kept: Vec<f64> = all.iter().copied().filter(|score| *score >= threshold).collect();
            assert_eq!(scores(&some, parts, score), kept, "{capability} at {threshold}");
            let dropped = all.len() - kept.len();
            assert_eq!(some["filtered"], dropped, "{capability} at {threshold}");
            assert_eq!(header, dropped.to_string());
            if capability == "ocr" {
                let lines: Vec<_> = some["lines"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|line| line["text"].as_str().unwrap())
                    .collect();
                assert_eq!(
                    some["text"],
                    lines.join("\n"),
                    "what was dropped does not stand in the text either"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_call_can_be_stricter_than_its_interface_and_never_laxer() {
    let (world, _) = world(&document("min_confidence = 0.5")).await;
    for (capability, path, parts, score) in SCORED {
        for (asked, held) in [(None, 0.5), (Some(0.0), 0.5), (Some(0.49), 0.5), (Some(0.7), 0.7)] {
            let (reply, _) = ask(&world, capability, path, asked).await;
            let kept = scores(&reply, parts, score);
            assert!(
                kept.iter().all(|score| *score >= held),
                "{capability} {asked:?}: {kept:?}"
            );
            assert!(reply["filtered"].as_u64().unwrap() > 0, "{capability} {asked:?}");
        }
        // By another name it is the same row.
        let (lax, _) = ask(
            &world,
            capability,
            &format!("/ai/invoke/{}", invoke_name(capability)),
            Some(0.0),
        )
        .await;
        assert!(scores(&lax, parts, score).iter().all(|score| *score >= 0.5));
        for spelling in ["minConfidence", "MIN_CONFIDENCE", "min-confidence"] {
            let mut body = request(capability);
            body[spelling] = 0.0.into();
            let refused = world.post(path, &world.token(), &body).await;
            assert_eq!(refused.error(400)["param"], "min_confidence");
        }
        let mut body = request(capability);
        for wrong in [json!(1.5), json!(-1), json!("0.5"), json!([0.5])] {
            body["min_confidence"] = wrong;
            let refused = world.post(path, &world.token(), &body).await;
            assert_eq!(refused.error(400)["param"], "min_confidence");
        }
    }
    // The next request obeys a changed row.
    world.apply(&document("min_confidence = 1")).await;
    let (reply, _) = ask(&world, "ocr", "/v1/ocr", None).await;
    assert_eq!(
        (&reply["lines"], &reply["text"], &reply["filtered"]),
        (&json!([]), &json!(""), &json!(5))
    );
}

fn invoke_name(capability: &str) -> &str {
    match capability {
        "labels" => "image_labels",
        "faces" => "face_detection",
        other => other,
    }
}

#[tokio::test]
async fn a_transcript_is_held_to_it_in_every_format() {
    let open = interface("open", "transcription", "recorder", "");
    let held = interface("held", "transcription", "recorder", "min_confidence = 0.5");
    let (world, vendor) = world(&format!("{open}{held}")).await;
    let path = "/v1/audio/transcriptions";
    for format in ["json", "text", "srt", "vtt", "verbose_json"] {
        for (model, more) in [
            ("held", ("language", "en")),
            ("held", ("min_confidence", "0.1")),
            ("open", ("min_confidence", "0.5")),
        ] {
            let body = forms::form(&[("model", model), ("file", "RIFF"), ("response_format", format), more]);
            let answer = forms::send(&world, path, body).await;
            assert_eq!(answer.status, 200, "{}", answer.body);
            assert!(
                answer.body.contains("Clear") && !answer.body.contains("Mumble"),
                "{format}: {}",
                answer.body
            );
            assert_eq!(answer.header("x-hexgate-filtered"), "1");
            let seen = vendor.take().form();
            assert!(
                seen.get("min_confidence").unwrap().is_none(),
                "it is between the caller and the gateway"
            );
            assert_eq!(seen.texts("response_format").collect::<Vec<_>>(), ["verbose_json"]);
        }
    }
    let body = forms::form(&[("model", "open"), ("file", "RIFF"), ("response_format", "verbose_json")]);
    let answer = forms::send(&world, path, body).await;
    assert!(
        answer.body.contains("1.50") && answer.body.contains("Mumble"),
        "untouched without a threshold"
    );
}

#[tokio::test]
async fn a_threshold_where_there_are_no_scores_is_refused_beforehand() {
    let (world, _) = world("").await;
    let apply = world.gateway.foundation.apply().unwrap();
    for capability in ["chat", "embeddings", "speech", "image", "moderation"] {
        let document = interface("x", capability, "sandbox", "min_confidence = 0.5");
        let refused = apply
            .apply(&document, std::path::Path::new("."))
            .await
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains("min_confidence: answers of") && refused.contains(capability),
            "{refused}"
        );
    }
}
