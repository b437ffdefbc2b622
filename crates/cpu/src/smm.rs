//! System management mode (Intel SDM vol. 3C, chapter 31; AMD64 APM vol. 2, chapter 10).
//!
//! Two state save maps exist. Firmware tells them apart by the revision identifier: SeaBIOS, for
//! one, handles 20000h (Intel's 32-bit map) and 20064h (AMD's 64-bit map), and a processor with
//! the long mode bit has the second one.

use crate::{
    Bus, Core,
    access::attention,
    models::SaveMap,
    state::{Activity, Segment, Shadow, cr0, cr4, dr6, efer, rights},
};

/// Where the map of 512 bytes lies, from SMBASE.
const MAP: u64 = 0xfe00;
const ENTRY: u64 = 0x8000;
/// The same offset in both maps.
const REVISION: u64 = 0xfefc;

/// AMD64 APM vol. 2, table 10-1; offsets from SMBASE.
mod amd64 {
    /// ES CS SS DS FS GS, then GDTR, LDTR, IDTR, TR; 16 bytes each: selector, attributes, limit,
    /// base.
    pub(super) const SEGMENTS: u64 = 0xfe00;
    pub(super) const GDTR: u64 = 0xfe60;
    pub(super) const LDTR: u64 = 0xfe70;
    pub(super) const IDTR: u64 = 0xfe80;
    pub(super) const TR: u64 = 0xfe90;
    pub(super) const AUTO_HALT: u64 = 0xfec9;
    pub(super) const EFER: u64 = 0xfed0;
    pub(super) const SMBASE: u64 = 0xff00;
    pub(super) const CR4: u64 = 0xff48;
    pub(super) const CR3: u64 = 0xff50;
    pub(super) const CR0: u64 = 0xff58;
    pub(super) const DR7: u64 = 0xff60;
    pub(super) const DR6: u64 = 0xff68;
    pub(super) const RFLAGS: u64 = 0xff70;
    pub(super) const RIP: u64 = 0xff78;
    /// RAX; the other registers lie below it in encoding order.
    pub(super) const RAX: u64 = 0xfff8;
}

/// SDM vol. 3C, table 31-1; what it calls reserved holds the hidden registers.
mod intel {
    pub(super) const SMBASE: u64 = 0xfef8;
    pub(super) const AUTO_HALT: u64 = 0xff02;
    pub(super) const CR4: u64 = 0xff14;
    /// Hidden parts of DS FS GS and of ES CS SS: attributes, limit, base.
    pub(super) const HIDDEN_DATA: u64 = 0xff2c;
    pub(super) const HIDDEN_FIRST: u64 = 0xff84;
    pub(super) const IDTR: u64 = 0xff54;
    pub(super) const TR: u64 = 0xff5c;
    pub(super) const GDTR: u64 = 0xff70;
    pub(super) const LDTR: u64 = 0xff78;
    /// ES CS SS DS FS GS LDTR TR.
    pub(super) const SELECTORS: u64 = 0xffa8;
    pub(super) const DR7: u64 = 0xffc8;
    pub(super) const DR6: u64 = 0xffcc;
    /// EAX ECX EDX EBX ESP EBP ESI EDI.
    pub(super) const REGISTERS: u64 = 0xffd0;
    pub(super) const EIP: u64 = 0xfff0;
    pub(super) const EFLAGS: u64 = 0xfff4;
    pub(super) const CR3: u64 = 0xfff8;
    pub(super) const CR0: u64 = 0xfffc;
}

/// One value of the map: the same list serves saving and restoring.
#[derive(Clone, Copy)]
enum Item {
    Register(u8),
    Rip,
    Flags,
    Cr0,
    Cr3,
    Cr4,
    Efer,
    Dr6,
    Dr7,
    Selector(u8),
    Attributes(u8),
    Limit(u8),
    Base(u8),
    GdtBase,
    GdtLimit,
    IdtBase,
    IdtLimit,
}

/// Pseudo segment numbers for LDTR and TR in [`Item`].
const LDTR: u8 = 6;
const TR: u8 = 7;

/// (offset, size, item) of every value in the map.
fn layout(map: SaveMap) -> Vec<(u64, u8, Item)> {
    let mut items = Vec::with_capacity(64);
    match map {
        SaveMap::Amd64 => {
            for index in 0..16 {
                items.push((amd64::RAX - 8 * u64::from(index), 8, Item::Register(index)));
            }
            let places = (0..6)
                .map(|index| (index, amd64::SEGMENTS + 16 * u64::from(index)))
                .chain([(LDTR, amd64::LDTR), (TR, amd64::TR)]);
            for (index, at) in places {
                items.extend([
                    (at, 2, Item::Selector(index)),
                    (at + 2, 2, Item::Attributes(index)),
                    (at + 4, 4, Item::Limit(index)),
                    (at + 8, 8, Item::Base(index)),
                ]);
            }
            items.extend([
                (amd64::GDTR + 4, 4, Item::GdtLimit),
                (amd64::GDTR + 8, 8, Item::GdtBase),
                (amd64::IDTR + 4, 4, Item::IdtLimit),
                (amd64::IDTR + 8, 8, Item::IdtBase),
                (amd64::EFER, 8, Item::Efer),
                (amd64::CR4, 4, Item::Cr4),
                (amd64::CR3, 8, Item::Cr3),
                (amd64::CR0, 4, Item::Cr0),
                (amd64::DR7, 4, Item::Dr7),
                (amd64::DR6, 4, Item::Dr6),
                (amd64::RFLAGS, 4, Item::Flags),
                (amd64::RIP, 8, Item::Rip),
            ]);
        }
        SaveMap::Intel32 => {
            for index in 0..8 {
                items.push((intel::REGISTERS + 4 * u64::from(index), 4, Item::Register(index)));
            }
            for index in 0..6_u8 {
                let at = if index < 3 {
                    intel::HIDDEN_FIRST + 12 * u64::from(index)
                } else {
                    intel::HIDDEN_DATA + 12 * u64::from(index - 3)
                };
                items.extend([
                    (intel::SELECTORS + 4 * u64::from(index), 4, Item::Selector(index)),
                    (at, 4, Item::Attributes(index)),
                    (at + 4, 4, Item::Limit(index)),
                    (at + 8, 4, Item::Base(index)),
                ]);
            }
            for (index, at, selector) in
                [(LDTR, intel::LDTR, intel::SELECTORS + 24), (TR, intel::TR, intel::SELECTORS + 28)]
            {
                items.extend([
                    (selector, 4, Item::Selector(index)),
                    (at, 4, Item::Attributes(index)),
                    (at + 4, 4, Item::Limit(index)),
                    (at + 8, 4, Item::Base(index)),
                ]);
            }
            items.extend([
                (intel::GDTR, 4, Item::GdtLimit),
                (intel::GDTR + 4, 4, Item::GdtBase),
                (intel::IDTR, 4, Item::IdtLimit),
                (intel::IDTR + 4, 4, Item::IdtBase),
                (intel::CR4, 4, Item::Cr4),
                (intel::CR3, 4, Item::Cr3),
                (intel::CR0, 4, Item::Cr0),
                (intel::DR7, 4, Item::Dr7),
                (intel::DR6, 4, Item::Dr6),
                (intel::EFLAGS, 4, Item::Flags),
                (intel::EIP, 4, Item::Rip),
            ]);
        }
    }
    items
}

fn places(map: SaveMap) -> (u64, u64, u64) {
    match map {
        SaveMap::Amd64 => (0x0002_0064, amd64::SMBASE, amd64::AUTO_HALT),
        SaveMap::Intel32 => (0x0002_0000, intel::SMBASE, intel::AUTO_HALT),
    }
}

impl Core {
    fn smm_item(&self, item: Item) -> u64 {
        let state = &self.state;
        let segment = |index: u8| match index {
            LDTR => state.ldtr,
            TR => state.tr,
            _ => state.segments.get(usize::from(index)).copied().unwrap_or_default(),
        };
        match item {
            Item::Register(index) => state.gpr.get(usize::from(index)).copied().unwrap_or(0),
            Item::Rip => state.rip,
            Item::Flags => u64::from(state.flags.bits()),
            Item::Cr0 => state.cr0,
            Item::Cr3 => state.cr3,
            Item::Cr4 => state.cr4,
            Item::Efer => state.msrs.efer,
            Item::Dr6 => state.dr[6],
            Item::Dr7 => state.dr[7],
            Item::Selector(index) => u64::from(segment(index).selector),
            Item::Attributes(index) => u64::from(segment(index).rights),
            Item::Limit(index) => u64::from(segment(index).limit),
            Item::Base(index) => segment(index).base,
            Item::GdtBase => state.gdtr.base,
            Item::GdtLimit => u64::from(state.gdtr.limit),
            Item::IdtBase => state.idtr.base,
            Item::IdtLimit => u64::from(state.idtr.limit),
        }
    }

    fn set_smm_item(&mut self, item: Item, value: u64) {
        let state = &mut self.state;
        let mut nowhere = Segment::default();
        let index = match item {
            Item::Selector(index) | Item::Attributes(index) | Item::Limit(index) | Item::Base(index) => index,
            _ => u8::MAX,
        };
        let segment = match index {
            LDTR => &mut state.ldtr,
            TR => &mut state.tr,
            _ => state.segments.get_mut(usize::from(index)).unwrap_or(&mut nowhere),
        };
        match item {
            Item::Register(index) => {
                if let Some(register) = state.gpr.get_mut(usize::from(index)) {
                    *register = value;
                }
            }
            Item::Rip => state.rip = value,
            Item::Flags => {
                state.flags.set_bits((value as u32 & crate::flags::bit::ALL) | 2);
            }
            Item::Cr0 => state.cr0 = (value & cr0::ALL) | cr0::ET,
            Item::Cr3 => state.cr3 = value & !(u64::MAX << self.model.physical_bits.max(32)),
            Item::Cr4 => state.cr4 = value & self.model.cr4,
            Item::Efer => state.msrs.efer = value & (self.model.efer() | efer::LMA),
            Item::Dr6 => state.dr[6] = (value & 0xe00f) | dr6::FIXED,
            Item::Dr7 => state.dr[7] = (value & 0xffff_2bff) | 0x400,
            Item::Selector(_) => segment.selector = value as u16,
            Item::Attributes(_) => segment.rights = value as u16 & 0xf0ff,
            Item::Limit(_) => segment.limit = value as u32,
            Item::Base(_) => segment.base = value,
            Item::GdtBase => state.gdtr.base = value,
            Item::GdtLimit => state.gdtr.limit = value as u16,
            Item::IdtBase => state.idtr.base = value,
            Item::IdtLimit => state.idtr.limit = value as u16,
        }
    }

    /// Takes an SMI: saves the state at SMBASE + FE00h and goes on at SMBASE + 8000h (31.4, 31.5).
    pub(crate) fn enter_smm<B: Bus>(&mut self, bus: &mut B) {
        self.state.smm = true;
        self.flush_tlb();
        let base = u64::from(self.state.smbase);
        let map = self.model.save_map;
        let (revision, smbase, auto_halt) = places(map);
        for offset in (MAP..0x1_0000).step_by(8) {
            self.write_physical(bus, base + offset, 8, 0);
        }
        for (offset, size, item) in layout(map) {
            let value = self.smm_item(item);
            self.write_physical(bus, base + offset, size, value);
        }
        self.write_physical(bus, base + REVISION, 4, revision);
        self.write_physical(bus, base + smbase, 4, base);
        let halted = u64::from(self.state.activity == Activity::Halted);
        self.write_physical(bus, base + auto_halt, 1, halted);

        let state = &mut self.state;
        state.activity = Activity::Running;
        state.shadow = Shadow::None;
        state.cpl = 0;
        state.flags.set_bits(2);
        state.rip = ENTRY;
        state.cr0 &= !(cr0::PE | cr0::EM | cr0::TS | cr0::PG);
        state.cr4 = 0;
        state.msrs.efer = 0;
        state.dr[7] = 0x400;
        for segment in &mut state.segments {
            *segment = Segment {
                selector: 0,
                base: 0,
                limit: u32::MAX,
                rights: rights::REAL_MODE | rights::GRANULARITY,
            };
        }
        state.segments[1].selector = (base >> 4) as u16;
        state.segments[1].base = base;
        self.refresh();
        self.attention |= attention::END_BLOCK;
    }

    /// RSM: back to what the map says (31.3.1). An impossible state is a shutdown.
    pub(crate) fn leave_smm<B: Bus>(&mut self, bus: &mut B) {
        let base = u64::from(self.state.smbase);
        let map = self.model.save_map;
        let (_, smbase, auto_halt) = places(map);
        for (offset, size, item) in layout(map) {
            let value = self.read_physical(bus, base + offset, size);
            self.set_smm_item(item, value);
        }
        let new_base = self.read_physical(bus, base + smbase, 4);
        let halted = self.read_physical(bus, base + auto_halt, 1) & 1 != 0;
        self.state.smbase = new_base as u32;
        self.state.smm = false;
        self.flush_tlb();
        let state = &mut self.state;
        state.cpl = if !state.protected() {
            0
        } else if state.v8086() {
            3
        } else {
            state.ss().dpl()
        };
        if halted {
            state.activity = Activity::Halted;
        }
        if !state.settle_long_mode() {
            state.activity = Activity::Shutdown;
        }
        let impossible =
            (state.paging() && !state.protected()) || (state.cr0 & cr0::NW != 0 && state.cr0 & cr0::CD == 0);
        if impossible {
            state.activity = Activity::Shutdown;
        }
        if self.state.paging() && self.state.cr4 & cr4::PAE != 0 && !self.state.long_mode() {
            let cr3 = self.state.cr3;
            if self.load_pdptes(bus, cr3).is_err() {
                self.state.activity = Activity::Shutdown;
            }
        }
        self.refresh();
        self.attention |= attention::END_BLOCK | attention::NO_TRAP | attention::KEEP_RESUME;
    }
}
