//! What somebody outside may look at or change between runs: blocks, registers, the keyboard.

use warmboot_chipset::uart16550::Uart16550;
use warmboot_cpu::{Frame, state::Activity};

use crate::{ConfigError, Machine, devices::Device, history::Writer, registers};

impl Machine {
    /// Whether all processors wait, the first of them in HLT.
    #[must_use]
    pub fn is_halted(&self) -> bool {
        self.processor().activity == Activity::Halted
            && self.processors().all(|state| state.activity != Activity::Running)
    }

    /// Whether the guest has taken every key event: nothing waits in the keyboard or its controller, and
    /// no key is held. `None` without a keyboard.
    #[must_use]
    pub fn keyboard_is_idle(&self) -> Option<bool> {
        self.board.slots.iter().find_map(|slot| match &*slot.device {
            Device::I8042(controller) => Some(controller.is_idle()),
            _ => None,
        })
    }

    /// Whether the serial port can take a byte. `None` without one.
    #[must_use]
    pub fn serial_has_room(&self) -> Option<bool> {
        self.board.uart().map(Uart16550::has_room)
    }

    /// Says whether somebody may still press a key or send a byte: then a processor that waits for the
    /// interrupt of one is not halted for ever. Forks have it too.
    pub fn expect_input(&mut self, expected: bool) {
        self.board.attachments.input_expected = expected;
    }

    /// Sends a byte to the serial port; it is lost where [`Machine::serial_has_room`] says no.
    ///
    /// # Errors
    /// When there is no serial port.
    pub fn send_serial(&mut self, byte: u8) -> Result<(), ConfigError> {
        self.board.outside(|_| Writer::Host);
        let taken = self.board.host_access(
            |device| matches!(device, Device::Uart(_)),
            |device, fx| match device {
                Device::Uart(port) => port.receive(byte, fx),
                _ => false,
            },
        );
        self.settle();
        taken.map(|_| ()).ok_or_else(|| ConfigError::new("this machine has no serial port; ask for one"))
    }

    /// Where a linear address of processor number `processor` is in physical memory; `None` where no page is
    /// present, or there is no such processor. Rights are not checked, and nothing changes.
    #[must_use]
    pub fn translate(&self, processor: usize, linear: u64) -> Option<u64> {
        let cpu = &self.processors.get(processor)?.cpu;
        let smm = cpu.state().smm;
        cpu.translate(linear, |physical, size| {
            let mut bytes = [0; 8];
            if let Some(wanted) = bytes.get_mut(..usize::from(size)) {
                self.board.peek_in(smm, physical, wanted);
            }
            u64::from_le_bytes(bytes)
        })
    }

    /// Reads memory at a linear address of processor number `processor`, as it sees it (in SMM too), without
    /// side effects; gives how many bytes come before the first page that is not present. Where no RAM or
    /// ROM answers, FFh.
    pub fn read_linear(&self, processor: usize, linear: u64, bytes: &mut [u8]) -> usize {
        let Some(state) = self.processors.get(processor).map(|processor| processor.cpu.state()) else {
            return 0;
        };
        let (smm, wide) = (state.smm, state.long_mode());
        let mut done = 0;
        while done < bytes.len() {
            let here = linear.wrapping_add(done as u64) & if wide { u64::MAX } else { 0xffff_ffff };
            let room = 4096 - (here & 0xfff) as usize;
            let end = bytes.len().min(done + room);
            let (Some(physical), Some(part)) = (self.translate(processor, here), bytes.get_mut(done..end))
            else {
                break;
            };
            self.board.peek_in(smm, physical, part);
            done = end;
        }
        done
    }

    /// The bytes of a RAM block from `offset` on, whoever answers their address now.
    ///
    /// # Errors
    /// When there is no such block, or it ends before.
    pub fn read_block(&self, block: &str, offset: u64, bytes: &mut [u8]) -> Result<(), ConfigError> {
        let id = self.find_block(block)?;
        self.board.memory.read_block(id, offset, bytes).map_err(|error| ConfigError::new(error.to_string()))
    }

    /// Writes a RAM block from `offset` on, be it read-only to the guest or not.
    ///
    /// # Errors
    /// When there is no such block, or it ends before; then nothing is written.
    pub fn write_block(&mut self, block: &str, offset: u64, bytes: &[u8]) -> Result<(), ConfigError> {
        let id = self.find_block(block)?;
        self.board
            .memory
            .write_block(id, offset, bytes)
            .map_err(|error| ConfigError::new(error.to_string()))?;
        let (mut at, mut left) = (offset, bytes.len() as u64);
        while left > 0 {
            let length = left.min(4096 - (at & 0xfff));
            if let Some(frame) = self.board.memory.frame_of(id, at >> 12) {
                self.board.written.push((Frame(frame.0), (at & 0xfff) as u16, length as u16));
            }
            at += length;
            left -= length;
        }
        self.board.outside(|_| Writer::Host);
        self.board.look();
        self.settle();
        Ok(())
    }

    fn find_block(&self, block: &str) -> Result<warmboot_memory::BlockId, ConfigError> {
        self.board.memory.block(block).ok_or_else(|| {
            let names: Vec<&str> = self.board.memory.blocks().map(|block| block.name).collect();
            ConfigError::new(format!("no block `{block}`; there are {}", names.join(", ")))
        })
    }

    /// Sets a general register, the instruction pointer or EFLAGS by name, as [`Machine::register`] has
    /// them; a part of a register leaves the rest of it.
    ///
    /// # Errors
    /// When no such register can be set, or `value` does not fit it.
    pub fn set_register(&mut self, name: &str, value: u64) -> Result<(), ConfigError> {
        let (processor, name) = registers::processor_of(name);
        let missing = || ConfigError::new(format!("there is no processor {processor}"));
        let processor = self.processors.get_mut(processor).ok_or_else(missing)?;
        registers::write(processor.cpu.state_mut(), name, value)
    }
}
