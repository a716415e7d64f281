//! The migrations on disk and those in the binary are the same, for every dialect.

use std::collections::BTreeSet;
use std::path::Path;

use auth_server::adapters::sql::MIGRATIONS;

#[test]
fn every_dialect_has_every_step_and_every_step_is_embedded() {
    let embedded: BTreeSet<String> = MIGRATIONS
        .steps
        .iter()
        .map(|step| format!("{}.sql", step.name))
        .collect();
    for dialect in ["sqlite", "postgres"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../migrations/auth")
            .join(dialect);
        let files = std::fs::read_dir(folder).unwrap();
        let found: BTreeSet<String> = files
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(found, embedded, "{dialect}");
    }
}

#[test]
fn steps_are_numbered_and_stand_in_their_order() {
    // Four digits, so that folders list them in this order, too.
    let number = |name: &str| {
        let (digits, rest) = name.split_once('_').unwrap();
        assert!(digits.len() == 4 && !rest.is_empty(), "{name}");
        digits.parse::<u32>().unwrap()
    };
    assert_eq!(MIGRATIONS.steps.first().map(|step| number(step.name)), Some(1));
    for pair in MIGRATIONS.steps.windows(2) {
        let [before, after] = pair else {
            unreachable!("windows of two")
        };
        // Numbers that were set aside and not used leave gaps; none comes twice, and none late.
        assert!(number(before.name) < number(after.name), "{}", after.name);
    }
}
