//! Black-box tests live in `tests/e2e/`; this library holds nothing.
