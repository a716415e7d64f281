//! Simulated pictures: real PNG files of the size that was asked for, with a pattern drawn from the prompt.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Refusal, score::Draw, tokens::Tokenizer};

/// What `auto` is here.
const SIZE: (u32, u32) = (256, 256);
const MAX_SIDE: u32 = 2048;
/// A stored block of deflate has no more (RFC 1951 §3.2.4).
const BLOCK: usize = 65_535;

#[derive(Deserialize)]
struct DrawingRequest {
    prompt: String,
    #[serde(default)]
    n: Option<u8>,
    #[serde(default)]
    size: Option<String>,
    #[serde(default)]
    response_format: Option<String>,
    #[serde(default)]
    output_format: Option<String>,
}

pub(super) fn answer(body: &[u8], tokenizer: &Tokenizer, created: i64) -> Result<Answer, Refusal> {
    let request: DrawingRequest =
        serde_json::from_slice(body).map_err(|error| Refusal::new("prompt", format!("Invalid request: {error}.")))?;
    let (width, height) = match request.size.as_deref() {
        None | Some("auto") => SIZE,
        Some(size) => read_size(size).ok_or_else(|| {
            Refusal::new(
                "size",
                format!("The size must be written as 1024x1024, up to {MAX_SIDE} each."),
            )
        })?,
    };
    if !matches!(request.output_format.as_deref(), None | Some("png")) {
        return Err(Refusal::new("output_format", "The simulator draws png only."));
    }
    let as_url = match request.response_format.as_deref() {
        None | Some("b64_json") => false,
        Some("url") => true,
        Some(_) => return Err(Refusal::new("response_format", "The format must be url or b64_json.")),
    };
    let picture = |number: u8| {
        let mut draw = Draw::of(format!("{number} {}", request.prompt).as_bytes());
        let file = STANDARD.encode(png(width, height, &mut draw));
        match as_url {
            // Nothing is kept anywhere, so the address is the picture.
            true => json!({"url": format!("data:image/png;base64,{file}")}),
            false => json!({"b64_json": file}),
        }
    };
    let data: Vec<Value> = (0..request.n.unwrap_or(1)).map(picture).collect();
    let tokens = tokenizer.count(&request.prompt);
    Ok(Answer::Whole(
        json!({"created": created, "data": data, "size": format!("{width}x{height}"), "output_format": "png",
        "usage": {"input_tokens": tokens, "output_tokens": 0, "total_tokens": tokens,
            "input_tokens_details": {"text_tokens": tokens, "image_tokens": 0}}, "sandbox": true}),
    ))
}

fn read_size(text: &str) -> Option<(u32, u32)> {
    let (width, height) = text.split_once('x')?;
    let side = |text: &str| text.parse().ok().filter(|side| (1..=MAX_SIDE).contains(side));
    Some((side(width)?, side(height)?))
}

/// A PNG of black and white tiles (RFC 2083).
fn png(width: u32, height: u32, draw: &mut Draw) -> Vec<u8> {
    let pattern: Vec<u8> = (0..32).map(|_| draw.byte()).collect();
    let row_bytes = width.div_ceil(8) as usize;
    let mut rows = Vec::with_capacity((row_bytes + 1) * height as usize);
    for y in 0..height as usize {
        // No filter.
        rows.push(0);
        let tile = pattern.get(y / 8 % pattern.len()).copied().unwrap_or_default();
        rows.extend((0..row_bytes).map(|x| if tile >> (x % 8) & 1 == 1 { 0xff } else { 0 }));
    }
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let size = [width.to_be_bytes(), height.to_be_bytes()].concat();
    // One bit a pixel, grey; deflate, no filter, not interlaced.
    chunk(&mut file, *b"IHDR", &[size.as_slice(), &[1, 0, 0, 0, 0]].concat());
    chunk(&mut file, *b"IDAT", &zlib(&rows));
    chunk(&mut file, *b"IEND", &[]);
    file
}

fn chunk(file: &mut Vec<u8>, kind: [u8; 4], inside: &[u8]) {
    let length = u32::try_from(inside.len()).unwrap_or(u32::MAX);
    file.extend_from_slice(&length.to_be_bytes());
    let mut sum = crc32fast::Hasher::new();
    sum.update(&kind);
    sum.update(inside);
    file.extend_from_slice(&kind);
    file.extend_from_slice(inside);
    file.extend_from_slice(&sum.finalize().to_be_bytes());
}

/// Bytes as a zlib stream (RFC 1950) of stored blocks.
fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut stream = vec![0x78, 0x01];
    let mut blocks = bytes.chunks(BLOCK).peekable();
    while let Some(block) = blocks.next() {
        let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
        stream.push(u8::from(blocks.peek().is_none()));
        stream.extend_from_slice(&length.to_le_bytes());
        stream.extend_from_slice(&(!length).to_le_bytes());
        stream.extend_from_slice(block);
    }
    stream.extend_from_slice(&adler(bytes).to_be_bytes());
    stream
}

/// Adler-32 (RFC 1950 §8.2).
fn adler(bytes: &[u8]) -> u32 {
    const PRIME: u32 = 65_521;
    let (one, two) = bytes.iter().fold((1, 0), |(one, two), byte| {
        let one = (one + u32::from(*byte)) % PRIME;
        (one, (two + one) % PRIME)
    });
    two << 16 | one
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(body: &Value) -> Result<Value, &'static str> {
        match answer(body.to_string().as_bytes(), &Tokenizer::default(), 1) {
            Ok(Answer::Whole(value)) => Ok(value),
            Ok(_) => Err("not JSON"),
            Err(refusal) => Err(refusal.param),
        }
    }

    #[test]
    fn pictures_are_real_and_as_large_as_was_asked() {
        let reply = ask(&json!({"model": "m", "prompt": "a cat", "n": 2, "size": "1024x600"})).unwrap();
        let file = STANDARD.decode(reply["data"][0]["b64_json"].as_str().unwrap()).unwrap();
        assert_ne!(reply["data"][0], reply["data"][1]);
        assert!(file.starts_with(b"\x89PNG\r\n\x1a\n"));
        assert_eq!(file[16..24], [0, 0, 4, 0, 0, 0, 2, 88]);
        assert_eq!(file.len(), 8 + 25 + (12 + 2 + 5 * 2 + 129 * 600 + 4) + 12);
        let url = ask(&json!({"model": "m", "prompt": "a cat", "response_format": "url"})).unwrap();
        assert!(
            url["data"][0]["url"]
                .as_str()
                .unwrap()
                .starts_with("data:image/png;base64,iVBOR")
        );
        assert!(url["usage"]["input_tokens"].as_u64().unwrap() > 0);
        for (extra, param) in [
            (json!({"size": "0x1"}), "size"),
            (json!({"size": "large"}), "size"),
            (json!({"size": "4096x4096"}), "size"),
            (json!({"output_format": "webp"}), "output_format"),
            (json!({"response_format": "svg"}), "response_format"),
        ] {
            let mut body = json!({"model": "m", "prompt": "x"});
            body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            assert_eq!(ask(&body).unwrap_err(), param);
        }
    }

    #[test]
    fn checksums_are_right() {
        // RFC 1950 has no example; this one is the sum of "Wikipedia", worked out by hand.
        assert_eq!(adler(b"Wikipedia"), 0x11e6_0398);
        assert_eq!(
            zlib(b"ab"),
            [0x78, 1, 1, 2, 0, 0xfd, 0xff, b'a', b'b', 1, 0x26, 0, 0xc4]
        );
    }
}
