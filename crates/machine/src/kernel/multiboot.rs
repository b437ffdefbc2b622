//! A kernel for the Multiboot Specification 0.6.96: fields of its header (3.1) and of the boot information
//! (3.3). What the machine alone knows, memory and its map, the option ROM adds.
//!
//! The kernel is one part, with everything that belongs to it behind it, each on a page of its own: command
//! line, boot loader's name, module structures and the module. The boot information is at 9000h, where QEMU
//! has it too.

use goblin::elf::{Elf, header::EM_386, program_header::PT_LOAD};
use warmboot_chipset::fw_cfg::Item;

use super::{ENTRY, INITRD, KERNEL, does_not_fit, part, refused};
use crate::{ConfigError, config::Kernel};

const MAGIC: u32 = 0x1bad_b002;
/// The header lies within these first bytes of the file, at a multiple of four.
const SEARCHED: usize = 8192;

/// Flags of the header.
mod wants {
    /// Modules on pages of their own; they always are.
    pub const PAGES: u32 = 1 << 0;
    /// Memory in the boot information; it always is there.
    pub const MEMORY: u32 = 1 << 1;
    /// Which flags may not be set if their meaning is not known.
    pub const REQUIRED: u32 = 0xffff;
    /// The header says where the kernel goes; otherwise its ELF header does.
    pub const ADDRESSES: u32 = 1 << 16;
}

/// Flags of the boot information: what it has.
mod has {
    pub const MEMORY: u32 = 1 << 0;
    pub const COMMAND_LINE: u32 = 1 << 2;
    pub const MODULES: u32 = 1 << 3;
    pub const MEMORY_MAP: u32 = 1 << 6;
    pub const LOADER_NAME: u32 = 1 << 9;
}

/// Where the boot information goes; the option ROM keeps the memory map 100h bytes behind it.
const PLACE: u32 = 0x9000;
const PLACE_BYTES: usize = 0x58;
/// Offsets in it.
const COMMAND_LINE: usize = 16;
const MODULES: usize = 20;
const LOADER_NAME: usize = 64;

const PAGE: usize = 4096;

/// Where the header is in a file, and its flags; nothing where there is none.
pub(super) fn header(file: &[u8]) -> Option<(usize, u32)> {
    let searched = file.get(..file.len().min(SEARCHED))?;
    (0..searched.len()).step_by(4).find_map(|at| {
        let [magic, flags, checksum] = [0, 4, 8].map(|offset| word(searched, at + offset));
        let (magic, flags, checksum) = (magic?, flags?, checksum?);
        let sum = magic.wrapping_add(flags).wrapping_add(checksum);
        (magic == MAGIC && sum == 0).then_some((at, flags))
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    bytes.try_into().ok().map(u32::from_le_bytes)
}

/// A kernel as it lies in memory.
struct Image {
    /// Its first address.
    at: u32,
    entry: u32,
    bytes: Vec<u8>,
}

/// The items of `kernel`, where firmware's memory begins at `room`.
pub(super) fn items(kernel: &Kernel, room: u64) -> Result<Vec<Item>, ConfigError> {
    let mut image = image(kernel, room)?;
    let mut information = vec![0; PLACE_BYTES];
    let mut put = |at: usize, value: u32| {
        if let Some(field) = information.get_mut(at..at + 4) {
            field.copy_from_slice(&value.to_le_bytes());
        }
    };
    let line = format!("{} {}", base_name(&kernel.image.name), kernel.append);
    let line = image.add(line.trim_end().as_bytes());
    put(COMMAND_LINE, line);
    put(LOADER_NAME, image.add(b"qemu"));
    let mut flags = has::MEMORY | has::MEMORY_MAP | has::COMMAND_LINE | has::LOADER_NAME;
    if let Some(module) = &kernel.initrd {
        let text = image.add(base_name(&module.name).as_bytes());
        let start = image.add(&module.bytes);
        let module = [start, start.wrapping_add(module.bytes.len() as u32), text, 0];
        put(MODULES, 1);
        put(MODULES + 4, image.add(module.map(u32::to_le_bytes).as_flattened()));
        flags |= has::MODULES;
    }
    put(0, flags);
    let end = u64::from(image.at) + image.bytes.len() as u64;
    if end > room {
        return Err(does_not_fit(kernel, end));
    }
    let mut items = vec![Item::number(ENTRY, image.entry.to_le_bytes())];
    items.extend(part(KERNEL, image.at, image.bytes));
    items.extend(part(INITRD, PLACE, information));
    Ok(items)
}

/// A file's name without its folder: where the file lies must not change the machine.
fn base_name(name: &str) -> &str {
    name.rsplit(['/', '\\']).next().unwrap_or(name)
}

impl Image {
    /// Puts bytes, and a zero behind them, on a new page; gives their address.
    fn add(&mut self, bytes: &[u8]) -> u32 {
        let end = (self.at as usize).saturating_add(self.bytes.len()).next_multiple_of(PAGE);
        self.bytes.resize(end - self.at as usize, 0);
        self.bytes.extend_from_slice(bytes);
        self.bytes.push(0);
        end as u32
    }
}

/// Reads the kernel: as its header says, or as its ELF header does.
fn image(kernel: &Kernel, room: u64) -> Result<Image, ConfigError> {
    let file = &kernel.image.bytes;
    let (at, flags) = header(file).unwrap_or_default();
    let unknown = flags & wants::REQUIRED & !(wants::PAGES | wants::MEMORY);
    if unknown != 0 {
        let what = format!("asks for what no loader here gives: flags {unknown:#x} of its Multiboot header");
        return Err(refused(kernel, what));
    }
    if flags & wants::ADDRESSES != 0 { by_header(kernel, at, room) } else { by_elf(kernel, room) }
}

/// Places the bytes of the file as the header's address fields say.
fn by_header(kernel: &Kernel, at: usize, room: u64) -> Result<Image, ConfigError> {
    let file = &kernel.image.bytes;
    let field = |index: usize| {
        word(file, at + 12 + 4 * index).ok_or_else(|| refused(kernel, "ends within its Multiboot header"))
    };
    let [header, load, load_end, bss_end, entry] = [field(0)?, field(1)?, field(2)?, field(3)?, field(4)?];
    let wrong = || refused(kernel, "has a Multiboot header whose addresses contradict each other");
    // The header's own address says where in the file the first byte is that is loaded.
    let first =
        header.checked_sub(load).and_then(|before| at.checked_sub(before as usize)).ok_or_else(wrong)?;
    let length = match load_end {
        0 => file.len() - first,
        _ => load_end.checked_sub(load).ok_or_else(wrong)? as usize,
    };
    let mut bytes = file.get(first..).and_then(|rest| rest.get(..length)).ok_or_else(wrong)?.to_vec();
    if bss_end != 0 {
        let whole = bss_end.checked_sub(load).ok_or_else(wrong)? as usize;
        if u64::from(bss_end) > room {
            return Err(does_not_fit(kernel, bss_end.into()));
        }
        bytes.resize(whole.max(length), 0);
    }
    Ok(Image { at: load, entry, bytes })
}

/// Places the segments of a 32-bit ELF file at their physical addresses.
fn by_elf(kernel: &Kernel, room: u64) -> Result<Image, ConfigError> {
    let file = &kernel.image.bytes;
    let expected = "expected a 32-bit ELF file for the 386, or addresses in its Multiboot header";
    let elf =
        Elf::parse(file).map_err(|error| refused(kernel, format!("is no ELF file ({error}); {expected}")))?;
    if elf.is_64 || elf.header.e_machine != EM_386 {
        return Err(refused(kernel, format!("is an ELF file of another kind; {expected}")));
    }
    let segments = || elf.program_headers.iter().filter(|one| one.p_type == PT_LOAD && one.p_memsz != 0);
    let Some(first) = segments().map(|one| one.p_paddr).min() else {
        return Err(refused(kernel, "is an ELF file with nothing to load"));
    };
    let end = segments().map(|one| one.p_paddr.saturating_add(one.p_memsz)).max().unwrap_or(first);
    if end > room {
        return Err(does_not_fit(kernel, end));
    }
    let mut bytes = vec![0; (end - first) as usize];
    for segment in segments() {
        let from = segment.file_range();
        let start = (segment.p_paddr - first) as usize;
        let place = bytes.get_mut(start..start.saturating_add(from.len()));
        let (Some(place), Some(from)) = (place, file.get(from)) else {
            return Err(refused(
                kernel,
                "is an ELF file whose segments reach behind its end or their memory",
            ));
        };
        place.copy_from_slice(from);
    }
    Ok(Image { at: first as u32, entry: elf.entry as u32, bytes })
}

#[cfg(test)]
mod tests;
