//! Walks of page tables (Intel SDM vol. 3A, chapter 4): 32-bit, PAE, 4-level and 5-level paging.

use crate::{
    Bus, Core, Exception, Exec,
    access::Privilege,
    features::Feature,
    state::{cr0, cr4, efer},
    tlb::Access,
};

/// Bits of page-table entries (tables 4-4 to 4-20).
mod entry {
    pub(super) const PRESENT: u64 = 1 << 0;
    pub(super) const WRITABLE: u64 = 1 << 1;
    pub(super) const USER: u64 = 1 << 2;
    pub(super) const ACCESSED: u64 = 1 << 5;
    pub(super) const DIRTY: u64 = 1 << 6;
    pub(super) const LARGE: u64 = 1 << 7;
    /// Protection key of a leaf.
    pub(super) const KEY_SHIFT: u32 = 59;
    pub(super) const NO_EXECUTE: u64 = 1 << 63;
    /// Physical address of the next table or a 4 KiB page, in 8-byte entries.
    pub(super) const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
}

/// Bits of a page fault's error code (section 4.7).
mod fault {
    pub(super) const PRESENT: u32 = 1 << 0;
    pub(super) const WRITE: u32 = 1 << 1;
    pub(super) const USER: u32 = 1 << 2;
    pub(super) const RESERVED: u32 = 1 << 3;
    pub(super) const FETCH: u32 = 1 << 4;
    pub(super) const PROTECTION_KEY: u32 = 1 << 5;
}

/// How the tables are laid out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// Two levels of 1024 entries of 4 bytes.
    Bits32,
    /// Two levels of 512 entries of 8 bytes, below four registers.
    Pae,
    /// Four or five levels of 512 entries of 8 bytes.
    Long,
}

impl Layout {
    /// Bytes of an entry.
    fn size(self) -> u8 {
        if self == Layout::Bits32 { 4 } else { 8 }
    }

    /// Bits of the linear address that choose an entry.
    fn index_bits(self) -> u32 {
        if self == Layout::Bits32 { 10 } else { 9 }
    }
}

/// One step of a walk that is to be marked accessed or dirty.
#[derive(Clone, Copy, Default)]
struct Step {
    address: u64,
    value: u64,
}

/// What a walk is for.
struct Wanted {
    access: Access,
    privilege: Privilege,
    /// Error code of a fault, but for what the tables add.
    reasons: u32,
    linear: u64,
}

impl Wanted {
    fn fault(&self, more: u32) -> Exception {
        Exception::with_error(14, self.reasons | more)
    }
}

/// What the entries on the way to a page add up to.
struct Rights {
    /// Set in all of them.
    all: u64,
    /// Set in one of them.
    any: u64,
    leaf: u64,
}

impl Core {
    /// Whether no-execute bits count.
    fn no_execute(&self) -> bool {
        self.state.msrs.efer & efer::NXE != 0 && self.state.cr4 & cr4::PAE != 0
    }

    /// Walks the page tables and sets accessed and dirty bits, once nothing can fault any more.
    pub(crate) fn walk<B: Bus>(
        &mut self,
        bus: &mut B,
        linear: u64,
        access: Access,
        privilege: Privilege,
    ) -> Result<u64, Exception> {
        let tells_fetch = self.no_execute() || self.state.cr4 & cr4::SMEP != 0;
        let reasons = if access == Access::Write { fault::WRITE } else { 0 }
            | if privilege == Privilege::User { fault::USER } else { 0 }
            | if access == Access::Fetch && tells_fetch { fault::FETCH } else { 0 };
        let wanted = Wanted { access, privilege, reasons, linear };

        let (layout, mut shift, mut table) = self.walk_start(&wanted)?;
        let size = layout.size();
        let mut rights = Rights { all: u64::MAX, any: 0, leaf: 0 };
        let mut steps = [Step::default(); 5];
        let mut leaf = 0;
        let physical = loop {
            let index = (linear >> shift) & ((1 << layout.index_bits()) - 1);
            let address = table + index * u64::from(size);
            let value = self.read_table(bus, address, size);
            if value & entry::PRESENT == 0 {
                return Err(wanted.fault(0));
            }
            let large = value & entry::LARGE != 0 && self.may_be_large(layout, shift);
            if self.reserved(layout, value, shift, large) {
                return Err(wanted.fault(fault::PRESENT | fault::RESERVED));
            }
            steps[leaf] = Step { address, value };
            rights = Rights { all: rights.all & value, any: rights.any | value, leaf: value };
            if large || shift == 12 {
                break page_address(layout, value, shift) | (linear & ((1 << shift) - 1));
            }
            table = value & if layout == Layout::Bits32 { 0xffff_f000 } else { entry::ADDRESS };
            shift -= layout.index_bits();
            leaf += 1;
        };
        self.check_rights(&wanted, &rights)?;
        for (index, step) in steps.iter().enumerate().take(leaf + 1) {
            let mut value = step.value | entry::ACCESSED;
            if index == leaf && access == Access::Write {
                value |= entry::DIRTY;
            }
            if value != step.value {
                self.write_table(bus, step.address, size, value);
            }
        }
        Ok(physical)
    }

    /// Where `linear` is by what the tables say now: rights are not checked, nothing is marked or kept. `read`
    /// gives bytes of physical memory without effects. `None` where no page is present.
    pub(crate) fn look_up(&self, linear: u64, read: impl Fn(u64, u8) -> u64) -> Option<u64> {
        if !self.state.paging() {
            return Some(linear & self.a20_mask);
        }
        if self.state.long_mode() && !self.state.canonical(linear) {
            return None;
        }
        let wanted = Wanted { access: Access::Read, privilege: Privilege::System, reasons: 0, linear };
        let (layout, mut shift, mut table) = self.walk_start(&wanted).ok()?;
        let size = layout.size();
        loop {
            let index = (linear >> shift) & ((1 << layout.index_bits()) - 1);
            let value = read((table + index * u64::from(size)) & self.a20_mask, size);
            if value & entry::PRESENT == 0 {
                return None;
            }
            if shift == 12 || value & entry::LARGE != 0 && self.may_be_large(layout, shift) {
                let page = page_address(layout, value, shift);
                return Some((page | (linear & ((1 << shift) - 1))) & self.a20_mask);
            }
            table = value & if layout == Layout::Bits32 { 0xffff_f000 } else { entry::ADDRESS };
            shift -= layout.index_bits();
        }
    }

    /// The first table of a walk, and the lowest bit of the linear address that chooses an entry in it.
    fn walk_start(&self, wanted: &Wanted) -> Result<(Layout, u32, u64), Exception> {
        let state = &self.state;
        if state.long_mode() {
            let shift = if state.cr4 & cr4::LA57 != 0 { 48 } else { 39 };
            return Ok((Layout::Long, shift, state.cr3 & entry::ADDRESS));
        }
        if state.cr4 & cr4::PAE == 0 {
            return Ok((Layout::Bits32, 22, state.cr3 & 0xffff_f000));
        }
        let pointer = state.pdpte[(wanted.linear >> 30) as usize & 3];
        if pointer & entry::PRESENT == 0 {
            return Err(wanted.fault(0));
        }
        Ok((Layout::Pae, 21, pointer & entry::ADDRESS))
    }

    /// Whether PS of an entry at this level means a page.
    fn may_be_large(&self, layout: Layout, shift: u32) -> bool {
        match (layout, shift) {
            (Layout::Bits32, 22) => self.state.cr4 & cr4::PSE != 0,
            (Layout::Long, 30) => self.model.features.has(Feature::Page1Gb),
            (_, 21) => true,
            _ => false,
        }
    }

    /// Whether a bit is set that must be clear.
    fn reserved(&self, layout: Layout, value: u64, shift: u32, large: bool) -> bool {
        let beyond = u64::MAX << self.model.physical_bits;
        if layout == Layout::Bits32 {
            // A page of 4 MiB has bits 32-39 of its address in bits 13-20.
            return large && (value & (1 << 21) != 0 || (value >> 13 & 0xff) << 32 & beyond != 0);
        }
        let mut mask = if self.no_execute() { 0 } else { entry::NO_EXECUTE };
        mask |= if layout == Layout::Pae { beyond & !entry::NO_EXECUTE } else { beyond & entry::ADDRESS };
        if large {
            mask |= ((1 << shift) - 1) & !0x1fff;
        } else if layout == Layout::Long && shift > 21 {
            // Above the directory PS is reserved where it makes no page.
            mask |= entry::LARGE;
        }
        value & mask != 0
    }

    /// Sections 4.6.1 (U/S, R/W, XD, SMEP, SMAP) and 4.6.2 (protection keys).
    fn check_rights(&self, wanted: &Wanted, rights: &Rights) -> Exec {
        let control = self.state.cr4;
        let (access, user) = (wanted.access, wanted.privilege == Privilege::User);
        let user_page = rights.all & entry::USER != 0;
        let write = access == Access::Write;
        let protected = user || self.state.cr0 & cr0::WP != 0;
        let fetch = access == Access::Fetch;
        let open = wanted.privilege == Privilege::Supervisor && self.state.flags.alignment_check();
        let denied = (user && !user_page)
            || (write && rights.all & entry::WRITABLE == 0 && protected)
            || (fetch && self.no_execute() && rights.any & entry::NO_EXECUTE != 0)
            || (fetch && !user && user_page && control & cr4::SMEP != 0)
            || (!fetch && !user && user_page && control & cr4::SMAP != 0 && !open);
        let mut more = if denied { fault::PRESENT } else { 0 };
        if user_page && !fetch && control & cr4::PKE != 0 && self.state.long_mode() {
            let key = (rights.leaf >> entry::KEY_SHIFT) & 15;
            let forbids = self.state.pkru >> (2 * key);
            if forbids & 1 != 0 || (write && forbids & 2 != 0 && protected) {
                more |= fault::PRESENT | fault::PROTECTION_KEY;
            }
        }
        if more == 0 { Ok(()) } else { Err(wanted.fault(more)) }
    }

    /// Loads the four PDPTE registers from CR3's table (section 4.4.1).
    pub(crate) fn load_pdptes<B: Bus>(&mut self, bus: &mut B, cr3: u64) -> Exec {
        let reserved = (u64::MAX << self.model.physical_bits) | 0x1e6;
        let mut pointers = [0; 4];
        for (index, pointer) in (0..).zip(&mut pointers) {
            *pointer = self.read_table(bus, (cr3 & 0xffff_ffe0) + index * 8, 8);
            if *pointer & entry::PRESENT != 0 && *pointer & reserved != 0 {
                return Err(Exception::general_protection(0));
            }
        }
        self.state.pdpte = pointers;
        Ok(())
    }
}

/// Where the page of a leaf begins.
fn page_address(layout: Layout, value: u64, shift: u32) -> u64 {
    match (layout, shift) {
        (Layout::Bits32, 12) => value & 0xffff_f000,
        (Layout::Bits32, _) => (value & 0xffc0_0000) | (value >> 13 & 0xff) << 32,
        _ => value & entry::ADDRESS & !((1 << shift) - 1),
    }
}
