//! JSON schemas as Gemini's own `Schema`: its types are upper case, and of the keywords it has some.

use serde_json::{Map, Value, json};

/// A reference that is followed deeper than this goes round in a circle.
const MOST_DEEP: usize = 32;
const MOST_NODES: usize = 10_000;
/// References are written out, and may be written out many times over: into so many bytes for all schemas of one request.
const MOST_WRITTEN_OUT: usize = 256 * 1024;
/// What a schema takes beside its texts.
const NODE: usize = 16;

/// Keywords with the same meaning on both sides, and values that are no schemas.
const SAME: [&str; 18] = [
    "title",
    "description",
    "format",
    "nullable",
    "required",
    "default",
    "example",
    "pattern",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "minLength",
    "maxLength",
    "minProperties",
    "maxProperties",
    "propertyOrdering",
    "x-google-enum-descriptions",
];

/// Keywords that say nothing of the values.
const REMARKS: [&str; 9] = [
    "$schema",
    "$id",
    "$comment",
    "$defs",
    "definitions",
    "examples",
    "deprecated",
    "readOnly",
    "strict",
];

/// Converts the schemas of one request. What they say themselves is as long as the request; what their references say may be much
/// longer, and has room for a while.
#[derive(Debug)]
pub(super) struct Schemas {
    room: usize,
}

impl Default for Schemas {
    fn default() -> Self {
        Self { room: MOST_WRITTEN_OUT }
    }
}

impl Schemas {
    /// The schema in Gemini's words; `None` if it says something that they cannot say, or says it too often.
    pub(super) fn converted(&mut self, schema: &Value) -> Option<Value> {
        let mut walk = Walk {
            root: schema,
            nodes: MOST_NODES,
            references: 0,
            room: &mut self.room,
        };
        walk.schema(schema, 0)
    }
}

struct Walk<'a> {
    root: &'a Value,
    nodes: usize,
    /// Those that are being followed.
    references: usize,
    room: &'a mut usize,
}

impl Walk<'_> {
    /// Takes room for what a reference says; the schema's own text needs none. What there is too little room for ends the room:
    /// nobody tries again with the next schema.
    fn take(&mut self, bytes: impl FnOnce() -> usize) -> Option<()> {
        if self.references > 0 {
            let left = self.room.checked_sub(bytes());
            *self.room = left.unwrap_or(0);
            left?;
        }
        Some(())
    }

    fn schema(&mut self, schema: &Value, depth: usize) -> Option<Value> {
        self.nodes = self.nodes.checked_sub(1)?;
        if depth > MOST_DEEP {
            return None;
        }
        self.take(|| NODE)?;
        let schema = schema.as_object()?;
        let mut out = Map::new();
        for (name, value) in schema {
            self.take(|| said(name, value))?;
            match name.as_str() {
                name if SAME.contains(&name) => drop(out.insert(name.to_owned(), value.clone())),
                name if REMARKS.contains(&name) => {}
                "type" => types(value, &mut out)?,
                // Its enums are texts.
                "enum" => {
                    let all = value.as_array()?;
                    if !all.iter().all(Value::is_string) {
                        return None;
                    }
                    out.insert("enum".to_owned(), value.clone());
                }
                "const" => {
                    out.insert("enum".to_owned(), json!([value.as_str()?]));
                }
                "properties" => {
                    let properties = value.as_object()?.iter();
                    let properties =
                        properties.map(|(name, schema)| Some((name.clone(), self.schema(schema, depth + 1)?)));
                    out.insert(
                        "properties".to_owned(),
                        properties.collect::<Option<Map<_, _>>>()?.into(),
                    );
                }
                "items" => drop(out.insert("items".to_owned(), self.schema(value, depth + 1)?)),
                "anyOf" | "oneOf" if !out.contains_key("anyOf") => {
                    let all = value.as_array()?.iter();
                    let all = all.map(|schema| self.schema(schema, depth + 1));
                    out.insert("anyOf".to_owned(), all.collect::<Option<Vec<_>>>()?.into());
                }
                // It writes no other properties anyway.
                "additionalProperties" if *value == Value::Bool(false) => {}
                "$ref" => {
                    let pointer = value.as_str()?.strip_prefix('#')?;
                    let target = self.root.pointer(pointer)?;
                    self.references += 1;
                    let found = self.schema(target, depth + 1);
                    self.references -= 1;
                    let Value::Object(found) = found? else {
                        return None;
                    };
                    for (name, value) in found {
                        out.entry(name).or_insert(value);
                    }
                }
                _ => return None,
            }
        }
        if out.contains_key("enum") {
            // It wants to know of what, and here they are texts.
            out.entry("type").or_insert_with(|| json!("STRING"));
        }
        Some(Value::Object(out))
    }
}

/// The bytes that a keyword is written with, less the schemas in it, which are counted when they are converted.
fn said(name: &str, value: &Value) -> usize {
    let value = match name {
        name if REMARKS.contains(&name) => return 0,
        "items" | "anyOf" | "oneOf" => 0,
        "properties" => value
            .as_object()
            .map_or(0, |all| all.keys().map(|name| NODE + name.len()).sum()),
        _ => weight(value),
    };
    name.len() + value
}

fn weight(value: &Value) -> usize {
    let within: usize = match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len(),
        Value::Array(all) => all.iter().map(weight).sum(),
        Value::Object(all) => all.iter().map(|(name, value)| name.len() + weight(value)).sum(),
    };
    NODE + within
}

/// Of several types one may be `null`, which is a word of its own.
fn types(value: &Value, out: &mut Map<String, Value>) -> Option<()> {
    let all = match value {
        Value::String(one) => vec![one.as_str()],
        Value::Array(all) => all.iter().map(Value::as_str).collect::<Option<Vec<_>>>()?,
        _ => return None,
    };
    let some: Vec<_> = all.iter().filter(|name| !name.eq_ignore_ascii_case("null")).collect();
    match some.as_slice() {
        [] => drop(out.insert("type".to_owned(), json!("NULL"))),
        [one] => {
            out.insert("type".to_owned(), json!(one.to_ascii_uppercase()));
            if all.len() > 1 {
                out.insert("nullable".to_owned(), json!(true));
            }
        }
        _ => return None,
    }
    Some(())
}
