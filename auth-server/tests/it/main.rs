//! Integration tests of the provider: one binary, one module per subject.

mod app;
mod apply;
mod architecture;
mod documents;
mod faults;
mod fuzz;
mod nodes;
mod oauth;
mod operate;
mod outbound;
mod pages;
mod storage;
mod token_states;
