//! What the processor sees of the machine: pages it may touch directly, and everything else.

/// A page of RAM the CPU can reach without asking the machine again. Meaning belongs to the bus.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Frame(pub u32);

/// How a 4 KiB physical page answers. `None` means: ask with [`Bus::read`] or [`Bus::write`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Page {
    /// Where reads and fetches come from.
    pub read: Option<Frame>,
    /// Where writes go; may differ from `read` (PAM).
    pub write: Option<Frame>,
}

/// Who asks, and when.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cycle {
    /// Instructions retired since the current [`crate::Cpu::run`] began, before this one.
    pub retired: u64,
    /// The CPU is in system management mode.
    pub smm: bool,
    /// CS of the instruction.
    pub selector: u16,
    /// Base of that segment.
    pub code_base: u64,
}

/// A read of a frame that the machine wants to be told of ([`crate::Cpu::observe`]).
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Physical address.
    pub physical: u64,
    /// The frame that is read.
    pub frame: Frame,
    /// Where in the frame.
    pub offset: u16,
    /// Bytes: 1 to 8, within the frame.
    pub size: u8,
}

/// A write to a frame that the machine wants to be told of ([`crate::Cpu::observe`]).
#[derive(Clone, Copy, Debug)]
pub struct Store {
    /// Physical address.
    pub physical: u64,
    /// The frame that takes the write.
    pub frame: Frame,
    /// Where in the frame.
    pub offset: u16,
    /// Bytes: 1 to 8, within the frame.
    pub size: u8,
    /// What is there now.
    pub old: u64,
    /// What will be there.
    pub new: u64,
}

/// The machine as one CPU sees it. Physical addresses arrive with A20 already applied.
///
/// Port accesses and reads or writes of pages without a frame end the current run after the
/// instruction (see [`crate::Stop::Device`]), so that the machine can apply effects.
pub trait Bus {
    /// How the page of `physical` answers. Results may be kept until [`crate::Cpu::map_changed`].
    fn page(&mut self, physical: u64, smm: bool) -> Page;

    /// The bytes of a frame.
    fn frame(&self, frame: Frame) -> &[u8; 4096];

    /// The bytes of a frame, to be written. Never changes which frame a page has.
    fn frame_mut(&mut self, frame: Frame) -> &mut [u8; 4096];

    /// A processor is going to ask for a frame again and again, at a place of its own, where it asked for
    /// another before.
    fn hold(&mut self, _place: usize, _frame: Frame) {}

    /// As [`Bus::frame`], of the frame that was last held at `place`, where that takes nothing but an address;
    /// `None` says nothing of the frame.
    #[inline(always)]
    fn held(&self, _place: usize, frame: Frame) -> Option<&[u8; 4096]> {
        Some(self.frame(frame))
    }

    /// As [`Bus::held`], to be written.
    #[inline(always)]
    fn held_mut(&mut self, _place: usize, frame: Frame) -> Option<&mut [u8; 4096]> {
        Some(self.frame_mut(frame))
    }

    /// A read of 1, 2, 4 or 8 bytes, within one page, where no frame answers, or of a page that
    /// mixes RAM and devices.
    fn read(&mut self, cycle: Cycle, physical: u64, size: u8) -> u64;

    /// A write of 1, 2, 4 or 8 bytes within one page.
    fn write(&mut self, cycle: Cycle, physical: u64, size: u8, value: u64);

    /// IN of 1, 2 or 4 bytes.
    fn port_read(&mut self, cycle: Cycle, port: u16, size: u8) -> u32;

    /// OUT of 1, 2 or 4 bytes.
    fn port_write(&mut self, cycle: Cycle, port: u16, size: u8, value: u32);

    /// Virtual nanoseconds at this instruction, for RDTSC (1 GHz).
    fn time(&mut self, cycle: Cycle) -> u64;

    /// PAUSE: lets virtual time pass as the machine's cost table says.
    fn pause(&mut self, cycle: Cycle);

    /// The interrupt acknowledge cycle: the vector to deliver, or `None` when the request has gone.
    fn acknowledge_interrupt(&mut self, cycle: Cycle) -> Option<u8>;

    /// IA32_APIC_BASE was written with `value` (already checked for reserved bits).
    fn apic_base_written(&mut self, cycle: Cycle, value: u64);

    /// RDMSR of the local APIC's register 800h + `number` in x2APIC mode; `None` where it is refused.
    fn apic_register(&mut self, _cycle: Cycle, _number: u8) -> Option<u64> {
        None
    }

    /// WRMSR of it; false where it is refused.
    fn set_apic_register(&mut self, _cycle: Cycle, _number: u8, _value: u64) -> bool {
        false
    }

    /// FERR# is asserted: an x87 exception is pending and CR0.NE is clear, and the processor waits
    /// for an interrupt (IRQ 13 on a PC). It is told again as often as the waiting instruction is
    /// tried.
    fn numeric_error(&mut self, _cycle: Cycle) {}

    /// A write to a frame is about to be made that the machine asked to be told of.
    fn stored(&mut self, _cycle: Cycle, _store: Store) {}

    /// A read of a frame is about to be made that the machine asked to be told of.
    fn loaded(&mut self, _cycle: Cycle, _load: Load) {}

    /// The instruction (or the delivery of an interrupt) that made the last accesses through this bus,
    /// or the last stores and loads told of, is over. It was at `offset` in its code segment; an interrupt stood
    /// before that instruction.
    fn executed(&mut self, _offset: u64) {}

    /// Called before each instruction, when the implementation wants it (see `OBSERVES`).
    fn observe(&mut self, _cycle: Cycle, _cpu: &crate::State) {}

    /// Whether [`Bus::observe`] does anything. False makes it cost nothing.
    const OBSERVES: bool = false;
}
