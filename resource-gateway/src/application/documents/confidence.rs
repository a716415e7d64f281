//! `min_confidence` of an interface.

use serde_json::{Value, json};

use super::{Faults, Table};
use crate::domain::confidence::{Confidence, InvalidConfidence};

const MEMBER: &str = "min_confidence";

/// Takes the threshold out of an interface's table.
pub(super) fn read(table: &mut Table, faults: &mut Faults) -> Option<Confidence> {
    let number = table.take(MEMBER)?.as_f64().ok_or(InvalidConfidence);
    let threshold = number.and_then(Confidence::new);
    threshold
        .map_err(|error| faults.add(table.at(MEMBER), error.to_string()))
        .ok()
}

/// The member that [`read`] takes; absent when nothing is held back.
pub(super) fn render(threshold: Option<Confidence>) -> Option<(String, Value)> {
    threshold.map(|threshold| (MEMBER.to_owned(), json!(threshold.get())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Map;

    #[test]
    fn a_threshold_is_written_as_it_was_read() {
        for (text, wanted) in [
            (json!(0.75), Some(json!(0.75))),
            (json!(1), Some(json!(1.0))),
            (json!(0), Some(json!(0.0))),
            (json!(1.5), None),
            (json!(-1), None),
            (json!("0.5"), None),
            (json!(true), None),
        ] {
            let mut faults = Faults::default();
            let mut table = Table::root(Map::from_iter([(MEMBER.to_owned(), text.clone())]));
            let read = read(&mut table, &mut faults);
            assert_eq!(render(read).map(|(_, value)| value), wanted, "{text}");
            assert_eq!(faults.is_empty(), wanted.is_some(), "{text}");
        }
    }
}
