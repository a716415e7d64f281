//! The direction of dependencies, held by reading the sources.
//!
//! `domain ← ports ← application ← adapters ← bootstrap`: an arrow never turns round. Paths are collected from `use` trees and from
//! the code, `super` resolved, then judged by the layer they stand in.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Crates that stop at an adapter.
const TECHNOLOGY: &[&str] = &[
    "axum",
    "axum_extra",
    "sqlx",
    "sql_kit",
    "redis",
    "reqwest",
    "josekit",
    "openssl",
    "askama",
    "rust_embed",
    "tower",
    "tower_http",
    "tower_sessions",
    "hyper",
    "http",
    "http_body_util",
    "oxide_auth",
    "argon2",
    "clap",
    "toml",
];
/// Of them, what a layer may use all the same: documents are TOML, and reading one is the use case.
const EXCEPTIONS: &[(&str, &str)] = &[("application/apply/document.rs", "toml")];
/// Everything that the domain may name besides itself.
const DOMAIN_CRATES: &[&str] = &[
    "std",
    "core",
    "oauth_wire",
    "thiserror",
    "time",
    "url",
    "serde",
    "serde_json",
    "service_kit",
];
/// What of our own a layer may name.
const LAYERS: &[(&str, &[&str])] = &[
    ("domain", &["domain"]),
    ("ports", &["domain", "ports"]),
    ("application", &["domain", "ports", "application"]),
    ("adapters", &["domain", "ports", "application", "adapters"]),
];

struct Source {
    /// Relative to `src`.
    file: String,
    module: Vec<String>,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn files_under(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_under(&path));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// All but unit tests that stand in files of their own.
fn sources() -> Vec<Source> {
    let src = root().join("src");
    let files = files_under(&src)
        .into_iter()
        .filter(|path| path.extension().is_some_and(|kind| kind == "rs"));
    files
        .map(|path| Source::read(&src, &path))
        .filter(|source| !source.module.iter().any(|part| part == "tests"))
        .collect()
}

impl Source {
    fn read(src: &Path, path: &Path) -> Self {
        let file = path.strip_prefix(src).unwrap().to_str().unwrap().replace('\\', "/");
        let stem = file.trim_end_matches(".rs").trim_end_matches("/mod");
        let module = stem.split('/').map(str::to_owned).collect();
        Self {
            module,
            text: code_of(&fs::read_to_string(path).unwrap()),
            file,
        }
    }

    /// Every path that the file names, `crate`, `self` and `super` resolved to `crate::…`.
    fn paths(&self) -> BTreeSet<String> {
        let (mut paths, mut code) = (BTreeSet::new(), String::new());
        let mut rest = self.text.as_str();
        while let Some(start) = find_word(rest, "use") {
            let after = &rest[start + 3..];
            let end = after.find(';').unwrap_or(after.len());
            expand("", after[..end].trim(), &mut paths);
            code.push_str(&rest[..start]);
            rest = &after[end..];
        }
        code.push_str(rest);
        paths.extend(inline_paths(&code));
        paths.iter().map(|path| self.resolved(path)).collect()
    }

    fn resolved(&self, path: &str) -> String {
        let mut parts: Vec<&str> = path.split("::").collect();
        let mut base = self.module.clone();
        match parts.first() {
            Some(&"self") => drop(parts.remove(0)),
            Some(&"super") => {
                while parts.first() == Some(&"super") {
                    parts.remove(0);
                    base.pop();
                }
            }
            _ => return path.to_owned(),
        }
        let base = base.iter().map(String::as_str);
        ["crate"]
            .into_iter()
            .chain(base)
            .chain(parts)
            .collect::<Vec<_>>()
            .join("::")
    }

    fn layer(&self) -> &str {
        self.module.first().unwrap()
    }
}

/// The text without comments, string literals and the unit tests at its end.
fn code_of(text: &str) -> String {
    let text = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
    let mut code = String::new();
    for line in text.lines() {
        let mut in_string = false;
        let mut previous = ' ';
        let bytes: Vec<char> = line.chars().collect();
        for (at, &c) in bytes.iter().enumerate() {
            if c == '/' && bytes.get(at + 1) == Some(&'/') && !in_string {
                break;
            }
            if c == '"' && previous != '\\' && previous != '\'' {
                in_string = !in_string;
            }
            if !in_string {
                code.push(c);
            }
            previous = c;
        }
        code.push('\n');
    }
    code
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn find_word(text: &str, word: &str) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = text[from..].find(word).map(|at| at + from) {
        let before = text[..at].chars().next_back().is_none_or(|c| !is_word(c));
        let after = text[at + word.len()..].chars().next().is_some_and(char::is_whitespace);
        if before && after {
            return Some(at);
        }
        from = at + word.len();
    }
    None
}

/// `a::{b, c::{d}}` as `a::b`, `a::c::d`.
fn expand(prefix: &str, tree: &str, paths: &mut BTreeSet<String>) {
    let tree = tree.trim();
    let join = |tail: &str| {
        if prefix.is_empty() {
            tail.to_owned()
        } else {
            format!("{prefix}::{tail}")
        }
    };
    match tree.split_once('{') {
        None => {
            let path = tree.split_whitespace().next().unwrap_or_default();
            if !path.is_empty() {
                paths.insert(join(path.trim_end_matches(',')));
            }
        }
        Some((head, inner)) => {
            let head = head.trim().trim_end_matches("::");
            let inner = inner.rsplit_once('}').map_or(inner, |(inner, _)| inner);
            let prefix = if head.is_empty() { prefix.to_owned() } else { join(head) };
            let (mut depth, mut start) = (0_i32, 0);
            for (at, c) in inner.char_indices() {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        expand(&prefix, &inner[start..at], paths);
                        start = at + 1;
                    }
                    _ => {}
                }
            }
            expand(&prefix, &inner[start..], paths);
        }
    }
}

/// Paths that are written out where they are used.
fn inline_paths(text: &str) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    let mut rest = text;
    while let Some(at) = rest.find("::") {
        let start = rest[..at]
            .rfind(|c: char| !is_word(c))
            .map_or(0, |before| before + rest[before..].chars().next().unwrap().len_utf8());
        let end = rest[at..]
            .find(|c: char| !is_word(c) && c != ':')
            .map_or(rest.len(), |end| at + end);
        // `collect::<String>()` names no path.
        if start < at && !rest[at..].starts_with("::<") {
            paths.insert(rest[start..end].trim_end_matches(':').to_owned());
        }
        rest = &rest[end.max(at + 2)..];
    }
    paths
}

#[test]
fn no_arrow_turns_round() {
    let mut found = Vec::new();
    for source in sources() {
        let Some((_, allowed)) = LAYERS.iter().find(|(layer, _)| *layer == source.layer()) else {
            continue;
        };
        for path in source.paths() {
            let mut parts = path.split("::");
            if parts.next() == Some("crate") {
                let layer = parts.next().unwrap_or_default();
                // `crate` alone, or a macro of ours.
                if !layer.is_empty() && !allowed.contains(&layer) {
                    found.push(format!("{}: {path}", source.file));
                }
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn technology_stops_at_its_adapter() {
    let mut found = Vec::new();
    for source in sources() {
        if !["domain", "ports", "application"].contains(&source.layer()) {
            continue;
        }
        for path in source.paths() {
            let root = path.split("::").next().unwrap_or_default();
            let excepted = EXCEPTIONS
                .iter()
                .any(|(file, name)| *file == source.file && *name == root);
            if TECHNOLOGY.contains(&root) && !excepted {
                found.push(format!("{}: {path}", source.file));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_domain_is_values_in_and_values_out() {
    let mut found = Vec::new();
    for source in sources().into_iter().filter(|source| source.layer() == "domain") {
        for path in source.paths() {
            let root = path.split("::").next().unwrap_or_default();
            let is_crate = root.starts_with(|c: char| c.is_ascii_lowercase())
                && !["crate", "self", "super", "clippy"].contains(&root);
            // Modules of the domain itself are named without `crate` in the files that declare them.
            let is_own = root.len() <= 1 || source.text.contains(&format!("mod {root}"));
            if is_crate && !is_own && !DOMAIN_CRATES.contains(&root) && !is_primitive(root) {
                found.push(format!("{}: {path}", source.file));
            }
            if ["service_kit::Clock", "service_kit::Entropy"]
                .iter()
                .any(|port| path.starts_with(port))
            {
                found.push(format!("{}: {path}", source.file));
            }
        }
        for word in ["async fn", ".await", "tracing::"] {
            if source.text.contains(word) {
                found.push(format!("{}: {word}", source.file));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

fn is_primitive(name: &str) -> bool {
    [
        "u8", "u16", "u32", "u64", "i32", "i64", "str", "char", "bool", "usize", "f64", "fmt", "mem",
    ]
    .contains(&name)
}

#[test]
fn adapters_do_not_know_each_other() {
    let mut found = Vec::new();
    for source in sources().into_iter().filter(|source| source.layer() == "adapters") {
        let Some(own) = source.module.get(1) else { continue };
        for path in source.paths() {
            let Some(rest) = path.strip_prefix("crate::adapters::") else {
                continue;
            };
            let other = rest.split("::").next().unwrap_or_default();
            if other != own {
                found.push(format!("{}: {path}", source.file));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn there_is_one_way_out() {
    let mut found = Vec::new();
    for source in sources() {
        if source
            .module
            .starts_with(&["adapters".to_owned(), "outbound".to_owned()])
        {
            continue;
        }
        for path in source.paths() {
            let connects = ["reqwest", "hyper", "hyper_util", "native_tls", "tokio_openssl"]
                .iter()
                .any(|client| path.split("::").next() == Some(client));
            if connects || path.contains("TcpStream") || path.contains("UdpSocket") {
                found.push(format!("{}: {path}", source.file));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn only_the_composition_root_and_the_command_line_pick_adapters() {
    let mut found = Vec::new();
    for source in sources() {
        let picks = ["bootstrap", "cli", "main", "lib", "adapters"].contains(&source.layer());
        for path in source.paths() {
            // Settings of an adapter are part of the configuration.
            let is_settings = source.layer() == "config" && path.ends_with("Config");
            if !picks && !is_settings && path.starts_with("crate::adapters::") {
                found.push(format!("{}: {path}", source.file));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// The checklist is worth what its tests are: one that was renamed or removed must not be counted on.
#[test]
fn every_test_that_the_security_checklist_names_exists() {
    let checklist = fs::read_to_string(root().join("../docs/security-checklist.md")).unwrap();
    let mut named = 0;
    let mut missing = Vec::new();
    for quoted in checklist.split('`').skip(1).step_by(2) {
        let Some((file, function)) = quoted.split_once(".rs::") else {
            continue;
        };
        let near = root().join("tests/it").join(format!("{file}.rs"));
        let path = if near.exists() {
            near
        } else {
            root().join("..").join(format!("{file}.rs"))
        };
        let text = fs::read_to_string(path).unwrap_or_default();
        named += 1;
        if !text.contains(&format!("fn {function}(")) {
            missing.push(quoted);
        }
    }
    assert!(named > 60, "only {named} tests are named");
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn both_databases_have_the_same_migrations() {
    let names = |dialect: &str| {
        let dir = root().join("../migrations/auth").join(dialect);
        let files = files_under(&dir);
        files
            .iter()
            .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let (sqlite, postgres) = (names("sqlite"), names("postgres"));
    assert_eq!(sqlite, postgres);
    for name in &sqlite {
        let (number, _) = name.split_once('_').unwrap();
        assert!(
            number.len() == 4
                && number.parse::<u32>().is_ok()
                && Path::new(name).extension().is_some_and(|kind| kind == "sql"),
            "{name}"
        );
    }
}

#[test]
fn there_is_no_drawer_for_everything() {
    for source in sources() {
        for part in &source.module {
            assert!(
                !["common", "utils", "util", "helpers", "core", "misc"].contains(&part.as_str()),
                "{}",
                source.file
            );
        }
    }
}

#[test]
fn the_reader_of_paths_sees_what_it_must() {
    let source = Source {
        file: "adapters/http/pages/x.rs".into(),
        module: ["adapters", "http", "pages", "x"].map(str::to_owned).into(),
        text: code_of(
            "use std::{fmt, sync::Arc};\nuse crate::{\n    adapters::sql::{self, Store as _},\n    domain::ids::*,\n};\n\
             use super::super::super::oxide::Rules; // use axum::Router;\nfn f() { let x = sqlx::query(\"use redis::Client;\"); }\n",
        ),
    };
    let paths = source.paths();
    for wanted in [
        "std::fmt",
        "std::sync::Arc",
        "crate::adapters::sql::self",
        "crate::adapters::sql::Store",
        "crate::domain::ids::*",
        "crate::adapters::oxide::Rules",
        "sqlx::query",
    ] {
        assert!(paths.contains(wanted), "{wanted} is not in {paths:?}");
    }
    assert!(
        !paths
            .iter()
            .any(|path| path.starts_with("axum") || path.starts_with("redis")),
        "{paths:?}"
    );
}
