//! The text of pictures, by Tesseract.

use std::{fmt::Write as _, path::PathBuf, sync::Arc};

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{
        DecodePaddingMode,
        general_purpose::{GeneralPurpose, GeneralPurposeConfig, URL_SAFE_NO_PAD},
    },
};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::time::{Duration, Instant};

use super::{
    Answer, Bounds, Refusal, Stopped, compute,
    fields::Fields,
    picture::{self, Extent},
    process::{Engine, Errand, Known, Program, Trouble},
};

pub(super) const PROGRAM: Program = Program {
    // It would take every core for itself.
    environment: &[("OMP_THREAD_LIMIT", "1")],
    ..Program::plain("tesseract")
};
const NAME: &str = "Tesseract";

const MAX_PICTURE_BYTES: usize = 32 * 1024 * 1024;
/// A page of A4 has 9 million at 300 dots per inch, and 35 at 600.
const MAX_PIXELS: u64 = 40_000_000;
/// Tesseract's own limit is 32,767.
const MAX_SIDE: u64 = 32_767;
const MAX_LANGUAGES: usize = 4;
const MAX_OUTPUT: usize = 16 * 1024 * 1024;
/// A look at what is installed.
const LOOK: Duration = Duration::from_secs(5);

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[derive(Debug)]
pub(super) struct Ocr {
    engine: Engine,
    languages: Known<Vec<String>>,
}

/// A request, with a picture that may be looked at.
struct Request {
    model: String,
    picture: Bytes,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Image {
    #[serde(default)]
    base64: Option<String>,
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    file_id: Option<String>,
}

impl Ocr {
    pub(super) fn new(path: Arc<[PathBuf]>, bounds: Bounds) -> Self {
        Self {
            engine: Engine::new(PROGRAM, path, bounds),
            languages: Known::default(),
        }
    }

    pub(super) async fn describe(&self) -> Result<String, Trouble> {
        let until = Instant::now() + LOOK;
        let version = self.ask("--version", until).await?;
        let version = version.lines().next().unwrap_or(NAME).trim().to_owned();
        let languages = self.look(until).await?;
        let place = self.engine.find()?;
        Ok(format!(
            "{version} at {}, languages {}",
            place.display(),
            languages.join(", ")
        ))
    }

    async fn ask(&self, what: &str, until: Instant) -> Result<String, Trouble> {
        let errand = Errand {
            arguments: vec![what.to_owned()],
            input: Bytes::new(),
            most_output: 64 * 1024,
            until,
        };
        let said = self.engine.run(errand).await?;
        Ok(String::from_utf8_lossy(&said).into_owned())
    }

    async fn look(&self, until: Instant) -> Result<Vec<String>, Trouble> {
        Ok(languages_in(&self.ask("--list-langs", until).await?))
    }

    pub(super) async fn answer(&self, body: Bytes, until: Instant) -> Result<Answer, Stopped> {
        let looked_at = body.clone();
        let model = compute(move || fields(&looked_at)?.text("model")).await?;
        let wanted = languages_of(&model)?;
        let has = |known: &Vec<String>| wanted.iter().all(|one| known.iter().any(|known| known == one));
        let installed = self.languages.with(has, self.look(until)).await?;
        if !has(&installed) {
            let list = installed.join(", ");
            return Err(Refusal::no_model(format!("{NAME} has only these languages here: {list}.")).into());
        }
        // Only those read their picture whose turn it is; also if nobody waits any more.
        let turn = self.engine.turn(until).await?;
        let (request, turn) = compute(move || Ok((read(&body)?, turn))).await?;
        let errand = Errand {
            arguments: [
                "stdin",
                "stdout",
                "-l",
                &wanted.join("+"),
                "--psm",
                "3",
                "-c",
                "tessedit_create_tsv=1",
            ]
            .map(str::to_owned)
            .into(),
            input: request.picture.clone(),
            most_output: MAX_OUTPUT,
            until,
        };
        let table = self
            .engine
            .run_in(turn, errand)
            .await
            .map_err(|trouble| match trouble {
                // The language is there and the head was good: it is the rest of the picture.
                Trouble::Failed | Trouble::TooMuch => {
                    Stopped::from(Refusal::unprocessable("image", "The image could not be read."))
                }
                Trouble::Missing(_) | Trouble::Busy | Trouble::TimedOut => trouble.into(),
            })?;
        compute(move || Ok(write(&request, &String::from_utf8_lossy(&table)))).await
    }
}

/// `--list-langs`: a line of prose, then a name on each. `osd` finds the way up and knows no words.
fn languages_in(said: &str) -> Vec<String> {
    let names = said.lines().skip(1).map(str::trim);
    names.filter(|name| is_language(name)).map(str::to_owned).collect()
}

fn is_language(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (1..=32).contains(&name.len()) && name.chars().all(legal) && name != "osd"
}

/// `eng+chi_sim`: the route's model.
fn languages_of(model: &str) -> Result<Vec<&str>, Refusal> {
    let languages: Vec<_> = model.split('+').collect();
    if languages.len() > MAX_LANGUAGES || !languages.iter().all(|name| is_language(name)) {
        return Err(Refusal::no_model(format!(
            "A model of {NAME} is a language, or up to {MAX_LANGUAGES}, such as eng+chi_sim."
        )));
    }
    Ok(languages)
}

fn fields(body: &[u8]) -> Result<Fields<'_>, Refusal> {
    Fields::read(body, NAME, &["model", "image"])
}

fn read(body: &[u8]) -> Result<Request, Refusal> {
    let fields = fields(body)?;
    let wanted = "must be an object with one of base64, url and file_id";
    let image: Image = fields
        .get("image", wanted)?
        .ok_or_else(|| Refusal::invalid("image", format!("The field 'image' {wanted}.")))?;
    let (text, param) = match (image.base64, image.url, image.file_id) {
        (Some(text), None, None) => (text, "image.base64"),
        (None, Some(url), None) if url.starts_with("data:") => (url, "image.url"),
        (None, Some(_), None) => {
            let why = "Nothing is fetched for this engine: send the image as base64, or as a data: URL.";
            return Err(Refusal::invalid("image.url", why));
        }
        (None, None, Some(_)) => {
            let why = "There are no files here: send the image as base64, or as a data: URL.";
            return Err(Refusal::invalid("image.file_id", why));
        }
        _ => return Err(Refusal::invalid("image", format!("The field 'image' {wanted}."))),
    };
    let picture =
        decode(&text).ok_or_else(|| Refusal::invalid(param, "The image is not base64 that could be read."))?;
    if picture.len() > MAX_PICTURE_BYTES {
        let most = MAX_PICTURE_BYTES / 1024 / 1024;
        return Err(Refusal::invalid(
            param,
            format!("The image can have {most} MiB at most."),
        ));
    }
    let extent = picture::measure(&picture)
        .ok_or_else(|| Refusal::invalid(param, "The image must be a PNG, JPEG, GIF, WebP, BMP or TIFF."))?;
    check(extent, param)?;
    Ok(Request {
        model: fields.text("model")?,
        picture: picture.into(),
    })
}

/// Base64, or a data: URL with some (RFC 2397).
fn decode(text: &str) -> Option<Vec<u8>> {
    let data = match text.strip_prefix("data:") {
        Some(url) => url.split_once(";base64,")?.1,
        None => text,
    };
    BASE64.decode(data).ok()
}

fn check(extent: Extent, param: &str) -> Result<(), Refusal> {
    if extent.pixels > MAX_PIXELS || extent.width > MAX_SIDE || extent.height > MAX_SIDE {
        let most = MAX_PIXELS / 1_000_000;
        let why = format!("The image can have {most} million pixels at most, and {MAX_SIDE} on a side.");
        return Err(Refusal::invalid(param, why));
    }
    Ok(())
}

/// A row of Tesseract's table.
struct Row<'a> {
    level: u32,
    page: u64,
    place: [u64; 4],
    confidence: f64,
    text: &'a str,
}

impl<'a> Row<'a> {
    /// `level page block paragraph line word left top width height conf text`, with tabs between.
    fn read(line: &'a str) -> Option<Self> {
        let mut columns = line.splitn(12, '\t');
        let mut number = || columns.next()?.parse().ok();
        let (level, page): (u64, u64) = (number()?, number()?);
        for _ in 0..4 {
            number()?;
        }
        let place = [number()?, number()?, number()?, number()?];
        Some(Self {
            level: u32::try_from(level).ok()?,
            page,
            place,
            confidence: columns.next()?.parse().ok()?,
            text: columns.next().unwrap_or_default(),
        })
    }

    fn polygon(&self) -> Value {
        let [left, top, width, height] = self.place;
        let (right, bottom) = (left.saturating_add(width), top.saturating_add(height));
        json!([[left, top], [right, top], [right, bottom], [left, bottom]])
    }
}

/// A line under construction.
struct Written {
    page: u64,
    polygon: Value,
    text: String,
    words: Vec<Value>,
    sum: f64,
}

impl Written {
    fn add(&mut self, row: &Row<'_>) {
        let word = row.text.trim();
        if word.is_empty() {
            return;
        }
        let confidence = score(row.confidence / 100.0);
        if self.text.chars().last().is_some_and(|last| !joins(last, word)) {
            self.text.push(' ');
        }
        self.text.push_str(word);
        self.sum += confidence;
        self.words
            .push(json!({"text": word, "confidence": confidence, "polygon": row.polygon()}));
    }

    #[expect(clippy::cast_precision_loss, reason = "a line has no 2^52 words")]
    fn finish(self, pages: u64) -> Option<(String, Value)> {
        if self.words.is_empty() {
            return None;
        }
        let confidence = score(self.sum / self.words.len() as f64);
        let mut line =
            json!({"text": self.text, "confidence": confidence, "polygon": self.polygon, "words": self.words});
        if let (true, Some(members)) = (pages > 1, line.as_object_mut()) {
            members.insert("page".to_owned(), self.page.into());
        }
        Some((self.text, line))
    }
}

/// Four places are more than there is behind them.
fn score(number: f64) -> f64 {
    (number.clamp(0.0, 1.0) * 10_000.0).round() / 10_000.0
}

/// Between Chinese characters there is no space, and Tesseract's words are only where it cut.
fn joins(last: char, next: &str) -> bool {
    next.chars()
        .next()
        .is_some_and(|first| is_dense(last) && is_dense(first))
}

/// Characters that are written without spaces: ideographs, kana and their punctuation, half- and full-width forms.
fn is_dense(c: char) -> bool {
    matches!(c, '\u{2e80}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{ff00}'..='\u{ffef}' | '\u{20000}'..='\u{323af}')
}

fn write(request: &Request, table: &str) -> Answer {
    let mut lines: Vec<Written> = Vec::new();
    let mut pages = 0;
    for row in table.lines().filter_map(Row::read) {
        pages = pages.max(row.page);
        match row.level {
            4 => lines.push(Written {
                page: row.page,
                polygon: row.polygon(),
                text: String::new(),
                words: Vec::new(),
                sum: 0.0,
            }),
            5 => {
                if let Some(line) = lines.last_mut() {
                    line.add(&row);
                }
            }
            _ => {}
        }
    }
    let (texts, lines): (Vec<_>, Vec<_>) = lines.into_iter().filter_map(|line| line.finish(pages)).unzip();
    let digest = Sha256::digest(&request.picture);
    let mut id = "ocr-".to_owned();
    // Writing to a string cannot fail.
    let _ = write!(id, "{}", URL_SAFE_NO_PAD.encode(digest.get(..15).unwrap_or_default()));
    Answer::json(
        &json!({"id": id, "model": request.model, "text": texts.join("\n"), "lines": lines, "usage": {"images": 1}}),
    )
}
