//! Integration tests of the provider: one binary, one module per subject.

mod storage;
