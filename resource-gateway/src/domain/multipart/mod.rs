//! Forms (`multipart/form-data`, RFC 7578), read so strictly that no two readers can see different fields in one, and written
//! anew for vendors: part headers are never passed on, files never copied.

use std::fmt;

use bytes::{BufMut as _, Bytes, BytesMut};
use memchr::memmem;

use super::json_object::is_respelt;

/// No form of ours needs more.
const MAX_PARTS: usize = 64;
const MAX_HEADER_BYTES: usize = 4096;
/// Fields are words and numbers; a prompt is the longest of them.
const MAX_FIELD_BYTES: usize = 256 * 1024;
const MAX_NAME_BYTES: usize = 64;
const MAX_FILE_NAME_CHARS: usize = 100;

/// What stands between the parts (RFC 2046 §5.1.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boundary(Box<str>);

/// Why a body is no form that could be passed on. The text is a clause about the body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    #[error("{0}")]
    Malformed(&'static str),
    /// Something is wrong with one field.
    #[error("the field '{name}' {why}")]
    Field { name: Box<str>, why: &'static str },
}

/// A form's fields in their order.
#[derive(Debug, Clone)]
pub struct Form {
    boundary: Boundary,
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
pub struct Part {
    pub name: Box<str>,
    /// What makes it a file.
    pub file: Option<File>,
    /// UTF-8, unless it is a file.
    pub value: Bytes,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    pub name: Box<str>,
    pub content_type: Box<str>,
}

impl Part {
    /// The text of a field; empty for a file.
    pub fn text(&self) -> &str {
        match self.file {
            None => std::str::from_utf8(&self.value).unwrap_or_default(),
            Some(_) => "",
        }
    }
}

impl Boundary {
    /// Reads the boundary of a `Content-Type`; `None` when it does not announce a form with one.
    pub fn of_content_type(value: &str) -> Option<Self> {
        let (essence, parameters) = value.split_once(';')?;
        if !essence.trim().eq_ignore_ascii_case("multipart/form-data") {
            return None;
        }
        let mut found = parameters_of(parameters)?
            .into_iter()
            .filter(|(name, _)| name == "boundary");
        let (_, boundary) = found.next()?;
        // RFC 2046 §5.1.1: 1 to 70 of these characters, the last of which is no space. A space is not worth its trouble.
        let legal = |c: char| c.is_ascii_alphanumeric() || "'()+_,-./:=?".contains(c);
        let good = (1..=70).contains(&boundary.len()) && boundary.chars().all(legal) && found.next().is_none();
        good.then(|| Self(boundary.into()))
    }
}

impl fmt::Display for Boundary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Form {
    /// Reads a form.
    ///
    /// # Errors
    /// [`FormError`]: also for forms that are legal, but that other readers might read otherwise.
    pub fn parse(body: &Bytes, boundary: &Boundary) -> Result<Self, FormError> {
        const CUT: FormError = FormError::Malformed("it is cut off");
        const ODD: FormError = FormError::Malformed("its boundary stands where it does not belong");
        let delimiter = format!("--{boundary}");
        let mut places = memmem::find_iter(body, delimiter.as_bytes());
        // RFC 2046 lets text stand before the first boundary, and nobody sends any.
        if places.next() != Some(0) {
            return Err(FormError::Malformed("it does not begin with its boundary"));
        }
        let mut parts = Vec::new();
        let mut at = delimiter.len();
        loop {
            let rest = body.get(at..).unwrap_or_default();
            if let Some(end) = rest.strip_prefix(b"--") {
                if !matches!(end, b"" | b"\r\n") {
                    return Err(FormError::Malformed("something follows its last boundary"));
                }
                break;
            }
            let from = at + 2;
            if !rest.starts_with(b"\r\n") {
                return Err(if rest.len() < 2 { CUT } else { ODD });
            }
            // Wherever the boundary stands it must be one: readers that take a bare line feed for a line's end would find a part
            // in what is the inside of a file to others.
            let next = places.next().ok_or(CUT)?;
            let part = next.checked_sub(2).filter(|end| *end >= from).ok_or(ODD)?;
            if body.get(part..next) != Some(b"\r\n") {
                return Err(ODD);
            }
            if parts.len() == MAX_PARTS {
                return Err(FormError::Malformed("it has too many parts"));
            }
            parts.push(read_part(&body.slice(from..part))?);
            at = next + delimiter.len();
        }
        let form = Self {
            boundary: boundary.clone(),
            parts,
        };
        form.check_names()?;
        Ok(form)
    }

    /// A form with no fields.
    pub fn empty(boundary: Boundary) -> Self {
        Self {
            boundary,
            parts: Vec::new(),
        }
    }

    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The field of that name. Of names that end in `[]`, which may stand there again, the first.
    ///
    /// # Errors
    /// It stands there in another spelling only.
    pub fn get(&self, name: &str) -> Result<Option<&Part>, FormError> {
        if let Some(part) = self.parts.iter().find(|part| &*part.name == name) {
            return Ok(Some(part));
        }
        match self.parts.iter().find(|part| alike(&part.name, name)) {
            Some(_) => Err(field(name, "stands in the form in another spelling")),
            None => Ok(None),
        }
    }

    /// The texts of all fields of that name.
    pub fn texts<'f>(&'f self, name: &'f str) -> impl Iterator<Item = &'f str> {
        self.parts
            .iter()
            .filter(move |part| &*part.name == name)
            .map(Part::text)
    }

    /// Gives a field one value or, if its name ends in `[]`, several.
    ///
    /// # Errors
    /// The field stands there in another spelling, or a value cannot stand in this form.
    pub fn set(&mut self, name: &str, values: Vec<String>) -> Result<(), FormError> {
        let there = self.get(name)?.is_some();
        let delimiter = format!("--{}", self.boundary);
        // The boundary is the caller's choice; it must not be able to cut a value of ours in two.
        if values.iter().any(|value| value.contains(&delimiter)) {
            return Err(FormError::Malformed("its boundary cannot be used here"));
        }
        let at = self.parts.iter().position(|part| &*part.name == name);
        if there {
            self.remove(name)?;
        }
        let at = at.unwrap_or(self.parts.len());
        let parts = values.into_iter().map(|value| Part {
            name: name.into(),
            file: None,
            value: value.into(),
        });
        self.parts.splice(at..at, parts);
        Ok(())
    }

    /// Takes a field out; says whether it was there.
    ///
    /// # Errors
    /// As for [`Self::get`].
    pub fn remove(&mut self, name: &str) -> Result<bool, FormError> {
        let there = self.get(name)?.is_some();
        self.parts.retain(|part| &*part.name != name);
        Ok(there)
    }

    /// `Content-Type` of the form.
    pub fn content_type(&self) -> String {
        format!("multipart/form-data; boundary=\"{}\"", self.boundary)
    }

    /// The form as bytes, in pieces: files are the bytes that came.
    pub fn render(&self) -> Vec<Bytes> {
        let mut pieces = Vec::with_capacity(3);
        let mut text = BytesMut::with_capacity(1024);
        for part in &self.parts {
            text.put_slice(
                format!(
                    "--{}\r\nContent-Disposition: form-data; name=\"{}\"",
                    self.boundary, part.name
                )
                .as_bytes(),
            );
            match &part.file {
                None => {
                    text.put_slice(b"\r\n\r\n");
                    text.put_slice(&part.value);
                }
                Some(file) => {
                    let more = format!(
                        "; filename=\"{}\"\r\nContent-Type: {}\r\n\r\n",
                        file.name, file.content_type
                    );
                    text.put_slice(more.as_bytes());
                    pieces.push(text.split().freeze());
                    pieces.push(part.value.clone());
                }
            }
            text.put_slice(b"\r\n");
        }
        text.put_slice(format!("--{}--\r\n", self.boundary).as_bytes());
        pieces.push(text.freeze());
        pieces
    }

    /// The form for people: a line for each field, and for a file what it is.
    pub fn outline(&self) -> String {
        let mut lines = String::new();
        for part in &self.parts {
            let value = match &part.file {
                None => part.text().to_owned(),
                Some(file) => format!("[{} {} {} bytes]", file.name, file.content_type, part.value.len()),
            };
            lines.extend([&*part.name, ": ", &value, "\n"]);
        }
        lines
    }

    /// The same name twice: two readers may take different values. Only `x[]` is a list.
    fn check_names(&self) -> Result<(), FormError> {
        for (at, part) in self.parts.iter().enumerate() {
            for other in self.parts.iter().skip(at + 1) {
                if part.name == other.name {
                    if !part.name.ends_with("[]") {
                        return Err(field(&part.name, "stands in the form twice"));
                    }
                } else if alike(&part.name, &other.name) {
                    return Err(field(&part.name, "stands in the form in another spelling, too"));
                }
            }
        }
        Ok(())
    }
}

/// Some readers take `x[]` for `x`, beside what [`is_respelt`] knows.
fn alike(one: &str, other: &str) -> bool {
    is_respelt(one.trim_end_matches("[]"), other.trim_end_matches("[]"))
}

fn field(name: &str, why: &'static str) -> FormError {
    FormError::Field { name: name.into(), why }
}

/// What a part's headers say.
#[derive(Default)]
struct Headers {
    disposition: Option<Vec<(String, String)>>,
    content_type: Option<String>,
}

fn read_part(part: &Bytes) -> Result<Part, FormError> {
    let end = memmem::find(
        part.get(..part.len().min(MAX_HEADER_BYTES)).unwrap_or_default(),
        b"\r\n\r\n",
    )
    .ok_or(FormError::Malformed("a part has no headers, or too many"))?;
    let text = std::str::from_utf8(part.get(..end).unwrap_or_default())
        .map_err(|_| FormError::Malformed("a part's headers are not UTF-8"))?;
    let headers = read_headers(text)?;
    let value = part.slice(end + 4..);
    let disposition = headers
        .disposition
        .ok_or(FormError::Malformed("a part has no Content-Disposition"))?;
    let find = |wanted: &str| {
        disposition
            .iter()
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| value.as_str())
    };
    let name = find("name").ok_or(FormError::Malformed("a part has no name"))?;
    check_name(name)?;
    // RFC 7578 §4.2 forbids `filename*`; clients that send it for names beyond ASCII mean a file all the same.
    if let Some(file_name) = find("filename").or_else(|| find("filename*")) {
        return Ok(Part {
            name: name.into(),
            file: Some(File {
                name: plain_file_name(file_name),
                content_type: plain_media_type(headers.content_type.as_deref()),
            }),
            value,
        });
    }
    if value.len() > MAX_FIELD_BYTES {
        return Err(field(name, "is too long"));
    }
    if std::str::from_utf8(&value).is_err() {
        return Err(field(name, "is not UTF-8"));
    }
    // RFC 7578 §4.4: text is the default. In another character set the bytes would be other words.
    if !headers.content_type.as_deref().is_none_or(is_plain_text) {
        return Err(field(name, "must be plain text in UTF-8"));
    }
    Ok(Part {
        name: name.into(),
        file: None,
        value,
    })
}

fn read_headers(text: &str) -> Result<Headers, FormError> {
    const ODD: FormError = FormError::Malformed("a part's headers could not be read");
    let mut headers = Headers::default();
    for line in text.split("\r\n") {
        if line.chars().any(|c| c.is_control() && c != '\t') {
            return Err(ODD);
        }
        // A line that begins with white space would go on with the one before to some readers (RFC 9112 §5.2).
        let (name, value) = line.split_once(':').filter(|(name, _)| is_token(name)).ok_or(ODD)?;
        match name.to_ascii_lowercase().as_str() {
            "content-disposition" => {
                let (kind, parameters) = value.split_once(';').ok_or(ODD)?;
                let parameters = parameters_of(parameters).ok_or(ODD)?;
                if !kind.trim().eq_ignore_ascii_case("form-data") || headers.disposition.replace(parameters).is_some() {
                    return Err(ODD);
                }
            }
            "content-type" if headers.content_type.is_some() => return Err(ODD),
            "content-type" => headers.content_type = Some(value.trim().to_owned()),
            // RFC 7578 §4.7: deprecated; what it would change is not undone here, so only what changes nothing may stand there.
            "content-transfer-encoding" => {
                let value = value.trim().to_ascii_lowercase();
                if !matches!(value.as_str(), "binary" | "8bit" | "7bit") {
                    return Err(FormError::Malformed("a part has a Content-Transfer-Encoding"));
                }
            }
            // RFC 7578 §4.8: others are to be ignored. They do not go to the vendor either.
            _ => {}
        }
    }
    Ok(headers)
}

/// Parameters of a header field: `; name="value"; name=token`. `None` when they are not written so, or one stands there twice.
fn parameters_of(text: &str) -> Option<Vec<(String, String)>> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=')?;
        let name = name.trim().to_ascii_lowercase();
        let (value, after) = if let Some(quoted) = after.trim_start().strip_prefix('"') {
            quoted_string(quoted)?
        } else {
            let (value, _) = after.split_once(';').unwrap_or((after, ""));
            (value.trim().to_owned(), after.get(value.len()..).unwrap_or_default())
        };
        if !is_token(&name) || found.iter().any(|(known, _)| *known == name) {
            return None;
        }
        found.push((name, value));
        rest = after.trim();
        if !rest.is_empty() {
            rest = rest.strip_prefix(';')?.trim_start();
        }
    }
    Some(found)
}

/// The string behind its opening quote, and what follows (RFC 9110 §5.6.4).
fn quoted_string(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, text.get(at + 1..).unwrap_or_default())),
            // Old browsers write paths (`C:\dir`) without escaping anything.
            '\\' => match chars.next_if(|(_, next)| matches!(next, '"' | '\\')) {
                Some((_, escaped)) => value.push(escaped),
                None => value.push(c),
            },
            c => value.push(c),
        }
    }
    None
}

/// Names that every reader reads alike. Browsers write quotes as `%22`, older clients as `\"`; no field of ours has any.
fn check_name(name: &str) -> Result<(), FormError> {
    let bare = name.strip_suffix("[]").unwrap_or(name);
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if bare.is_empty() || bare.len() > MAX_NAME_BYTES || !bare.chars().all(legal) {
        return Err(FormError::Malformed(
            "the name of a part has characters that no field has",
        ));
    }
    // RFC 7578 §4.6: it would change what the bytes of all others mean.
    if bare.eq_ignore_ascii_case("_charset_") {
        return Err(field(name, "is not permitted"));
    }
    Ok(())
}

fn is_token(text: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    !text.is_empty() && text.chars().all(legal)
}

fn is_plain_text(content_type: &str) -> bool {
    let (essence, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
    let charset = parameters_of(parameters).map(|parameters| {
        let mut charsets = parameters.into_iter().filter(|(name, _)| name == "charset");
        charsets.all(|(_, charset)| matches!(charset.to_ascii_lowercase().as_str(), "utf-8" | "us-ascii"))
    });
    essence.trim().eq_ignore_ascii_case("text/plain") && charset == Some(true)
}

/// A file's name, which vendors need for its extension, without what one of them might stumble over.
fn plain_file_name(name: &str) -> Box<str> {
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let skip = name.chars().count().saturating_sub(MAX_FILE_NAME_CHARS);
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ' ') {
            c
        } else {
            '_'
        }
    };
    let name: String = name.chars().skip(skip).map(plain).collect();
    if name.is_empty() { "file".into() } else { name.into() }
}

fn plain_media_type(content_type: Option<&str>) -> Box<str> {
    let essence = content_type
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default()
        .trim();
    match essence.split_once('/') {
        Some((kind, subtype)) if is_token(kind) && is_token(subtype) => essence.into(),
        _ => "application/octet-stream".into(),
    }
}

#[cfg(test)]
mod tests;
