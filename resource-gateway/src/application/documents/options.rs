//! `options` of a vendor: texts by name, for its strategy.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Faults, Table};

const MEMBER: &str = "options";
const MAX_BYTES: usize = 512;
const MOST: usize = 32;

/// Takes the options out of a vendor's table.
pub(super) fn read(table: &mut Table, faults: &mut Faults) -> BTreeMap<String, String> {
    let Some(mut options) = table.table(MEMBER, faults) else {
        return BTreeMap::new();
    };
    let names = options.names();
    if names.len() > MOST {
        faults.add(table.at(MEMBER), format!("must not be more than {MOST}"));
        return BTreeMap::new();
    }
    let mut read = BTreeMap::new();
    for name in names {
        let Some(value) = options.text(&name, faults) else {
            continue;
        };
        // They go into headers and paths.
        let plain = (1..=MAX_BYTES).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_graphic());
        if plain {
            read.insert(name, value);
        } else {
            let why = format!("must be a text of 1 to {MAX_BYTES} ASCII characters without blanks");
            faults.add(options.at(&name), why);
        }
    }
    options.finish(faults);
    read
}

/// The member that [`read`] takes; absent when there are none.
pub(super) fn render(options: &BTreeMap<String, String>) -> Option<(String, Value)> {
    (!options.is_empty()).then(|| (MEMBER.to_owned(), json!(options)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Map;

    #[test]
    fn options_are_written_as_they_were_read() {
        for (value, good) in [
            (json!({"region": "eu-west-1", "api_version": "2024-10-21"}), true),
            (json!({"region": "x".repeat(MAX_BYTES)}), true),
            (json!({"region": "x".repeat(MAX_BYTES + 1)}), false),
            (json!({"region": ""}), false),
            (json!({"region": "a b"}), false),
            (json!({"region": "a\nb"}), false),
            (json!({"region": 7}), false),
            (json!("eu"), false),
        ] {
            let mut faults = Faults::default();
            let mut table = Table::root(Map::from_iter([(MEMBER.to_owned(), value.clone())]));
            let read = read(&mut table, &mut faults);
            assert_eq!(faults.is_empty(), good, "{value}");
            if good {
                assert_eq!(render(&read).map(|(_, value)| value), Some(value));
            }
        }
    }
}
