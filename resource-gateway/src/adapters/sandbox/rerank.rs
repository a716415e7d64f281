//! Simulated reranking: a document is as relevant as it holds the query's words.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Refusal, score::Draw, tokens::Tokenizer};

const MAX_DOCUMENTS: usize = 1000;

#[derive(Deserialize)]
struct RerankRequest {
    model: String,
    query: String,
    documents: Vec<Document>,
    #[serde(default, alias = "top_k")]
    top_n: Option<usize>,
    #[serde(default)]
    return_documents: Option<bool>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Document {
    Text(String),
    Object { text: String },
}

impl Document {
    fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Object { text } => text,
        }
    }
}

pub(super) fn answer(body: &[u8], tokenizer: &Tokenizer) -> Result<Answer, Refusal> {
    let request: RerankRequest = serde_json::from_slice(body).map_err(|_| {
        Refusal::new(
            "documents",
            "The query must be text and the documents texts or objects with text.",
        )
    })?;
    if request.documents.len() > MAX_DOCUMENTS {
        let why = format!("There can be {MAX_DOCUMENTS} documents at most.");
        return Err(Refusal::new("documents", why));
    }
    if request.top_n == Some(0) {
        return Err(Refusal::new("top_n", "There must be at least one result."));
    }
    let wanted = words(&request.query);
    let mut ranked: Vec<(usize, f64)> = request
        .documents
        .iter()
        .map(|document| relevance(&wanted, document.text()))
        .enumerate()
        .collect();
    ranked.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    ranked.truncate(request.top_n.unwrap_or(usize::MAX));
    let result = |(index, score): (usize, f64)| {
        let mut result = json!({"index": index, "relevance_score": score});
        let document = request
            .documents
            .get(index)
            .filter(|_| request.return_documents == Some(true));
        if let (Some(members), Some(document)) = (result.as_object_mut(), document) {
            members.insert("document".to_owned(), json!({"text": document.text()}));
        }
        result
    };
    let results: Vec<Value> = ranked.into_iter().map(result).collect();
    let texts = request
        .documents
        .iter()
        .map(|document| tokenizer.count(document.text()));
    let tokens = tokenizer.count(&request.query) + texts.sum::<usize>();
    Ok(Answer::Whole(
        json!({"id": Draw::of(body).id("rerank"), "model": request.model, "results": results,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens}, "sandbox": true}),
    ))
}

fn words(text: &str) -> BTreeSet<String> {
    let lower = text.to_lowercase();
    let words = lower.split(|c: char| !c.is_alphanumeric());
    words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// The share of the wanted words that are there, in thousandths.
fn relevance(wanted: &BTreeSet<String>, text: &str) -> f64 {
    let there = words(text).intersection(wanted).count();
    let thousandths = there * 1000 / wanted.len().max(1);
    f64::from(u16::try_from(thousandths).unwrap_or(1000)) / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(body: &Value) -> Result<Value, &'static str> {
        match answer(body.to_string().as_bytes(), &Tokenizer::default()) {
            Ok(Answer::Whole(value)) => Ok(value),
            Ok(_) => Err("not JSON"),
            Err(refusal) => Err(refusal.param),
        }
    }

    #[test]
    fn documents_with_the_querys_words_come_first() {
        let body = json!({"model": "m", "query": "red apple", "documents": ["a pear", {"text": "The red apple!"}, "red wine"],
            "return_documents": true});
        let reply = ask(&body).unwrap();
        let order: Vec<_> = reply["results"]
            .as_array()
            .unwrap()
            .iter()
            .map(|result| {
                (
                    result["index"].as_u64().unwrap(),
                    result["relevance_score"].as_f64().unwrap(),
                )
            })
            .collect();
        assert_eq!(order, [(1, 1.0), (2, 0.5), (0, 0.0)]);
        assert_eq!(reply["results"][0]["document"]["text"], "The red apple!");
        let mut fewer = body.clone();
        fewer["top_n"] = 1.into();
        assert_eq!(ask(&fewer).unwrap()["results"].as_array().unwrap().len(), 1);
        fewer["top_n"] = 0.into();
        assert_eq!(ask(&fewer).unwrap_err(), "top_n");
        assert_eq!(
            ask(&json!({"model": "m", "query": "x", "documents": [7]})).unwrap_err(),
            "documents"
        );
    }
}
