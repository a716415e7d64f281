//! OpenAI's other endpoints: embeddings, speech both ways, pictures, moderation, models.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{
    Dialect as _,
    chat::INPUT,
    credentials,
    openai_vendors::flavour,
    shape::{Checked, Failure, Object, invalid, refuse},
    wire::{Request, Whole},
};

pub(super) fn answer(request: &Request) -> Whole {
    answered(request).unwrap_or_else(|refused| flavour("openai").failure(&refused, None))
}

fn answered(request: &Request) -> Checked<Whole> {
    let known = [
        ("GET", "/v1/models"),
        ("POST", "/v1/embeddings"),
        ("POST", "/v1/audio/speech"),
        ("POST", "/v1/audio/transcriptions"),
        ("POST", "/v1/images/generations"),
        ("POST", "/v1/moderations"),
    ];
    if !known.contains(&(request.method.as_str(), request.path.as_str())) {
        return refuse(
            Failure::NotFound,
            format!("Invalid URL ({} {})", request.method, request.path),
        );
    }
    request.bearer(credentials("openai").key)?;
    match request.path.as_str() {
        "/v1/embeddings" => embeddings(request),
        "/v1/audio/speech" => speech(request),
        "/v1/audio/transcriptions" => transcription(request),
        "/v1/images/generations" => images(request),
        "/v1/moderations" => moderations(request),
        _ => Ok(Whole::json(
            200,
            &json!({"object": "list", "data": [{"id": "mock", "object": "model"}]}),
        )),
    }
}

/// How many inputs a field holds: one text, or a list.
fn count(value: Option<&Value>) -> Checked<usize> {
    match value {
        Some(Value::String(text)) if !text.is_empty() => Ok(1),
        Some(Value::Array(list)) if !list.is_empty() && list.iter().all(|one| one.is_string() || one.is_array()) => {
            Ok(list.len())
        }
        // The tokens of one text.
        Some(Value::Array(list)) if !list.is_empty() && list.iter().all(Value::is_u64) => Ok(1),
        _ => invalid("input", "is invalid"),
    }
}

fn embeddings(request: &Request) -> Checked<Whole> {
    let body = request.json()?;
    let mut object = Object::of(&body, "")?;
    let model = object.text("model")?;
    let count = count(object.any("input"))?;
    let dimensions = object.maybe_count("dimensions")?.unwrap_or(3);
    let base64 = object.one_of("encoding_format", &["float", "base64"])? == Some("base64");
    object.skip(&["user"]);
    object.close()?;
    let vector: Vec<f32> = [0.25, -0.5, 0.125]
        .into_iter()
        .cycle()
        .take(usize::try_from(dimensions).unwrap())
        .collect();
    let written = if base64 {
        let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
        STANDARD.encode(bytes).into()
    } else {
        json!(vector)
    };
    let data: Vec<_> = (0..count)
        .map(|at| json!({"object": "embedding", "index": at, "embedding": written}))
        .collect();
    Ok(Whole::json(
        200,
        &json!({"object": "list", "model": model, "data": data, "usage": {"prompt_tokens": INPUT, "total_tokens": INPUT}}),
    ))
}

fn speech(request: &Request) -> Checked<Whole> {
    let body = request.json()?;
    let mut object = Object::of(&body, "")?;
    object.text("model")?;
    let input = object.text("input")?;
    object.any("voice");
    let formats = ["mp3", "opus", "aac", "flac", "wav", "pcm"];
    let format = object.one_of("response_format", &formats)?.unwrap_or("mp3");
    object.within("speed", 0.25, 4.0)?;
    object.skip(&["instructions", "stream_format"]);
    object.close()?;
    if input.chars().count() > 4096 {
        return invalid("input", "must be at most 4096 characters");
    }
    let kind = if format == "mp3" {
        "audio/mpeg".to_owned()
    } else {
        format!("audio/{format}")
    };
    Ok(Whole {
        status: 200,
        headers: vec![("content-type", kind)],
        body: format!("{format}:{input}").into_bytes(),
    })
}

/// Name, file name and content of a field.
type Field = (String, Option<String>, Vec<u8>);

/// Fields and files of a multipart body (RFC 7578).
fn multipart(request: &Request) -> Checked<Vec<Field>> {
    let kind = request.header("content-type").unwrap_or_default();
    let Some(boundary) = kind
        .strip_prefix("multipart/form-data; boundary=")
        .map(|text| text.trim_matches('"'))
    else {
        return invalid("content-type", "must be multipart/form-data with a boundary");
    };
    let mark = format!("--{boundary}");
    let find = |haystack: &[u8], needle: &[u8]| haystack.windows(needle.len()).position(|window| window == needle);
    let mut parts = Vec::new();
    let mut rest: &[u8] = &request.body;
    if !rest.starts_with(mark.as_bytes()) {
        return refuse(Failure::Invalid, "the body does not start with its boundary");
    }
    rest = rest.get(mark.len()..).unwrap_or_default();
    while let Some(part) = rest.strip_prefix(b"\r\n") {
        let next = format!("\r\n{mark}");
        let (Some(head), Some(end)) = (find(part, b"\r\n\r\n"), find(part, next.as_bytes())) else {
            return refuse(Failure::Invalid, "a part does not end");
        };
        let headers = String::from_utf8_lossy(part.get(..head).unwrap_or_default()).into_owned();
        let field = |name: &str| {
            let after = headers.split(&format!("{name}=\"")).nth(1)?;
            Some(after.split('"').next()?.to_owned())
        };
        let Some(name) = field("; name") else {
            return refuse(Failure::Invalid, "a part has no name");
        };
        parts.push((
            name,
            field("; filename"),
            part.get(head + 4..end).unwrap_or_default().to_vec(),
        ));
        rest = part.get(end + next.len()..).unwrap_or_default();
    }
    if !rest.starts_with(b"--") {
        return refuse(Failure::Invalid, "the body does not end with its boundary");
    }
    Ok(parts)
}

fn transcription(request: &Request) -> Checked<Whole> {
    let parts = multipart(request)?;
    let known = [
        "file",
        "model",
        "language",
        "prompt",
        "response_format",
        "temperature",
        "timestamp_granularities[]",
        "stream",
        "include[]",
    ];
    if let Some((name, ..)) = parts.iter().find(|(name, ..)| !known.contains(&name.as_str())) {
        return invalid(name.clone(), "Unrecognized request argument");
    }
    let text = |wanted: &str| {
        parts
            .iter()
            .find(|(name, ..)| name == wanted)
            .map(|(_, _, bytes)| String::from_utf8_lossy(bytes).into_owned())
    };
    if text("model").is_none() {
        return invalid("model", "Field required");
    }
    let Some((_, Some(name), sound)) = parts.iter().find(|(name, file, _)| name == "file" && file.is_some()) else {
        return invalid("file", "Field required");
    };
    let heard = format!("{} bytes of {name}", sound.len());
    let usage = json!({"type": "duration", "seconds": 2});
    let body = match text("response_format").as_deref() {
        None | Some("json") => json!({"text": heard, "usage": usage}),
        Some("verbose_json") => {
            json!({"task": "transcribe", "language": "english", "duration": 1.5, "text": heard, "usage": usage,
            "segments": [{"id": 0, "seek": 0, "start": 0.0, "end": 1.5, "text": heard, "tokens": [1], "temperature": 0.0,
                "avg_logprob": -0.1, "compression_ratio": 0.8, "no_speech_prob": 0.02}],
            "words": [{"word": "bytes", "start": 0.0, "end": 0.6}]})
        }
        Some("text") => {
            return Ok(Whole {
                status: 200,
                headers: vec![("content-type", "text/plain; charset=utf-8".to_owned())],
                body: heard.into_bytes(),
            });
        }
        Some(_) => return invalid("response_format", "is not supported"),
    };
    Ok(Whole::json(200, &body))
}

fn images(request: &Request) -> Checked<Whole> {
    let body = request.json()?;
    let mut object = Object::of(&body, "")?;
    let prompt = object.text("prompt")?;
    object.maybe_text("model")?;
    let count = object.maybe_count("n")?.unwrap_or(1);
    if count > 10 {
        return invalid("n", "must be at most 10");
    }
    let url = object.one_of("response_format", &["url", "b64_json"])? == Some("url");
    object.skip(&[
        "size",
        "quality",
        "output_format",
        "style",
        "user",
        "background",
        "moderation",
        "output_compression",
    ]);
    object.close()?;
    let picture = STANDARD.encode(b"\x89PNG\r\n\x1a\nmock");
    let one = if url {
        json!({"url": "https://img.example.test/1.png", "revised_prompt": prompt})
    } else {
        json!({"b64_json": picture, "revised_prompt": prompt})
    };
    let data: Vec<_> = (0..count).map(|_| one.clone()).collect();
    Ok(Whole::json(200, &json!({"created": 1_760_000_000, "data": data})))
}

fn moderations(request: &Request) -> Checked<Whole> {
    let body = request.json()?;
    let mut object = Object::of(&body, "")?;
    object.maybe_text("model")?;
    let inputs: Vec<String> = match object.any("input") {
        Some(Value::String(text)) => vec![text.clone()],
        _ => object.texts("input")?,
    };
    object.close()?;
    let results: Vec<_> = inputs
        .iter()
        .map(|text| {
            let bad = text.contains("kill");
            json!({"flagged": bad, "categories": {"violence": bad, "hate/threatening": false, "self-harm": false},
                "category_scores": {"violence": if bad { 0.9 } else { 0.01 }, "hate/threatening": 0.0, "self-harm": 0.0}})
        })
        .collect();
    Ok(Whole::json(
        200,
        &json!({"id": "modr-mock-1", "model": "omni-moderation-latest", "results": results}),
    ))
}
