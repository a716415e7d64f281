#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::distinguished_name(bytes));
