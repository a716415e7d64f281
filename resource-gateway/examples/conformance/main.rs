//! Plays folders of golden fixtures through the gateway's adapters.
//!
//! `cargo run -p resource-gateway --example conformance -- DIR…` prints `PASS|FAIL vendor/case reason` for each file below, and
//! exits with 1 when one fails. Fixtures are what vendors' own SDKs sent and understood; docs/add-a-vendor.md tells their form.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

mod suite;

fn main() -> ExitCode {
    let folders: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    if folders.is_empty() {
        let _ = writeln!(io::stderr(), "usage: conformance DIR…");
        return ExitCode::from(2);
    }
    match play(&folders) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::from(2)
        }
    }
}

fn play(folders: &[PathBuf]) -> Result<bool, String> {
    let suite = suite::Suite::new()?;
    let mut out = io::stdout().lock();
    let (mut passed, mut failed) = (0, 0);
    for folder in folders {
        for verdict in suite.play_all(folder)? {
            let line = match &verdict.fault {
                None => {
                    passed += 1;
                    format!("PASS {}", verdict.name)
                }
                Some(why) => {
                    failed += 1;
                    format!("FAIL {} {}", verdict.name, why.replace('\n', " "))
                }
            };
            writeln!(out, "{line}").map_err(|error| error.to_string())?;
        }
    }
    writeln!(out, "{passed} passed, {failed} failed").map_err(|error| error.to_string())?;
    Ok(failed == 0 && passed > 0)
}
