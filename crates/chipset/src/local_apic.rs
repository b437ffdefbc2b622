//! Local APIC: one per processor. Its face as model-specific registers is in `local_apic/x2apic.rs`.
//!
//! Intel SDM volume 3A, chapter 10. Each CPU sees its own at IA32_APIC_BASE; the machine routes
//! accesses, carries messages between them, and asks at each instruction boundary whether a vector
//! is [`LocalApic::pending`]. The timer runs at 1 GHz over its divider and counts from the initial
//! count to zero inclusive, as QEMU's does.

use crate::{ApicMessage, Chip, Effects, Moment, Region, ResetKind, Space};
use serde::{Deserialize, Serialize};

/// Input pin: LINT0, where the 8259A's INTR arrives.
pub const LINT0: u8 = 0;
/// Input pin: LINT1, where NMI arrives.
pub const LINT1: u8 = 1;

/// Where the registers are after reset.
pub const BASE: u64 = 0xfee0_0000;
/// IA32_APIC_BASE: this is the bootstrap processor.
pub const BASE_BSP: u64 = 1 << 8;
/// IA32_APIC_BASE: x2APIC mode.
pub const BASE_EXTENDED: u64 = 1 << 10;
/// IA32_APIC_BASE: the APIC is enabled.
pub const BASE_ENABLE: u64 = 1 << 11;
/// Bytes answered: registers in the first page, interrupt messages from the bus in the others.
const WINDOW: u64 = 0x10_0000;
const PAGE: u64 = 0x1000;
/// A periodic timer interrupts at most this often, so that a guest cannot drown the event queue.
const MINIMUM_SPACING: u64 = 1_000;

/// Registers by offset / 10h (table 10-1).
mod register {
    pub const ID: u64 = 0x02;
    pub const VERSION: u64 = 0x03;
    pub const TPR: u64 = 0x08;
    pub const APR: u64 = 0x09;
    pub const PPR: u64 = 0x0a;
    pub const EOI: u64 = 0x0b;
    pub const LDR: u64 = 0x0d;
    pub const DFR: u64 = 0x0e;
    pub const SVR: u64 = 0x0f;
    pub const ISR: u64 = 0x10;
    pub const ISR_LAST: u64 = 0x17;
    pub const TMR: u64 = 0x18;
    pub const TMR_LAST: u64 = 0x1f;
    pub const IRR: u64 = 0x20;
    pub const IRR_LAST: u64 = 0x27;
    pub const ESR: u64 = 0x28;
    pub const ICR_LOW: u64 = 0x30;
    pub const ICR_HIGH: u64 = 0x31;
    pub const LVT: u64 = 0x32;
    pub const LVT_LAST: u64 = 0x37;
    pub const INITIAL_COUNT: u64 = 0x38;
    pub const CURRENT_COUNT: u64 = 0x39;
    pub const DIVIDE: u64 = 0x3e;
}

/// Local vector table entries, in register order.
const LVT_TIMER: usize = 0;
const LVT_LINT0: usize = 3;
const LVT_LINT1: usize = 4;
const LVT_ERROR: usize = 5;
const LVT_ENTRIES: usize = 6;
/// Bits of each entry that exist: timer, thermal, performance, LINT0, LINT1, error (figure 10-8).
const LVT_WRITABLE: [u32; LVT_ENTRIES] = [0x3_00ff, 0x1_07ff, 0x1_07ff, 0x1_a7ff, 0x1_a7ff, 0x1_00ff];
const LVT_LEVEL: u32 = 1 << 15;
const LVT_MASKED: u32 = 1 << 16;
const LVT_PERIODIC: u32 = 1 << 17;

const SVR_ENABLED: u32 = 1 << 8;
const ESR_SEND_ILLEGAL_VECTOR: u32 = 1 << 5;
const ESR_RECEIVED_ILLEGAL_VECTOR: u32 = 1 << 6;
const ESR_ILLEGAL_REGISTER: u32 = 1 << 7;

/// Delivery modes.
const FIXED: u8 = 0;
const LOWEST_PRIORITY: u8 = 1;
const SMI: u8 = 2;
const NMI: u8 = 4;
const INIT: u8 = 5;
const STARTUP: u8 = 6;
const EXTINT: u8 = 7;

/// What a message or a pin means for the processor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Delivery {
    /// Nothing for the processor to do now ([`LocalApic::pending`] may have changed).
    None,
    /// System management interrupt.
    Smi,
    /// Non-maskable interrupt.
    Nmi,
    /// INIT: reset the processor, and this chip with [`LocalApic::init`].
    Init,
    /// Start at `vector << 12`, if waiting for it.
    Startup(u8),
    /// The 8259A has the vector: [`LocalApic::accepts_pic`] is true until it is fetched.
    ExtInt,
}

/// A message written by a PCI device (MSI) to `address`, which must lie in FEExxxxxh
/// (SDM section 10.11).
#[must_use]
pub fn message_of_msi(address: u64, data: u32) -> Option<ApicMessage> {
    (address >> 20 == BASE >> 20).then_some(ApicMessage {
        destination: ApicMessage::short_destination((address >> 12) as u8, address & 4 != 0),
        logical: address & 4 != 0,
        mode: (data >> 8) as u8 & 7,
        vector: data as u8,
        level_triggered: data >> 15 & 1 != 0,
        assert: true,
        shorthand: 0,
        source: 0,
    })
}

/// A set of vectors, as ISR, TMR and IRR are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Vectors(pub [u32; 8]);

impl Vectors {
    fn has(&self, vector: u8) -> bool {
        self.0[usize::from(vector >> 5)] >> (vector & 31) & 1 != 0
    }

    fn put(&mut self, vector: u8, present: bool) {
        let word = &mut self.0[usize::from(vector >> 5)];
        let bit = 1 << (vector & 31);
        *word = (*word & !bit) | if present { bit } else { 0 };
    }

    fn highest(&self) -> Option<u8> {
        let index = self.0.iter().rposition(|word| *word != 0)?;
        Some(index as u8 * 32 + self.0[index].ilog2() as u8)
    }

    fn word(&self, index: u64) -> u32 {
        self.0[index as usize & 7]
    }
}

/// All that is saved.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct State {
    /// IA32_APIC_BASE.
    pub base: u64,
    /// Local APIC ID.
    pub id: u8,
    /// Task priority.
    pub tpr: u8,
    /// Logical destination.
    pub ldr: u8,
    /// Destination format: Fh flat, 0 cluster.
    pub dfr: u8,
    /// Spurious interrupt vector and software enable.
    pub svr: u32,
    /// In-service.
    pub isr: Vectors,
    /// Trigger mode: level.
    pub tmr: Vectors,
    /// Interrupt request.
    pub irr: Vectors,
    /// Error status, as it reads.
    pub esr: u32,
    /// Errors since ESR was last written.
    pub errors: u32,
    /// Interrupt command.
    pub icr: u64,
    /// Local vector table.
    pub lvt: [u32; LVT_ENTRIES],
    /// Timer: initial count.
    pub initial_count: u32,
    /// Timer: divide configuration.
    pub divide: u32,
    /// Timer: when the initial count was written; none before that.
    pub loaded: Option<Moment>,
    /// Timer: when it reaches zero next, while it may interrupt.
    pub due: Option<Moment>,
    /// Levels of LINT0 and LINT1.
    pub lint: [bool; 2],
    /// An ExtINT message waits for the 8259A's vector.
    pub ext_int: bool,
}

/// A local APIC.
#[derive(Clone, Debug)]
pub struct LocalApic {
    state: State,
    cpu: u8,
    version: u8,
    x2apic: bool,
    ext_int_after_reset: bool,
}

impl LocalApic {
    /// The local APIC of processor number `cpu`, which is its ID too; number 0 is the bootstrap
    /// processor. `version` is 11h or 14h.
    #[must_use]
    pub fn new(cpu: u8, version: u8) -> LocalApic {
        LocalApic { state: LocalApic::fresh(cpu), cpu, version, x2apic: false, ext_int_after_reset: false }
    }

    /// The same with x2APIC mode.
    #[must_use]
    pub fn with_x2apic(mut self, there: bool) -> LocalApic {
        self.x2apic = there;
        self
    }

    /// The same, but RESET leaves LINT0 of the bootstrap processor unmasked and set to ExtINT, as QEMU
    /// before 2.4 had it for firmware that did not set it.
    #[must_use]
    pub fn with_ext_int_after_reset(mut self, there: bool) -> LocalApic {
        self.ext_int_after_reset = there;
        self.state = self.after_reset();
        self
    }

    fn after_reset(&self) -> State {
        let mut state = LocalApic::fresh(self.cpu);
        if self.ext_int_after_reset && self.cpu == 0 {
            state.lvt[LVT_LINT0] = u32::from(EXTINT) << 8;
        }
        state
    }

    fn fresh(cpu: u8) -> State {
        State {
            base: BASE | BASE_ENABLE | if cpu == 0 { BASE_BSP } else { 0 },
            id: cpu,
            tpr: 0,
            ldr: 0,
            dfr: 0xf,
            svr: 0xff,
            isr: Vectors::default(),
            tmr: Vectors::default(),
            irr: Vectors::default(),
            esr: 0,
            errors: 0,
            icr: 0,
            lvt: [LVT_MASKED; LVT_ENTRIES],
            initial_count: 0,
            divide: 0,
            loaded: None,
            due: None,
            lint: [false; 2],
            ext_int: false,
        }
    }

    /// The number of its processor.
    #[must_use]
    pub fn processor(&self) -> u8 {
        self.cpu
    }

    /// What a snapshot carries.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Takes a saved state.
    pub fn restore(&mut self, state: State) {
        self.state = state;
    }

    /// IA32_APIC_BASE as RDMSR reads it.
    #[must_use]
    pub fn base(&self) -> u64 {
        self.state.base
    }

    /// Whether IA32_APIC_BASE enables the chip; if not, CPUID does not show it either.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.state.base & BASE_ENABLE != 0
    }

    /// Whether it is in x2APIC mode: its registers are model-specific ones, and nothing answers in memory.
    #[must_use]
    pub fn is_extended(&self) -> bool {
        self.is_enabled() && self.state.base & BASE_EXTENDED != 0
    }

    /// WRMSR to IA32_APIC_BASE. Once disabled, only a reset enables the chip again
    /// (section 10.4.3), but where there is x2APIC mode (10.12.5). The processor has checked that the
    /// transition exists.
    pub fn set_base(&mut self, value: u64, fx: &mut Effects) {
        let kept = if self.x2apic {
            self.state.base & BASE_BSP | value & (BASE_ENABLE | BASE_EXTENDED)
        } else {
            self.state.base & (BASE_BSP | BASE_ENABLE)
        };
        self.state.base = (value & 0xf_ffff_f000) | kept;
        if self.is_extended() {
            // The id is wider and cannot be written; the interrupt command's other half is another.
            self.state.id = self.cpu;
            self.state.icr &= 0xffff_ffff;
        }
        if value & BASE_ENABLE == 0 {
            self.state.base &= !BASE_ENABLE;
            self.disable();
        }
        fx.remap();
    }

    /// Software disable masks the whole local vector table (section 10.4.7.2).
    fn disable(&mut self) {
        self.state.svr &= !SVR_ENABLED;
        self.state.lvt.iter_mut().for_each(|entry| *entry |= LVT_MASKED);
        self.state.due = None;
    }

    /// INIT: every register but the ID and IA32_APIC_BASE takes its reset value
    /// (section 10.4.7.3).
    pub fn init(&mut self) {
        let State { base, id, lint, .. } = self.state;
        self.state = State { base, id, lint, ..LocalApic::fresh(self.cpu) };
    }

    /// Whether `message` is for this chip. Of several that match a lowest-priority message, the one
    /// of the lowest numbered processor takes it.
    #[must_use]
    pub fn matches(&self, message: &ApicMessage) -> bool {
        let own = message.source == self.cpu;
        let to = message.destination;
        let ldr = u32::from(self.state.ldr);
        self.is_enabled()
            && match (message.shorthand, message.logical) {
                (1, _) => own,
                (2, _) => true,
                (3, _) => !own,
                (_, false) => to == ApicMessage::ALL || to == u32::from(self.state.id),
                (_, true) if self.is_extended() => self.matches_extended(to),
                (_, true) if self.state.dfr == 0xf => to & ldr != 0,
                (_, true) => {
                    let cluster = (to ^ ldr) & 0xf0 == 0 || to & 0xf0 == 0xf0;
                    cluster && to & ldr & 0xf != 0
                }
            }
    }

    /// Takes a message that [`LocalApic::matches`].
    pub fn accept(&mut self, message: &ApicMessage) -> Delivery {
        match message.mode {
            FIXED | LOWEST_PRIORITY => {
                self.request(message.vector, message.level_triggered);
                Delivery::None
            }
            SMI => Delivery::Smi,
            NMI => Delivery::Nmi,
            // An INIT level de-assert only re-synchronises arbitration IDs.
            INIT if message.level_triggered && !message.assert => Delivery::None,
            INIT => Delivery::Init,
            STARTUP => Delivery::Startup(message.vector),
            EXTINT => {
                self.state.ext_int = true;
                Delivery::ExtInt
            }
            _ => Delivery::None,
        }
    }

    /// Whether an interrupt from the 8259A reaches the processor: the chip is off, LINT0 is set to
    /// ExtINT (virtual wire), or the I/O APIC sent one.
    #[must_use]
    pub fn accepts_pic(&self) -> bool {
        let entry = self.state.lvt[LVT_LINT0];
        let wire = entry & LVT_MASKED == 0 && mode_of(entry) == EXTINT;
        !self.is_enabled() || wire || self.state.ext_int
    }

    /// The 8259A's vector has been fetched.
    pub fn pic_acknowledged(&mut self) {
        self.state.ext_int = false;
    }

    /// LINT0 or LINT1 changed. INTR set to ExtINT has no latch: see [`LocalApic::accepts_pic`].
    pub fn lint(&mut self, pin: u8, level: bool) -> Delivery {
        let Some(line) = self.state.lint.get_mut(usize::from(pin)) else {
            return Delivery::None;
        };
        let rising = level && !std::mem::replace(line, level);
        if !self.is_enabled() {
            return match (pin, rising) {
                (LINT1, true) => Delivery::Nmi,
                _ => Delivery::None,
            };
        }
        let index = if pin == LINT0 { LVT_LINT0 } else { LVT_LINT1 };
        let entry = self.state.lvt[index];
        let level_triggered = pin == LINT0 && entry & LVT_LEVEL != 0 && mode_of(entry) == FIXED;
        if level_triggered && !level {
            self.state.irr.put(entry as u8, false);
        }
        if rising { self.local(index, level_triggered) } else { Delivery::None }
    }

    /// The vector to deliver, if one outranks the processor's priority.
    #[must_use]
    pub fn pending(&self) -> Option<u8> {
        let enabled = self.is_enabled() && self.state.svr & SVR_ENABLED != 0;
        let vector = self.state.irr.highest().filter(|_| enabled)?;
        (vector >> 4 > self.ppr() >> 4).then_some(vector)
    }

    /// The interrupt acknowledge: moves [`LocalApic::pending`] from IRR to ISR. When there is none
    /// any more, the spurious vector.
    pub fn acknowledge(&mut self) -> u8 {
        let Some(vector) = self.pending() else {
            return self.state.svr as u8;
        };
        self.state.irr.put(vector, false);
        self.state.isr.put(vector, true);
        vector
    }

    /// Task priority in the upper four bits, for CR8.
    #[must_use]
    pub fn tpr(&self) -> u8 {
        self.state.tpr
    }

    /// Sets the task priority register, as a write to CR8 does.
    pub fn set_tpr(&mut self, value: u8) {
        self.state.tpr = value;
    }

    /// Processor priority (section 10.8.3.1).
    fn ppr(&self) -> u8 {
        let in_service = self.state.isr.highest().unwrap_or(0) & 0xf0;
        if self.state.tpr & 0xf0 >= in_service { self.state.tpr } else { in_service }
    }

    fn request(&mut self, vector: u8, level_triggered: bool) {
        if vector < 16 {
            self.error(ESR_RECEIVED_ILLEGAL_VECTOR);
            return;
        }
        self.state.irr.put(vector, true);
        self.state.tmr.put(vector, level_triggered);
    }

    /// Notes an error and raises the error interrupt.
    fn error(&mut self, bit: u32) {
        let first = self.state.errors & bit == 0;
        self.state.errors |= bit;
        let entry = self.state.lvt[LVT_ERROR];
        if first && entry & LVT_MASKED == 0 && entry as u8 >= 16 {
            self.request(entry as u8, false);
        }
    }

    /// A local source fires.
    fn local(&mut self, index: usize, level_triggered: bool) -> Delivery {
        let entry = self.state.lvt[index];
        if entry & LVT_MASKED != 0 {
            return Delivery::None;
        }
        match mode_of(entry) {
            FIXED => {
                self.request(entry as u8, level_triggered);
                Delivery::None
            }
            SMI => Delivery::Smi,
            NMI => Delivery::Nmi,
            INIT => Delivery::Init,
            _ => Delivery::None,
        }
    }

    fn end_of_interrupt(&mut self, fx: &mut Effects) {
        let Some(vector) = self.state.isr.highest() else {
            return;
        };
        self.state.isr.put(vector, false);
        if self.state.tmr.has(vector) {
            fx.end_of_interrupt.push(vector);
        }
        self.sample_lint0();
    }

    /// A level-triggered fixed LINT0 that is still active asks again.
    fn sample_lint0(&mut self) {
        let entry = self.state.lvt[LVT_LINT0];
        let level = entry & (LVT_MASKED | LVT_LEVEL) == LVT_LEVEL && mode_of(entry) == FIXED;
        if level && self.state.lint[usize::from(LINT0)] && !self.state.isr.has(entry as u8) {
            self.request(entry as u8, true);
        }
    }

    /// How far the timer's clock is shifted: 1 GHz over 1 to 128 (figure 10-10).
    fn divide_shift(&self) -> u32 {
        let code = (self.state.divide & 3) | (self.state.divide >> 1 & 4);
        (code + 1) & 7
    }

    /// Clocks since the initial count was written.
    fn timer_clocks(&self, now: Moment) -> u64 {
        self.state.loaded.map_or(0, |loaded| now.since(loaded)) >> self.divide_shift()
    }

    fn current_count(&self, now: Moment) -> u32 {
        let clocks = self.timer_clocks(now);
        let initial = u64::from(self.state.initial_count);
        let left = match self.state.lvt[LVT_TIMER] & LVT_PERIODIC {
            0 => initial.saturating_sub(clocks),
            _ => initial - clocks % (initial + 1),
        };
        left as u32
    }

    /// Computes when the timer reaches zero next; at the soonest `spacing` from now.
    fn arm(&mut self, now: Moment, spacing: u64) {
        let entry = self.state.lvt[LVT_TIMER];
        self.state.due = None;
        let Some(loaded) = self.state.loaded else {
            return;
        };
        let span = u64::from(self.state.initial_count) + 1;
        let periods = match entry & LVT_PERIODIC {
            0 => 0,
            _ => self.timer_clocks(now) / span,
        };
        let clock = (periods + 1).saturating_mul(span);
        let due = loaded.after(clock.saturating_mul(1 << self.divide_shift()));
        let runs = entry & LVT_MASKED == 0 && self.state.initial_count != 0 && due > now;
        self.state.due = runs.then(|| due.max(now.after(spacing)));
    }

    fn read_register(&mut self, register: u64, fx: &mut Effects) -> u32 {
        let state = &self.state;
        match register {
            register::ID => u32::from(state.id) << 24,
            register::VERSION => u32::from(self.version) | (LVT_ENTRIES as u32 - 1) << 16,
            register::TPR => u32::from(state.tpr),
            register::PPR => u32::from(self.ppr()),
            register::APR | register::EOI => 0,
            register::LDR => u32::from(state.ldr) << 24,
            register::DFR => u32::from(state.dfr) << 28 | 0x0fff_ffff,
            register::SVR => state.svr,
            register::ISR..=register::ISR_LAST => state.isr.word(register),
            register::TMR..=register::TMR_LAST => state.tmr.word(register),
            register::IRR..=register::IRR_LAST => state.irr.word(register),
            register::ESR => state.esr,
            register::ICR_LOW => state.icr as u32,
            register::ICR_HIGH => (state.icr >> 32) as u32,
            register::LVT..=register::LVT_LAST => state.lvt[(register - register::LVT) as usize],
            register::INITIAL_COUNT => state.initial_count,
            register::CURRENT_COUNT => self.current_count(fx.now()),
            register::DIVIDE => state.divide,
            _ => {
                fx.note("local APIC register", register << 4, 0);
                self.error(ESR_ILLEGAL_REGISTER);
                0
            }
        }
    }

    fn write_register(&mut self, register: u64, value: u32, fx: &mut Effects) {
        let now = fx.now();
        match register {
            register::ID => self.state.id = (value >> 24) as u8,
            register::TPR => self.state.tpr = value as u8,
            register::EOI => self.end_of_interrupt(fx),
            register::LDR => self.state.ldr = (value >> 24) as u8,
            register::DFR => self.state.dfr = (value >> 28) as u8,
            register::SVR => {
                self.state.svr = value & 0x1ff;
                if value & SVR_ENABLED == 0 {
                    self.disable();
                }
            }
            register::ESR => self.state.esr = std::mem::take(&mut self.state.errors),
            register::ICR_LOW => {
                self.state.icr = (self.state.icr & !0xffff_ffff) | u64::from(value & 0x000c_cfff);
                self.send(fx);
            }
            register::ICR_HIGH => {
                let high = u64::from(value & 0xff00_0000) << 32;
                self.state.icr = (self.state.icr & 0xffff_ffff) | high;
            }
            register::LVT..=register::LVT_LAST => {
                let index = (register - register::LVT) as usize;
                let forced = if self.state.svr & SVR_ENABLED == 0 { LVT_MASKED } else { 0 };
                self.state.lvt[index] = (value & LVT_WRITABLE[index]) | forced;
                match index {
                    LVT_TIMER => self.arm(now, 0),
                    LVT_LINT0 => self.sample_lint0(),
                    _ => {}
                }
            }
            register::INITIAL_COUNT => {
                self.state.initial_count = value;
                self.state.loaded = Some(now);
                self.arm(now, 0);
            }
            register::DIVIDE => {
                self.state.divide = value & 0xb;
                self.arm(now, 0);
            }
            register::VERSION..=register::IRR_LAST | register::CURRENT_COUNT => {}
            _ => {
                fx.note("local APIC register", register << 4, u64::from(value));
                self.error(ESR_ILLEGAL_REGISTER);
            }
        }
    }

    /// Sends the interrupt command (section 10.6.1).
    fn send(&mut self, fx: &mut Effects) {
        let icr = self.state.icr;
        let logical = icr >> 11 & 1 != 0;
        let message = ApicMessage {
            destination: match self.is_extended() {
                true => (icr >> 32) as u32,
                false => ApicMessage::short_destination((icr >> 56) as u8, logical),
            },
            logical,
            mode: (icr >> 8) as u8 & 7,
            vector: icr as u8,
            level_triggered: icr >> 15 & 1 != 0,
            assert: icr >> 14 & 1 != 0,
            shorthand: (icr >> 18) as u8 & 3,
            source: self.cpu,
        };
        if message.mode <= LOWEST_PRIORITY && message.vector < 16 {
            self.error(ESR_SEND_ILLEGAL_VECTOR);
            return;
        }
        // Fixed interrupts between processors are edges whatever bit 15 says (table 10-3).
        let level_triggered = message.level_triggered && message.mode == INIT;
        fx.messages.push(ApicMessage { level_triggered, ..message });
    }
}

fn mode_of(entry: u32) -> u8 {
    (entry >> 8) as u8 & 7
}

impl Chip for LocalApic {
    fn regions(&self) -> Vec<Region> {
        if !self.is_enabled() || self.is_extended() {
            return Vec::new();
        }
        vec![Region {
            index: 0,
            name: "apic-msi",
            space: Space::Memory,
            base: self.state.base & !0xfff,
            length: WINDOW,
            widest: 4,
        }]
    }

    fn register_name(&self, _index: u8, offset: u64, _write: bool) -> Option<String> {
        const NAMES: [(u64, &str); 23] = [
            (register::ID, "ID"),
            (register::VERSION, "VERSION"),
            (register::TPR, "TPR"),
            (register::APR, "APR"),
            (register::PPR, "PPR"),
            (register::EOI, "EOI"),
            (register::LDR, "LDR"),
            (register::DFR, "DFR"),
            (register::SVR, "SVR"),
            (register::ESR, "ESR"),
            (register::ICR_LOW, "ICR_LOW"),
            (register::ICR_HIGH, "ICR_HIGH"),
            (register::LVT, "LVT_TIMER"),
            (register::LVT + 1, "LVT_THERMAL"),
            (register::LVT + 2, "LVT_PERFORMANCE"),
            (register::LVT + 3, "LVT_LINT0"),
            (register::LVT + 4, "LVT_LINT1"),
            (register::LVT + 5, "LVT_ERROR"),
            (register::INITIAL_COUNT, "INITIAL_COUNT"),
            (register::CURRENT_COUNT, "CURRENT_COUNT"),
            (register::DIVIDE, "DIVIDE"),
            (0x2f, "LVT_CMCI"),
            (0x3f, "SELF_IPI"),
        ];
        let number = (offset & 0xfff) >> 4;
        match number {
            _ if offset >= PAGE => None,
            register::ISR..=register::ISR_LAST => Some(format!("ISR{}", number - register::ISR)),
            register::TMR..=register::TMR_LAST => Some(format!("TMR{}", number - register::TMR)),
            register::IRR..=register::IRR_LAST => Some(format!("IRR{}", number - register::IRR)),
            _ => crate::name_of(&NAMES, number),
        }
    }

    fn read(&mut self, _index: u8, offset: u64, size: u8, fx: &mut Effects) -> u64 {
        if size < 4 {
            fx.note("local APIC registers take 4 bytes", offset, 0);
            return 0;
        }
        u64::from(self.read_register(offset >> 4 & 0xff, fx))
    }

    fn write(&mut self, _index: u8, offset: u64, size: u8, value: u64, fx: &mut Effects) {
        if size < 4 {
            fx.note("local APIC registers take 4 bytes", offset, value);
        } else if offset >= PAGE || offset >> 4 == 0 {
            fx.messages.extend(message_of_msi(BASE + (offset & (WINDOW - 1)), value as u32));
        } else {
            self.write_register(offset >> 4, value as u32, fx);
        }
    }

    fn reset(&mut self, kind: ResetKind, fx: &mut Effects) {
        let lint = if kind == ResetKind::PowerOn { [false; 2] } else { self.state.lint };
        self.state = State { lint, ..self.after_reset() };
        fx.remap();
    }

    /// LINT pins through the general interface; what is not a vector (NMI, SMI) is lost here, so
    /// that machines use [`LocalApic::lint`].
    fn input(&mut self, pin: u8, level: bool, fx: &mut Effects) {
        match self.lint(pin, level) {
            Delivery::Smi => fx.smi = true,
            Delivery::Init => fx.init = true,
            _ => {}
        }
    }

    fn deadline(&self) -> Option<Moment> {
        self.state.due
    }

    fn on_deadline(&mut self, fx: &mut Effects) {
        let now = fx.now();
        if self.state.due.is_none_or(|due| due > now) {
            return;
        }
        // The timer's entry has no delivery mode: it is always fixed.
        let _ = self.local(LVT_TIMER, false);
        match self.state.lvt[LVT_TIMER] & LVT_PERIODIC {
            0 => self.state.due = None,
            _ => self.arm(now, MINIMUM_SPACING),
        }
    }

    fn shift_time(&mut self, delta: i64) {
        self.state.loaded.iter_mut().for_each(|moment| moment.shift(delta));
        self.state.due.iter_mut().for_each(|moment| moment.shift(delta));
    }
}

mod x2apic;

#[cfg(test)]
mod tests;
