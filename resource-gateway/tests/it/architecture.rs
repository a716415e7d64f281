//! The direction of dependencies, and migrations that exist for every engine.

use std::{
    fs,
    path::{Path, PathBuf},
};

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Words that the files of a layer must not hold.
fn forbidden(layer: &str) -> &'static [&'static str] {
    const TECHNOLOGIES: &[&str] = &[
        "axum::",
        "sqlx::",
        "reqwest::",
        "josekit::",
        "hyper::",
        "hyper_util::",
        "tower::",
        "openssl::",
    ];
    match layer {
        "domain" => &[
            "crate::ports",
            "crate::application",
            "crate::adapters",
            "crate::bootstrap",
            "crate::config",
            "async fn",
            ".await",
            "tokio::",
            "tracing::",
            "axum::",
            "sqlx::",
            "reqwest::",
            "hyper::",
            "std::fs",
            "std::net",
            "Instant::now",
        ],
        "ports" => &[
            "crate::application",
            "crate::adapters",
            "crate::bootstrap",
            "crate::config",
            "axum::",
            "sqlx::",
            "reqwest::",
            "hyper::",
            "hyper_util::",
            "tower::",
            "josekit::",
            "openssl::",
        ],
        "application" => &["crate::adapters", "crate::bootstrap", "crate::config"],
        "config" => &["crate::adapters", "crate::application", "crate::bootstrap"],
        "adapters" => &["crate::bootstrap", "crate::config"],
        _ => TECHNOLOGIES,
    }
}

#[test]
fn an_arrow_never_turns_round() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut wrong = Vec::new();
    for file in files {
        let relative = file.strip_prefix(&root).unwrap();
        let parts: Vec<_> = relative.iter().map(|part| part.to_str().unwrap()).collect();
        let layer = parts[0];
        if matches!(layer, "bootstrap" | "bootstrap.rs" | "cli.rs" | "lib.rs" | "main.rs") {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        // Tests at a file's end may use what they like.
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let mut words: Vec<String> = forbidden(layer).iter().map(|word| (*word).to_owned()).collect();
        if layer == "application" {
            words.extend(
                [
                    "axum::",
                    "sqlx::",
                    "reqwest::",
                    "hyper::",
                    "hyper_util::",
                    "tower::",
                    "josekit::",
                    "openssl::",
                ]
                .map(Into::into),
            );
        }
        if layer == "adapters" {
            // Adapters do not know each other.
            let own = parts[1].trim_end_matches(".rs");
            let others = fs::read_dir(root.join("adapters"))
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let others = others
                .map(|name| name.trim_end_matches(".rs").to_owned())
                .filter(|name| name != own && name != "mod");
            words.extend(others.map(|name| format!("crate::adapters::{name}")));
        }
        for (number, line) in code.lines().enumerate() {
            let line = line.split("//").next().unwrap();
            wrong.extend(
                words
                    .iter()
                    .filter(|word| line.contains(word.as_str()))
                    .map(|word| format!("{}:{}: {word}", relative.display(), number + 1)),
            );
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_engine_has_the_same_migrations() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations/gateway");
    let names = |engine: &str| {
        let mut names: Vec<_> = fs::read_dir(root.join(engine))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names("sqlite"), names("postgres"));
    assert!(!names("sqlite").is_empty());
}

#[test]
fn the_entry_point_stays_thin() {
    let main = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/main.rs")).unwrap();
    assert!(main.lines().count() <= 40);
}
