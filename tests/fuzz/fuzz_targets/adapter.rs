#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| socklet_tests::fuzz::adapter(data));
