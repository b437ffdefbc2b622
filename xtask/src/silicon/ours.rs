//! Our processor, set up as Linux sets up the host's: a user's code in long mode, with the same
//! selectors, segments and pages.

use warmboot_cpu::{
    Breakpoint, Bus, Cpu, Frame, Model, Path, State, Stop,
    flags::Flags,
    fpu::Extended,
    state::{Activity, Segment, Shadow, TableRegister, cr0, cr4, efer},
    testing::{self, FlatBus},
};
use warmboot_silicon::{
    End, Registers,
    layout::{
        CODE, CODE_BYTES, CODE_PAGES, DATA, DATA_LIMIT, Mode, READ_ONLY, WRITABLE, WRITABLE_BYTES,
        WRITABLE_PAGES,
    },
};

use super::block::Block;

/// Most instructions of a block, repetitions included.
const BUDGET: u64 = 20_000;

/// Physical addresses of the tables, and of what they map.
const TABLES: u64 = 0x1000;
const SYSTEM_TABLES: u64 = 0x5000;
const DATA_FRAMES: u64 = 0x10;
const CODE_FRAMES: u64 = 0x18;
const SYSTEM_FRAMES: u64 = 0x20;
/// Linear pages of our kernel: handlers, interrupt descriptors, task state, global descriptors, stack. In
/// the upper half, where a host's kernel is.
const SYSTEM: u64 = 0xffff_fe00_0000_0000;
const HANDLERS: u64 = SYSTEM;
const INTERRUPTS: u64 = SYSTEM + 0x1000;
const TASK: u64 = SYSTEM + 0x2000;
const GLOBALS: u64 = SYSTEM + 0x3000;
const STACK_END: u64 = SYSTEM + 0x5000;
const SYSTEM_PAGES: u64 = 5;
const KERNEL_CODE: u16 = 0x10;
const HLT: u8 = 0xf4;

/// What a user finds and cannot choose.
pub struct Host {
    /// XCR0.
    pub xcr0: u64,
    /// PKRU.
    pub pkru: u32,
}

/// Our processor and its memory.
pub struct Ours {
    cpu: Cpu<FlatBus>,
    bus: FlatBus,
    mode: Mode,
    entry: u64,
    end: u64,
    vectors: bool,
    path: Path,
}

impl Ours {
    /// A processor of this model; `read_only`: the page that can only be read; `host`: what the host's
    /// kernel has set up.
    pub fn new(model: &'static Model, read_only: &[u8; 4096], host: &Host) -> Ours {
        let mut bus = FlatBus::new(0x40_000);
        page_tables(&mut bus);
        bus.poke((DATA_FRAMES + READ_ONLY - READ_ONLY) * 4096, read_only);
        let physical = |linear: u64| (SYSTEM_FRAMES << 12) + linear - SYSTEM;
        bus.poke(physical(HANDLERS), &[HLT; 32]);
        for vector in 0..32 {
            let rights = if matches!(vector, 3 | 4) { 0xee00 } else { 0x8e00 };
            let handler = HANDLERS + vector;
            let low = handler & 0xffff | u64::from(KERNEL_CODE) << 16 | rights << 32 | (handler >> 16) << 48;
            bus.poke64(physical(INTERRUPTS + 16 * vector), low);
            bus.poke64(physical(INTERRUPTS + 16 * vector + 8), handler >> 32);
        }
        bus.poke64(physical(TASK + 4), STACK_END);
        // No ports are a user's: the bit map is beyond the limit.
        bus.poke(physical(TASK + 0x66), &[0xff; 2]);
        // Linux' code for the kernel, users' 32-bit code, data and 64-bit code.
        for (selector, descriptor) in [
            (KERNEL_CODE, 0x00af_9b00_0000_ffff),
            (0x20, 0x00cf_fb00_0000_ffff),
            (0x28, 0x00cf_f300_0000_ffff),
            (0x30, 0x00af_fb00_0000_ffff),
        ] {
            bus.poke64(physical(GLOBALS + u64::from(selector)), descriptor);
        }
        let mut cpu = Cpu::new(model, 0);
        system_state(cpu.state_mut(), model);
        cpu.state_mut().avx.xcr0 = host.xcr0 & model.xcr0();
        cpu.state_mut().pkru = host.pkru;
        let mode = Mode::SixtyFour;
        Ours { cpu, bus, mode, entry: 0, end: 0, vectors: false, path: Path::Cached }
    }

    /// Puts `bytes` of a block where the block is, as on the host's processor, with the bytes that are
    /// behind them there: 16-bit code reads them, where an address through CS falls on them.
    pub fn load(&mut self, block: &Block, bytes: &[u8], behind: &[u8], path: Path) {
        let offset = block.offset;
        (self.mode, self.vectors, self.path) = (block.mode, block.vectors, path);
        self.entry = CODE - self.mode.code_base() + offset as u64;
        self.end = CODE + (offset + bytes.len()) as u64;
        let all = bytes.iter().chain(behind).take(CODE_BYTES.saturating_sub(offset));
        for (at, byte) in ((CODE_FRAMES << 12) + offset as u64..).zip(all) {
            self.bus.set_byte(at, *byte);
        }
        for page in 0..CODE_PAGES {
            let first = (page * 4096) as usize;
            let from = offset.max(first);
            let to = (offset + bytes.len() + 16).min(first + 4096).min(CODE_BYTES);
            if from < to {
                let frame = Frame((CODE_FRAMES + page) as u32);
                self.cpu.code_written(frame, (from - first) as u16, (to - from) as u16);
            }
        }
        self.cpu.set_address_breakpoints(vec![Breakpoint::Linear(self.end)]);
    }

    /// The data that can be written, page by page.
    pub fn page(&mut self, index: u64) -> &mut [u8; 4096] {
        self.bus.frame_mut(Frame((DATA_FRAMES + WRITABLE - READ_ONLY + index) as u32))
    }

    /// Runs the block from `registers` on, and leaves in them what it makes of them.
    pub fn run(&mut self, registers: &mut Registers) -> End {
        self.set(registers);
        let mut left = BUDGET;
        let stop = loop {
            let run = testing::run(&mut self.cpu, &mut self.bus, left, self.path);
            left = left.saturating_sub(run.retired);
            // PAUSE and the like only let the machine look.
            if run.stop != Stop::Device || left == 0 {
                break run.stop;
            }
        };
        let through = stop == Stop::Address;
        self.get(registers);
        if through {
            return End::Through;
        }
        if stop != Stop::Halt {
            return End::Endless;
        }
        self.fault(registers)
    }

    fn set(&mut self, registers: &Registers) {
        let (mode, entry, vectors) = (self.mode, self.entry, self.vectors);
        let state = self.cpu.state_mut();
        state.gpr[..16].copy_from_slice(&registers.general);
        state.flags = Flags::from(registers.flags as u32);
        state.rip = entry;
        state.cpl = 3;
        state.cr2 = 0;
        (state.activity, state.shadow) = (Activity::Running, Shadow::None);
        state.segments = segments(mode);
        if vectors {
            set_vectors(state, registers);
        }
    }

    fn get(&self, registers: &mut Registers) {
        let state = self.cpu.state();
        registers.general.copy_from_slice(&state.gpr[..16]);
        registers.flags = u64::from(state.flags.bits());
        if self.vectors {
            get_vectors(state, registers);
        }
    }

    /// What the handler's stack holds.
    fn fault(&self, registers: &mut Registers) -> End {
        let state = self.cpu.state();
        let vector = (state.rip.wrapping_sub(HANDLERS + 1)) as u8;
        let frame = state.gpr[4];
        let has_error = matches!(vector, 8 | 10..=14 | 17);
        let slot = |index: u64| {
            let linear = frame + 8 * (index + u64::from(has_error));
            self.bus.peek((SYSTEM_FRAMES << 12) + linear - SYSTEM, 8)
        };
        registers.general[4] = slot(3);
        registers.flags = slot(2);
        End::Fault {
            vector,
            error: if has_error {
                self.bus.peek((SYSTEM_FRAMES << 12) + frame - SYSTEM, 4) as u32
            } else {
                0
            },
            address: if vector == 14 { state.cr2 } else { 0 },
            at: slot(0),
        }
    }
}

/// Four levels for the 2 MiB that hold what is the block's, and for our kernel.
fn page_tables(bus: &mut FlatBus) {
    const PRESENT: u64 = 1;
    const WRITE: u64 = 2;
    const USER: u64 = 4;
    for (linear, lower) in [(DATA, TABLES + 0x1000), (SYSTEM, SYSTEM_TABLES)] {
        for level in 0..3 {
            let table = if level == 0 { TABLES } else { lower + 4096 * (level - 1) };
            let index = linear >> (39 - 9 * level) & 511;
            bus.poke64(table + 8 * index, (lower + 4096 * level) | PRESENT | WRITE | USER);
        }
    }
    let mut map = |linear: u64, frame: u64, rights: u64| {
        let lower = if linear >> 63 == 0 { TABLES + 0x1000 } else { SYSTEM_TABLES };
        bus.poke64(lower + 0x2000 + 8 * (linear >> 12 & 511), frame << 12 | rights | PRESENT);
    };
    map(DATA + READ_ONLY * 4096, DATA_FRAMES, USER);
    for page in 0..WRITABLE_PAGES {
        map(DATA + (WRITABLE + page) * 4096, DATA_FRAMES + WRITABLE - READ_ONLY + page, USER | WRITE);
    }
    for page in 0..CODE_PAGES {
        map(CODE + page * 4096, CODE_FRAMES + page, USER | WRITE);
    }
    for page in 0..SYSTEM_PAGES {
        map(SYSTEM + page * 4096, SYSTEM_FRAMES + page, WRITE);
    }
}

fn system_state(state: &mut State, model: &Model) {
    let wanted = cr4::PAE
        | cr4::OSFXSR
        | cr4::OSXMMEXCPT
        | cr4::OSXSAVE
        | cr4::FSGSBASE
        | cr4::UMIP
        | cr4::SMEP
        | cr4::SMAP;
    state.cr0 = cr0::PE | cr0::MP | cr0::ET | cr0::NE | cr0::WP | cr0::AM | cr0::PG;
    state.cr3 = TABLES;
    state.cr4 = wanted & model.cr4;
    state.msrs.efer = efer::SCE | efer::LME | efer::LMA | efer::NXE;
    state.gdtr = TableRegister { base: GLOBALS, limit: 0x7f };
    state.idtr = TableRegister { base: INTERRUPTS, limit: 32 * 16 - 1 };
    state.tr = Segment { selector: 0x40, base: TASK, limit: 0x67, rights: 0x8b };
}

/// ES CS SS DS FS GS in `mode`.
fn segments(mode: Mode) -> [Segment; 6] {
    const FLAT: u16 = 0xc0f3;
    let null = Segment::default();
    let (code, data, stack) = match mode {
        Mode::Sixteen => {
            let code = Segment { selector: mode.code_selector(), base: CODE, limit: 0xffff, rights: 0x00fb };
            let data =
                Segment { selector: mode.data_selector(), base: DATA, limit: DATA_LIMIT, rights: 0x00f3 };
            (code, data, data)
        }
        Mode::ThirtyTwo | Mode::SixtyFour => {
            let rights = if mode == Mode::SixtyFour { 0xa0fb } else { 0xc0fb };
            let code = Segment { selector: mode.code_selector(), base: 0, limit: u32::MAX, rights };
            let stack = Segment { selector: mode.stack_selector(), base: 0, limit: u32::MAX, rights: FLAT };
            (code, if mode == Mode::SixtyFour { null } else { stack }, stack)
        }
    };
    [data, code, stack, data, null, null]
}

/// ES and B.
const PENDING: u16 = 0x8080;

fn set_vectors(state: &mut State, registers: &Registers) {
    let image = &registers.vectors;
    let fpu = &mut state.fpu;
    (fpu.control, fpu.valid) = (image.control(), image.valid());
    // As XRSTOR does, ES and B are made what the exceptions and their masks say.
    let pending = image.status() & !image.control() & 0x3f != 0;
    fpu.status = image.status() & !PENDING | if pending { PENDING } else { 0 };
    let top = usize::from(fpu.status >> 11 & 7);
    for index in 0..8 {
        let (sign_exponent, significand) = image.st(index);
        fpu.registers[(top + index) & 7] = Extended { sign_exponent, significand };
    }
    let (opcode, instruction, data) = image.last();
    fpu.opcode = opcode;
    fpu.instruction.offset = instruction;
    fpu.data.offset = data;
    state.sse.mxcsr = image.mxcsr();
    for (index, register) in state.sse.registers.iter_mut().enumerate() {
        *register = image.xmm(index);
    }
    for (index, register) in state.avx.upper.iter_mut().enumerate() {
        *register = image.upper(index);
    }
}

fn get_vectors(state: &State, registers: &mut Registers) {
    let image = &mut registers.vectors;
    let fpu = &state.fpu;
    image.set_control(fpu.control);
    image.set_status(fpu.status);
    image.set_valid(fpu.valid);
    let top = usize::from(fpu.status >> 11 & 7);
    for index in 0..8 {
        let register = fpu.registers[(top + index) & 7];
        image.set_st(index, (register.sign_exponent, register.significand));
    }
    image.set_last((fpu.opcode, fpu.instruction.offset, fpu.data.offset));
    image.set_mxcsr(state.sse.mxcsr);
    for (index, register) in state.sse.registers.iter().enumerate() {
        image.set_xmm(index, *register);
    }
    for (index, register) in state.avx.upper.iter().enumerate() {
        image.set_upper(index, *register);
    }
}

const _: () = assert!(WRITABLE_BYTES == 8192 && WRITABLE == READ_ONLY + 1);
