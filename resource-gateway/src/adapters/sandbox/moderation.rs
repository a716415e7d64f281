//! Simulated moderation: a few words are bad, all others are not.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Answer, Refusal, score::Draw, tokens::Tokenizer};

/// OpenAI's categories.
const CATEGORIES: [&str; 13] = [
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/intent",
    "self-harm/instructions",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
];
/// Words that the simulator minds.
const BAD: [(&str, &str); 5] = [
    ("idiot", "harassment"),
    ("hate", "hate"),
    ("steal", "illicit"),
    ("suicide", "self-harm"),
    ("kill", "violence"),
];

#[derive(Deserialize)]
struct ModerationRequest {
    model: String,
    input: Input,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Input {
    Text(String),
    Texts(Vec<String>),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
struct Part {
    #[serde(default)]
    text: Option<String>,
}

pub(super) fn answer(body: &[u8], tokenizer: &Tokenizer) -> Result<Answer, Refusal> {
    let request: ModerationRequest =
        serde_json::from_slice(body).map_err(|_| Refusal::new("input", "The input must be text, texts or parts."))?;
    let texts = match request.input {
        Input::Text(text) => vec![text],
        Input::Texts(texts) => texts,
        // Parts are one thing to judge; the simulator does not look at pictures.
        Input::Parts(parts) => {
            let texts: Vec<_> = parts.into_iter().filter_map(|part| part.text).collect();
            vec![texts.join("\n")]
        }
    };
    if texts.is_empty() {
        return Err(Refusal::new("input", "There must be at least one input."));
    }
    let tokens: usize = texts.iter().map(|text| tokenizer.count(text)).sum();
    let results: Vec<Value> = texts.iter().map(|text| judge(text)).collect();
    let id = Draw::of(body).id("modr");
    Ok(Answer::Whole(
        json!({"id": id, "model": request.model, "results": results,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens}, "sandbox": true}),
    ))
}

fn judge(text: &str) -> Value {
    let lower = text.to_lowercase();
    let words: Vec<&str> = lower.split(|c: char| !c.is_alphanumeric()).collect();
    let mut draw = Draw::of(text.as_bytes());
    let (mut categories, mut scores, mut inputs) = (Map::new(), Map::new(), Map::new());
    let mut flagged = false;
    for category in CATEGORIES {
        let bad = BAD.iter().any(|(word, of)| *of == category && words.contains(word));
        flagged |= bad;
        let score = draw.share() / 20.0 + if bad { 0.9 } else { 0.0 };
        categories.insert(category.to_owned(), bad.into());
        scores.insert(category.to_owned(), json!((score * 10_000.0).round() / 10_000.0));
        inputs.insert(category.to_owned(), json!(["text"]));
    }
    json!({"flagged": flagged, "categories": categories, "category_scores": scores, "category_applied_input_types": inputs})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(input: &Value) -> Result<Value, &'static str> {
        let body = json!({"model": "m", "input": input}).to_string();
        match answer(body.as_bytes(), &Tokenizer::default()) {
            Ok(Answer::Whole(value)) => Ok(value),
            Ok(_) => Err("not JSON"),
            Err(refusal) => Err(refusal.param),
        }
    }

    #[test]
    fn bad_words_are_flagged_and_others_are_not() {
        let reply = ask(&json!(["I will KILL the process.", "skill and hat"])).unwrap();
        assert_eq!(reply["results"][0]["flagged"], true);
        assert_eq!(reply["results"][0]["categories"]["violence"], true);
        assert!(reply["results"][0]["category_scores"]["violence"].as_f64().unwrap() >= 0.9);
        assert_eq!(reply["results"][1]["flagged"], false);
        assert!(reply["usage"]["prompt_tokens"].as_u64().unwrap() > 5);
        let parts = json!([{"type": "text", "text": "you idiot"}, {"type": "image_url", "image_url": {"url": "x"}}]);
        assert_eq!(ask(&parts).unwrap()["results"].as_array().unwrap().len(), 1);
        assert_eq!(ask(&json!([])).unwrap_err(), "input");
        assert_eq!(ask(&json!(7)).unwrap_err(), "input");
    }
}
