//! Lays the folder of a new dialect: a small one that works, for a format that nobody has, with tests that say what to write.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

/// What is laid: where, and what it is made of. `template` and `Template` stand for the name in both.
const FILES: [(&str, &str); 10] = [
    (
        "src/adapters/dialects/template/mod.rs",
        include_str!("../../src/adapters/dialects/template/mod.rs"),
    ),
    (
        "src/adapters/dialects/template/wire.rs",
        include_str!("../../src/adapters/dialects/template/wire.rs"),
    ),
    (
        "src/adapters/dialects/template/convert.rs",
        include_str!("../../src/adapters/dialects/template/convert.rs"),
    ),
    (
        "src/adapters/dialects/template/stream.rs",
        include_str!("../../src/adapters/dialects/template/stream.rs"),
    ),
    (
        "src/adapters/dialects/template/faults.rs",
        include_str!("../../src/adapters/dialects/template/faults.rs"),
    ),
    (
        "src/adapters/dialects/template/tests.rs",
        include_str!("../../src/adapters/dialects/template/tests.rs"),
    ),
    ("src/bootstrap/strategies/template.rs", include_str!("profile.rs.txt")),
    (
        "tests/fixtures/vendors/template/chat-plain.json",
        include_str!("fixtures/template/chat-plain.json"),
    ),
    (
        "tests/fixtures/vendors/template/chat-stream.json",
        include_str!("fixtures/template/chat-stream.json"),
    ),
    (
        "examples/conformance/suite/vendors/template.rs",
        include_str!("importer.rs.txt"),
    ),
];

/// The list of dialects, to which one line is added: without it nothing of the folder is compiled, and no test fails.
const DIALECTS: &str = "src/adapters/dialects/mod.rs";

/// The lines of the registry, which make a strategy of the dialect.
const STRATEGIES: &str = "src/bootstrap/strategies.rs";
const PLAYERS: &str = "examples/conformance/suite/vendors/mod.rs";

/// Longer names fill the tables of `docs/`.
const LONGEST: usize = 32;

/// Words that Rust keeps to itself.
const KEYWORDS: &[&str] = &[
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn", "else",
    "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro", "match", "mod",
    "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static", "struct", "super", "trait", "true",
    "try", "type", "typeof", "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];

/// A name in the three spellings that it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    /// Of the strategy: `some-vendor`.
    pub(crate) strategy: String,
    /// Of the module: `some_vendor`.
    pub(crate) module: String,
    /// Of the type: `SomeVendor`.
    pub(crate) kind: String,
}

impl Name {
    /// # Errors
    /// Why it is none.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split('-').collect();
        let is_word = |word: &&str| {
            !word.is_empty()
                && word
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        };
        let begins = text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
        if !begins || !words.iter().all(is_word) || text.len() > LONGEST {
            return Err(format!(
                "{text:?} is no name for a vendor: at most {LONGEST} small letters and digits, in words joined by '-', with a letter first"
            ));
        }
        let module = words.join("_");
        if KEYWORDS.contains(&module.as_str()) {
            return Err(format!("{text:?} is a word of Rust's"));
        }
        let capital = |word: &&str| {
            let (first, rest) = word.split_at(1);
            format!("{}{rest}", first.to_ascii_uppercase())
        };
        Ok(Self {
            strategy: text.to_owned(),
            module,
            kind: words.iter().map(capital).collect(),
        })
    }

    /// A text of the template with this name in it. What shows in our own tests that the laid ones fail is left out.
    fn put_into(&self, path: &str, text: &str) -> String {
        let shown = text.split_inclusive('\n');
        let shown: String = shown.filter(|line| !line.starts_with("#[should_panic")).collect();
        let text = shown.replace("Template", &self.kind);
        // Modules are named within paths and types, strategies within texts.
        match Path::new(path).extension().is_some_and(|extension| extension == "rs") {
            true => text
                .replace("template::", &format!("{}::", self.module))
                .replace("template", &self.strategy),
            false => text.replace("template", &self.strategy),
        }
    }
}

/// What was laid, and what is left to do.
#[derive(Debug)]
pub(crate) struct Laid {
    pub(crate) files: Vec<PathBuf>,
    /// Lines to add by hand, each with its file.
    pub(crate) lines: Vec<(&'static str, String)>,
}

/// Lays the folder below the package's root.
///
/// # Errors
/// The name is bad or taken, or a file cannot be written. Nothing that was there is changed then.
pub(crate) fn lay(root: &Path, name: &str, taken: &[&str]) -> Result<Laid, String> {
    let name = Name::parse(name)?;
    if taken.contains(&name.strategy.as_str()) {
        return Err(format!("there is a strategy {} already", name.strategy));
    }
    let files: Vec<_> = FILES
        .iter()
        .map(|(path, text)| place(root, path, text, &name))
        .collect();
    let list = root.join(DIALECTS);
    let dialects = fs::read_to_string(&list).map_err(|error| failed(&list, &error))?;
    let dialects = declared(&dialects, &name.module)?;
    let is_there = |path: &Path| path.exists() || path.with_extension("").exists();
    if let Some((path, _)) = files.iter().find(|(path, _)| is_there(path)) {
        return Err(format!("{} is there already", path.display()));
    }
    for (path, text) in &files {
        let folder = path.parent().unwrap_or(root);
        fs::create_dir_all(folder).map_err(|error| failed(folder, &error))?;
        fs::write(path, text).map_err(|error| failed(path, &error))?;
    }
    fs::write(&list, dialects).map_err(|error| failed(&list, &error))?;
    tidy(files.iter().map(|(path, _)| path.as_path()));
    let module = &name.module;
    Ok(Laid {
        files: files.into_iter().map(|(path, _)| path).collect(),
        lines: vec![
            (STRATEGIES, format!("mod {module};")),
            (STRATEGIES, format!("{module}::profile(Arc::clone(&http))?,")),
            (PLAYERS, format!("mod {module};")),
            (PLAYERS, format!("(\"{}\", {module}::play),", name.strategy)),
        ],
    })
}

fn place(root: &Path, path: &str, text: &str, name: &Name) -> (PathBuf, String) {
    let named = match path.starts_with("tests/fixtures") {
        true => path.replace("template", &name.strategy),
        false => path.replace("template", &name.module),
    };
    (root.join(named), name.put_into(path, text))
}

/// The list of modules with one more, in its place by the alphabet.
fn declared(list: &str, module: &str) -> Result<String, String> {
    let name = |line: &str| -> Option<String> {
        let rest = line.strip_prefix("pub ").unwrap_or(line).strip_prefix("mod ")?;
        rest.strip_suffix(';').map(str::to_owned)
    };
    let mut lines: Vec<&str> = list.lines().collect();
    let names: Vec<Option<String>> = lines.iter().map(|line| name(line)).collect();
    let stands = |wanted: &dyn Fn(&str) -> bool| names.iter().position(|name| name.as_deref().is_some_and(wanted));
    if stands(&|known| known == module).is_some() {
        return Err(format!("there is a module {module} among the dialects already"));
    }
    let mut at = stands(&|known| known > module).unwrap_or(lines.len());
    // What stands before a line belongs to it.
    while at > 0
        && lines
            .get(at - 1)
            .is_some_and(|before| before.starts_with("#[") || before.starts_with("///"))
    {
        at -= 1;
    }
    let line = format!("pub mod {module};");
    lines.insert(at, &line);
    Ok(lines.join("\n") + "\n")
}

/// Names of other lengths break lines elsewhere, and stand elsewhere in lists. Without the formatter it is only less tidy.
fn tidy<'f>(files: impl Iterator<Item = &'f Path>) {
    let sources = files.filter(|file| file.extension().is_some_and(|extension| extension == "rs"));
    let mut rustfmt = Command::new("rustfmt");
    rustfmt
        .args(["--edition", "2024", "--config", "max_width=120"])
        .args(sources);
    drop(rustfmt.output());
}

fn failed(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}
