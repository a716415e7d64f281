//! The generator of dialects: what it lays is complete, well formed and named right, and what it refuses stays untouched.

use std::{fs, path::Path, process::Command};

use crate::lay::{Name, lay};

/// A package with as much in it as the generator looks at.
fn package() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let list = "src/adapters/dialects/mod.rs";
    fs::create_dir_all(root.path().join(list).parent().unwrap()).unwrap();
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join(list), root.path().join(list)).unwrap();
    root
}

fn everything_below(folder: &Path) -> String {
    let mut all = String::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.push_str(&everything_below(&path));
        } else {
            let text = fs::read_to_string(&path).unwrap();
            all.extend([path.to_str().unwrap(), "\n", &text, "\n"]);
        }
    }
    all
}

#[test]
fn a_folder_is_laid_under_the_new_name_and_is_well_formed() {
    let root = package();
    let laid = lay(root.path(), "some-vendor", &["openai"]).unwrap();
    assert_eq!(laid.files.len(), 10);
    for file in &laid.files {
        let text = fs::read_to_string(file).unwrap();
        let place = file.strip_prefix(root.path()).unwrap().to_str().unwrap();
        assert!(!text.to_lowercase().contains("template"), "{place}");
        assert!(
            !text.contains("should_panic"),
            "{place}: its tests fail until something is written"
        );
        assert!(
            place.contains("some_vendor") || place.contains("vendors/some-vendor/"),
            "{place}"
        );
        if file.extension().is_some_and(|extension| extension == "json") {
            let fixture: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(
                (&fixture["vendor"], &fixture["sdk"]["name"]),
                (&"some-vendor".into(), &"made up".into())
            );
        }
    }
    let sources = laid
        .files
        .iter()
        .filter(|file| file.extension().is_some_and(|extension| extension == "rs"));
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rustfmt.toml");
    for source in sources {
        // Children are declared in mod.rs, so each file is looked at by itself.
        let checked = Command::new("rustfmt")
            .args(["--check", "--edition", "2024", "--config-path"])
            .args([&config, source])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&checked.stderr);
        assert!(
            checked.status.success(),
            "{}: {said}{}",
            source.display(),
            String::from_utf8_lossy(&checked.stdout)
        );
    }
    let lines: Vec<_> = laid.lines.iter().map(|(_, line)| line.as_str()).collect();
    assert_eq!(
        lines,
        [
            "mod some_vendor;",
            "some_vendor::profile(Arc::clone(&http))?,",
            "mod some_vendor;",
            "(\"some-vendor\", some_vendor::play),"
        ]
    );
}

#[test]
fn the_module_is_declared_in_its_place_and_takes_no_attribute_of_another() {
    for (name, next) in [
        ("aa", Some("pub mod anthropic;")),
        ("tea", Some("/// What a new")),
        ("zz", None),
    ] {
        let root = package();
        lay(root.path(), name, &[]).unwrap();
        let list = fs::read_to_string(root.path().join("src/adapters/dialects/mod.rs")).unwrap();
        let mut lines = list
            .lines()
            .skip_while(|line| *line != format!("pub mod {name};"))
            .skip(1);
        let follows = lines.next();
        assert_eq!(follows.is_some(), next.is_some(), "{name}: {list}");
        assert!(
            follows.unwrap_or_default().starts_with(next.unwrap_or_default()),
            "{name}: {list}"
        );
    }
}

#[test]
fn bad_and_taken_names_are_refused_and_nothing_is_written() {
    let root = package();
    let before = everything_below(root.path());
    for bad in [
        "",
        "-",
        "a-",
        "-a",
        "a--b",
        "7up",
        "Some",
        "some_vendor",
        "some vendor",
        "../evil",
        "a/b",
        "\u{fc}ber",
        "type",
        "crate",
        "a-name-that-is-much-too-long-for-a-table",
        // Taken: by a strategy, by a dialect, by a module beside the dialects.
        "azure-openai",
        "gemini",
        "support",
        "translated",
    ] {
        assert!(lay(root.path(), bad, &["azure-openai"]).is_err(), "{bad:?}");
        assert_eq!(everything_below(root.path()), before, "{bad:?}");
    }
    lay(root.path(), "some-vendor", &[]).unwrap();
    let after = everything_below(root.path());
    assert!(lay(root.path(), "some-vendor", &[]).is_err());
    assert_eq!(everything_below(root.path()), after);
}

#[test]
fn a_name_has_three_spellings() {
    let name = Name::parse("a1-b2c").unwrap();
    assert_eq!(
        (name.strategy.as_str(), name.module.as_str(), name.kind.as_str()),
        ("a1-b2c", "a1_b2c", "A1B2c")
    );
}
