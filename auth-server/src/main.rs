//! Entry point: parse arguments, load configuration, run.

use std::process::ExitCode;

use auth_server::cli;
use clap::Parser as _;

/// Quicker than the system's for many small, short-lived allocations from several threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    service_kit::use_small_pages();
    let outcome = cli::run(cli::Arguments::parse());
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            cli::complain(&error);
            ExitCode::FAILURE
        }
    }
}
