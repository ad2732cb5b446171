//! One call: what must hold is in `src/fuzzing.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ppmid_orchestrator::fuzzing::pack(bytes));
