//! Hands libFuzzer's bytes to the check of the same name.
//! Everything else is in the library beside it.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| observer_ebpf_fuzz::connection::connection(bytes));
