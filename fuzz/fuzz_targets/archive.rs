//! Any bytes for the entry `archive`; what it does and checks is in `karman-hostile`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| karman_hostile::run("archive", bytes));
