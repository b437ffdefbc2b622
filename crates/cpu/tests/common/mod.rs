//! A small machine for tests of the processor: descriptor tables, handlers that halt, and a check
//! that both execution paths agree.

#![allow(dead_code)]

pub mod registers;

use iced_x86::code_asm::CodeAssembler;
use warmboot_cpu::{
    Cpu, Model, Path, State, Stop,
    flags::Flags,
    models,
    state::{Segment, TableRegister, cr0, cr4, efer, gpr, rights},
    testing::FlatBus,
};

pub const GDT: u64 = 0x2000;
pub const TSS: u64 = 0x3000;
pub const TSS_B: u64 = 0x3400;
pub const IDT: u64 = 0x4000;
/// Page directory and table used by the paging tests.
pub const DIRECTORY: u64 = 0x5000;
pub const TABLE: u64 = 0x6000;
/// Of their entries.
pub const PRESENT_WRITABLE: u32 = 3;
const LARGE: u32 = 0x80;
/// Where [`Machine::seeing`] has what it is given, in linear memory.
pub const PAGE: u32 = 0x0040_0000;
/// Handler of vector n: HLT at HANDLERS + 16 n.
pub const HANDLERS: u64 = 0x8000;
pub const CODE: u64 = 0x1_0000;
pub const STACK_0: u64 = 0x2_0000;
pub const STACK_3: u64 = 0x2_8000;
pub const DATA: u64 = 0x3_0000;
const RAM: usize = 0x20_0000;
/// Page tables of long mode.
pub const PML4: u64 = 0x2_9000;
pub const POINTERS: u64 = 0x2_a000;
pub const LONG_DIRECTORY: u64 = 0x2_b000;
/// The stack of IST 2.
pub const STACK_IST: u64 = 0x2_f008;
/// Where memory is seen a second time in long mode.
pub const HIGH: u64 = 0xffff_8000_0000_0000;
const LONG_RAM: usize = 0x40_0000;

/// Selectors of the GDT of long mode.
pub mod long {
    pub const CODE_0: u16 = 0x08;
    pub const DATA_0: u16 = 0x10;
    pub const CODE_3: u16 = 0x18 | 3;
    pub const DATA_3: u16 = 0x20 | 3;
    pub const TSS: u16 = 0x28;
    pub const TSS_B: u16 = 0x38;
    /// 32-bit code of ring 0 and 3.
    pub const CODE_32: u16 = 0x48;
    pub const CODE_32_3: u16 = 0x50 | 3;
    /// L and D: no such code.
    pub const CODE_BOTH: u16 = 0x58;
    pub const ABSENT: u16 = 0x60;
    pub const CONFORMING: u16 = 0x68;
    /// To CODE_0, and to CODE_32; DPL 3.
    pub const CALL_GATE: u16 = 0x70;
    pub const CALL_GATE_32: u16 = 0x80;
    pub const LDT: u16 = 0x90;
}

/// Selectors of the test GDT.
pub mod sel {
    pub const CODE_0: u16 = 0x08;
    pub const DATA_0: u16 = 0x10;
    pub const CODE_3: u16 = 0x18 | 3;
    pub const DATA_3: u16 = 0x20 | 3;
    pub const TSS: u16 = 0x28;
    pub const TSS_B: u16 = 0x30;
    pub const LDT: u16 = 0x38;
    /// 256 bytes at DATA, writable.
    pub const SMALL: u16 = 0x40;
    /// Expand-down: offsets 100h-FFFFh valid.
    pub const DOWN: u16 = 0x48;
    pub const READ_ONLY: u16 = 0x50;
    pub const EXECUTE_ONLY: u16 = 0x58;
    pub const ABSENT: u16 = 0x60;
    pub const CONFORMING: u16 = 0x68;
    /// Call gate to CODE_0, DPL 3, 2 parameters.
    pub const CALL_GATE: u16 = 0x70;
    pub const TASK_GATE: u16 = 0x78;
    pub const CODE_16: u16 = 0x80;
    pub const DATA_16: u16 = 0x88;
    /// A 16-bit TSS at TSS_B.
    pub const TSS_16: u16 = 0x90;
}

pub fn descriptor(base: u32, limit: u32, rights: u16) -> u64 {
    u64::from(limit & 0xffff)
        | u64::from(base & 0x00ff_ffff) << 16
        | u64::from(rights & 0xff) << 40
        | u64::from((limit >> 16) & 15) << 48
        | u64::from(rights >> 12) << 52
        | u64::from(base >> 24) << 56
}

pub fn gate(selector: u16, offset: u32, rights: u16, parameters: u8) -> u64 {
    u64::from(offset & 0xffff)
        | u64::from(selector) << 16
        | u64::from(parameters) << 32
        | u64::from(rights & 0xff) << 40
        | u64::from(offset >> 16) << 48
}

pub struct Machine {
    pub cpu: Cpu<FlatBus>,
    pub bus: FlatBus,
}

impl Clone for Machine {
    fn clone(&self) -> Self {
        Machine { cpu: self.cpu.clone(), bus: self.bus.clone() }
    }
}

pub fn assemble(
    bitness: u32,
    at: u64,
    write: impl FnOnce(&mut CodeAssembler) -> Result<(), iced_x86::IcedError>,
) -> Vec<u8> {
    let mut assembler = CodeAssembler::new(bitness).expect("bitness");
    write(&mut assembler).expect("an instruction this assembler knows");
    assembler.assemble(at).expect("encodable")
}

impl Machine {
    /// Real mode: code at 0:CODE's segment, stack at 0:800.
    pub fn real(code: &[u8]) -> Machine {
        let mut cpu = Cpu::new(&models::QEMU64, 0);
        let mut bus = FlatBus::new(RAM);
        bus.poke(CODE, code);
        let state = cpu.state_mut();
        state.segments = [Segment::real_mode(0); 6];
        state.segments[1] = Segment::real_mode((CODE >> 4) as u16);
        state.rip = 0;
        state.gpr[usize::from(gpr::RSP)] = 0x800;
        for vector in 0..256_u64 {
            bus.poke32(vector * 4, (HANDLERS + 16 * vector) as u32 & 0xffff);
            bus.set_byte(HANDLERS + 16 * vector, 0xf4);
        }
        Machine { cpu, bus }
    }

    /// Protected mode, 32-bit, at privilege level `cpl`, flat.
    pub fn protected(cpl: u8, code: &[u8]) -> Machine {
        Machine::protected_with(&models::QEMU64, cpl, code)
    }

    /// The same on a processor of another model.
    pub fn protected_with(model: &'static Model, cpl: u8, code: &[u8]) -> Machine {
        let mut cpu = Cpu::new(model, 0);
        let mut bus = FlatBus::new(RAM);
        bus.poke(CODE, code);
        let rows = [
            0,
            descriptor(0, 0xf_ffff, 0xc09b),
            descriptor(0, 0xf_ffff, 0xc093),
            descriptor(0, 0xf_ffff, 0xc0fb),
            descriptor(0, 0xf_ffff, 0xc0f3),
            descriptor(TSS as u32, 0x3ff, 0x8b),
            descriptor(TSS_B as u32, 0x3ff, 0x89),
            descriptor(GDT as u32, 0xff, 0x82),
            descriptor(DATA as u32, 0xff, 0x4093),
            descriptor(DATA as u32, 0xff, 0x0097),
            descriptor(0, 0xf_ffff, 0xc091),
            descriptor(0, 0xf_ffff, 0xc099),
            descriptor(0, 0xf_ffff, 0xc013),
            descriptor(0, 0xf_ffff, 0xc09f),
            gate(sel::CODE_0, HANDLERS as u32 + 16 * 0x50, 0xec, 2),
            gate(sel::TSS_B, 0, 0xe5, 0),
            descriptor(CODE as u32, 0xffff, 0x009b),
            descriptor(0, 0xffff, 0x0093),
            descriptor(TSS_B as u32, 0x2b, 0x81),
        ];
        for (index, row) in (0..).zip(rows) {
            bus.poke64(GDT + 8 * index, row);
        }
        for vector in 0..96_u64 {
            let dpl = if matches!(vector, 3 | 4 | 0x40..) { 0x60 } else { 0 };
            let row = gate(sel::CODE_0, (HANDLERS + 16 * vector) as u32, 0x8e | dpl, 0);
            bus.poke64(IDT + 8 * vector, row);
            bus.set_byte(HANDLERS + 16 * vector, 0xf4);
        }
        bus.poke64(IDT + 8 * 0x50, gate(sel::CODE_0, 0, 0x0e, 0));
        bus.poke64(IDT + 8 * 0x51, gate(sel::TSS_B, 0, 0xe5, 0));
        bus.poke32(TSS + 4, STACK_0 as u32);
        bus.poke32(TSS + 8, u32::from(sel::DATA_0));
        bus.poke32(TSS + 0x64, 0x80 << 16);
        bus.poke(TSS + 0x80, &[0xff; 0x380]);
        task(&mut bus, TSS_B, CODE as u32 + 0x800);
        bus.poke(CODE + 0x800, &[0xf4]);

        let state = cpu.state_mut();
        state.cr0 = cr0::PE | cr0::ET;
        state.cpl = cpl;
        let ring = u16::from(cpl) << rights::DPL_SHIFT;
        let (code, data) = if cpl == 3 { (sel::CODE_3, sel::DATA_3) } else { (sel::CODE_0, sel::DATA_0) };
        let flat = |selector: u16, rights: u16| Segment {
            selector,
            base: 0,
            limit: u32::MAX,
            rights: rights | ring,
        };
        state.segments = [flat(data, 0xc093); 6];
        state.segments[1] = flat(code, 0xc09b);
        state.tr = Segment { selector: sel::TSS, base: TSS, limit: 0x3ff, rights: 0x8b };
        state.ldtr = Segment::default();
        state.gdtr = TableRegister { base: GDT, limit: 0x97 };
        state.idtr = TableRegister { base: IDT, limit: 96 * 8 - 1 };
        state.rip = CODE;
        state.flags = Flags::from(2);
        state.gpr[usize::from(gpr::RSP)] = if cpl == 3 { STACK_3 } else { STACK_0 };
        Machine { cpu, bus }
    }

    /// Ring 0 with paging: the first 4 MiB mapped as they are, and `frames` from [`PAGE`] on.
    pub fn seeing(frames: impl IntoIterator<Item = u64>, code: &[u8]) -> Machine {
        let mut machine = Machine::protected(0, code);
        machine.bus.poke32(DIRECTORY, PRESENT_WRITABLE | LARGE);
        machine.bus.poke32(DIRECTORY + 4, TABLE as u32 | PRESENT_WRITABLE);
        for (entry, frame) in (0..).zip(frames) {
            machine.bus.poke32(TABLE + 4 * entry, frame as u32 | PRESENT_WRITABLE);
        }
        let state = machine.cpu.state_mut();
        state.cr3 = DIRECTORY;
        state.cr4 = cr4::PSE;
        state.cr0 |= cr0::PG;
        machine
    }

    /// 64-bit mode at privilege level `cpl`, on the processor `model`: the first 4 MiB mapped as they are,
    /// and again from [`HIGH`] on, in pages of 2 MiB that everybody may use.
    pub fn long(model: &'static Model, cpl: u8, code: &[u8]) -> Machine {
        let mut cpu = Cpu::new(model, 0);
        let mut bus = FlatBus::new(LONG_RAM);
        bus.poke(CODE, code);
        let rows = [
            0,
            descriptor(0, 0xf_ffff, 0xa09b),
            descriptor(0, 0xf_ffff, 0xc093),
            descriptor(0, 0xf_ffff, 0xa0fb),
            descriptor(0, 0xf_ffff, 0xc0f3),
            descriptor(TSS as u32, 0x3ff, 0x8b),
            0,
            descriptor(TSS_B as u32, 0x3ff, 0x89),
            0,
            descriptor(0, 0xf_ffff, 0xc09b),
            descriptor(0, 0xf_ffff, 0xc0fb),
            descriptor(0, 0xf_ffff, 0xe09b),
            descriptor(0, 0xf_ffff, 0xa01b),
            descriptor(0, 0xf_ffff, 0xa09f),
            gate(long::CODE_0, (HANDLERS + 16 * 0x52) as u32, 0xec, 0),
            0,
            gate(long::CODE_32, (HANDLERS + 16 * 0x52) as u32, 0xec, 0),
            0,
            descriptor(GDT as u32, 0xff, 0x82),
            0,
        ];
        for (index, row) in (0..).zip(rows) {
            bus.poke64(GDT + 8 * index, row);
        }
        for vector in 0..96_u64 {
            let dpl = if matches!(vector, 3 | 4 | 0x40..) { 0x60 } else { 0 };
            bus.poke64(IDT + 16 * vector, gate(long::CODE_0, (HANDLERS + 16 * vector) as u32, 0x8e | dpl, 0));
            bus.set_byte(HANDLERS + 16 * vector, 0xf4);
        }
        // Not present; with a stack of its own; to 32-bit code; a 16-bit gate.
        bus.poke64(IDT + 16 * 0x50, gate(long::CODE_0, 0, 0x0e, 0));
        bus.poke64(IDT + 16 * 0x51, gate(long::CODE_0, (HANDLERS + 16 * 0x51) as u32, 0xee, 2));
        bus.poke64(IDT + 16 * 0x53, gate(long::CODE_32, (HANDLERS + 16 * 0x53) as u32, 0xee, 0));
        bus.poke64(IDT + 16 * 0x54, gate(long::CODE_0, (HANDLERS + 16 * 0x54) as u32, 0xe6, 0));
        bus.poke64(TSS + 4, STACK_0);
        bus.poke64(TSS + 0x24 + 8, STACK_IST);
        bus.poke32(TSS + 0x64, 0x80 << 16);
        bus.poke(TSS + 0x80, &[0xff; 0x380]);
        for (table, next) in [(PML4, POINTERS), (PML4 + 8 * 256, POINTERS), (POINTERS, LONG_DIRECTORY)] {
            bus.poke64(table, next | 7);
        }
        for page in 0..2 {
            bus.poke64(LONG_DIRECTORY + 8 * page, page << 21 | 0xe7);
        }

        let state = cpu.state_mut();
        state.cr0 = cr0::PE | cr0::ET | cr0::PG;
        state.cr3 = PML4;
        state.cr4 = cr4::PAE;
        state.msrs.efer = efer::LME | efer::LMA | if model.efer() & efer::SCE != 0 { efer::SCE } else { 0 };
        state.cpl = cpl;
        let ring = u16::from(cpl) << rights::DPL_SHIFT;
        let (code, data) = if cpl == 3 { (long::CODE_3, long::DATA_3) } else { (long::CODE_0, long::DATA_0) };
        let flat = |selector: u16, rights: u16| Segment {
            selector,
            base: 0,
            limit: u32::MAX,
            rights: rights | ring,
        };
        state.segments = [flat(data, 0xc093); 6];
        state.segments[1] = flat(code, 0xa09b);
        state.tr = Segment { selector: long::TSS, base: TSS, limit: 0x3ff, rights: 0x8b };
        state.ldtr = Segment::default();
        state.gdtr = TableRegister { base: GDT, limit: 20 * 8 - 1 };
        state.idtr = TableRegister { base: IDT, limit: 96 * 16 - 1 };
        state.rip = CODE;
        state.flags = Flags::from(2);
        state.gpr[usize::from(gpr::RSP)] = if cpl == 3 { STACK_3 } else { STACK_0 };
        Machine { cpu, bus }
    }

    /// Quadword `index` above RSP.
    pub fn stack_quad(&self, index: u64) -> u64 {
        self.bus.peek(self.state().gpr[4] + 8 * index, 8)
    }

    pub fn state(&self) -> &State {
        self.cpu.state()
    }

    pub fn register(&self, index: u8) -> u32 {
        self.cpu.state().gpr[usize::from(index)] as u32
    }

    pub fn set(&mut self, index: u8, value: u32) {
        self.cpu.state_mut().gpr[usize::from(index)] = u64::from(value);
    }

    /// Dword `index` above ESP.
    pub fn stack(&self, index: u64) -> u32 {
        let state = self.cpu.state();
        let at = state.segments[2].base + state.gpr[4] + 4 * index;
        self.bus.peek(at, 4) as u32
    }

    /// Word `index` above SP.
    pub fn stack_word(&self, index: u64) -> u16 {
        let state = self.cpu.state();
        let at = state.segments[2].base + ((state.gpr[4] + 2 * index) & 0xffff);
        self.bus.peek(at, 2) as u16
    }

    /// Which handler the processor halted in.
    pub fn vector(&self) -> Option<u64> {
        let state = self.cpu.state();
        let at = state.segments[1].base + state.rip;
        let in_handler = (HANDLERS..HANDLERS + 16 * 256).contains(&at);
        (in_handler && at & 15 == 1).then(|| (at - HANDLERS) / 16)
    }

    /// Runs on one path until halted or shut down, at most `limit` instructions, in runs of `slice`.
    pub fn run_on(&mut self, path: Path, limit: u64, slice: u64) -> (u64, Stop) {
        let mut total = 0;
        loop {
            let left = limit - total;
            let run = self.cpu.run(&mut self.bus, slice.min(left), path);
            total += run.retired;
            // The clock counts on from run to run.
            self.bus.time += run.retired;
            match run.stop {
                Stop::Halt | Stop::Shutdown | Stop::Address => return (total, run.stop),
                Stop::Budget if total >= limit => return (total, run.stop),
                Stop::Budget | Stop::Device => {}
            }
        }
    }

    /// Runs until halted, on both paths and in slices, which must not differ in one bit.
    pub fn run(&mut self) -> (u64, Stop) {
        self.run_limit(10_000)
    }

    pub fn run_limit(&mut self, limit: u64) -> (u64, Stop) {
        let before = self.clone();
        let result = self.run_on(Path::Cached, limit, u64::MAX);
        for (path, slice) in [(Path::Plain, u64::MAX), (Path::Cached, 1), (Path::Cached, 7)] {
            let mut other = before.clone();
            assert_eq!(other.run_on(path, limit, slice), result, "{path:?} by {slice}");
            assert_eq!(other.state(), self.state(), "{path:?} by {slice}");
            assert!(other.bus.same_memory(&self.bus), "memory on {path:?} by {slice}");
        }
        result
    }
}

/// A 32-bit task image at `base` that starts at `eip`, ring 0, flat.
pub fn task(bus: &mut FlatBus, base: u64, eip: u32) {
    bus.poke32(base + 0x20, eip);
    bus.poke32(base + 0x24, 2);
    for index in 0..8 {
        bus.poke32(base + 0x28 + 4 * index, 0x1111 * (index as u32 + 1));
    }
    bus.poke32(base + 0x38, STACK_0 as u32 - 0x1000);
    for index in 0..6 {
        bus.poke32(base + 0x48 + 4 * index, u32::from(sel::DATA_0));
    }
    bus.poke32(base + 0x4c, u32::from(sel::CODE_0));
    bus.poke32(base + 0x64, 0x68 << 16);
}
