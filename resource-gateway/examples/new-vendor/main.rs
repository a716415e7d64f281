//! Lays the folder of a new dialect.
//!
//! `cargo run -p resource-gateway --example new-vendor NAME` writes a small dialect that works for a format that nobody has, its
//! fixtures, its importer for the conformance command and its profile, and prints the lines that make a strategy of it. Its tests fail
//! with messages that say what to write; docs/add-a-vendor.md walks through them.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
};

use resource_gateway::{
    bootstrap::{Ambient, registry},
    domain::snapshot::StrategyCatalog as _,
};

mod lay;

fn main() -> ExitCode {
    let mut names = std::env::args().skip(1);
    let (Some(name), None) = (names.next(), names.next()) else {
        let _ = writeln!(io::stderr(), "usage: new-vendor NAME");
        return ExitCode::from(2);
    };
    match run(&name) {
        Ok(told) => {
            let _ = write!(io::stdout(), "{told}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            let _ = writeln!(io::stderr(), "{why}");
            ExitCode::FAILURE
        }
    }
}

fn run(name: &str) -> Result<String, String> {
    let registry = registry(&Ambient::default(), None).map_err(|error| error.to_string())?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let laid = lay::lay(root, name, &registry.strategy_names())?;
    let mut told = String::new();
    for file in &laid.files {
        let file = file.strip_prefix(root).unwrap_or(file);
        let _ = writeln!(told, "laid {}", file.display());
    }
    told.push_str("\nTo make a strategy of it, add these lines, each in its place by the alphabet:\n");
    for (file, line) in &laid.lines {
        let _ = writeln!(told, "  {file}: {line}");
    }
    told.push_str("\nThen write what the failing tests ask for; docs/add-a-vendor.md walks through them.\n");
    Ok(told)
}
