//! The kernel's type information: any bytes.
//! What must hold is in `observer::fuzz`, with the code that reads them.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| observer::fuzz::type_information(bytes));
