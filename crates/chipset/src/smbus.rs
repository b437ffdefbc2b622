//! The SMBus host controller inside the PIIX4 and the memory-module EEPROMs on its bus.
//!
//! Data sheet: Intel 82371AB (PIIX4) 290562-001, section 7.3. A transaction starts when START is
//! written and is carried out at the next read of the status register, which still says busy: so
//! that a driver sees BUSY once, as on QEMU. This is a part of [`crate::piix4_pm::Piix4Pm`].

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const SMBHSTSTS: u64 = 0x00;
const SMBHSTCNT: u64 = 0x02;
const SMBHSTCMD: u64 = 0x03;
const SMBHSTADD: u64 = 0x04;
const SMBHSTDAT0: u64 = 0x05;
const SMBHSTDAT1: u64 = 0x06;
const SMBBLKDAT: u64 = 0x07;
/// Auxiliary control, an ICH register that QEMU's PIIX4 has too.
const AUX_CONTROL: u64 = 0x0d;

/// What the register at `offset` is called.
pub(crate) fn register_name(offset: u64) -> Option<String> {
    const NAMES: [(u64, &str); 8] = [
        (SMBHSTSTS, "SMBHSTSTS"),
        (SMBHSTCNT, "SMBHSTCNT"),
        (SMBHSTCMD, "SMBHSTCMD"),
        (SMBHSTADD, "SMBHSTADD"),
        (SMBHSTDAT0, "SMBHSTDAT0"),
        (SMBHSTDAT1, "SMBHSTDAT1"),
        (SMBBLKDAT, "SMBBLKDAT"),
        (AUX_CONTROL, "AUX_CONTROL"),
    ];
    crate::name_of(&NAMES, offset)
}

const HOST_BUSY: u8 = 1 << 0;
const INTERRUPT: u8 = 1 << 1;
const DEVICE_ERROR: u8 = 1 << 2;
const FAILED: u8 = 1 << 4;

const KILL: u8 = 1 << 1;
const START: u8 = 1 << 6;
/// Bits of the control register that read back.
const CONTROL_READS: u8 = 0x1f;

const AUX_BLOCK_BUFFER: u8 = 1 << 1;
const AUX_MASK: u8 = 3;

/// The address of the first EEPROM; those of the other slots follow.
const FIRST_EEPROM: u8 = 0x50;
/// Longest block of a transaction (SMBus 1.0, section 5.5.7).
const BLOCK: usize = 32;

/// One 256-byte EEPROM of the 24C02 kind, blank and writable as on QEMU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Eeprom {
    address: u8,
    /// Bytes that are not zero.
    bytes: BTreeMap<u8, u8>,
}

impl Eeprom {
    fn next(&mut self) -> u8 {
        let byte = self.bytes.get(&self.address).copied().unwrap_or(0);
        self.address = self.address.wrapping_add(1);
        byte
    }

    fn store(&mut self, byte: u8) {
        if byte == 0 {
            self.bytes.remove(&self.address);
        } else {
            self.bytes.insert(self.address, byte);
        }
        self.address = self.address.wrapping_add(1);
    }
}

/// The registers and the devices on the bus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    status: u8,
    control: u8,
    command: u8,
    address: u8,
    data0: u8,
    data1: u8,
    aux_control: u8,
    block: [u8; BLOCK],
    block_index: u8,
    eeproms: Vec<Eeprom>,
}

impl State {
    /// A controller with `eeproms` blank EEPROMs (at most eight) from address 50h on.
    #[must_use]
    pub fn new(eeproms: u8) -> State {
        let blank = Eeprom { address: 0, bytes: BTreeMap::new() };
        State {
            status: 0,
            control: 0,
            command: 0,
            address: 0,
            data0: 0,
            data1: 0,
            aux_control: AUX_BLOCK_BUFFER,
            block: [0; BLOCK],
            block_index: 0,
            eeproms: vec![blank; usize::from(eeproms.min(8))],
        }
    }

    /// Takes the reset line: registers clear, EEPROMs keep their bytes.
    pub fn reset(&mut self) {
        let eeproms = std::mem::take(&mut self.eeproms);
        *self = State { eeproms, ..State::new(0) };
    }

    /// Reads the register at `offset`.
    pub fn read(&mut self, offset: u64) -> u8 {
        match offset {
            SMBHSTSTS => {
                let status = self.status;
                if status & HOST_BUSY != 0 {
                    self.run();
                }
                status
            }
            SMBHSTCNT => {
                self.block_index = 0;
                self.control & CONTROL_READS
            }
            SMBHSTCMD => self.command,
            SMBHSTADD => self.address,
            SMBHSTDAT0 => self.data0,
            SMBHSTDAT1 => self.data1,
            SMBBLKDAT => self.block[self.next_block_index()],
            AUX_CONTROL => self.aux_control,
            _ => 0,
        }
    }

    /// Writes the register at `offset`.
    pub fn write(&mut self, offset: u64, value: u8) {
        match offset {
            SMBHSTSTS => {
                self.status &= !(value & !HOST_BUSY);
                self.block_index = 0;
            }
            SMBHSTCNT => {
                self.control = value & !(START | KILL);
                if value & KILL != 0 {
                    self.status = self.status & !HOST_BUSY | FAILED;
                } else if value & START != 0 {
                    self.block_index = 0;
                    self.status |= HOST_BUSY;
                }
            }
            SMBHSTCMD => self.command = value,
            SMBHSTADD => self.address = value,
            SMBHSTDAT0 => self.data0 = value,
            SMBHSTDAT1 => self.data1 = value,
            SMBBLKDAT => {
                let index = self.next_block_index();
                self.block[index] = value;
            }
            AUX_CONTROL => self.aux_control = value & AUX_MASK,
            _ => {}
        }
    }

    fn next_block_index(&mut self) -> usize {
        let index = usize::from(self.block_index) % BLOCK;
        self.block_index = ((index + 1) % BLOCK) as u8;
        index
    }

    /// Carries the transaction out.
    fn run(&mut self) {
        self.status &= !HOST_BUSY;
        // Nothing is carried out before an earlier error has been cleared.
        let done = self.status & DEVICE_ERROR == 0 && self.transact().is_some();
        self.status |= if done { INTERRUPT } else { DEVICE_ERROR };
    }

    /// The protocols of SMBHSTCNT bits 4:2; `None` when nobody answers or it does not exist.
    fn transact(&mut self) -> Option<()> {
        let slot = (self.address >> 1).checked_sub(FIRST_EEPROM)?;
        let eeprom = self.eeproms.get_mut(usize::from(slot))?;
        let reads = self.address & 1 != 0;
        let protocol = self.control >> 2 & 7;
        if protocol >= 2 {
            eeprom.address = self.command;
        }
        match (protocol, reads) {
            (0, _) => {}
            (1, true) => self.data0 = eeprom.next(),
            (1, false) => eeprom.address = self.command,
            (2, true) => self.data0 = eeprom.next(),
            (2, false) => eeprom.store(self.data0),
            (3, true) => {
                self.data0 = eeprom.next();
                self.data1 = eeprom.next();
            }
            (3, false) => {
                eeprom.store(self.data0);
                eeprom.store(self.data1);
            }
            (5, true) => {
                // The device says how many bytes follow.
                let length = usize::from(eeprom.next());
                if length == 0 || length > BLOCK {
                    return None;
                }
                self.block[..length].fill_with(|| eeprom.next());
                self.data0 = length as u8;
            }
            (5, false) => {
                let length = usize::from(self.data0).min(BLOCK);
                self.block[..length].iter().for_each(|byte| eeprom.store(*byte));
            }
            _ => return None,
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    /// Starts a transaction and returns the first two statuses and both data registers.
    fn transact(bus: &mut State, address: u8, command: u8, control: u8) -> [u8; 4] {
        bus.write(SMBHSTSTS, 0xff);
        bus.write(SMBHSTADD, address);
        bus.write(SMBHSTCMD, command);
        bus.write(SMBHSTCNT, control | START);
        let busy = bus.read(SMBHSTSTS);
        let after = bus.read(SMBHSTSTS);
        [busy, after, bus.read(SMBHSTDAT0), bus.read(SMBHSTDAT1)]
    }

    #[rstest]
    #[case::first(0xa1, 2, [1, 2, 0, 0])]
    #[case::last(0xaf, 2, [1, 2, 0, 0])]
    #[case::beyond(0xb1, 2, [1, 4, 0, 0])]
    #[case::below(0x61, 2, [1, 4, 0, 0])]
    #[case::process_call(0xa1, 4, [1, 4, 0, 0])]
    #[case::empty_block(0xa1, 5, [1, 4, 0, 0])]
    fn answers(#[case] address: u8, #[case] protocol: u8, #[case] expect: [u8; 4]) {
        assert_eq!(transact(&mut State::new(8), address, 0, protocol << 2), expect);
    }

    #[test]
    fn word_written_reads_back_after_reset() {
        let mut bus = State::new(1);
        bus.write(SMBHSTDAT0, 0x34);
        bus.write(SMBHSTDAT1, 0x12);
        transact(&mut bus, 0xa0, 0xff, 3 << 2);
        bus.reset();
        assert_eq!(transact(&mut bus, 0xa1, 0xff, 3 << 2), [1, 2, 0x34, 0x12]);
        assert_eq!(transact(&mut bus, 0xa1, 0x00, 2 << 2), [1, 2, 0x12, 0x12]);
    }
}
