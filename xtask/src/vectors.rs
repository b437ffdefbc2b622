//! Single-instruction tests captured on a real 80286 (Daniel Balsom's SingleStepTests, MOO format),
//! replayed on our processor in real mode.
//!
//! Each test gives registers and memory before and after one instruction and the HLT behind it.
//! Where a P6 differs from an 80286, the expected result is changed: by the rules measured in
//! `p6-rules.json`, which [`Rule`] states, and because a P6's faults can be restarted
//! ([`Experiment::restart`]). Each runs on both execution paths. Nothing is skipped but tests the
//! set itself revokes.

mod moo;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::{Path, PathBuf},
};

use iced_x86::{Decoder, DecoderOptions, Mnemonic, OpKind, Register};
use serde_json::Value;
use warmboot_cpu::{
    Bus, Cpu, Frame, Path as Execution, Stop, models,
    state::Segment,
    testing::{self, FlatBus},
};

use self::moo::{GENERAL, Memory, REGISTER_NAMES, Registers, Test, at, read, read_json, read_tests};

/// What went wrong with the files.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{path}: {what}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What was expected.
        what: String,
    },
}

/// Results of one opcode form.
#[derive(Clone, Debug, Default)]
pub struct Form {
    /// The file's name: opcode, and `/reg` where there is one.
    pub name: String,
    /// Tests with the expected result.
    pub passed: usize,
    /// Tests with another.
    pub failed: usize,
    /// Tests the set revokes.
    pub skipped: usize,
    /// The first few failures.
    pub failures: Vec<String>,
}

/// Results of a folder.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// In the order of the file names.
    pub forms: Vec<Form>,
}

impl Summary {
    /// Passed, failed, skipped.
    #[must_use]
    pub fn totals(&self) -> (usize, usize, usize) {
        self.forms.iter().fold((0, 0, 0), |(passed, failed, skipped), form| {
            (passed + form.passed, failed + form.failed, skipped + form.skipped)
        })
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for form in &self.forms {
            let Form { name, passed, failed, skipped, failures } = form;
            writeln!(f, "{name:6} {passed:6} passed {failed:6} failed {skipped:6} skipped")?;
            for failure in failures {
                writeln!(f, "       {failure}")?;
            }
        }
        let (passed, failed, skipped) = self.totals();
        write!(f, "total: {passed} passed, {failed} failed, {skipped} skipped")
    }
}

/// Replays every `*.MOO.gz` of `folder`.
///
/// # Errors
///
/// When a file cannot be read or is not in the format its README describes.
pub fn run(folder: &Path) -> Result<Summary, Error> {
    let metadata = read_json(&folder.join("metadata.json"))?;
    let revoked: BTreeSet<String> = read(&folder.join("revocation_list.txt"))
        .map(|text| String::from_utf8_lossy(&text).lines().map(str::to_owned).collect())
        .unwrap_or_default();
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .map_err(|source| Error::Read { path: folder.to_owned(), source })?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|name| name.strip_suffix(".MOO.gz").map(str::to_owned))
        .collect();
    names.sort();
    if names.is_empty() {
        let what = "no *.MOO.gz file in this folder".to_owned();
        return Err(Error::Format { path: folder.to_owned(), what });
    }
    let mut machine = Machine::new();
    let mut summary = Summary::default();
    for name in names {
        let path = folder.join(format!("{name}.MOO.gz"));
        let tests = read_tests(&path)?;
        let mask = flags_mask(&metadata, &name);
        summary.forms.push(run_form(&mut machine, name, &tests, mask, &revoked));
    }
    Ok(summary)
}

/// How many failures of a form are told in full.
const TOLD: usize = 3;

fn run_form(
    machine: &mut Machine,
    name: String,
    tests: &[Test],
    mask: u16,
    revoked: &BTreeSet<String>,
) -> Form {
    let mut form = Form { name, ..Form::default() };
    for test in tests {
        if revoked.contains(&test.hash) {
            form.skipped += 1;
            continue;
        }
        match check(machine, &form.name, test, mask) {
            Ok(()) => form.passed += 1,
            Err(why) => {
                form.failed += 1;
                if form.failures.len() < TOLD {
                    form.failures.push(format!("{} `{}`: {why}", test.index, test.name));
                }
            }
        }
    }
    form
}

/// The flags an instruction defines.
fn flags_mask(metadata: &Value, form: &str) -> u16 {
    let opcodes = metadata.get("opcodes");
    let entry = match form.split_once('.') {
        Some((opcode, reg)) => opcodes
            .and_then(|opcodes| opcodes.get(opcode))
            .and_then(|entry| entry.get("reg"))
            .and_then(|regs| regs.get(reg)),
        None => opcodes.and_then(|opcodes| opcodes.get(form)),
    };
    let mask = entry.and_then(|entry| entry.get("flags-mask")).and_then(Value::as_u64);
    mask.map_or(0xffff, |mask| mask as u16)
}

// The machine: RAM only.

/// Just above the highest address real mode reaches.
const RAM_PAGES: usize = 0x110;

struct Machine {
    cpu: Cpu<FlatBus>,
    ram: FlatBus,
}

/// A test that runs longer than the longest REP has gone astray.
const LIMIT: u64 = 0x1_1000;

impl Machine {
    fn new() -> Machine {
        let ram = FlatBus::new(RAM_PAGES * 4096);
        Machine { cpu: Cpu::new(&models::QEMU64, 0), ram }
    }

    /// Runs from `registers` and `memory` to the HLT.
    fn run(&mut self, registers: &Registers, memory: &Memory, path: Execution) -> Result<Registers, String> {
        let stale = self.ram.clear();
        for (&address, &value) in memory {
            self.ram.set_byte(address.into(), value);
        }
        for frame in stale {
            self.cpu.code_written(frame, 0, 4096);
        }
        self.cpu.reset();
        let state = self.cpu.state_mut();
        for (from, to) in GENERAL {
            state.gpr[to] = registers[from].into();
        }
        let segments = [at::ES, at::CS, at::SS, at::DS];
        for (segment, from) in state.segments.iter_mut().zip(segments) {
            let rights = segment.rights;
            *segment = Segment { rights, ..Segment::real_mode(registers[from]) };
        }
        state.rip = registers[at::IP].into();
        state.flags.set_bits(registers[at::FLAGS].into());
        let mut left = LIMIT;
        loop {
            let run = testing::run(&mut self.cpu, &mut self.ram, left, path);
            left = left.saturating_sub(run.retired);
            match run.stop {
                Stop::Halt => break,
                Stop::Device if left > 0 => {}
                stop => return Err(format!("ended by {stop:?}, not by its HLT")),
            }
        }
        let state = self.cpu.state();
        let mut after = Registers::default();
        for (to, from) in GENERAL {
            after[to] = state.gpr[from] as u16;
        }
        let [es, cs, ss, ds, ..] = state.segments.map(|segment| segment.selector);
        (after[at::ES], after[at::CS], after[at::SS], after[at::DS]) = (es, cs, ss, ds);
        after[at::IP] = state.rip as u16;
        after[at::FLAGS] = state.flags.bits() as u16;
        Ok(after)
    }
}

// What is expected.

/// How a P6's result differs from the 80286's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rule {
    /// It does not.
    AsRecorded,
    /// A fault that the 80286 did not take: LOCK where it is not allowed (#UD, SDM vol. 2A, LOCK),
    /// an IDIV overflow it missed, a #UD before its #GP.
    Fault(u8),
    /// Beyond the limit of the stack segment: #SS, vector 12 (SDM vol. 3A, 6.15), not 13.
    StackFault,
    /// Instructions of 11 to 15 bytes execute; the 80286 refused them.
    Long,
    /// MOV to and from FS and GS (SDM vol. 2B, MOV), which the 80286 does not have.
    NewSegment,
}

/// The `idx` list of the rules file for F6 /7.
const IDIV_OVERFLOWS_MISSED: [u32; 4] = [952, 1085, 2653, 4297];
/// The same for C7: a reserved `/reg` on top of an operand beyond the limit.
const UNDEFINED_BEFORE_LIMIT: u32 = 1685;

fn rule(form: &str, test: &Test, faulting: &Registers) -> Rule {
    let prefixes = prefixes(&test.bytes);
    let (before, rest) = test.bytes.split_at(prefixes);
    if before.contains(&0xf0) && !lockable(rest) {
        return Rule::Fault(6);
    }
    match form {
        "F6.7" if IDIV_OVERFLOWS_MISSED.contains(&test.index) => return Rule::Fault(0),
        "C7" if test.index == UNDEFINED_BEFORE_LIMIT => return Rule::Fault(6),
        "8C" | "8E" if rest.get(1).is_some_and(|modrm| matches!((modrm >> 3) & 7, 4 | 5)) => {
            return Rule::NewSegment;
        }
        _ => {}
    }
    if test.exception != Some(13) {
        return Rule::AsRecorded;
    }
    // The last byte is the HLT.
    if test.bytes.len() > 11 {
        return Rule::Long;
    }
    if beyond_stack(test, faulting) { Rule::StackFault } else { Rule::AsRecorded }
}

fn prefixes(bytes: &[u8]) -> usize {
    let prefix = |byte: &u8| matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0xf0 | 0xf2 | 0xf3);
    bytes.iter().take_while(|byte| prefix(byte)).count()
}

/// Whether LOCK is allowed: a listed opcode with a memory destination (SDM vol. 2A, LOCK).
fn lockable(instruction: &[u8]) -> bool {
    let (Some(&opcode), Some(&modrm)) = (instruction.first(), instruction.get(1)) else {
        return false;
    };
    let reg = (modrm >> 3) & 7;
    let listed = match opcode {
        0x00..=0x31 => opcode & 6 == 0,
        0x80..=0x83 => reg != 7,
        0x86 | 0x87 => true,
        0xf6 | 0xf7 => reg == 2 || reg == 3,
        0xfe | 0xff => reg < 2,
        _ => false,
    };
    listed && modrm < 0xc0
}

/// Whether what went beyond a limit was the stack segment: an operand in SS, or the stack itself.
fn beyond_stack(test: &Test, registers: &Registers) -> bool {
    let ip = test.before[at::IP];
    if usize::from(ip) + test.bytes.len() - 1 > 0x10000 {
        return false;
    }
    let options = DecoderOptions::NO_INVALID_CHECK;
    let mut decoder = Decoder::with_ip(16, &test.bytes, ip.into(), options);
    let instruction = decoder.decode();
    for operand in 0..instruction.op_count() {
        let kind = instruction.op_kind(operand);
        let offset = match kind {
            OpKind::Memory | OpKind::MemorySegSI | OpKind::MemoryESDI => {
                let value = |register, _, _| Some(offset_part(register, registers));
                instruction.virtual_address(operand, 0, value).unwrap_or(0) & 0xffff
            }
            _ => continue,
        };
        if offset as usize + instruction.memory_size().size().max(1) > 0x10000 {
            return kind != OpKind::MemoryESDI && instruction.memory_segment() == Register::SS;
        }
    }
    instruction.is_stack_instruction() || instruction.mnemonic() == Mnemonic::Leave
}

/// A register's part in an offset: segment registers have none.
fn offset_part(register: Register, registers: &Registers) -> u64 {
    let index = match register {
        Register::BX => 1,
        Register::BP => 9,
        Register::SI => 10,
        Register::DI => 11,
        _ => return 0,
    };
    registers[index].into()
}

/// A complete experiment: what goes in, what must come out.
struct Experiment {
    before: Registers,
    memory_before: Memory,
    after: Registers,
    memory_after: Memory,
    flags_mask: u16,
    /// Where FLAGS was pushed, to be compared under the same mask.
    pushed_flags: Option<u32>,
}

fn check(machine: &mut Machine, form: &str, test: &Test, mask: u16) -> Result<(), String> {
    let mut experiment = Experiment {
        before: test.before,
        memory_before: test.memory_before.clone(),
        after: test.after,
        memory_after: test.memory_after.clone(),
        flags_mask: mask & 0x7fff,
        pushed_flags: test.exception.map(|_| stack_address(&test.after, 4)),
    };
    // An 80286 in real mode holds neither IOPL nor NT; a P6 does, so they start clear.
    for registers in [&mut experiment.before, &mut experiment.after] {
        registers[at::FLAGS] = (registers[at::FLAGS] & 0x0fff) | 2;
    }
    let popped = match form {
        "9D" => Some(0),
        "CF" => Some(4),
        _ => None,
    };
    if let Some(popped) = popped.filter(|_| test.exception.is_none()) {
        // POPF and IRET can set them (SDM vol. 2B, POPF: real mode).
        let high = stack_address(&test.before, popped + 1);
        let high = test.memory_before.get(&high).copied().unwrap_or(0);
        experiment.after[at::FLAGS] |= (u16::from(high) << 8) & 0x7000;
    }
    experiment.restart(form, test);
    match rule(form, test, &experiment.after) {
        Rule::AsRecorded => {}
        Rule::Fault(vector) => experiment.fault(vector),
        Rule::StackFault => {
            let handler = experiment.install_handler(12);
            (experiment.after[at::CS], experiment.after[at::IP]) = handler;
        }
        Rule::NewSegment => experiment.move_new_segment(test),
        Rule::Long => experiment.as_without_prefixes(machine, test)?,
    }
    [Execution::Cached, Execution::Plain].into_iter().try_for_each(|path| {
        let conducted = experiment.conduct(machine, path);
        conducted.map_err(|why| format!("{path:?}: {why}"))
    })
}

/// Linear address of SS:SP + `offset`.
fn stack_address(registers: &Registers, offset: u16) -> u32 {
    let sp = registers[at::SP].wrapping_add(offset);
    u32::from(registers[at::SS]) * 16 + u32::from(sp)
}

impl Experiment {
    /// A P6 leaves everything as it was before an instruction that faults, or before the iteration
    /// of a REP that does (SDM vol. 3A, 6.6; vol. 2B, REP); the 80286 has moved on in some cases.
    fn restart(&mut self, form: &str, test: &Test) {
        match (form, test.exception) {
            ("8F", Some(13)) => {
                // POP's own increment of SP is taken back.
                self.after[at::SP] = self.before[at::SP].wrapping_sub(6);
                self.memory_after = self.memory_before.clone();
                self.push_frame();
                self.pushed_flags = None;
            }
            ("D4", Some(0)) => {
                self.after[at::FLAGS] = self.before[at::FLAGS] & !0x0300;
                self.push_frame();
            }
            ("6D" | "6F" | "A5" | "A7" | "AB" | "AD" | "AF", Some(13)) => {
                self.restart_string(form, test);
            }
            // The recording has SS where CS was pushed.
            ("CE", Some(4)) if test.index == 1193 => self.push_word(2, self.before[at::CS]),
            _ => {}
        }
    }

    /// The index registers and the count as they were before the iteration that faulted: the one
    /// with a word at offset FFFF.
    fn restart_string(&mut self, form: &str, test: &Test) {
        const SI: usize = 10;
        const DI: usize = 11;
        const CX: usize = 2;
        let indexes: &[usize] = match form {
            "6F" | "AD" => &[SI],
            "6D" | "AB" | "AF" => &[DI],
            _ => &[SI, DI],
        };
        let step: u16 = if self.before[at::FLAGS] & 0x0400 == 0 { 2 } else { 0xfffe };
        let faults = |done: u16| {
            indexes.iter().any(|&index| self.before[index].wrapping_add(step.wrapping_mul(done)) == 0xffff)
        };
        let done = (0..0x8000).find(|&done| faults(done)).unwrap_or(0);
        for &index in indexes {
            self.after[index] = self.before[index].wrapping_add(step.wrapping_mul(done));
        }
        let prefixes = &test.bytes[..prefixes(&test.bytes)];
        if prefixes.iter().any(|prefix| matches!(prefix, 0xf2 | 0xf3)) {
            self.after[CX] = self.before[CX].wrapping_sub(done);
        }
    }

    /// FLAGS, CS and IP as a fault leaves them on the stack.
    fn push_frame(&mut self) {
        let pushed = [self.before[at::IP], self.before[at::CS], self.before[at::FLAGS]];
        for (offset, value) in (0..).step_by(2).zip(pushed) {
            self.push_word(offset, value);
        }
    }

    /// The word `offset` above SP.
    fn push_word(&mut self, offset: u16, value: u16) {
        for (offset, byte) in (offset..).zip(value.to_le_bytes()) {
            self.memory_after.insert(stack_address(&self.after, offset), byte);
        }
    }

    /// Puts a HLT where no test byte is and points `vector` at it; gives CS and IP after it.
    fn install_handler(&mut self, vector: u8) -> (u16, u16) {
        let mut taken: BTreeSet<u32> = self.memory_before.keys().map(|byte| byte >> 4).collect();
        taken.extend(self.memory_after.keys().map(|byte| byte >> 4));
        let frame = (2..=6).step_by(2).map(|below| stack_address(&self.before, 0_u16.wrapping_sub(below)));
        taken.extend(frame.map(|byte| byte >> 4));
        let paragraph = (0x60..0x1000).find(|paragraph| !taken.contains(paragraph)).unwrap_or(0x60);
        let mut bytes = vec![(paragraph << 4, 0xf4)];
        let entry = u32::from(vector) * 4;
        let pointer = (paragraph << 16).to_le_bytes();
        bytes.extend((entry..).zip(pointer));
        for (address, byte) in bytes {
            self.memory_before.insert(address, byte);
            self.memory_after.insert(address, byte);
        }
        (paragraph as u16, 1)
    }

    /// The instruction changes nothing but takes fault `vector`.
    fn fault(&mut self, vector: u8) {
        self.after = self.before;
        self.memory_after = self.memory_before.clone();
        let (cs, ip) = self.install_handler(vector);
        self.after[at::SP] = self.after[at::SP].wrapping_sub(6);
        self.push_frame();
        self.pushed_flags = None;
        self.after[at::FLAGS] &= !0x0300;
        (self.after[at::CS], self.after[at::IP]) = (cs, ip);
    }

    /// Loads FS or GS, which no test looks at, or stores one of them: zero after reset.
    fn move_new_segment(&mut self, test: &Test) {
        self.after = self.before;
        self.memory_after = self.memory_before.clone();
        self.pushed_flags = None;
        self.after[at::IP] = self.before[at::IP].wrapping_add(test.bytes.len() as u16);
        let mut decoder = Decoder::with_ip(16, &test.bytes, 0, DecoderOptions::NONE);
        let instruction = decoder.decode();
        if instruction.op_kind(1) != OpKind::Register || !instruction.op1_register().is_segment_register() {
            return;
        }
        if instruction.op0_kind() == OpKind::Register {
            let number = instruction.op0_register().number();
            if let Some((register, _)) = GENERAL.iter().find(|(_, encoded)| *encoded == number) {
                self.after[*register] = 0;
            }
            return;
        }
        let value = |register, _, _| Some(offset_part(register, &self.before));
        let offset = instruction.virtual_address(0, 0, value).unwrap_or(0) & 0xffff;
        let segment = match instruction.memory_segment() {
            Register::ES => at::ES,
            Register::CS => at::CS,
            Register::SS => at::SS,
            _ => at::DS,
        };
        let address = u32::from(self.before[segment]) * 16 + offset as u32;
        self.memory_after.insert(address, 0);
        self.memory_after.insert(address + 1, 0);
    }

    /// What the instruction does when the prefixes that change nothing are passed over.
    fn as_without_prefixes(&mut self, machine: &mut Machine, test: &Test) -> Result<(), String> {
        let prefixes = &test.bytes[..prefixes(&test.bytes)];
        let meaning = |prefixes: &[u8]| {
            let last = |of: &[u8]| prefixes.iter().rev().find(|byte| of.contains(byte)).copied();
            (last(&[0x26, 0x2e, 0x36, 0x3e]), last(&[0xf2, 0xf3]), last(&[0xf0]))
        };
        let whole = meaning(prefixes);
        let idle = (0..=prefixes.len()).rev().find(|&idle| meaning(&prefixes[idle..]) == whole);
        let mut short = self.before;
        short[at::IP] = short[at::IP].wrapping_add(idle.unwrap_or(0) as u16);
        self.after = machine.run(&short, &self.memory_before, Execution::Plain)?;
        self.memory_after = contents(&machine.ram);
        self.pushed_flags = None;
        Ok(())
    }

    /// Runs on one path and compares.
    fn conduct(&self, machine: &mut Machine, path: Execution) -> Result<(), String> {
        let got = machine.run(&self.before, &self.memory_before, path)?;
        for (index, name) in REGISTER_NAMES.iter().enumerate() {
            let mask = if index == at::FLAGS { self.flags_mask } else { 0xffff };
            let (got, expected) = (got[index], self.after[index]);
            if (got ^ expected) & mask != 0 {
                return Err(format!("{name} is {got:04x}, expected {expected:04x} (mask {mask:04x})"));
            }
        }
        compare(&machine.ram, &self.memory_after, |address| match self.pushed_flags {
            Some(low) if address == low => self.flags_mask as u8,
            Some(low) if address == low.wrapping_add(1) => (self.flags_mask >> 8) as u8,
            _ => 0xff,
        })
    }
}

/// The bytes that are not zero.
fn contents(ram: &FlatBus) -> Memory {
    let mut memory = Memory::new();
    for frame in ram.written() {
        let addresses = frame.0 << 12..(frame.0 + 1) << 12;
        memory.extend(addresses.map(|at| (at, ram.byte(at.into()))).filter(|(_, byte)| *byte != 0));
    }
    memory
}

/// Everything is zero but what `expected` says.
fn compare(ram: &FlatBus, expected: &Memory, mask: impl Fn(u32) -> u8) -> Result<(), String> {
    let mut pages: BTreeMap<u32, [u8; 4096]> = ram.written().map(|frame| (frame.0, [0; 4096])).collect();
    for (&address, &byte) in expected {
        let page = pages.entry(address >> 12).or_insert([0; 4096]);
        page[(address & 0xfff) as usize] = byte;
    }
    for (page, bytes) in pages {
        if *ram.frame(Frame(page)) == bytes {
            continue;
        }
        for (address, expected) in (page << 12..).zip(bytes) {
            let got = ram.byte(address.into());
            if (got ^ expected) & mask(address) != 0 {
                return Err(format!("[{address:05x}] is {got:02x}, expected {expected:02x}"));
            }
        }
    }
    Ok(())
}
