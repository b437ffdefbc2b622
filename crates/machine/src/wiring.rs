//! Which pin leads where: interrupt lines, interrupt messages, floppy DMA.

use warmboot_chipset::{
    ApicMessage, Effects, Moment, dma,
    floppy::DMA_CHANNEL,
    ich9_lpc, io_apic,
    local_apic::{Delivery, LocalApic},
    piix3,
};

use warmboot_chipset::GuestMemory as _;

use crate::{
    board::{Board, Sent, Signal, Wires},
    devices::{Device, Slot},
};

/// ISA interrupt lines, as the PC/AT has them.
mod line {
    pub const TIMER: u8 = 0;
    pub const SERIAL_1: u8 = 4;
    pub const KEYBOARD: u8 = 1;
    pub const FLOPPY: u8 = 6;
    pub const PARALLEL_1: u8 = 7;
    pub const RTC: u8 = 8;
    pub const SCI: u8 = 9;
    pub const MOUSE: u8 = 12;
    pub const COPROCESSOR: u8 = 13;
    pub const IDE_PRIMARY: u8 = 14;
    pub const IDE_SECONDARY: u8 = 15;
}

impl Board {
    /// Output pin `pin` of the chip in `slot` was driven to `level`.
    pub(crate) fn route(&mut self, slot: usize, pin: u8, level: bool, at: Moment) {
        use warmboot_chipset::{self as chipset, hpet};
        let is_hpet = |device: &Device| matches!(device, Device::Hpet(_));
        let Some(device) = self.slots.get(slot).map(|slot| &*slot.device) else { return };
        match device {
            Device::Pic(_) => self.wires.pic_interrupt = level,
            // The HPET stands between the two old timers and their lines.
            Device::Pit(_) if self.hpet().is_some() => self.drive(is_hpet, hpet::PIT_IRQ0, level, at),
            Device::Rtc(_) if self.hpet().is_some() => self.drive(is_hpet, hpet::RTC_IRQ8, level, at),
            Device::Pit(_) => self.interrupt(slot, line::TIMER, level, at),
            Device::Rtc(_) => self.interrupt(slot, line::RTC, level, at),
            Device::Hpet(_) if pin == hpet::LEGACY => {
                let is_pit = |device: &Device| matches!(device, Device::Pit(_));
                self.drive(is_pit, chipset::pit::LEGACY_REPLACED, level, at);
            }
            Device::I8042(_) => {
                let irq = if pin == chipset::i8042::MOUSE_INTERRUPT { line::MOUSE } else { line::KEYBOARD };
                self.interrupt(slot, irq, level, at);
            }
            Device::Uart(_) => self.interrupt(slot, line::SERIAL_1, level, at),
            Device::Parallel(_) => self.interrupt(slot, line::PARALLEL_1, level, at),
            Device::Ide(_) => {
                let irq = if pin == chipset::ide::IRQ15 { line::IDE_SECONDARY } else { line::IDE_PRIMARY };
                self.interrupt(slot, irq, level, at);
            }
            Device::Floppy(_) if pin == chipset::floppy::DREQ2 => {
                self.drive(|device| matches!(device, Device::Dma(_)), DMA_CHANNEL, level, at);
            }
            Device::Floppy(_) => self.interrupt(slot, line::FLOPPY, level, at),
            Device::Piix4Pm(_) => self.interrupt(slot, line::SCI, level, at),
            // The functions of device 31 have their interrupt pins at the bridge among them.
            Device::Ahci(_) => self.drive(|device| matches!(device, Device::Ich9Lpc(_)), pin, level, at),
            // Functions on the bus share PIRQs: one is asserted as long as one of them asserts its pin.
            Device::VirtioBlk(_) | Device::VirtioRng(_) => self.drive_pirq(slot, at),
            // A write to port F0h: the error latch is cleared, and IGNNE# lets the handler use the x87.
            Device::PostCode(_) if self.wires.interrupts[usize::from(line::COPROCESSOR)] != 0 => {
                self.interrupt(slot, line::COPROCESSOR, level, at);
                self.signal(0, Signal::IgnoreNumericError);
            }
            // Outputs of the PIRQ routers and of the HPET are numbered by interrupt line.
            Device::Piix3(_) | Device::Ich9Lpc(_) | Device::Hpet(_) => self.interrupt(slot, pin, level, at),
            _ => {}
        }
    }

    /// FERR# of the processor reaches the latch whose output is IRQ 13 (IBM PC AT Technical Reference,
    /// "Math coprocessor"); it stays until port F0h is written.
    pub(crate) fn coprocessor_error(&mut self, level: bool, at: Moment) {
        let latch = self.slots.iter().position(|slot| matches!(*slot.device, Device::PostCode(_)));
        if let Some(slot) = latch {
            self.interrupt(slot, line::COPROCESSOR, level, at);
        }
    }

    /// Interrupt lines the chip in `slot` can raise by itself, for deciding whether a halted
    /// processor could wake.
    fn lines_of(&self, slot: usize) -> &'static [u8] {
        match self.slots.get(slot).map(|slot| &*slot.device) {
            Some(Device::Pit(_)) => &[line::TIMER],
            Some(Device::Rtc(_)) => &[line::RTC],
            Some(Device::I8042(_)) => &[line::KEYBOARD, line::MOUSE],
            Some(Device::Uart(_)) => &[line::SERIAL_1],
            Some(Device::Ide(_)) => &[line::IDE_PRIMARY, line::IDE_SECONDARY],
            Some(Device::Floppy(_)) => &[line::FLOPPY],
            Some(Device::Piix4Pm(_)) => &[line::SCI],
            // Whatever line the bridge steers PIRQA# to, and its pin of the I/O APIC.
            Some(Device::Ahci(_) | Device::VirtioBlk(_) | Device::VirtioRng(_)) => {
                &[3, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23]
            }
            Some(Device::Ich9Lpc(_)) => &[9, 10, 11, 20, 21],
            Some(Device::Hpet(_)) => &[0, 2, 8, 16, 17, 18, 19, 20, 21, 22, 23],
            _ => &[],
        }
    }

    /// Drives the PIRQ that INTA# of the function in `slot` is wired to.
    fn drive_pirq(&mut self, slot: usize, at: Moment) {
        let is_q35 = self.ich9_lpc().is_some();
        let pirq_of = |slot: &Slot| {
            let device = slot.devfn? >> 3;
            Some(if is_q35 { ich9_lpc::pirq_of_slot(device, 1) } else { piix3::pirq_of(device, 1) })
        };
        let Some(pirq) = self.slots.get(slot).and_then(pirq_of) else { return };
        let shares = |slot: &&Slot| pirq_of(slot) == Some(pirq);
        let level = self.slots.iter().filter(shares).any(|slot| slot.device.inta() == Some(true));
        self.drive(|device| matches!(device, Device::Ich9Lpc(_) | Device::Piix3(_)), pirq, level, at);
    }

    /// Drives interrupt line `number` on behalf of `slot`; several chips can share a line.
    fn interrupt(&mut self, slot: usize, number: u8, level: bool, at: Moment) {
        let Some(sources) = self.wires.interrupts.get_mut(usize::from(number)) else { return };
        let bit = 1u64 << (slot & 63);
        let before = *sources != 0;
        if level {
            *sources |= bit;
        } else {
            *sources &= !bit;
        }
        let after = *sources != 0;
        if before == after {
            return;
        }
        self.drive_controllers(number, after, at);
    }

    /// Interrupt line `number` has changed: both controllers see it.
    fn drive_controllers(&mut self, number: u8, level: bool, at: Moment) {
        if number < 16 {
            self.drive_pic(number, level, at);
        }
        let pin = if number < 16 { io_apic::pin_of_isa(number) } else { number };
        self.drive(|device| matches!(device, Device::IoApic(_)), pin, level, at);
    }

    fn drive_pic(&mut self, number: u8, level: bool, at: Moment) {
        self.drive(|device| matches!(device, Device::Pic(_)), number, level, at);
    }

    /// Drives an input pin of the first chip that `select` picks.
    fn drive(&mut self, select: impl Fn(&Device) -> bool, pin: u8, level: bool, at: Moment) {
        let Some(slot) = self.slots.iter().position(|slot| select(&slot.device)) else { return };
        let mut effects = Effects::at(at);
        self.slots[slot].device.chip_mut().input(pin, level, &mut effects);
        self.apply(slot, effects);
    }

    /// Which processor gets an SMI of the chip in `slot`: the first, or the one whose access it is, as QEMU
    /// has it of PIIX4 and ICH9. A board's SMI# goes to all.
    pub(crate) fn reached_by_smi(&self, slot: usize) -> usize {
        match self.slots.get(slot).map(|slot| &*slot.device) {
            Some(Device::Ich9Lpc(_)) => self.current,
            _ => 0,
        }
    }

    /// Sends a signal to one processor.
    pub(crate) fn signal(&mut self, processor: usize, signal: Signal) {
        self.signals.push(Sent { processor, signal });
    }

    /// Sends a signal to every processor.
    pub(crate) fn signal_all(&mut self, signal: Signal) {
        for processor in 0..self.processors {
            self.signal(processor, signal);
        }
    }

    /// Where the local APIC of processor number `processor` is on the board.
    fn local_apic_slot(&self, processor: usize) -> Option<usize> {
        let is_its = |slot: &Slot| match &*slot.device {
            Device::LocalApic(apic) => usize::from(apic.processor()) == processor,
            _ => false,
        };
        self.slots.iter().position(is_its)
    }

    /// What it is called.
    pub(crate) fn local_apic_name(&self, processor: usize) -> Option<&'static str> {
        self.slots.get(self.local_apic_slot(processor)?).map(|slot| slot.name)
    }

    /// The local APIC of processor number `processor`.
    pub(crate) fn local_apic_of(&self, processor: usize) -> Option<&LocalApic> {
        match &*self.slots.get(self.local_apic_slot(processor)?)?.device {
            Device::LocalApic(apic) => Some(apic),
            _ => None,
        }
    }

    /// The same, to be changed.
    pub(crate) fn local_apic_of_mut(&mut self, processor: usize) -> Option<&mut LocalApic> {
        let slot = self.local_apic_slot(processor)?;
        match &mut *self.slots.get_mut(slot)?.device {
            Device::LocalApic(apic) => Some(apic),
            _ => None,
        }
    }

    /// The chip that answers where the one in `slot` does: of local APICs, which all have the same
    /// address, each processor reaches its own.
    pub(crate) fn own_chip(&self, slot: usize) -> usize {
        match self.slots.get(slot).map(|slot| &*slot.device) {
            Some(Device::LocalApic(_)) => self.local_apic_slot(self.current).unwrap_or(slot),
            _ => slot,
        }
    }

    /// Calls the local APIC of the processor that runs, and applies what comes out.
    pub(crate) fn with_local_apic<R>(
        &mut self,
        at: Moment,
        call: impl FnOnce(&mut LocalApic, &mut Effects) -> R,
    ) -> Option<R> {
        let slot = self.local_apic_slot(self.current)?;
        let mut effects = Effects::at(at);
        let result = match &mut *self.slots.get_mut(slot)?.device {
            Device::LocalApic(apic) => call(apic, &mut effects),
            _ => return None,
        };
        self.apply(slot, effects);
        Some(result)
    }

    /// Delivers an interrupt message to the local APICs.
    pub(crate) fn deliver(&mut self, message: ApicMessage) {
        for slot in 0..self.slots.len() {
            let Device::LocalApic(apic) = &mut *self.slots[slot].device else { continue };
            if !apic.matches(&message) {
                continue;
            }
            let processor = usize::from(apic.processor());
            let signal = match apic.accept(&message) {
                Delivery::None | Delivery::ExtInt => None,
                Delivery::Smi => Some(Signal::Smi),
                Delivery::Nmi => Some(Signal::Nmi),
                Delivery::Init => {
                    apic.init();
                    Some(Signal::Init)
                }
                Delivery::Startup(vector) => Some(Signal::StartUp(vector)),
            };
            if let Some(signal) = signal {
                self.signal(processor, signal);
            }
            self.look_at_chip(slot);
            if message.is_lowest_priority() {
                break;
            }
        }
    }

    /// Tells the I/O APICs that a level-triggered interrupt has been served.
    pub(crate) fn end_of_interrupt(&mut self, vector: u8, at: Moment) {
        for slot in 0..self.slots.len() {
            let mut effects = Effects::at(at);
            let Device::IoApic(apic) = &mut *self.slots[slot].device else { continue };
            apic.end_of_interrupt(vector, &mut effects);
            self.apply(slot, effects);
        }
    }

    /// Whether the interrupt input of processor number `processor` is active.
    pub(crate) fn interrupt_pending(&self, processor: usize) -> bool {
        match self.local_apic_of(processor) {
            Some(apic) => apic.pending().is_some() || self.wires.pic_interrupt && apic.accepts_pic(),
            None => self.wires.pic_interrupt,
        }
    }

    /// The interrupt acknowledge cycle of the processor that runs.
    pub(crate) fn acknowledge(&mut self, at: Moment) -> Option<u8> {
        let processor = self.current;
        let from_apic = self.local_apic_of(processor).is_some_and(|apic| apic.pending().is_some());
        let slot = if from_apic {
            self.local_apic_slot(processor)
        } else {
            self.slots.iter().position(|slot| matches!(*slot.device, Device::Pic(_)))
        }?;
        let mut effects = Effects::at(at);
        let vector = match &mut *self.slots[slot].device {
            Device::LocalApic(apic) => Some(apic.acknowledge()),
            Device::Pic(pic) => Some(pic.acknowledge(&mut effects)),
            _ => None,
        };
        self.apply(slot, effects);
        if !from_apic && let Some(apic) = self.local_apic_of_mut(processor) {
            apic.pic_acknowledged();
        }
        vector
    }

    /// Whether an event still to come could raise an interrupt that processor number `processor` would
    /// take, were it halted.
    pub(crate) fn can_wake(&self, processor: usize) -> bool {
        if self.interrupt_pending(processor) {
            return true;
        }
        (0..self.slots.len()).any(|slot| {
            let device = &*self.slots[slot].device;
            let takes_input = matches!(device, Device::Uart(_) | Device::I8042(_));
            if device.chip().deadline().is_none() && !(takes_input && self.attachments.input_expected) {
                return false;
            }
            if let Device::LocalApic(apic) = device {
                return usize::from(apic.processor()) == processor;
            }
            device.chip().sends_messages()
                || self.lines_of(slot).iter().any(|line| self.line_enabled(*line, processor))
        })
    }

    /// Whether interrupt line `number` can reach processor number `processor` now.
    fn line_enabled(&self, number: u8, processor: usize) -> bool {
        let through_pic = number < 16
            && self.pic().is_some_and(|pic| !pic.masked(number))
            && self.local_apic_of(processor).is_none_or(LocalApic::accepts_pic);
        let pin = if number < 16 { io_apic::pin_of_isa(number) } else { number };
        through_pic || self.io_apic().is_some_and(|apic| !apic.masked(pin))
    }

    /// Brings the inputs of the interrupt controllers to the levels the wires have where those of
    /// `source` were others: a chip that drove a line may not have come along.
    pub(crate) fn drive_lines_again(&mut self, source: &Wires) {
        let at = self.now();
        let levels = self.wires.interrupts.map(|sources| sources != 0);
        let before = source.interrupts.map(|sources| sources != 0);
        for (number, (level, before)) in (0..).zip(levels.into_iter().zip(before)) {
            if level != before {
                self.drive_controllers(number, level, at);
            }
        }
    }

    /// Sets the base address of the local APIC of processor number `processor`, as WRMSR and reset do.
    pub(crate) fn set_apic_base(&mut self, processor: usize, value: u64, at: Moment) {
        let Some(slot) = self.local_apic_slot(processor) else { return };
        let mut effects = Effects::at(at);
        if let Device::LocalApic(apic) = &mut *self.slots[slot].device {
            apic.set_base(value, &mut effects);
        }
        self.apply(slot, effects);
    }

    /// Moves bytes between the floppy controller and memory on DMA channel 2 while both are ready.
    pub(crate) fn run_floppy_dma(&mut self, at: Moment) {
        let Some(slot) = self.slots.iter().position(|slot| matches!(*slot.device, Device::Floppy(_))) else {
            return;
        };
        // A sector at a time; a transfer cannot be longer than the 8237's 64 KiB.
        for _ in 0..0x1_0000 / SECTOR {
            let wanted = self.floppy().and_then(warmboot_chipset::floppy::Floppy::dma_request);
            let Some(wanted) = wanted else { return };
            let Some(programmed) = self.dma().and_then(|dma| dma.transfer(DMA_CHANNEL)) else { return };
            if !self.exchange_floppy(slot, wanted, programmed, at) {
                return;
            }
        }
    }

    /// Moves up to a sector between the floppy controller and memory; false when nothing moved.
    fn exchange_floppy(
        &mut self,
        slot: usize,
        wanted: dma::Direction,
        programmed: dma::Programmed,
        at: Moment,
    ) -> bool {
        // Counting down, bytes go one at a time, so that each lands where it should.
        let most = if programmed.decrement { 1 } else { SECTOR.min(programmed.contiguous) };
        let length = programmed.bytes_left.min(most) as usize;
        let mut sector = [0; SECTOR as usize];
        let Some(bytes) = sector.get_mut(..length) else { return false };
        let address = u64::from(programmed.address);
        if wanted == dma::Direction::FromMemory {
            self.peek(address, bytes);
        }
        let mut effects = Effects::at(at);
        let last = length == programmed.bytes_left as usize;
        let moved = match self.slots.get_mut(slot).map(|slot| &mut *slot.device) {
            Some(Device::Floppy(floppy)) => floppy.dma_exchange(bytes, last, &mut effects),
            _ => 0,
        };
        // What the 8237 is set to do decides, not what the drive gives: a verify moves nothing.
        if wanted == dma::Direction::ToMemory
            && programmed.direction == dma::Direction::ToMemory
            && let Some(bytes) = bytes.get(..moved)
        {
            let before = self.act_as_bus_master(slot);
            self.lend().write(address, bytes);
            self.act_as(before);
        }
        self.apply(slot, effects);
        let mut effects = Effects::at(at);
        let Some(dma_slot) = self.slots.iter().position(|slot| matches!(*slot.device, Device::Dma(_))) else {
            return false;
        };
        if let Device::Dma(dma) = &mut *self.slots[dma_slot].device {
            dma.advance(DMA_CHANNEL, moved as u32, &mut effects);
        }
        self.apply(dma_slot, effects);
        moved > 0
    }
}

/// What the floppy's DMA moves at a time.
const SECTOR: u32 = 512;
