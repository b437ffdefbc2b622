//! What fuzzing runs: bytes decide a processor's model, mode, registers, page tables, descriptors and
//! code, and the processor must come through them without a panic and within its budget, and the same on
//! both execution paths. `cargo xtask fuzz` makes the bytes from a seed.

use crate::{
    Cpu, Feature, Model, Path, State, Stop,
    flags::Flags,
    models::MODELS,
    state::{Segment, SegmentName, TableRegister, cr0, cr4, efer, gpr, rights},
    testing::FlatBus,
};

/// Bytes of memory.
const RAM: usize = 0x4_0000;
/// Tables and what they describe, as physical addresses.
const TABLES: u64 = 0x1000;
const GDT: u64 = 0x8000;
const IDT: u64 = 0x9000;
const TSS: u64 = 0xa000;
const LDT: u64 = 0xb000;
const CODE: u64 = 0x1_0000;
const STACK: u64 = 0x2_8000;
const DATA: u64 = 0x3_0000;
/// Entries of the descriptor tables.
const ENTRIES: u64 = 32;
/// Instructions of each of the slices an input is run in.
const SLICE: u64 = 512;
const SLICES: u64 = 8;

/// The bytes that decide, one after the other; then zeros.
struct Source<'input>(&'input [u8]);

impl Source<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn quad(&mut self) -> u64 {
        (0..8).fold(0, |value, _| value << 8 | u64::from(self.byte()))
    }

    /// True once in `times`, as often as bytes are equally frequent.
    fn once_in(&mut self, times: u8) -> bool {
        self.byte().is_multiple_of(times)
    }

    /// A value near an edge, or in memory, or any.
    fn value(&mut self) -> u64 {
        match self.byte() & 7 {
            0 => 0,
            1 => u64::MAX - u64::from(self.byte()),
            2 => u64::from(self.byte()),
            3 => 1 << (self.byte() & 63),
            4 | 5 => DATA + (u64::from(self.byte()) << 4),
            6 => 0xffff_8000_0000_0000 | u64::from(self.byte()) << 8,
            _ => self.quad(),
        }
    }
}

/// How a processor starts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Real,
    Protected,
    Virtual8086,
    Paged,
    Pae,
    Long,
    Compatibility,
}

/// Runs the processor that `input` describes; gives how many instructions it retired.
///
/// # Panics
/// When the two execution paths do not agree: that is a defect, as every other panic is.
#[must_use]
pub fn run(input: &[u8]) -> u64 {
    let mut source = Source(input);
    let (mut cpu, mut bus) = machine(&mut source);
    let both = source.once_in(16).then(|| (cpu.clone(), bus.clone()));
    let events: Vec<u8> = (0..SLICES).map(|_| source.byte()).collect();
    let mut retired = go(&mut cpu, &mut bus, &events, Path::Cached);
    if let Some((mut plain, mut memory)) = both {
        retired += go(&mut plain, &mut memory, &events, Path::Plain);
        assert_eq!(cpu.state(), plain.state(), "registers differ between the paths");
        assert!(bus.same_memory(&memory), "memory differs between the paths");
    }
    retired
}

/// Runs slice by slice, with signals in between.
fn go(cpu: &mut Cpu<FlatBus>, bus: &mut FlatBus, events: &[u8], path: Path) -> u64 {
    let mut retired = 0;
    for event in events {
        let end = retired + SLICE;
        // A run stops early where the machine would look; it retires one at least, or sleeps.
        while retired < end {
            let run = cpu.run(bus, end - retired, path);
            retired += run.retired;
            if matches!(run.stop, Stop::Halt | Stop::Shutdown) || run.retired == 0 {
                break;
            }
        }
        bus.vector = Some(*event);
        cpu.set_interrupt_line(event & 1 != 0);
        match event >> 3 {
            0..=3 => cpu.signal_nmi(),
            4 | 5 => cpu.signal_smi(),
            6 => cpu.signal_init(),
            7 => cpu.signal_sipi(0x10),
            8 => cpu.reset(),
            9 => cpu.set_a20(false),
            _ => {}
        }
    }
    retired
}

fn machine(source: &mut Source) -> (Cpu<FlatBus>, FlatBus) {
    let model = MODELS[usize::from(source.byte()) % MODELS.len()];
    let mode = mode(source, model);
    let mut bus = FlatBus::new(RAM);
    page_tables(source, &mut bus, mode);
    descriptors(source, &mut bus, mode);
    let mut state = state(source, model, mode);
    let plain = state.clone();
    vary(source, &mut state);
    code(source, &mut bus);
    let mut cpu = Cpu::new(model, 0);
    if cpu.restore(state, false).is_err() {
        // No processor can be in it: as it was.
        let _ = cpu.restore(plain, false);
    }
    (cpu, bus)
}

fn mode(source: &mut Source, model: &Model) -> Mode {
    const MODES: [Mode; 8] = [
        Mode::Real,
        Mode::Protected,
        Mode::Virtual8086,
        Mode::Paged,
        Mode::Pae,
        Mode::Long,
        Mode::Long,
        Mode::Compatibility,
    ];
    let mode = MODES[usize::from(source.byte() & 7)];
    let needs = match mode {
        Mode::Pae => Some(Feature::Pae),
        Mode::Long | Mode::Compatibility => Some(Feature::LongMode),
        _ => None,
    };
    if needs.is_none_or(|feature| model.features.has(feature)) { mode } else { Mode::Protected }
}

/// The first 256 KiB as they are, and again in the upper half; some entries are anything.
fn page_tables(source: &mut Source, bus: &mut FlatBus, mode: Mode) {
    const OPEN: u64 = 7;
    let table = |level: u64| TABLES + 0x1000 * level;
    let pages = if mode == Mode::Paged { 4 } else { 8 };
    for page in 0..RAM as u64 / 4096 {
        put(bus, table(3) + pages * page, pages, page << 12 | OPEN);
    }
    match mode {
        Mode::Paged => put(bus, table(0), 4, table(3) | OPEN),
        Mode::Pae => {
            bus.poke64(table(1), table(2) | 1);
            bus.poke64(table(2), table(3) | OPEN);
        }
        _ => {
            for (level, entry) in [(0, 0), (0, 256), (1, 0), (2, 0), (4, 0)] {
                let next = if level == 4 { 0 } else { level + 1 };
                bus.poke64(table(level) + 8 * entry, table(next) | OPEN);
            }
        }
    }
    for _ in 0..source.byte() & 7 {
        let (which, level) = (source.byte(), u64::from(source.byte() & 3));
        let at = table(level) + pages * u64::from(which & 0x3f);
        let entry =
            if source.once_in(2) { bus.peek(at, pages as u8) ^ 1 << (which & 63) } else { source.quad() };
        put(bus, at, pages, entry);
    }
}

fn put(bus: &mut FlatBus, at: u64, size: u64, value: u64) {
    bus.poke(at, value.to_le_bytes().get(..size as usize).unwrap_or_default());
}

/// Descriptors that can be used, some of them varied; gates to somewhere in the code.
fn descriptors(source: &mut Source, bus: &mut FlatBus, mode: Mode) {
    const USEFUL: [u64; 16] = [
        0,
        0x00cf_9b00_0000_ffff,
        0x00cf_9300_0000_ffff,
        0x00cf_fb00_0000_ffff,
        0x00cf_f300_0000_ffff,
        0x0000_8b00_a000_0fff,
        0x00af_9b00_0000_ffff,
        0x0000_9300_0000_ffff,
        0x0000_9b00_0000_ffff,
        0x00af_fb00_0000_ffff,
        0x0000_8900_a800_00ff,
        0x0000_8200_b000_00ff,
        0x0000_9700_0000_1000,
        0x00cf_9f00_0000_ffff,
        0x0000_e500_0050_0000,
        0x0001_ec00_0008_0000,
    ];
    for table in [GDT, LDT] {
        for entry in 0..ENTRIES {
            let useful = USEFUL[(entry & 15) as usize];
            let value = match source.byte() {
                0..=7 => source.quad(),
                byte @ 8..=24 => useful ^ 1 << (40 + (byte & 15)),
                _ => useful,
            };
            bus.poke64(table + 8 * entry, value);
        }
    }
    let long = matches!(mode, Mode::Long | Mode::Compatibility);
    for vector in 0..ENTRIES {
        let target = CODE + 8 * u64::from(source.byte());
        let selector = if long { 0x30 } else { 0x08 };
        let kind = if source.once_in(16) { u64::from(source.byte()) } else { 0xee };
        let gate = target & 0xffff | selector << 16 | kind << 40 | target >> 16 << 48;
        match mode {
            Mode::Real => put(bus, 4 * vector, 4, u64::from(source.byte()) | CODE >> 4 << 16),
            _ if long => bus.poke64(IDT + 16 * vector, gate),
            _ => bus.poke64(IDT + 8 * vector, gate),
        }
    }
    bus.poke(TSS, &[0x28; 104]);
    for at in [4, 12, 20] {
        put(bus, TSS + at, 8, STACK | 0x10 << 32);
    }
}

fn state(source: &mut Source, model: &Model, mode: Mode) -> State {
    let mut state = State::reset(model, true);
    let long = matches!(mode, Mode::Long | Mode::Compatibility);
    state.cr4 = model.cr4 & (cr4::OSFXSR | cr4::OSXMMEXCPT | cr4::OSXSAVE | cr4::FSGSBASE);
    state.cr3 = TABLES;
    if mode == Mode::Real {
        state.cr0 = cr0::ET | cr0::NE;
        state.segments = [Segment::real_mode((DATA >> 4) as u16); 6];
        state.segments[SegmentName::Cs as usize] = Segment::real_mode((CODE >> 4) as u16);
        state.rip = 0;
    } else {
        protected(source, &mut state, mode);
        state.cr0 = cr0::PE | cr0::ET | cr0::NE;
    }
    if matches!(mode, Mode::Paged | Mode::Pae) || long {
        state.cr0 |= cr0::PG;
    }
    if mode == Mode::Pae || long {
        state.cr4 |= cr4::PAE & model.cr4;
        state.pdpte[0] = (TABLES + 0x2000) | 1;
    }
    if mode == Mode::Pae {
        state.cr3 = TABLES + 0x1000;
    }
    if long {
        state.msrs.efer = (efer::LME | efer::LMA | efer::SCE | efer::NXE) & (model.efer() | efer::LMA);
        if source.once_in(4) && model.features.has(Feature::La57) {
            state.cr4 |= cr4::LA57;
            state.cr3 = TABLES + 0x4000;
        }
    }
    state.gdtr = TableRegister { base: GDT, limit: (8 * ENTRIES - 1) as u16 };
    let entry = if long { 16 } else { 8 };
    let base = if mode == Mode::Real { 0 } else { IDT };
    state.idtr = TableRegister { base, limit: (entry * ENTRIES - 1) as u16 };
    state.tr = Segment { selector: 0x28, base: TSS, limit: 0xfff, rights: 0x8b };
    state.ldtr = Segment { selector: 0x58, base: LDT, limit: 0xff, rights: 0x82 };
    state.gpr[usize::from(gpr::RSP)] = STACK;
    state
}

/// Flat segments of a privilege level, or those of v8086 mode.
fn protected(source: &mut Source, state: &mut State, mode: Mode) {
    let level = source.byte() & 3;
    let cpl = if level == 1 || level == 2 { 0 } else { level };
    state.cpl = cpl;
    let dpl = u16::from(cpl) << rights::DPL_SHIFT;
    let flat = |selector: u16, kind: u16| Segment {
        selector: selector | u16::from(cpl),
        base: 0,
        limit: u32::MAX,
        rights: kind | dpl,
    };
    let wide = match mode {
        Mode::Long => rights::LONG,
        _ if source.once_in(4) => 0,
        _ => rights::BIG,
    };
    let data = if cpl == 0 { 0x10 } else { 0x20 };
    state.segments = [flat(data, rights::GRANULARITY | rights::BIG | 0x93); 6];
    let code = match (mode, cpl) {
        (Mode::Long, 0) => 0x30,
        (Mode::Long, _) => 0x48,
        (_, 0) => 0x08,
        _ => 0x18,
    };
    state.segments[SegmentName::Cs as usize] = flat(code, rights::GRANULARITY | wide | 0x9b);
    state.rip = CODE;
    if mode == Mode::Virtual8086 {
        state.cpl = 3;
        state.flags = Flags::from(0x2_3002);
        state.segments = [Segment { rights: 0xf3, ..Segment::real_mode((DATA >> 4) as u16) }; 6];
        state.segments[SegmentName::Cs as usize] =
            Segment { rights: 0xf3, ..Segment::real_mode((CODE >> 4) as u16) };
        state.rip = 0;
    }
}

/// Registers are anything; those of the system are varied a little.
fn vary(source: &mut Source, state: &mut State) {
    let wide = if state.code_64() { u64::MAX } else { 0xffff_ffff };
    for index in 0..16 {
        if index != usize::from(gpr::RSP) || source.once_in(8) {
            state.gpr[index] = source.value() & wide;
        }
    }
    let flags = state.flags.bits() & 0x2_0000;
    state.flags = Flags::from(source.quad() as u32 & 0x0025_7ed5 | flags | 2);
    for register in &mut state.fpu.registers {
        register.significand = source.value();
        register.sign_exponent = source.value() as u16;
    }
    (state.fpu.valid, state.fpu.status) = (source.byte(), source.value() as u16);
    state.fpu.control = source.value() as u16 & 0x1f3f | 0x40;
    state.sse.mxcsr = source.value() as u32 & 0xffff;
    for register in &mut state.sse.registers {
        *register = [source.value(), source.value()];
    }
    for _ in 0..source.byte() & 3 {
        let value = source.quad();
        match source.byte() % 8 {
            0 => state.cr0 ^= value & (cr0::MP | cr0::EM | cr0::TS | cr0::NE | cr0::WP | cr0::AM),
            1 => state.cr4 ^= value & cr4::ALL,
            2 => state.dr = [0, 1, 2, 3, 4, 5, 6, 7].map(|index| value.rotate_left(8 * index) & wide),
            3 => state.segments[(value % 6) as usize].limit = (value >> 8) as u32,
            4 => state.segments[(value % 6) as usize].rights ^= (value >> 8) as u16,
            5 => state.segments[(value % 6) as usize].base = value >> 8 & wide,
            6 => state.smm = true,
            _ => state.cr3 ^= value & 0xfff,
        }
    }
}

/// The rest is code, over and over, and data.
fn code(source: &mut Source, bus: &mut FlatBus) {
    let rest = if source.0.is_empty() { &[0x90][..] } else { source.0 };
    let mut bytes = rest.iter().copied().cycle();
    for at in (CODE..CODE + 0x1000).chain(DATA..DATA + 0x1000) {
        bus.set_byte(at, bytes.next().unwrap_or(0x90));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Some inputs that reach each mode retire instructions, so that fuzzing is worth something.
    #[test]
    fn inputs_run() {
        let mut retired = [0; 8];
        for input in 0..256_u64 {
            let mut bytes = vec![6, input as u8];
            bytes.extend((0..1200).map(|index| ((input.wrapping_mul(index + 7) >> 3) ^ (index * 5)) as u8));
            retired[(input & 7) as usize] += run(&bytes);
        }
        assert!(retired.iter().all(|count| *count > 5_000), "{retired:?}");
        assert_eq!(run(&[]), run(&[0; 40]), "what is missing is zero");
    }
}
