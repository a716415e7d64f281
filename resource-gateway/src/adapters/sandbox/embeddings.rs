//! Simulated embeddings: words hashed into a vector, so that texts that share words lie close together.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Answer, Refusal, tokens::Tokenizer};

/// As many as OpenAI's small model gives.
const DEFAULT_DIMENSIONS: usize = 1536;
const MAX_DIMENSIONS: usize = 3072;
/// OpenAI's limits.
const MAX_INPUTS: usize = 2048;
const MAX_INPUT_TOKENS: usize = 8192;

#[derive(Deserialize)]
struct EmbeddingsRequest {
    model: String,
    input: Input,
    #[serde(default)]
    dimensions: Option<usize>,
    #[serde(default)]
    encoding_format: Option<EncodingFormat>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum EncodingFormat {
    Float,
    Base64,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Input {
    Text(String),
    Texts(Vec<String>),
    Tokens(Vec<u32>),
    TokenLists(Vec<Vec<u32>>),
}

pub(super) fn answer(body: &[u8], tokenizer: &Tokenizer) -> Result<Answer, Refusal> {
    let request: EmbeddingsRequest = serde_json::from_slice(body).map_err(|_| {
        Refusal::new(
            "input",
            "The input must be text, texts, tokens or lists of tokens, and not much else.",
        )
    })?;
    let dimensions = request.dimensions.unwrap_or(DEFAULT_DIMENSIONS);
    if dimensions == 0 || dimensions > MAX_DIMENSIONS {
        return Err(Refusal::new(
            "dimensions",
            format!("There can be 1 to {MAX_DIMENSIONS} dimensions."),
        ));
    }
    let inputs: Vec<Vec<u32>> = match request.input {
        Input::Text(text) => vec![tokenizer.encode(&text)],
        Input::Texts(texts) => texts.iter().map(|text| tokenizer.encode(text)).collect(),
        Input::Tokens(tokens) => vec![tokens],
        Input::TokenLists(lists) => lists,
    };
    if inputs.is_empty() || inputs.len() > MAX_INPUTS || inputs.iter().any(Vec::is_empty) {
        return Err(Refusal::new(
            "input",
            format!("There can be 1 to {MAX_INPUTS} inputs, none of them empty."),
        ));
    }
    if inputs.iter().any(|tokens| tokens.len() > MAX_INPUT_TOKENS) {
        return Err(Refusal::new(
            "input",
            format!("An input can have {MAX_INPUT_TOKENS} tokens at most."),
        ));
    }
    let count: usize = inputs.iter().map(Vec::len).sum();
    let encoding = request.encoding_format.unwrap_or(EncodingFormat::Float);
    let data: Vec<Value> = inputs
        .iter()
        .enumerate()
        .map(|(index, tokens)| {
            json!({"object": "embedding", "index": index, "embedding": encode(&embed(tokens, dimensions), encoding)})
        })
        .collect();
    Ok(Answer::Whole(
        json!({"object": "list", "data": data, "model": request.model,
        "usage": {"prompt_tokens": count, "total_tokens": count}, "sandbox": true}),
    ))
}

fn encode(vector: &[f32], encoding: EncodingFormat) -> Value {
    match encoding {
        EncodingFormat::Float => vector.into(),
        EncodingFormat::Base64 => {
            let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
            STANDARD.encode(bytes).into()
        }
    }
}

/// A vector of length 1. Each token adds to eight places that its hash names.
fn embed(tokens: &[u32], dimensions: usize) -> Vec<f32> {
    let mut vector = vec![0f32; dimensions];
    for token in tokens {
        for pair in Sha256::digest(token.to_le_bytes()).as_chunks::<4>().0 {
            let hash = u32::from_le_bytes(*pair) as usize;
            if let Some(slot) = vector.get_mut((hash >> 1) % dimensions) {
                *slot += if hash & 1 == 0 { 1.0 } else { -1.0 };
            }
        }
    }
    let length = vector.iter().map(|number| number * number).sum::<f32>().sqrt();
    if length > 0.0 {
        for number in &mut vector {
            *number /= length;
        }
    } else if let Some(first) = vector.first_mut() {
        // Everything cancelled out; a vector of length 1 is promised all the same.
        *first = 1.0;
    }
    vector
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(body: &Value) -> Result<Value, &'static str> {
        match answer(body.to_string().as_bytes(), &Tokenizer::default()) {
            Ok(Answer::Whole(value)) => Ok(value),
            Ok(_) => Err("events"),
            Err(refusal) => Err(refusal.param),
        }
    }

    fn floats(value: &Value) -> Vec<f32> {
        serde_json::from_value(value.clone()).unwrap()
    }

    #[test]
    fn texts_that_share_words_are_close_and_all_have_length_one() {
        let input = [
            "the cat sat on the mat",
            "the cat lay on the mat",
            "stock markets fell sharply",
        ];
        let reply = run(&json!({"model": "m", "input": input})).unwrap();
        let vectors: Vec<_> = (0..3).map(|at| floats(&reply["data"][at]["embedding"])).collect();
        let near = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
        assert!(
            vectors
                .iter()
                .all(|vector| (near(vector, vector) - 1.0).abs() < 1e-4 && vector.len() == 1536)
        );
        assert!(near(&vectors[0], &vectors[1]) > near(&vectors[0], &vectors[2]) + 0.3);
        assert_eq!(reply["usage"]["prompt_tokens"], reply["usage"]["total_tokens"]);
    }

    #[test]
    fn base64_holds_the_same_numbers() {
        let ask = |format: &str| {
            run(&json!({"model": "m", "input": "one", "dimensions": 8, "encoding_format": format})).unwrap()
        };
        let (plain, packed) = (ask("float"), ask("base64"));
        let bytes = STANDARD
            .decode(packed["data"][0]["embedding"].as_str().unwrap())
            .unwrap();
        let numbers: Vec<f32> = bytes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|four| f32::from_le_bytes(*four))
            .collect();
        assert_eq!(numbers, floats(&plain["data"][0]["embedding"]));
        assert_eq!(numbers.len(), 8);
    }

    #[test]
    fn every_shape_of_input_is_taken_and_bad_ones_are_refused() {
        for input in [
            json!("one two"),
            json!(["one", "two"]),
            json!([1, 2]),
            json!([[1, 2], [3]]),
        ] {
            assert!(run(&json!({"model": "m", "input": input})).is_ok(), "{input}");
        }
        for input in [json!([]), json!(""), json!({}), json!(null)] {
            assert_eq!(run(&json!({"model": "m", "input": input})), Err("input"), "{input}");
        }
        assert_eq!(
            run(&json!({"model": "m", "input": "x", "dimensions": 0})),
            Err("dimensions")
        );
    }
}
