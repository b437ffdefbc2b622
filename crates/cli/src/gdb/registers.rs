//! Registers as gdb numbers, names and shapes them: a target description, and each register's bytes.
//!
//! The standard features (gdb's manual, "i386 Features") have the names and the order gdb wants; what has
//! no place there is in a feature of our own, `warmboot.system`.

use std::fmt::Write;

use crate::{Machine, machine::ConfigError};

/// Numbers of the general registers as encoded, in gdb's order.
const ORDER_32: [usize; 8] = [0, 1, 2, 3, 4, 5, 6, 7];
const ORDER_64: [usize; 16] = [0, 3, 1, 2, 6, 7, 5, 4, 8, 9, 10, 11, 12, 13, 14, 15];
const NAMES_32: [&str; 8] = ["eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"];
const NAMES_64: [&str; 16] = [
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
    "r15",
];
/// Segment registers in gdb's order, with their number as encoded.
const SEGMENTS: [(&str, usize); 6] = [("cs", 1), ("ss", 2), ("ds", 3), ("es", 0), ("fs", 4), ("gs", 5)];
const CONTROL: [&str; 4] = ["cr0", "cr2", "cr3", "cr4"];
const NUMERIC: [&str; 8] = ["fctrl", "fstat", "ftag", "fiseg", "fioff", "foseg", "fooff", "fop"];
/// EFLAGS by bit (Intel SDM vol. 1, 3.4.3).
const FLAGS: [(&str, u32); 17] = [
    ("CF", 0),
    ("", 1),
    ("PF", 2),
    ("AF", 4),
    ("ZF", 6),
    ("SF", 7),
    ("TF", 8),
    ("IF", 9),
    ("DF", 10),
    ("OF", 11),
    ("NT", 14),
    ("RF", 16),
    ("VM", 17),
    ("AC", 18),
    ("VIF", 19),
    ("VIP", 20),
    ("ID", 21),
];

/// What a register is of the processor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    General(usize),
    Pointer,
    Flags,
    Selector(usize),
    Base(usize),
    Stack(usize),
    Numeric(usize),
    Xmm(usize),
    Mxcsr,
    Control(usize),
    Efer,
}

/// A register as gdb is told of it.
#[derive(Clone, Debug)]
struct Register {
    name: String,
    bytes: usize,
    kind: &'static str,
    what: What,
}

/// All registers of a processor model, by gdb's number.
#[derive(Clone, Debug)]
pub(crate) struct Registers {
    long: bool,
    features: Vec<(&'static str, Vec<Register>)>,
}

/// Why a register cannot be written.
const NO_DESCRIPTOR: &str = "in protected mode a selector can only be loaded by the guest";
const NO_TABLES: &str = "with PAE paging outside long mode only the guest can load the four PDPTEs";

impl Registers {
    /// Those of a model with or without long mode.
    pub(crate) fn new(long: bool) -> Registers {
        let word = if long { 8 } else { 4 };
        let integer = if long { "int64" } else { "int32" };
        let register = |name: &str, bytes, kind, what| Register { name: name.to_owned(), bytes, kind, what };
        let (names, order): (&[&str], &[usize]) =
            if long { (&NAMES_64, &ORDER_64) } else { (&NAMES_32, &ORDER_32) };
        let mut main: Vec<Register> = names
            .iter()
            .zip(order)
            .map(|(name, &number)| {
                let kind = if matches!(number, 4 | 5) { "data_ptr" } else { integer };
                register(name, word, kind, What::General(number))
            })
            .collect();
        main.push(register(if long { "rip" } else { "eip" }, word, "code_ptr", What::Pointer));
        main.push(register("eflags", 4, "i386_eflags", What::Flags));
        main.extend(
            SEGMENTS.iter().map(|(name, number)| register(name, 4, "int32", What::Selector(*number))),
        );
        main.extend((0..8).map(|index| register(&format!("st{index}"), 10, "i387_ext", What::Stack(index))));
        main.extend(
            NUMERIC.iter().enumerate().map(|(index, name)| register(name, 4, "int", What::Numeric(index))),
        );
        let count = if long { 16 } else { 8 };
        let mut sse: Vec<Register> = (0..count)
            .map(|index| register(&format!("xmm{index}"), 16, "vec128", What::Xmm(index)))
            .collect();
        sse.push(register("mxcsr", 4, "int", What::Mxcsr));
        let mut system: Vec<Register> = CONTROL
            .iter()
            .enumerate()
            .map(|(index, name)| register(name, word, integer, What::Control(index)))
            .collect();
        let bases = SEGMENTS.iter().filter(|(name, _)| !long || !matches!(*name, "fs" | "gs"));
        system.extend(
            bases.map(|(name, number)| register(&format!("{name}_base"), word, integer, What::Base(*number))),
        );
        let mut features = vec![("org.gnu.gdb.i386.core", main), ("org.gnu.gdb.i386.sse", sse)];
        if long {
            system.push(register("efer", 8, "int64", What::Efer));
            let bases = [("fs_base", 4), ("gs_base", 5)];
            let bases = bases.map(|(name, number)| register(name, 8, "int64", What::Base(number)));
            features.push(("org.gnu.gdb.i386.segments", bases.to_vec()));
        }
        features.push(("warmboot.system", system));
        Registers { long, features }
    }

    fn all(&self) -> impl Iterator<Item = &Register> {
        self.features.iter().flat_map(|(_, registers)| registers)
    }

    /// The target description.
    pub(crate) fn description(&self) -> String {
        let mut text =
            String::from("<?xml version=\"1.0\"?>\n<!DOCTYPE target SYSTEM \"gdb-target.dtd\">\n<target>");
        let architecture = if self.long { "i386:x86-64" } else { "i386" };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "<architecture>{architecture}</architecture>");
        for (name, registers) in &self.features {
            let _ = write!(text, "<feature name=\"{name}\">\n{}", types(name));
            for Register { name, bytes, kind, .. } in registers {
                let _ = writeln!(text, "<reg name=\"{name}\" bitsize=\"{}\" type=\"{kind}\"/>", bytes * 8);
            }
            text.push_str("</feature>\n");
        }
        text.push_str("</target>\n");
        text
    }

    /// The bytes of all registers of a processor, as the `g` packet has them.
    pub(crate) fn read_all(&self, machine: &Machine, processor: usize) -> Option<Vec<u8>> {
        let mut all = Vec::new();
        for register in self.all() {
            all.extend(register.read(machine, processor)?);
        }
        Some(all)
    }

    /// The bytes of register number `number`.
    pub(crate) fn read(&self, machine: &Machine, processor: usize, number: usize) -> Option<Vec<u8>> {
        self.all().nth(number)?.read(machine, processor)
    }

    /// Writes all registers, from the bytes of a `G` packet. What already holds its value is left alone, so
    /// that what cannot be written need not be.
    pub(crate) fn write_all(
        &self,
        machine: &mut Machine,
        processor: usize,
        bytes: &[u8],
    ) -> Result<(), ConfigError> {
        let mut rest = bytes;
        let mut values = Vec::new();
        for register in self.all() {
            // A client may leave out registers from some number on.
            let Some((value, after)) = rest.split_at_checked(register.bytes) else { break };
            values.push((register, value));
            rest = after;
        }
        // TOP says which register is ST(0).
        values.sort_by_key(|(register, _)| register.what != What::Numeric(1));
        values.into_iter().try_for_each(|(register, value)| register.write(machine, processor, value))
    }

    /// Writes register number `number`.
    pub(crate) fn write(
        &self,
        machine: &mut Machine,
        processor: usize,
        number: usize,
        value: &[u8],
    ) -> Result<(), ConfigError> {
        let missing = || ConfigError::new(format!("there is no register {number}"));
        self.all().nth(number).ok_or_else(missing)?.write(machine, processor, value)
    }
}

/// The types a feature's registers have beside gdb's own.
fn types(feature: &str) -> String {
    match feature {
        "org.gnu.gdb.i386.core" => {
            let fields = FLAGS.iter().fold(String::new(), |mut fields, (name, bit)| {
                let _ = write!(fields, "<field name=\"{name}\" start=\"{bit}\" end=\"{bit}\"/>");
                fields
            });
            format!("<flags id=\"i386_eflags\" size=\"4\">{fields}</flags>\n")
        }
        "org.gnu.gdb.i386.sse" => {
            let kinds = [
                ("v4_float", "ieee_single", 4),
                ("v2_double", "ieee_double", 2),
                ("v16_int8", "int8", 16),
                ("v8_int16", "int16", 8),
                ("v4_int32", "int32", 4),
                ("v2_int64", "int64", 2),
            ];
            let mut text = String::new();
            for (id, kind, count) in kinds {
                let _ = write!(text, "<vector id=\"{id}\" type=\"{kind}\" count=\"{count}\"/>");
            }
            text.push_str("<union id=\"vec128\">");
            for (id, _, _) in kinds {
                let _ = write!(text, "<field name=\"{id}\" type=\"{id}\"/>");
            }
            text.push_str("<field name=\"uint128\" type=\"uint128\"/></union>\n");
            text
        }
        _ => String::new(),
    }
}

impl Register {
    fn read(&self, machine: &Machine, processor: usize) -> Option<Vec<u8>> {
        let state = machine.processors().nth(processor)?;
        let fpu = &state.fpu;
        let value = match self.what {
            What::General(number) => *state.gpr.get(number)?,
            What::Pointer => state.rip,
            What::Flags => state.flags.bits().into(),
            What::Selector(number) => state.segments.get(number)?.selector.into(),
            What::Base(number) => state.segments.get(number)?.base,
            What::Stack(index) => {
                let register = fpu.st(u8::try_from(index).ok()?);
                let mut bytes = register.significand.to_le_bytes().to_vec();
                bytes.extend(register.sign_exponent.to_le_bytes());
                return Some(bytes);
            }
            What::Xmm(index) => {
                let halves = state.sse.registers.get(index)?;
                return Some(halves.iter().flat_map(|half| half.to_le_bytes()).collect());
            }
            What::Numeric(index) => match index {
                0 => fpu.control.into(),
                1 => fpu.status.into(),
                2 => fpu.tags().into(),
                3 => fpu.instruction.selector.into(),
                4 => fpu.instruction.offset,
                5 => fpu.data.selector.into(),
                6 => fpu.data.offset,
                _ => fpu.opcode.into(),
            },
            What::Mxcsr => state.sse.mxcsr.into(),
            What::Control(index) => *[state.cr0, state.cr2, state.cr3, state.cr4].get(index)?,
            What::Efer => state.msrs.efer,
        };
        value.to_le_bytes().get(..self.bytes).map(<[u8]>::to_vec)
    }

    fn write(&self, machine: &mut Machine, processor: usize, value: &[u8]) -> Result<(), ConfigError> {
        let bad = |why: &str| Err(ConfigError::new(format!("register `{}`: {why}", self.name)));
        if value.len() != self.bytes {
            return bad(&format!("expected {} bytes", self.bytes));
        }
        if self.read(machine, processor).is_some_and(|now| now == value) {
            return Ok(());
        }
        let Some(state) = machine.processors().nth(processor) else { return bad("no such processor") };
        let eight_thousand = state.eight_thousand();
        let loads_tables = state.paging() && state.cr4 & 1 << 5 != 0 && !state.long_mode();
        let part = |from: usize| {
            let mut bytes = [0; 8];
            for (byte, value) in bytes.iter_mut().zip(value.iter().skip(from)) {
                *byte = *value;
            }
            u64::from_le_bytes(bytes)
        };
        let number = part(0);
        let low = number as u16;
        match self.what {
            What::Selector(_) if !eight_thousand => return bad(NO_DESCRIPTOR),
            What::Selector(_) if number != u64::from(low) => return bad("a selector has 16 bits"),
            What::Control(0 | 2 | 3) if loads_tables => return bad(NO_TABLES),
            _ => {}
        }
        machine.change_processor(processor, |state| {
            let fpu = &mut state.fpu;
            match self.what {
                What::General(index) => set(state.gpr.get_mut(index), number),
                What::Pointer => state.rip = number,
                What::Flags => state.flags.set_bits(number as u32),
                What::Selector(index) => {
                    if let Some(segment) = state.segments.get_mut(index) {
                        (segment.selector, segment.base) = (low, u64::from(low) << 4);
                    }
                }
                What::Base(index) => {
                    set(state.segments.get_mut(index).map(|segment| &mut segment.base), number)
                }
                What::Stack(index) => {
                    let top = usize::from(fpu.status >> 11 & 7);
                    if let Some(register) = fpu.registers.get_mut((top + index) % 8) {
                        (register.significand, register.sign_exponent) = (number, part(8) as u16);
                    }
                }
                What::Xmm(index) => set(state.sse.registers.get_mut(index), [number, part(8)]),
                What::Numeric(index) => match index {
                    0 => fpu.control = low,
                    1 => fpu.status = low,
                    // Only whether a register is empty counts; the rest of the tag word follows from it.
                    2 => {
                        fpu.valid = (0..8)
                            .fold(0, |valid, index| valid | u8::from(low >> (2 * index) & 3 != 3) << index);
                    }
                    3 => fpu.instruction.selector = low,
                    4 => fpu.instruction.offset = number,
                    5 => fpu.data.selector = low,
                    6 => fpu.data.offset = number,
                    _ => fpu.opcode = low,
                },
                What::Mxcsr => state.sse.mxcsr = number as u32,
                What::Control(index) => {
                    let registers = [&mut state.cr0, &mut state.cr2, &mut state.cr3, &mut state.cr4];
                    if let Some(register) = registers.into_iter().nth(index) {
                        *register = number;
                    }
                }
                What::Efer => state.msrs.efer = number,
            }
        })
    }
}

fn set<T>(place: Option<&mut T>, value: T) {
    if let Some(place) = place {
        *place = value;
    }
}
