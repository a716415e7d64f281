//! Plays the vendors until its standard input closes: `cargo run -p e2e --example mock_vendor`. Prints their addresses
//! and keys as JSON.

#![expect(clippy::print_stdout, reason = "it is told where they are")]

use std::{collections::BTreeMap, io};

use e2e::mock_vendor::{MockVendor, VENDORS, credentials};
use serde_json::json;

fn main() -> io::Result<()> {
    let mock = MockVendor::start();
    let vendors: BTreeMap<_, _> = VENDORS
        .into_iter()
        .map(|vendor| {
            let account = credentials(vendor);
            let row = json!({"address": mock.address(vendor), "id": account.id, "key": account.key});
            (vendor, row)
        })
        .collect();
    println!("{}", json!({"control": mock.address("control"), "vendors": vendors}));
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}
