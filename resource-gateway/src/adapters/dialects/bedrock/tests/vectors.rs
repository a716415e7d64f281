//! Embeddings, by families of models.

use super::*;

fn embed(body: &Value, model: &str) -> Result<Encoded, EncodeError> {
    let vendor = Vendor::named("v", "aws_bedrock");
    let target = Target {
        model,
        ..target(&vendor)
    };
    BedrockEmbeddings.encode(&embeddings_call(body), target)
}

fn embeddings_call(body: &Value) -> Call {
    let mut body = body.clone();
    body["model"] = json!("m");
    Call::read(Capability::Embeddings, body.to_string().into(), None).unwrap()
}

#[test]
fn the_recorded_vectors_are_asked_for_and_read() {
    let recordings = fixtures("invoke-model");
    let recordings: Vec<_> = recordings
        .iter()
        .filter(|fixture| fixture.expect()["vectors"].is_array())
        .collect();
    assert!(!recordings.is_empty());
    for fixture in recordings {
        let params = &fixture.params()["body"];
        let mut body = params.clone();
        let input = body.as_object_mut().unwrap().remove("inputText").unwrap();
        body["input"] = input;
        let encoded = embed(&body, fixture.model()).unwrap();
        assert_eq!(
            encoded.place.unwrap().path,
            fixture.file["request"]["path"].as_str().unwrap()
        );
        let sent: Value = serde_json::from_slice(&encoded.body.concat()).unwrap();
        assert_eq!(sent, fixture.file["request"]["body"], "{}", fixture.name);
        let headers = fixture.headers();
        let reply = Received {
            model: fixture.model(),
            ..received(&headers, fixture.body())
        };
        let answer = decoded(BedrockEmbeddings.decode(&embeddings_call(&body), reply).unwrap());
        assert_eq!(
            answer.usage.unwrap().input,
            fixture.expect()["usage"]["input_tokens"].as_u64().unwrap()
        );
        let written: Value = serde_json::from_slice(&answer.answer.into_body().0).unwrap();
        let vectors: Vec<_> = written["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|found| &found["embedding"])
            .collect();
        assert_eq!(json!(vectors), fixture.expect()["vectors"]);
    }
}

#[test]
fn titan_reads_one_text_after_the_other() {
    let body = json!({"input": ["a", "b", "c"], "encoding_format": "base64"});
    let (call, headers, model) = (embeddings_call(&body), HeaderMap::new(), "amazon.titan-embed-text-v2:0");
    let mut request = embed(&body, model).unwrap();
    let mut state = Value::Null;
    for (at, text) in ["a", "b", "c"].iter().enumerate() {
        let sent: Value = serde_json::from_slice(&request.body.concat()).unwrap();
        assert_eq!(sent, json!({"inputText": text}));
        let vector = json!({"embedding": [at, 0.5], "inputTextTokenCount": 2}).to_string();
        let reply = Received {
            model,
            state: &state,
            ..received(&headers, vector)
        };
        match BedrockEmbeddings.decode(&call, reply).unwrap() {
            Outcome::Next(step) => {
                let Ask::Vendor(next) = step.ask else { panic!() };
                (request, state) = (next, step.state);
            }
            Outcome::Answer(answer) => {
                assert_eq!((at, answer.usage.unwrap().input), (2, 6));
                let written: Value = serde_json::from_slice(&answer.answer.into_body().0).unwrap();
                let last = written["data"][2]["embedding"].as_str().unwrap();
                let wanted = [2f32.to_le_bytes(), 0.5f32.to_le_bytes()].concat();
                assert_eq!(STANDARD.decode(last).unwrap(), wanted);
                return;
            }
        }
    }
    panic!("no answer");
}

#[test]
fn cohere_reads_all_texts_at_once_and_other_models_none() {
    let body = json!({"input": ["a", "b"], "dimensions": 256});
    let model = "cohere.embed-v4:0";
    let encoded = embed(&body, model).unwrap();
    let sent: Value = serde_json::from_slice(&encoded.body.concat()).unwrap();
    assert_eq!(
        sent,
        json!({"texts": ["a", "b"], "input_type": "search_document", "output_dimension": 256})
    );
    let mut headers = HeaderMap::new();
    headers.insert("x-amzn-bedrock-input-token-count", "4".parse().unwrap());
    for vectors in [json!([[1.0], [2.0]]), json!({"float": [[1.0], [2.0]]})] {
        let reply = Received {
            model,
            ..received(&headers, json!({"embeddings": vectors}).to_string())
        };
        let answer = decoded(BedrockEmbeddings.decode(&embeddings_call(&body), reply).unwrap());
        assert_eq!(answer.usage.unwrap().input, 4);
        let written: Value = serde_json::from_slice(&answer.answer.into_body().0).unwrap();
        assert_eq!(
            written["data"][1],
            json!({"object": "embedding", "index": 1, "embedding": [2.0]})
        );
    }
    let reply = Received {
        model,
        ..received(&headers, json!({"embeddings": [[1.0]]}).to_string())
    };
    assert!(BedrockEmbeddings.decode(&embeddings_call(&body), reply).is_err());
    for (body, model) in [
        (json!({"input": "a"}), "meta.llama"),
        (json!({"input": []}), "amazon.titan-embed-text-v2:0"),
        (json!({"input": [[1, 2]]}), "amazon.titan-embed-text-v2:0"),
        (json!({"input": vec!["a"; 97]}), model),
        (json!({"input": "a", "encoding_format": "int8"}), model),
    ] {
        assert!(embed(&body, model).is_err(), "{body}");
    }
}
