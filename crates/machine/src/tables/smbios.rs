//! SMBIOS tables: System Management BIOS Reference Specification 2.8.
//!
//! Firmware copies them, fills in addresses and checksums, and adds its own type 0.

use super::{Description, FOUR_GIB, ram_layout};

/// The two files of fw_cfg.
pub struct Smbios {
    /// The entry point structure, without address and checksums.
    pub anchor: Vec<u8>,
    /// All structures, one after the other.
    pub tables: Vec<u8>,
}

const MANUFACTURER: &str = "QEMU";

/// "No error information structure" in types 16 and 17.
const NO_ERROR_HANDLE: u16 = 0xfffe;

/// The most memory one type 17 device holds.
const DEVICE_BYTES: u64 = 16 << 30;

/// Item 8001h: the strings of type 1 which firmware shall put into its own tables: manufacturer,
/// product and version. A count, then length, kind (0: a field), type, offset in it and text of each.
pub fn strings(texts: [&str; 3]) -> Vec<u8> {
    const FIELD: u8 = 0;
    const SYSTEM: u8 = 1;
    const HEADER_BYTES: usize = 6;
    let mut bytes = (texts.len() as u16).to_le_bytes().to_vec();
    for (offset, text) in (4u16..).zip(texts) {
        let length = HEADER_BYTES + text.len() + 1;
        bytes.extend_from_slice(&(length as u16).to_le_bytes());
        bytes.extend_from_slice(&[FIELD, SYSTEM]);
        bytes.extend_from_slice(&offset.to_le_bytes());
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(0);
    }
    bytes
}

/// Builds both files.
pub fn build(description: &Description, product: &str) -> Smbios {
    let version = description.machine_type.name;
    let mut tables = Tables::default();
    system(&mut tables, product, version);
    chassis(&mut tables, version);
    let processors = description.cpus.min(255) as u8;
    let (sockets, cores) =
        if description.machine_type.one_package { (1, processors) } else { (processors, 1) };
    for socket in 0..sockets {
        processor(&mut tables, description, socket, cores);
    }
    memory(&mut tables, description);
    Structure::new(32, 0x2000).bytes(&[0; 7]).finish(&mut tables); // boot information
    Structure::new(127, 0x7f00).finish(&mut tables);
    Smbios { anchor: tables.anchor(), tables: tables.bytes }
}

/// Type 1.
fn system(tables: &mut Tables, product: &str, version: &str) {
    const POWER_SWITCH: u8 = 6;
    Structure::new(1, 0x100)
        .text(MANUFACTURER)
        .text(product)
        .text(version)
        .no_text() // serial number
        .bytes(&[0; 16]) // UUID
        .byte(POWER_SWITCH)
        .no_text() // SKU number
        .no_text() // family
        .finish(tables);
}

/// Type 3.
fn chassis(tables: &mut Tables, version: &str) {
    const OTHER: u8 = 1;
    const UNKNOWN: u8 = 2;
    const SAFE: u8 = 3;
    Structure::new(3, 0x300)
        .text(MANUFACTURER)
        .byte(OTHER)
        .text(version)
        .no_text() // serial number
        .no_text() // asset tag
        .bytes(&[SAFE, SAFE, SAFE]) // at boot: state, power supply, temperature
        .byte(UNKNOWN) // security
        .dword(0) // OEM
        .bytes(&[0, 0]) // height, power cords
        .bytes(&[0, 0]) // contained elements, and a record's length
        .no_text() // SKU number
        .finish(tables);
}

/// Type 4: a socket with so many cores.
fn processor(tables: &mut Tables, description: &Description, socket: u8, cores: u8) {
    const CENTRAL_PROCESSOR: u8 = 3;
    const OTHER: u8 = 1;
    const POPULATED_AND_ENABLED: u8 = 0x41;
    const SPEED_MHZ: u16 = 2000;
    const NO_CACHE_HANDLE: u16 = 0xffff;
    const CHARACTERISTICS_UNKNOWN: u16 = 1 << 1;
    let version = description.machine_type.name;
    Structure::new(4, 0x400 + u16::from(socket))
        .text(&format!("CPU{socket:2x}"))
        .bytes(&[CENTRAL_PROCESSOR, OTHER])
        .text(MANUFACTURER)
        .dword(description.cpuid_signature)
        .dword(description.cpuid_features)
        .text(version)
        .byte(0) // voltage
        .word(0) // external clock
        .word(SPEED_MHZ) // most
        .word(SPEED_MHZ) // now
        .bytes(&[POPULATED_AND_ENABLED, OTHER])
        .word(NO_CACHE_HANDLE) // L1, L2, L3
        .word(NO_CACHE_HANDLE)
        .word(NO_CACHE_HANDLE)
        .no_text() // serial number, asset tag, part number
        .no_text()
        .no_text()
        .bytes(&[cores, cores, cores]) // cores, enabled ones, threads
        .word(CHARACTERISTICS_UNKNOWN)
        .word(OTHER.into()) // family, second field
        .finish(tables);
}

/// Types 16, 17 and 19: the array, its devices, and where the array answers.
fn memory(tables: &mut Tables, description: &Description) {
    const ARRAY_HANDLE: u16 = 0x1000;
    const MAIN_BOARD_OTHER: u8 = 1;
    const SYSTEM_MEMORY: u8 = 3;
    const MULTI_BIT_ECC: u8 = 6;
    const UNKNOWN_WIDTH: u16 = 0xffff;
    const DIMM: u8 = 9;
    const RAM: u8 = 7;
    const DETAIL_OTHER: u16 = 1 << 1;
    let kib = description.memory >> 10;
    let devices = description.memory.div_ceil(DEVICE_BYTES).min(0x100) as u16;
    // From 2 TiB on the size is in the second field alone.
    let (short, long) = if kib < 0x8000_0000 { (kib as u32, 0) } else { (0x8000_0000, description.memory) };
    Structure::new(16, ARRAY_HANDLE)
        .bytes(&[MAIN_BOARD_OTHER, SYSTEM_MEMORY, MULTI_BIT_ECC])
        .dword(short)
        .word(NO_ERROR_HANDLE)
        .word(devices)
        .qword(long)
        .finish(tables);

    for index in 0..devices {
        let rest = description.memory.saturating_sub(u64::from(index) * DEVICE_BYTES);
        let mib = (rest.min(DEVICE_BYTES) >> 20) as u32;
        let (short, long) = if mib < 0x7fff { (mib as u16, 0) } else { (0x7fff, mib) };
        Structure::new(17, 0x1100 + index)
            .word(ARRAY_HANDLE)
            .word(NO_ERROR_HANDLE)
            .word(UNKNOWN_WIDTH) // with and without error correction
            .word(UNKNOWN_WIDTH)
            .word(short)
            .bytes(&[DIMM, 0])
            .text(&format!("DIMM {index}"))
            .no_text() // bank
            .byte(RAM)
            .word(DETAIL_OTHER)
            .word(0) // speed
            .text(MANUFACTURER)
            .no_text() // serial number, asset tag, part number
            .no_text()
            .no_text()
            .byte(0) // attributes
            .dword(long)
            .bytes(&[0; 8]) // configured speed; least, most and configured voltage
            .finish(tables);
    }

    let (below, above) = ram_layout(description.machine_type, description.memory);
    let ranges = [(0, below), (FOUR_GIB, above)];
    for (index, (start, length)) in (0..).zip(ranges).filter(|(_, (_, length))| *length > 0) {
        mapped_range(tables, 0x1300 + index, ARRAY_HANDLE, start, length);
    }
}

/// Type 19.
fn mapped_range(tables: &mut Tables, handle: u16, array: u16, start: u64, length: u64) {
    let end = start.wrapping_add(length).wrapping_sub(1);
    let (start_kib, end_kib) = (start >> 10, end >> 10);
    // From 4 TiB on addresses are in the second fields alone.
    let fits = end_kib < u64::from(u32::MAX);
    let structure = Structure::new(19, handle);
    let structure = if fits {
        structure.dword(start_kib as u32).dword(end_kib as u32)
    } else {
        structure.dword(u32::MAX).dword(u32::MAX)
    };
    structure
        .word(array)
        .byte(1) // devices in a row
        .qword(if fits { 0 } else { start })
        .qword(if fits { 0 } else { end })
        .finish(tables);
}

/// One structure while it is made: its formatted area and its strings.
struct Structure {
    formatted: Vec<u8>,
    strings: Vec<u8>,
    string_count: u8,
}

impl Structure {
    fn new(kind: u8, handle: u16) -> Structure {
        let [low, high] = handle.to_le_bytes();
        Structure { formatted: vec![kind, 0, low, high], strings: Vec::new(), string_count: 0 }
    }

    fn bytes(mut self, bytes: &[u8]) -> Structure {
        self.formatted.extend_from_slice(bytes);
        self
    }

    fn byte(self, value: u8) -> Structure {
        self.bytes(&[value])
    }

    fn word(self, value: u16) -> Structure {
        self.bytes(&value.to_le_bytes())
    }

    fn dword(self, value: u32) -> Structure {
        self.bytes(&value.to_le_bytes())
    }

    fn qword(self, value: u64) -> Structure {
        self.bytes(&value.to_le_bytes())
    }

    /// A string's number, and the string itself after the formatted area.
    fn text(mut self, text: &str) -> Structure {
        self.string_count += 1;
        self.strings.extend_from_slice(text.as_bytes());
        self.strings.push(0);
        let number = self.string_count;
        self.byte(number)
    }

    fn no_text(self) -> Structure {
        self.byte(0)
    }

    fn finish(mut self, tables: &mut Tables) {
        let length = self.formatted.len().min(255) as u8;
        if let Some(place) = self.formatted.get_mut(1) {
            *place = length;
        }
        if self.strings.is_empty() {
            self.strings.push(0);
        }
        self.strings.push(0);
        tables.largest = tables.largest.max(self.formatted.len() + self.strings.len());
        tables.count += 1;
        tables.bytes.append(&mut self.formatted);
        tables.bytes.append(&mut self.strings);
    }
}

/// All structures.
#[derive(Default)]
struct Tables {
    bytes: Vec<u8>,
    count: u16,
    largest: usize,
}

impl Tables {
    /// The 31 bytes of the entry point structure (5.2.1).
    fn anchor(&self) -> Vec<u8> {
        let mut anchor = b"_SM_".to_vec();
        anchor.extend_from_slice(&[0, 31, 2, 8]); // checksum, length, version
        anchor.extend_from_slice(&(self.largest as u16).to_le_bytes());
        anchor.extend_from_slice(&[0; 6]); // entry point revision and its area
        anchor.extend_from_slice(b"_DMI_\0");
        anchor.extend_from_slice(&(self.bytes.len() as u16).to_le_bytes());
        anchor.extend_from_slice(&[0; 4]); // address
        anchor.extend_from_slice(&self.count.to_le_bytes());
        anchor.push(0x28); // version in decimal digits
        anchor
    }
}
