//! Simulated looks at pictures: text, labels and faces that are not there, drawn from the picture's bytes.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Refusal, score::Draw, tokens::Tokenizer};

const WORDS: [&str; 16] = [
    "total", "invoice", "date", "amount", "name", "number", "street", "paid", "order", "city", "phone", "tax", "page",
    "signed", "copy", "due",
];
const THINGS: [&str; 12] = [
    "person", "tree", "car", "building", "sky", "dog", "food", "water", "table", "book", "flower", "road",
];
const LINES: u8 = 5;
const LABELS: u8 = 5;
const FACES: u8 = 3;
/// For pictures whose size is not read.
const SIZE: (u32, u32) = (640, 480);

#[derive(Deserialize)]
struct VisionRequest {
    model: String,
    image: Image,
    #[serde(default)]
    compare_to: Option<Image>,
}

#[derive(Deserialize)]
struct Image {
    #[serde(default)]
    base64: Option<String>,
    #[serde(default)]
    url: Option<String>,
}

/// A picture, and what to call the answer's model.
struct Picture {
    model: String,
    draw: Draw,
    /// How much its faces are like those of the picture that it is to be compared with.
    similarity: Option<f64>,
    width: u32,
    height: u32,
}

fn read(body: &[u8]) -> Result<Picture, Refusal> {
    let request: VisionRequest = serde_json::from_slice(body).map_err(|_| {
        Refusal::new(
            "image",
            "The image must be an object with one of base64, url and file_id.",
        )
    })?;
    let bytes = bytes_of(request.image, ["image.base64", "image.url", "image.file_id"])?;
    let other = request.compare_to.map(|other| {
        let other = bytes_of(other, ["compare_to.base64", "compare_to.url", "compare_to.file_id"])?;
        Ok(alike(&bytes, &other))
    });
    let (width, height) = png_size(&bytes).unwrap_or(SIZE);
    Ok(Picture {
        model: request.model,
        draw: Draw::of(&bytes),
        similarity: other.transpose()?,
        width,
        height,
    })
}

fn bytes_of(image: Image, [base64, url, file_id]: [&'static str; 3]) -> Result<Vec<u8>, Refusal> {
    let inline = |url: &str| Some(url.strip_prefix("data:")?.split_once(";base64,")?.1.to_owned());
    let (text, param) = match (image.base64, image.url) {
        (Some(text), _) => (text, base64),
        (None, Some(place)) => {
            let why = "The simulator fetches nothing: send the image as base64, or as a data: URL.";
            (inline(&place).ok_or_else(|| Refusal::new(url, why))?, url)
        }
        (None, None) => {
            return Err(Refusal::new(
                file_id,
                "The simulator has no files: send the image as base64.",
            ));
        }
    };
    let bytes = STANDARD.decode(text).ok().filter(|bytes| !bytes.is_empty());
    bytes.ok_or_else(|| Refusal::new(param, "The image is not base64 that could be read."))
}

/// Two equal pictures are wholly alike; others as much as is drawn, the same in either order.
fn alike(one: &[u8], other: &[u8]) -> f64 {
    if one == other {
        return 1.0;
    }
    Draw::of(&[one.min(other), one.max(other)].concat()).share()
}

/// Width and height as a PNG's first chunk says them.
fn png_size(bytes: &[u8]) -> Option<(u32, u32)> {
    let head = bytes.strip_prefix(b"\x89PNG\r\n\x1a\n")?.get(8..16)?;
    let (width, height) = head.split_at_checked(4)?;
    let number = |bytes: &[u8]| Some(u32::from_be_bytes(bytes.try_into().ok()?)).filter(|number| *number > 0);
    Some((number(width)?, number(height)?))
}

pub(super) fn ocr(body: &[u8], tokenizer: &Tokenizer) -> Result<Answer, Refusal> {
    let mut picture = read(body)?;
    let (mut texts, mut lines) = (Vec::new(), Vec::new());
    let scores = picture.draw.scores(LINES);
    for (at, score) in (0..u32::from(LINES)).zip(scores) {
        let words: Vec<_> = (0..3).filter_map(|_| picture.draw.pick(&WORDS)).collect();
        let text = words.join(" ");
        let (left, right) = (picture.width / 10, picture.width * 9 / 10);
        let (top, bottom) = (place(picture.height, at * 2 + 1), place(picture.height, at * 2 + 2));
        lines.push(json!({"text": text, "confidence": score,
            "polygon": [[left, top], [right, top], [right, bottom], [left, bottom]]}));
        texts.push(text);
    }
    let text = texts.join("\n");
    let tokens = tokenizer.count(&text);
    Ok(Answer::Whole(
        json!({"id": picture.draw.id("ocr"), "model": picture.model, "text": text, "lines": lines,
        "usage": {"images": 1, "input_tokens": 0, "output_tokens": tokens, "total_tokens": tokens}, "sandbox": true}),
    ))
}

/// Of the picture's height so many of twelve parts.
fn place(height: u32, parts: u32) -> u64 {
    u64::from(height) * u64::from(parts) / 12
}

pub(super) fn labels(body: &[u8]) -> Result<Answer, Refusal> {
    let mut picture = read(body)?;
    let mut scores = picture.draw.scores(LABELS);
    scores.sort_by(|one, other| other.total_cmp(one));
    let first = usize::from(picture.draw.byte());
    let names = THINGS.iter().cycle().skip(first % THINGS.len());
    let labels: Vec<Value> = names
        .zip(scores)
        .map(|(name, score)| json!({"name": name, "confidence": score}))
        .collect();
    Ok(Answer::Whole(
        json!({"id": picture.draw.id("labels"), "model": picture.model, "labels": labels,
        "usage": {"images": 1}, "sandbox": true}),
    ))
}

pub(super) fn faces(body: &[u8]) -> Result<Answer, Refusal> {
    let mut picture = read(body)?;
    if let Some(similarity) = picture.similarity {
        return Ok(Answer::Whole(
            json!({"id": picture.draw.id("faces"), "model": picture.model, "faces": [], "similarity": similarity,
            "usage": {"images": 2}, "sandbox": true}),
        ));
    }
    let scores = picture.draw.scores(FACES);
    let mut faces = Vec::new();
    for (at, score) in (0..u32::from(FACES)).zip(scores) {
        let smile = picture.draw.share();
        let glasses = picture.draw.byte() % 2 == 0;
        faces.push(json!({"confidence": score,
            "box": {"x": picture.width / 4 * at, "y": picture.height / 4, "width": picture.width / 5, "height": picture.height / 3},
            "attributes": {"glasses": glasses, "smile": (smile * 100.0).round() / 100.0}}));
    }
    Ok(Answer::Whole(
        json!({"id": picture.draw.id("faces"), "model": picture.model, "faces": faces,
        "usage": {"images": 1}, "sandbox": true}),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(answer: impl Fn(&[u8]) -> Result<Answer, Refusal>, image: &Value) -> Result<Value, &'static str> {
        let body = json!({"model": "m", "image": image}).to_string();
        match answer(body.as_bytes()) {
            Ok(Answer::Whole(value)) => Ok(value),
            Ok(_) => Err("not JSON"),
            Err(refusal) => Err(refusal.param),
        }
    }

    #[test]
    fn a_picture_gives_the_same_every_time_and_another_one_something_else() {
        let tokenizer = Tokenizer::default();
        let ocr = |body: &[u8]| ocr(body, &tokenizer);
        let one = ask(ocr, &json!({"base64": "YQ=="})).unwrap();
        assert_eq!(one, ask(ocr, &json!({"url": "data:image/png;base64,YQ=="})).unwrap());
        assert_ne!(one["text"], ask(ocr, &json!({"base64": "Yg=="})).unwrap()["text"]);
        let lines: Vec<_> = one["lines"]
            .as_array()
            .unwrap()
            .iter()
            .map(|line| line["text"].as_str().unwrap())
            .collect();
        assert_eq!(one["text"], lines.join("\n"));
        assert_eq!(one["lines"][0]["polygon"].as_array().unwrap().len(), 4);
        assert!(one["usage"]["output_tokens"].as_u64().unwrap() >= 15);
        let labels = ask(labels, &json!({"base64": "YQ=="})).unwrap();
        let scores: Vec<_> = labels["labels"]
            .as_array()
            .unwrap()
            .iter()
            .map(|label| label["confidence"].as_f64().unwrap())
            .collect();
        assert!(scores.is_sorted_by(|one, other| one >= other) && scores.len() == 5);
        let faces = ask(faces, &json!({"base64": "YQ=="})).unwrap();
        assert_eq!(faces["faces"].as_array().unwrap().len(), 3);
        for answer in [one, labels, faces] {
            assert_eq!(answer["sandbox"], true);
        }
    }

    #[test]
    fn a_picture_is_wholly_like_itself_and_others_are_compared_in_either_order() {
        let compare = |one: &str, other: &str| {
            let body = json!({"model": "m", "image": {"base64": one}, "compare_to": {"base64": other}}).to_string();
            match faces(body.as_bytes()) {
                Ok(Answer::Whole(value)) => {
                    assert_eq!(value["faces"], json!([]));
                    Ok(value["similarity"].as_f64().unwrap())
                }
                Ok(_) => Err("not JSON"),
                Err(refusal) => Err(refusal.param),
            }
        };
        assert_eq!(compare("YQ==", "YQ=="), Ok(1.0));
        assert_eq!(compare("YQ==", "Yg=="), compare("Yg==", "YQ=="));
        assert!(compare("YQ==", "Yg==").unwrap() < 1.0);
        assert_eq!(compare("YQ==", "not base64!"), Err("compare_to.base64"));
    }

    #[test]
    fn what_the_simulator_cannot_see_is_refused() {
        for (image, param) in [
            (json!({"url": "https://example.test/a.png"}), "image.url"),
            (json!({"url": "data:image/png,x"}), "image.url"),
            (json!({"file_id": "f"}), "image.file_id"),
            (json!({"base64": "not base64!"}), "image.base64"),
            (json!({"base64": 7}), "image"),
        ] {
            assert_eq!(ask(faces, &image).unwrap_err(), param, "{image}");
        }
    }
}
