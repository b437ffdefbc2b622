//! One step after the other: accesses to the chips, and what comes between them.

use super::Driver;
use crate::{Limits, Machine, ResetPath, devices::Device};

/// Keys that are pressed.
const KEYS: [&str; 8] =
    ["a", "ctrl-alt-delete", "pause", "print", "shift-f1", "power-button", "up", "ctrl-break"];

impl Driver<'_> {
    /// One step.
    pub(super) fn act(&mut self) {
        match self.source.byte() {
            0..=9 => self.between(),
            10..=15 => self.anywhere(),
            16..=23 => self.configuration(),
            _ => self.chip(),
        }
        self.settle();
    }

    /// The slot whose turn it is: mostly the fuzzed chip's.
    fn slot(&mut self) -> usize {
        let own = self.chip.map(|name| self.machine.board.slots_of(name)).unwrap_or_default();
        let all = self.machine.board.slots.len();
        if own.is_empty() || self.source.once_in(8) {
            self.source.below(all)
        } else {
            self.source.pick(&own).unwrap_or(0)
        }
    }

    fn chip(&mut self) {
        let slot = self.slot();
        let Some(device) = self.machine.board.slots.get(slot).map(|slot| slot.device.clone()) else { return };
        if self.source.once_in(3) {
            return self.register(slot);
        }
        match &*device {
            Device::Ahci(_) => self.ahci(slot),
            Device::Ide(_) => self.ide(slot),
            Device::Floppy(_) | Device::Dma(_) => self.floppy(),
            Device::VirtioBlk(_) | Device::VirtioRng(_) => self.virtio(slot),
            Device::FwCfg(_) => self.fw_cfg(),
            Device::Vga(_) => self.vga(slot),
            Device::Rtc(_) => self.rtc(),
            Device::Pic(_) => self.pic(),
            Device::Pit(_) => self.pit(),
            Device::I8042(_) => self.i8042(),
            Device::Flash(_) => self.flash(slot),
            Device::Hpet(_) => self.hpet(),
            Device::LocalApic(_) => self.local_apic(),
            Device::IoApic(_) => self.io_apic(),
            Device::Piix4Pm(_) | Device::Ich9Lpc(_) => self.power_management(slot),
            Device::Ich9Smbus(_) => self.smbus(slot),
            Device::HostBridge(_) | Device::Mch(_) => self.host_bridge(slot),
            Device::Uart(_) => self.uart(),
            Device::Parallel(_) => self.parallel(),
            Device::ShutdownPort(_) => self.shutdown_port(),
            Device::DebugExit(_)
            | Device::DebugPort(_)
            | Device::Piix3(_)
            | Device::PostCode(_)
            | Device::Port92(_)
            | Device::Pvpanic(_) => self.register(slot),
        }
    }

    /// An access to a register of the chip, or beside one.
    pub(super) fn register(&mut self, slot: usize) {
        let regions =
            self.machine.board.slots.get(slot).map(|slot| slot.device.chip().regions()).unwrap_or_default();
        if regions.is_empty() {
            return self.enable(slot);
        }
        let Some(region) = regions.get(self.source.below(regions.len())) else { return };
        let named = self.named.entry((slot, region.index)).or_insert_with(|| {
            let slot = self.machine.board.slots.get(slot);
            let name =
                |offset| slot.and_then(|slot| slot.device.chip().register_name(region.index, offset, true));
            let step = if region.length > 64 { 4 } else { 1 };
            (0..region.length.min(0x1000)).step_by(step).filter(|offset| name(*offset).is_some()).collect()
        });
        let offset = match self.source.byte() {
            0..=31 => u64::from(self.source.word()) % region.length,
            32..=39 => region.length.saturating_sub(1 + u64::from(self.source.byte() & 7)),
            40..=47 => self.source.quad() % region.length,
            48..=55 => u64::from(self.source.byte() & 0x3f) % region.length,
            // Beside a register.
            byte => {
                let index = usize::from(self.source.byte()) % named.len().max(1);
                let offset = named.get(index).copied().unwrap_or(u64::from(byte) % region.length);
                if byte < 64 { offset + u64::from(byte & 3) } else { offset }
            }
        };
        let size = if self.source.once_in(2) { region.widest.min(4) } else { self.source.size() };
        let write = if self.source.once_in(3) { None } else { Some(self.source.value()) };
        let region = region.clone();
        self.at(&region, offset, size, write);
    }

    /// An access to any address at all.
    fn anywhere(&mut self) {
        let write = if self.source.once_in(2) { None } else { Some(self.source.value()) };
        let size = self.source.size();
        let place = if self.source.once_in(2) {
            super::Place::Port(self.source.word())
        } else {
            super::Place::Memory(self.source.pointer() & ((1 << 52) - 1))
        };
        self.access(place, size, write);
    }

    /// What is no access: time, interrupts, resets, keys, the host's looks.
    fn between(&mut self) {
        match self.source.byte() & 31 {
            0..=11 => {
                let nanoseconds = (1 << (self.source.byte() % 40)) + u64::from(self.source.byte());
                self.advance(nanoseconds);
            }
            12 | 13 => self.acknowledge(),
            14 | 15 => self.run_processors(),
            16 => {
                let path = ResetPath::ALL.get(self.source.below(ResetPath::ALL.len())).map(|(_, path)| *path);
                // S3 resume fits a suspended machine only.
                let _ = path.map(|path| self.machine.reset(path));
            }
            17 | 18 => {
                let keys = self.source.pick(&KEYS).unwrap_or("a");
                let hold = 1 << (self.source.byte() & 31);
                // The keyboard may be full, and not every machine has such a button.
                let _ = match keys {
                    "power-button" => self.machine.press(keys),
                    _ => self.machine.press_and_hold(keys, hold),
                };
            }
            19 | 20 => {
                let byte = self.source.byte();
                // Not every machine has a serial port.
                let _ = self.machine.send_serial(byte);
            }
            21 => self.smm = !self.smm,
            22 | 23 => self.processor = self.source.below(self.machine.processors.count()),
            24 => {
                let address = self.source.pointer();
                let bytes: Vec<u8> = (0..64).map(|_| self.source.byte()).collect();
                self.store(address, &bytes);
            }
            25 => {
                let fork = self.machine.fork();
                self.machine = fork;
            }
            26 if self.source.once_in(8) => {
                self.machine.state_digest();
            }
            _ => self.look(),
        }
    }

    /// Virtual time passes from event to event.
    pub(super) fn advance(&mut self, nanoseconds: u64) {
        let target = self.machine.virtual_time().saturating_add(nanoseconds);
        for _ in 0..64 {
            let event = self.machine.board.next_event().map_or(target, |(moment, _)| moment.0);
            self.machine.board.clock.reach(event.min(target));
            self.machine.run_due();
            self.settle();
            if event >= target {
                break;
            }
        }
        let now = self.machine.board.now().0;
        self.machine.processors.set_time(now);
    }

    /// A processor takes its interrupt, and mostly ends it.
    pub(super) fn acknowledge(&mut self) {
        use warmboot_cpu::{Bus as _, Cycle};
        let Machine { board, processors, .. } = &mut self.machine;
        if !board.interrupt_pending(self.processor) {
            return;
        }
        let time = board.now().0;
        board.current = self.processor;
        board.clock.begin(time);
        board.acknowledge_interrupt(Cycle::default());
        board.current = 0;
        processors.wake(board);
        self.settle();
        match self.source.byte() & 3 {
            0 => self.output(0x20, 1, 0x20),
            1 => {
                self.output(0xa0, 1, 0x20);
                self.output(0x20, 1, 0x20);
            }
            2 => {
                self.access(super::Place::Memory(0xfee0_00b0), 4, Some(0));
            }
            _ => {}
        }
    }

    /// The processors run what they find.
    fn run_processors(&mut self) {
        let slice = 1 << (self.source.byte() & 7);
        let limits = Limits {
            time: Some(self.machine.virtual_time().saturating_add(1_000_000)),
            slice: Some(slice),
            ..Limits::default()
        };
        if let Err(error) = self.machine.run(&[], limits) {
            panic!("a machine with its disks does not run: {error}");
        }
    }

    /// What the host can look at.
    fn look(&mut self) {
        match self.source.byte() & 7 {
            0 => {
                let _ = self.machine.memory_map();
            }
            1 => {
                let _ = self.machine.screen_text();
            }
            2 => {
                let _ = self.machine.screen();
            }
            3 => {
                let mut bytes = [0; 32];
                let linear = self.source.pointer();
                self.machine.read_linear(self.processor, linear, &mut bytes);
            }
            4 => {
                let mut bytes = [0; 32];
                let physical = self.source.pointer();
                self.machine.read_memory(physical, &mut bytes);
            }
            _ => {
                let _ = self.machine.wires();
            }
        }
    }
}
