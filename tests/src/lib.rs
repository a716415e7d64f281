//! What the black-box tests in `tests/e2e/` share and other packages may use: a vendor that plays all vendors.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::format_collect,
    clippy::struct_excessive_bools,
    clippy::missing_panics_doc,
    reason = "every line here is a test's helper, and a test fails by a panic"
)]

pub mod mock_vendor;
