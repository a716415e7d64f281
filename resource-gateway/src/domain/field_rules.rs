//! Field rules: what the operator decided about fields of the request, applied to its text.

use serde_json::Value;

use super::{
    fault::PublicError,
    interface::{FieldAction, FieldRule},
    json_object::{Edit, JsonObject, elements, quoted},
};

/// The edit that makes a text obey a rule; `None` when it does already.
///
/// # Errors
/// The field is forbidden, or the request's shape leaves no place for it.
pub fn edit(text: &str, rule: &FieldRule) -> Result<Option<Edit>, PublicError> {
    let tokens: Vec<String> = rule.pointer.tokens().collect();
    let place = match (find(text, &tokens), &rule.action) {
        (Ok(place), _) => place,
        // Where nothing can stand, nothing is forbidden and nothing is filled in; what is forced must find its place.
        (Err(Misfit::NoPlace(_)), FieldAction::Forbid | FieldAction::Fill(_)) => return Ok(None),
        (Err(Misfit::NoPlace(why) | Misfit::Ambiguous(why)), _) => return Err(misfit(rule, why)),
    };
    match (&rule.action, place) {
        (FieldAction::Forbid, Place::At { .. }) => Err(PublicError::invalid(
            Some(&field_name(rule)),
            "unsupported_parameter",
            format!("The field '{}' is not permitted here.", field_name(rule)),
        )),
        (FieldAction::Forbid, Place::Missing { .. }) | (FieldAction::Fill(_), Place::At { .. }) => Ok(None),
        (FieldAction::Force(value), Place::At { start, end }) => Ok(Some(Edit {
            range: start..end,
            with: value.to_string(),
        })),
        (FieldAction::Fill(value) | FieldAction::Force(value), Place::Missing { at, first, names }) => {
            Ok(Some(insertion(at, first, names, value)))
        }
    }
}

/// Names as OpenAI's errors write them: `a.b`, without the leading slash.
fn field_name(rule: &FieldRule) -> String {
    rule.pointer.tokens().collect::<Vec<_>>().join(".")
}

fn misfit(rule: &FieldRule, why: &str) -> PublicError {
    let name = field_name(rule);
    PublicError::invalid(Some(&name), "invalid_value", format!("The field '{name}' {why}."))
}

enum Place<'n> {
    At {
        start: usize,
        end: usize,
    },
    /// The deepest object on the way that is there, and the names that it lacks.
    Missing {
        at: usize,
        first: bool,
        names: &'n [String],
    },
}

/// Why a pointer leads nowhere.
enum Misfit {
    NoPlace(&'static str),
    /// Two readers would not agree on where it leads.
    Ambiguous(&'static str),
}

fn find<'n>(text: &str, tokens: &'n [String]) -> Result<Place<'n>, Misfit> {
    let (mut start, mut end) = (0, text.len());
    for (depth, token) in tokens.iter().enumerate() {
        let inner = text.get(start..end).unwrap_or_default();
        let trimmed = inner.trim_start();
        start += inner.len() - trimmed.len();
        if trimmed.starts_with('[') {
            let elements = elements(trimmed).map_err(|_| Misfit::NoPlace("could not be read"))?;
            let index: usize = token
                .parse()
                .map_err(|_| Misfit::NoPlace("is looked for in an array"))?;
            let element = elements.get(index).ok_or(Misfit::NoPlace("is missing from an array"))?;
            start += element.as_ptr().addr() - trimmed.as_ptr().addr();
            end = start + element.len();
            continue;
        }
        let object = JsonObject::parse(trimmed.as_bytes())
            .map_err(|_| Misfit::NoPlace("lies within something that is not an object"))?;
        let member = object
            .get(token)
            .map_err(|_| Misfit::Ambiguous("stands in the body twice, or in another spelling"))?;
        let Some(member) = member else {
            let names = tokens.get(depth..).unwrap_or_default();
            let first = object.members().is_empty();
            return Ok(Place::Missing {
                at: start + 1,
                first,
                names,
            });
        };
        (start, end) = (start + member.range.start, start + member.range.end);
    }
    Ok(Place::At { start, end })
}

fn insertion(at: usize, first: bool, names: &[String], value: &Value) -> Edit {
    let mut with = String::new();
    for (depth, name) in names.iter().enumerate() {
        if depth > 0 {
            with.push('{');
        }
        with.push_str(&quoted(name));
        with.push(':');
    }
    with.push_str(&value.to_string());
    with.push_str(&"}".repeat(names.len().saturating_sub(1)));
    if !first {
        with.push(',');
    }
    Edit { range: at..at, with }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{interface::JsonPointer, json_object::apply, vendor::Switch};
    use serde_json::json;

    fn after(text: &str, pointer: &str, action: FieldAction) -> Result<String, String> {
        let rule = FieldRule {
            pointer: JsonPointer::parse(pointer).unwrap(),
            action,
            enabled: Switch::On,
        };
        let edit = edit(text, &rule).map_err(|error| error.code.unwrap())?;
        Ok(edit.map_or(text.to_owned(), |edit| apply(text, vec![edit])))
    }

    #[test]
    fn fill_force_and_forbid_do_what_they_say() {
        let fill = |v: Value| FieldAction::Fill(v);
        let force = |v: Value| FieldAction::Force(v);
        for (text, pointer, action, wanted) in [
            (r#"{"a":1}"#, "/b", fill(json!(2)), Ok(r#"{"b":2,"a":1}"#)),
            (r#"{"a":1}"#, "/a", fill(json!(2)), Ok(r#"{"a":1}"#)),
            // Sent as null is sent.
            (r#"{"a":null}"#, "/a", fill(json!(2)), Ok(r#"{"a":null}"#)),
            (r#"{"a" : 1 }"#, "/a", force(json!("x")), Ok(r#"{"a" : "x" }"#)),
            (r"{}", "/a/b/c", force(json!([1])), Ok(r#"{"a":{"b":{"c":[1]}}}"#)),
            (
                r#" {"a": {"x":1}}"#,
                "/a/b",
                force(json!(true)),
                Ok(r#" {"a": {"b":true,"x":1}}"#),
            ),
            (
                r#"{"a":[{"n":1},{"n":2}]}"#,
                "/a/1/n",
                force(json!(9)),
                Ok(r#"{"a":[{"n":1},{"n":9}]}"#),
            ),
            (r#"{"a/b":1}"#, "/a~1b", force(json!(2)), Ok(r#"{"a/b":2}"#)),
            (r#"{"a":1}"#, "/a", FieldAction::Forbid, Err("unsupported_parameter")),
            (r#"{"a":1}"#, "/b", FieldAction::Forbid, Ok(r#"{"a":1}"#)),
            (r#"{"a":1}"#, "/a/b", force(json!(1)), Err("invalid_value")),
            (r#"{"a":1}"#, "/a/b", fill(json!(1)), Ok(r#"{"a":1}"#)),
            (r#"{"a":1}"#, "/a/b", FieldAction::Forbid, Ok(r#"{"a":1}"#)),
            (r#"{"a":1,"a":2}"#, "/a", FieldAction::Forbid, Err("invalid_value")),
            (r#"{"a":[1]}"#, "/a/7", force(json!(1)), Err("invalid_value")),
            (r#"{"a":1,"a":2}"#, "/a", force(json!(1)), Err("invalid_value")),
            // Some readers take `A` for `a`.
            (r#"{"A":1}"#, "/a", FieldAction::Forbid, Err("invalid_value")),
            (r#"{"a":1,"A":2}"#, "/a", force(json!(1)), Err("invalid_value")),
            (r#"{"a":{"B":2}}"#, "/a/b", fill(json!(1)), Err("invalid_value")),
        ] {
            let got = after(text, pointer, action);
            assert_eq!(got.as_deref().map_err(String::as_str), wanted, "{text} {pointer}");
        }
    }
}
