//! What is printed: figures, and failures as rows for a table test.

use std::fmt::Write;

use warmboot_silicon::{End, layout::Mode};

use super::{
    compare::{Outcome, place_of},
    shrink::Failure,
};

/// Names of the general registers in encoding order.
pub const GENERAL: [&str; 16] = [
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
    "r15",
];

/// A failure as a row: bytes, what it starts from (what is not named is zero), what silicon makes of it,
/// and what ours does.
pub fn row(failure: &Failure) -> String {
    let mut text = String::new();
    let bytes: Vec<String> = failure.bytes.iter().map(|byte| format!("0x{byte:02x}")).collect();
    let before = Outcome {
        registers: failure.start.registers.clone(),
        end: End::Through,
        memory: failure.start.memory.clone(),
    };
    let _ = writeln!(text, "  // {} ({}-bit)", failure.name, failure.mode.bits());
    let _ = writeln!(
        text,
        "  #[case(&[{}], {}, \"{}\", \"{}\")]",
        bytes.join(", "),
        failure.mode.bits(),
        words(failure, &before, None),
        words(failure, &failure.silicon, Some(&before))
    );
    let _ = writeln!(text, "  // here: {}", words(failure, &failure.ours, Some(&before)));
    for difference in &failure.differences {
        let _ = writeln!(text, "  //   {difference}");
    }
    text
}

/// Registers and memory, those only that are not as in `than`, or not zero.
fn words(failure: &Failure, outcome: &Outcome, than: Option<&Outcome>) -> String {
    let mut words = Vec::new();
    let registers = &outcome.registers;
    for (index, name) in GENERAL.iter().enumerate() {
        let value = registers.general[index];
        if value != than.map_or(0, |than| than.registers.general[index]) {
            words.push(format!("{name}={value:x}"));
        }
    }
    words.push(format!("flags={:x}", registers.flags));
    if failure.vectors {
        vector_words(outcome, than, &mut words);
    }
    memory_words(outcome, than, &mut words);
    if let End::Fault { vector, error, address, at } = outcome.end {
        words.push(format!("fault={vector}:{error:x} cr2={address:x} rip={at:x}"));
    }
    words.join(" ")
}

fn vector_words(outcome: &Outcome, than: Option<&Outcome>, words: &mut Vec<String>) {
    let image = &outcome.registers.vectors;
    let before = than.map(|than| &than.registers.vectors);
    words.push(format!(
        "cw={:x} sw={:x} tags={:x} mxcsr={:x}",
        image.control(),
        image.status(),
        image.valid(),
        image.mxcsr()
    ));
    for index in 0..8 {
        let value = image.st(index);
        if value != before.map_or((0, 0), |before| before.st(index)) {
            words.push(format!("st{index}={:04x}:{:016x}", value.0, value.1));
        }
    }
    for index in 0..16 {
        let value = image.xmm(index);
        if value != before.map_or([0; 2], |before| before.xmm(index)) {
            words.push(format!("xmm{index}={:016x}{:016x}", value[1], value[0]));
        }
        let value = image.upper(index);
        if value != before.map_or([0; 2], |before| before.upper(index)) {
            words.push(format!("upper{index}={:016x}{:016x}", value[1], value[0]));
        }
    }
}

fn memory_words(outcome: &Outcome, than: Option<&Outcome>, words: &mut Vec<String>) {
    let before = |index: usize| than.map_or(0, |than| than.memory[index]);
    let mut index = 0;
    while index < outcome.memory.len() {
        let start = index;
        while index < outcome.memory.len() && outcome.memory[index] != before(index) {
            index += 1;
        }
        if start < index {
            let bytes: Vec<String> =
                outcome.memory[start..index].iter().map(|byte| format!("{byte:02x}")).collect();
            words.push(format!("m{:x}={}", place_of(start), bytes.concat()));
        }
        index += 1;
    }
}

/// `16-bit` and its kin.
pub fn mode_name(mode: Mode) -> String {
    format!("{}-bit", mode.bits())
}
