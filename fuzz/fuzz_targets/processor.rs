//! Bytes decide a processor's model, mode, registers, tables and code: `warmboot_cpu::fuzz` says how.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let _ = warmboot_cpu::fuzz::run(input);
});
