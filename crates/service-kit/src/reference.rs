//! The generated configuration reference: one table row per key, from the types and their doc comments.

use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::config::Settings;

/// A Markdown page that lists every key with its environment variable, default and meaning.
pub fn markdown<T: JsonSchema + Serialize + Default + Settings>(title: &str) -> String {
    let schema = schemars::SchemaGenerator::default().into_root_schema_for::<T>();
    let defaults = serde_json::to_value(T::default()).unwrap_or_default();
    let schema = schema.to_value();
    let mut page = format!(
        "# {title}\n\nGenerated from the source; `make check` fails when it is out of date.\n\n\
         Keys come from the TOML file given by `--config`, then from the environment. Unknown keys are errors.\n\n\
         | key | environment | default | meaning |\n|---|---|---|---|\n"
    );
    rows(&schema, &schema, &defaults, T::ENV_PREFIX, "", &mut page);
    page
}

fn rows(root: &Value, node: &Value, defaults: &Value, prefix: &str, path: &str, page: &mut String) {
    let Some(properties) = resolve(root, node).get("properties").and_then(Value::as_object) else {
        return;
    };
    for (name, property) in properties {
        let key = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        // What a table in a list leaves out has its default in the schema.
        let default = defaults.get(name).or(property.get("default")).unwrap_or(&Value::Null);
        let target = resolve(root, property);
        if target.get("properties").is_some() {
            rows(root, target, default, prefix, &key, page);
            continue;
        }
        let meaning = property
            .get("description")
            .or(target.get("description"))
            .and_then(Value::as_str)
            .unwrap_or_default();
        // Tables in a list have no name that a variable could be called by.
        let table = target.get("items").map(|items| resolve(root, items));
        let table = table.filter(|table| table.get("properties").is_some());
        let variable = match table.is_some() || path.contains("[]") {
            true => "—".to_owned(),
            false => format!("`{prefix}__{}`", key.to_uppercase().replace('.', "__")),
        };
        let default = match default {
            Value::Null => "—".to_owned(),
            Value::String(text) if text.is_empty() => "—".to_owned(),
            Value::String(text) => format!("`{text}`"),
            other => format!("`{other}`"),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            page,
            "| `{key}` | {variable} | {default} | {} |",
            meaning.replace('\n', " ")
        );
        if let Some(table) = table {
            rows(root, table, &Value::Null, prefix, &format!("{key}[]"), page);
        }
    }
}

fn resolve<'a>(root: &'a Value, node: &'a Value) -> &'a Value {
    let reference = node.get("$ref").or_else(|| {
        node.get("allOf")
            .and_then(|all| all.get(0))
            .and_then(|one| one.get("$ref"))
    });
    match reference.and_then(Value::as_str).and_then(|r| r.strip_prefix('#')) {
        Some(pointer) => root.pointer(pointer).unwrap_or(node),
        None => node,
    }
}
