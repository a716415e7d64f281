//! Every golden fixture through the adapters, as the conformance command plays them.

use std::path::Path;

use crate::suite::Suite;

/// What is recorded and not offered by this version. Whatever joins this list or leaves it makes the test fail.
const NOT_YET: [&str; 0] = [];

#[test]
fn every_recording_of_every_vendors_sdk_is_understood() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/vendors");
    let verdicts = Suite::new().unwrap().play_all(&folder).unwrap();
    let failed: Vec<_> = verdicts.iter().filter(|verdict| verdict.fault.is_some()).collect();
    let names: Vec<_> = failed.iter().map(|verdict| verdict.name.as_str()).collect();
    assert_eq!(names, NOT_YET, "{failed:#?}");
    assert_eq!(verdicts.len(), 190);
}

#[test]
fn a_recording_that_does_not_fit_is_told_by_name() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/vendors/openai/chat-plain.json");
    let text = std::fs::read_to_string(source).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (name, from, to) in [
        ("request.json", "\"method\": \"POST\"", "\"method\": \"PUT\""),
        ("answer.json", "\"finish\": \"stop\"", "\"finish\": \"length\""),
        ("vendor.json", "\"vendor\": \"openai\"", "\"vendor\": \"nobody\""),
        ("text.json", "{", ""),
    ] {
        assert!(text.contains(from), "{name}");
        std::fs::write(folder.path().join(name), text.replacen(from, to, 1)).unwrap();
    }
    let verdicts = Suite::new().unwrap().play_all(folder.path()).unwrap();
    let faults: Vec<_> = verdicts
        .iter()
        .map(|verdict| verdict.fault.as_deref().unwrap_or("none"))
        .collect();
    assert_eq!(faults.len(), 4);
    assert!(faults[0].starts_with("answer: finish is"), "{faults:?}");
    assert!(faults[1].starts_with("request: method is"), "{faults:?}");
    assert!(verdicts[2].name.ends_with("text.json"), "{verdicts:?}");
    assert_eq!(faults[3], "there is no vendor nobody");
}
