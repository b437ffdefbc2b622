//! Which registers a step has changed, by name, with their new values.

use std::fmt::Write as _;

use serde_json::Value;
use warmboot_machine::{Segment, State};

use crate::diff::registers;

const GENERAL: [[&str; 2]; 16] = [
    ["eax", "rax"],
    ["ecx", "rcx"],
    ["edx", "rdx"],
    ["ebx", "rbx"],
    ["esp", "rsp"],
    ["ebp", "rbp"],
    ["esi", "rsi"],
    ["edi", "rdi"],
    ["r8d", "r8"],
    ["r9d", "r9"],
    ["r10d", "r10"],
    ["r11d", "r11"],
    ["r12d", "r12"],
    ["r13d", "r13"],
    ["r14d", "r14"],
    ["r15d", "r15"],
];
const SEGMENTS: [&str; 6] = ["es", "cs", "ss", "ds", "fs", "gs"];
/// EFLAGS (Intel SDM vol. 1, 3.4.3): name, lowest bit, width.
const FLAGS: [(&str, u32, u32); 17] = [
    ("cf", 0, 1),
    ("pf", 2, 1),
    ("af", 4, 1),
    ("zf", 6, 1),
    ("sf", 7, 1),
    ("tf", 8, 1),
    ("if", 9, 1),
    ("df", 10, 1),
    ("of", 11, 1),
    ("iopl", 12, 2),
    ("nt", 14, 1),
    ("rf", 16, 1),
    ("vm", 17, 1),
    ("ac", 18, 1),
    ("vif", 19, 1),
    ("vip", 20, 1),
    ("id", 21, 1),
];
const DEBUG: [&str; 8] = ["dr0", "dr1", "dr2", "dr3", "dr4", "dr5", "dr6", "dr7"];

/// `eax=00000010 zf=1 ds=0010`, in the order in which manuals list registers. The instruction pointer is
/// left out, which the next line shows.
pub(super) fn changes(before: &State, after: &State) -> String {
    let mut text = String::new();
    let long = usize::from(before.long_mode() || after.long_mode());
    for ((old, new), names) in before.gpr.iter().zip(&after.gpr).zip(GENERAL) {
        if old != new {
            let wide = long == 1 || new >> 32 != 0;
            number(&mut text, names[usize::from(wide)], *new, if wide { 16 } else { 8 });
        }
    }
    let (old, new) = (before.flags.bits(), after.flags.bits());
    for (name, bit, width) in FLAGS.into_iter().filter(|_| old != new) {
        let value = |flags: u32| flags >> bit & ((1 << width) - 1);
        if value(old) != value(new) {
            put(&mut text, name, value(new));
        }
    }
    for ((old, new), name) in before.segments.iter().zip(&after.segments).zip(SEGMENTS) {
        segment(&mut text, name, old, new);
    }
    segment(&mut text, "ldtr", &before.ldtr, &after.ldtr);
    segment(&mut text, "tr", &before.tr, &after.tr);
    for (name, old, new) in [("gdtr", before.gdtr, after.gdtr), ("idtr", before.idtr, after.idtr)] {
        if old != new {
            put(&mut text, name, format_args!("{:08x}:{:04x}", new.base, new.limit));
        }
    }
    let control = [
        ("cr0", before.cr0, after.cr0),
        ("cr2", before.cr2, after.cr2),
        ("cr3", before.cr3, after.cr3),
        ("cr4", before.cr4, after.cr4),
        ("cr8", before.cr8, after.cr8),
        ("pkru", before.pkru.into(), after.pkru.into()),
        ("smbase", before.smbase.into(), after.smbase.into()),
    ];
    let debug = before.dr.iter().zip(&after.dr).zip(DEBUG).map(|((old, new), name)| (name, *old, *new));
    for (name, old, new) in control.into_iter().chain(debug) {
        if old != new {
            number(&mut text, name, new, 8);
        }
    }
    if before.smm != after.smm {
        put(&mut text, "smm", u8::from(after.smm));
    }
    if before.cpl != after.cpl {
        put(&mut text, "cpl", after.cpl);
    }
    rest(&mut text, before, after);
    text
}

fn put(text: &mut String, name: &str, value: impl std::fmt::Display) {
    let space = if text.is_empty() { "" } else { " " };
    // Writing to a String cannot fail.
    let _ = write!(text, "{space}{name}={value}");
}

fn number(text: &mut String, name: &str, value: u64, digits: usize) {
    put(text, name, format_args!("{value:0digits$x}"));
}

/// A segment register: its selector, and what of its hidden part the selector does not tell in real mode.
fn segment(text: &mut String, name: &str, old: &Segment, new: &Segment) {
    if old == new {
        return;
    }
    if old.selector != new.selector {
        put(text, name, format_args!("{:04x}", new.selector));
    }
    if old.base != new.base && new.base != u64::from(new.selector) << 4 {
        put(text, &format!("{name}.base"), format_args!("{:08x}", new.base));
    }
    if old.limit != new.limit {
        put(text, &format!("{name}.limit"), format_args!("{:08x}", new.limit));
    }
    if old.rights != new.rights {
        put(text, &format!("{name}.rights"), format_args!("{:04x}", new.rights));
    }
}

/// x87, SSE, AVX and the model-specific registers, as diffs name them.
fn rest(text: &mut String, before: &State, after: &State) {
    let mut parts = Vec::new();
    if before.fpu != after.fpu {
        parts.push(("fpu", serde_json::to_value(&before.fpu), serde_json::to_value(&after.fpu)));
    }
    if before.sse != after.sse {
        parts.push(("sse", serde_json::to_value(&before.sse), serde_json::to_value(&after.sse)));
    }
    if before.avx != after.avx {
        parts.push(("avx", serde_json::to_value(&before.avx), serde_json::to_value(&after.avx)));
    }
    if before.msrs != after.msrs {
        parts.push(("msrs", serde_json::to_value(&before.msrs), serde_json::to_value(&after.msrs)));
    }
    for (part, old, new) in parts {
        let (Ok(old), Ok(new)) = (old, new) else { continue };
        for change in registers::changes(Some(&old), Some(&new)) {
            let name = registers::processor_name(&format!("{part}.{}", change.name));
            match change.after {
                Some(Value::Number(value)) if value.as_u64().is_some() => {
                    number(text, &name, value.as_u64().unwrap_or(0), 1);
                }
                Some(value) => put(text, &name, value),
                None => put(text, &name, "-"),
            }
        }
    }
}
