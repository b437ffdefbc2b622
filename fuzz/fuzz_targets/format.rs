//! Bytes are read as the format that this target is named after: `warmboot::fuzz` says how.

#![no_main]

use std::sync::LazyLock;

use warmboot::fuzz::{self, Format};

static FORMAT: LazyLock<&Format> = LazyLock::new(|| {
    let name = env!("CARGO_BIN_NAME").trim_start_matches("format-");
    fuzz::find(name).expect("a target is named after a format")
});

libfuzzer_sys::fuzz_target!(|input: &[u8]| (FORMAT.run)(input));
