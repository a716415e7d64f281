//! Field rules: what the operator decided about fields of the request, applied to it.

use serde_json::Value;

use super::{
    call::{Shape, form_error},
    fault::PublicError,
    interface::{FieldAction, FieldRule},
    json_draft::Draft,
    json_object::{Edit, JsonError, JsonObject, elements, quoted},
    multipart::Form,
};

/// Every element of an array, as a name in a rule's pointer. In an object it is a name like any other.
const EACH: &str = "*";
/// Behind the last element of an array (RFC 6901 §4).
const BEHIND: &str = "-";
/// A header's value is no longer than this.
const MAX_HEADER_BYTES: usize = 1024;
/// Stands for the names that had no room. No pointer looks like this.
const MORE: &str = "...";

/// The forced fields in which a request differs from what the caller sent: it sent another value, or none, or the field under
/// another of its names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forced(Vec<Box<str>>);

impl Forced {
    fn note(&mut self, rule: &FieldRule) {
        self.0.push(rule.pointer.as_str().into());
    }

    /// The pointers, separated by commas; `None` when there are none. What is not visible ASCII, a comma or a percent sign is
    /// percent-encoded.
    pub fn to_header(&self) -> Option<String> {
        listed(self.0.iter().map(AsRef::as_ref))
    }
}

/// Names as a header lists them, whatever characters they have; `None` without any.
pub fn listed<'n>(names: impl IntoIterator<Item = &'n str>) -> Option<String> {
    let mut header = None::<String>;
    for name in names {
        let header = header.get_or_insert_default();
        let before = header.len();
        if before > 0 {
            header.push(',');
        }
        for byte in name.bytes() {
            match byte {
                b'%' | b',' | 0..=0x20 | 0x7f.. => {
                    let hex = |digit: u8| {
                        char::from_digit(u32::from(digit), 16)
                            .unwrap_or('0')
                            .to_ascii_uppercase()
                    };
                    header.extend(['%', hex(byte >> 4), hex(byte & 15)]);
                }
                plain => header.push(char::from(plain)),
            }
        }
        if header.len() > MAX_HEADER_BYTES - MORE.len() - 1 {
            header.truncate(before);
            if before > 0 {
                header.push(',');
            }
            header.push_str(MORE);
            break;
        }
    }
    header
}

/// Makes a request obey a rule.
///
/// # Errors
/// The field is forbidden, or the request's shape leaves no place for it.
pub fn obey(draft: &mut Draft<'_>, shape: &Shape, rule: &FieldRule, forced: &mut Forced) -> Result<(), PublicError> {
    let [first, rest @ ..] = rule.pointer.tokens() else {
        return Ok(());
    };
    let unsure = |_: JsonError| misfit(rule, AMBIGUOUS);
    if !rest.is_empty() {
        // What may not stand within a field may not be said within it under another name either, and what that looks like is not
        // known here.
        if matches!(rule.action, FieldAction::Forbid) {
            for other in shape.synonyms_of(first) {
                if draft.get(other).map_err(unsure)?.is_some() {
                    return Err(forbidden(other));
                }
            }
        }
        return obey_within(draft, first, rest, rule, forced);
    }
    // The field under its other names. Which one a vendor reads, and which of two wins there, is not known here.
    let mut others = Vec::new();
    for other in shape.synonyms_of(first) {
        if draft.get(other).map_err(unsure)?.is_some() {
            others.push(other);
        }
    }
    let there = draft.get(first).map_err(unsure)?;
    match &rule.action {
        FieldAction::Forbid => match (there, others.first()) {
            (Some(_), _) => Err(forbidden(&field_name(rule))),
            (None, Some(other)) => Err(forbidden(other)),
            (None, None) => Ok(()),
        },
        FieldAction::Fill(value) => {
            if there.is_none() && others.is_empty() {
                draft.set(first, value.to_string()).map_err(unsure)?;
            }
            Ok(())
        }
        FieldAction::Force(value) => {
            let text = value.to_string();
            let same = there.as_deref() == Some(&text);
            if !others.is_empty() || !there.is_some_and(|there| means(&there, value)) {
                forced.note(rule);
            }
            for other in others {
                draft.remove(other).map_err(unsure)?;
            }
            if !same {
                draft.set(first, text).map_err(unsure)?;
            }
            Ok(())
        }
    }
}

const AMBIGUOUS: &str = "stands in the body twice, or in another spelling";

/// Whether a text is this value already. If it is, its bytes may still be written otherwise.
fn means(text: &str, value: &Value) -> bool {
    serde_json::from_str::<Value>(text).is_ok_and(|there| there == *value)
}

fn obey_within(
    draft: &mut Draft<'_>,
    first: &str,
    rest: &[String],
    rule: &FieldRule,
    forced: &mut Forced,
) -> Result<(), PublicError> {
    let there = draft.get(first).map_err(|_| misfit(rule, AMBIGUOUS))?;
    let mut found = Found::default();
    let Some(text) = there else {
        if let Some(built) = nested(rest, rule) {
            if matches!(rule.action, FieldAction::Force(_)) {
                forced.note(rule);
            }
            draft.set(first, built).map_err(|_| misfit(rule, AMBIGUOUS))?;
        }
        return Ok(());
    };
    match search(&text, 0, rest, rule, &mut found) {
        // Where nothing can stand, nothing is forbidden and nothing is filled in; what is forced must find its place.
        Err(Misfit::NoPlace(why)) if matches!(rule.action, FieldAction::Force(_)) => return Err(misfit(rule, why)),
        Ok(()) | Err(Misfit::NoPlace(_)) => {}
        Err(Misfit::Ambiguous) => return Err(misfit(rule, AMBIGUOUS)),
        Err(Misfit::Forbidden) => return Err(forbidden(&field_name(rule))),
    }
    if found.changed {
        forced.note(rule);
    }
    draft.edit(first, found.edits).map_err(|_| misfit(rule, AMBIGUOUS))
}

/// What a rule comes to within a value.
#[derive(Default)]
struct Found {
    edits: Vec<Edit>,
    /// A forced value is another one than the caller's.
    changed: bool,
}

/// Why a pointer leads nowhere.
enum Misfit {
    NoPlace(&'static str),
    /// Two readers would not agree on where it leads.
    Ambiguous,
    Forbidden,
}

/// Follows the names through a value that begins at `start`; notes what has to change.
fn search(text: &str, start: usize, names: &[String], rule: &FieldRule, found: &mut Found) -> Result<(), Misfit> {
    let Some((name, rest)) = names.split_first() else {
        return arrive(text, start, rule, found);
    };
    if text.starts_with('[') {
        return search_array(text, start, (name, rest), rule, found);
    }
    let object = JsonObject::parse(text.as_bytes()).map_err(|error| match error {
        JsonError::TooManyMembers => Misfit::NoPlace("lies within an object of too many members"),
        _ => Misfit::NoPlace("lies within something that is not an object"),
    })?;
    if let Some(member) = object.get(name).map_err(|_| Misfit::Ambiguous)? {
        return search(member.value, start + member.range.start, rest, rule, found);
    }
    let value = match rule.action {
        FieldAction::Forbid => None,
        FieldAction::Fill(_) | FieldAction::Force(_) => nested(rest, rule),
    };
    if let Some(value) = value {
        let edit = object.set(name, &value).map_err(|_| Misfit::Ambiguous)?;
        found.edits.push(edit.shifted(start));
        found.changed |= matches!(rule.action, FieldAction::Force(_));
    }
    Ok(())
}

fn search_array(
    text: &str,
    start: usize,
    (name, rest): (&str, &[String]),
    rule: &FieldRule,
    found: &mut Found,
) -> Result<(), Misfit> {
    let elements = elements(text).map_err(|_| Misfit::NoPlace("could not be read"))?;
    // The elements are borrowed from the text, so the difference of the addresses is their place.
    let place = |element: &str| start + (element.as_ptr().addr() - text.as_ptr().addr());
    match (name, &rule.action) {
        (EACH, action) => {
            for element in elements {
                match search(element, place(element), rest, rule, found) {
                    // One element without a place for it says nothing of the next.
                    Err(Misfit::NoPlace(_)) if !matches!(action, FieldAction::Force(_)) => {}
                    other => other?,
                }
            }
            Ok(())
        }
        (BEHIND, FieldAction::Force(value)) => {
            let (at, comma) = match elements.last() {
                Some(last) => (place(last) + last.len(), ","),
                None => (start + 1, ""),
            };
            found.edits.push(Edit {
                range: at..at,
                with: format!("{comma}{value}"),
            });
            found.changed = true;
            Ok(())
        }
        _ => {
            let index = index(name).ok_or(Misfit::NoPlace("is looked for in an array"))?;
            let element = elements.get(index).ok_or(Misfit::NoPlace("is missing from an array"))?;
            search(element, place(element), rest, rule, found)
        }
    }
}

/// The place that a rule is about.
fn arrive(text: &str, start: usize, rule: &FieldRule, found: &mut Found) -> Result<(), Misfit> {
    match &rule.action {
        FieldAction::Forbid => Err(Misfit::Forbidden),
        FieldAction::Fill(_) => Ok(()),
        FieldAction::Force(value) => {
            let with = value.to_string();
            found.changed |= !means(text, value);
            if with != text {
                found.edits.push(Edit {
                    range: start..start + text.len(),
                    with,
                });
            }
            Ok(())
        }
    }
}

/// RFC 6901 §4: digits without a zero in front.
fn index(name: &str) -> Option<usize> {
    let digits = name.bytes().all(|byte| byte.is_ascii_digit());
    let plain = digits && (name == "0" || !name.starts_with('0'));
    plain.then(|| name.parse().ok()).flatten()
}

/// A rule's value below names that are not there. `None` when a name means every element: of none there are none.
fn nested(names: &[String], rule: &FieldRule) -> Option<String> {
    let (FieldAction::Fill(value) | FieldAction::Force(value)) = &rule.action else {
        return None;
    };
    if names.iter().any(|name| name == EACH) {
        return None;
    }
    let mut text = value.to_string();
    for name in names.iter().rev() {
        text = match name.as_str() {
            BEHIND => format!("[{text}]"),
            name => format!("{{{}:{text}}}", quoted(name)),
        };
    }
    Some(text)
}

/// Makes a form obey a rule: the rule's pointer names a part.
///
/// # Errors
/// The field is forbidden, or stands there in another spelling.
pub fn obey_in_form(form: &mut Form, shape: &Shape, rule: &FieldRule, forced: &mut Forced) -> Result<(), PublicError> {
    let [name] = rule.pointer.tokens() else { return Ok(()) };
    let mut others = Vec::new();
    for other in shape.synonyms_of(name) {
        if form.get(other).map_err(form_error)?.is_some() {
            others.push(other);
        }
    }
    let there = form.get(name).map_err(form_error)?.is_some();
    match &rule.action {
        FieldAction::Forbid if there => return Err(forbidden(name)),
        FieldAction::Forbid => {
            if let Some(other) = others.first() {
                return Err(forbidden(other));
            }
        }
        FieldAction::Fill(_) if there || !others.is_empty() => {}
        FieldAction::Fill(value) => form.set(name, texts(value)).map_err(form_error)?,
        FieldAction::Force(value) => {
            let wanted = texts(value);
            let same = form.texts(name).eq(wanted.iter().map(String::as_str));
            for other in &others {
                form.remove(other).map_err(form_error)?;
            }
            if !same || !others.is_empty() {
                forced.note(rule);
                form.set(name, wanted).map_err(form_error)?;
            }
        }
    }
    Ok(())
}

/// A value as fields of a form: text as it is, numbers, flags and objects as JSON writes them, a list as one field for each.
fn texts(value: &Value) -> Vec<String> {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match value {
        Value::Array(values) => values.iter().map(text).collect(),
        value => vec![text(value)],
    }
}

/// Names as OpenAI's errors write them: `a.b`, without the leading slash.
fn field_name(rule: &FieldRule) -> String {
    rule.pointer.tokens().join(".")
}

fn forbidden(name: &str) -> PublicError {
    PublicError::invalid(
        Some(name),
        "unsupported_parameter",
        format!("The field '{name}' is not permitted here."),
    )
}

fn misfit(rule: &FieldRule, why: &str) -> PublicError {
    let name = field_name(rule);
    PublicError::invalid(Some(&name), "invalid_value", format!("The field '{name}' {why}."))
}

#[cfg(test)]
mod tests;
