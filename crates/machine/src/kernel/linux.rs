//! A Linux kernel for the Linux/x86 boot protocol (`Documentation/x86/boot.rst`): fields of the setup header
//! and who writes them; addresses as QEMU's `-kernel` chooses them.

use warmboot_chipset::fw_cfg::Item;

use super::{
    COMMAND_LINE as COMMAND_LINE_KEYS, INITRD, KERNEL, SETUP as SETUP_KEYS, does_not_fit, part, refused,
};
use crate::{ConfigError, config::Kernel};

/// Offsets in the kernel's file, which are those in its setup code.
mod header {
    /// Sectors of setup code behind the first one.
    pub const SETUP_SECTORS: usize = 0x1f1;
    /// "HdrS".
    pub const MAGIC: usize = 0x202;
    /// Protocol version, major in the high byte.
    pub const VERSION: usize = 0x206;
    /// Which boot loader, for the kernel to tell.
    pub const TYPE_OF_LOADER: usize = 0x210;
    /// Flags for the kernel and from it.
    pub const LOAD_FLAGS: usize = 0x211;
    /// Address and size of the initial RAM disk.
    pub const RAMDISK_IMAGE: usize = 0x218;
    pub const RAMDISK_SIZE: usize = 0x21c;
    /// End of the heap behind the setup code, less 200h.
    pub const HEAP_END: usize = 0x224;
    /// Address of the command line.
    pub const COMMAND_LINE: usize = 0x228;
    /// Highest address that the last byte of an initial RAM disk may have.
    pub const INITRD_MAXIMUM: usize = 0x22c;
    /// More flags from the kernel, since 2.12.
    pub const EXTENDED_LOAD_FLAGS: usize = 0x236;
    /// Most bytes of a command line, without the zero at its end, since 2.06.
    pub const COMMAND_LINE_SIZE: usize = 0x238;
    /// First byte that no field read or written here reaches.
    pub const END: usize = 0x23c;
}

/// `LOAD_FLAGS`: the kernel belongs at 1 MiB.
const LOADED_HIGH: u8 = 1 << 0;
/// `LOAD_FLAGS`: `HEAP_END` is valid.
const CAN_USE_HEAP: u8 = 1 << 7;
/// `EXTENDED_LOAD_FLAGS`: kernel, RAM disk and command line may be anywhere.
const CAN_BE_LOADED_ABOVE_4G: u16 = 1 << 1;
/// `TYPE_OF_LOADER`: QEMU, version 0, whose place this takes.
const QEMU: u8 = 0xb0;
/// `INITRD_MAXIMUM` where the header does not say it.
const OLD_INITRD_MAXIMUM: u32 = 0x37ff_ffff;
/// `COMMAND_LINE_SIZE` where the header does not say it.
const OLD_COMMAND_LINE_SIZE: u32 = 255;

/// Where the setup code goes, and the command line behind it.
const SETUP: u32 = 0x1_0000;
const COMMAND_LINE: u32 = 0x2_0000;
/// Where the kernel proper goes.
const PROTECTED_MODE: u32 = 0x10_0000;
const SECTOR: usize = 512;

/// The oldest protocol whose kernels are loaded at 1 MiB and take a command line anywhere.
const OLDEST: u16 = 0x202;

/// The items of `kernel`, where firmware's memory begins at `room`.
pub(super) fn items(kernel: &Kernel, room: u64) -> Result<Vec<Item>, ConfigError> {
    let mut parts = split(kernel)?;
    let end = u64::from(PROTECTED_MODE) + parts.kernel.len() as u64;
    if end > room {
        return Err(does_not_fit(kernel, end));
    }
    set_command_line(kernel, &mut parts)?;
    let initrd = place_initrd(kernel, &mut parts, room, end)?;

    let mut line = kernel.append.clone().into_bytes();
    line.push(0);
    let mut items = Vec::new();
    items.extend(part(KERNEL, PROTECTED_MODE, parts.kernel.to_vec()));
    items.extend(part(COMMAND_LINE_KEYS, COMMAND_LINE, line));
    items.extend(part(SETUP_KEYS, SETUP, parts.setup));
    if let (Some(at), Some(initrd)) = (initrd, &kernel.initrd) {
        items.extend(part(INITRD, at, initrd.bytes.to_vec()));
    }
    Ok(items)
}

/// A kernel's file taken apart.
struct Parts<'a> {
    /// The 16-bit setup code with the header, to be patched.
    setup: Vec<u8>,
    /// The rest, which runs in protected mode.
    kernel: &'a [u8],
    version: u16,
}

impl Parts<'_> {
    fn put(&mut self, at: usize, bytes: &[u8]) {
        if let Some(field) = self.setup.get_mut(at..at + bytes.len()) {
            field.copy_from_slice(bytes);
        }
    }

    fn field<const N: usize>(&self, at: usize) -> [u8; N] {
        let bytes = self.setup.get(at..at + N).and_then(|bytes| bytes.try_into().ok());
        bytes.unwrap_or([0; N])
    }
}

/// Finds setup code and kernel in the file, and refuses what is neither or too old.
fn split(kernel: &Kernel) -> Result<Parts<'_>, ConfigError> {
    let file = &kernel.image.bytes;
    if file.get(header::MAGIC..header::MAGIC + 4) != Some(b"HdrS") {
        return Err(refused(
            kernel,
            "is no kernel for x86: it has neither Linux' setup header (\"HdrS\" at 202h, a bzImage) nor a \
             Multiboot header",
        ));
    }
    if file.len() < header::END {
        return Err(refused(kernel, format!("ends within its setup header, after {} bytes", file.len())));
    }
    let sectors = match file.get(header::SETUP_SECTORS) {
        Some(0) | None => 4,
        Some(sectors) => usize::from(*sectors),
    };
    let size = (sectors + 1) * SECTOR;
    if size < header::END || size >= file.len() {
        return Err(refused(
            kernel,
            format!(
                "has {} bytes: its header speaks of {size} of setup code and a kernel behind it",
                file.len()
            ),
        ));
    }
    let (setup, protected) = file.split_at(size);
    let mut parts = Parts { setup: setup.to_vec(), kernel: protected, version: 0 };
    parts.version = u16::from_le_bytes(parts.field(header::VERSION));
    let [flags] = parts.field(header::LOAD_FLAGS);
    if parts.version < OLDEST || flags & LOADED_HIGH == 0 {
        return Err(refused(
            kernel,
            format!(
                "is a zImage, or has boot protocol {:x}.{:02x}; expected a bzImage with protocol 2.02 or newer",
                parts.version >> 8,
                parts.version & 0xff
            ),
        ));
    }
    Ok(parts)
}

/// Writes the fields that concern the command line and the space in front of it.
fn set_command_line(kernel: &Kernel, parts: &mut Parts<'_>) -> Result<(), ConfigError> {
    let most = match parts.version {
        0x206.. => u32::from_le_bytes(parts.field(header::COMMAND_LINE_SIZE)),
        _ => OLD_COMMAND_LINE_SIZE,
    };
    if kernel.append.len() as u64 > u64::from(most) {
        let message = format!("takes a command line of {most} bytes; this one has {}", kernel.append.len());
        return Err(refused(kernel, message));
    }
    let [flags] = parts.field(header::LOAD_FLAGS);
    parts.put(header::TYPE_OF_LOADER, &[QEMU]);
    parts.put(header::LOAD_FLAGS, &[flags | CAN_USE_HEAP]);
    parts.put(header::HEAP_END, &((COMMAND_LINE - SETUP - 0x200) as u16).to_le_bytes());
    parts.put(header::COMMAND_LINE, &COMMAND_LINE.to_le_bytes());
    Ok(())
}

/// Puts the initial RAM disk as high as kernel and memory allow. `kernel_end` is the first byte behind
/// the kernel.
fn place_initrd(
    kernel: &Kernel,
    parts: &mut Parts<'_>,
    room: u64,
    kernel_end: u64,
) -> Result<Option<u32>, ConfigError> {
    let Some(initrd) = &kernel.initrd else { return Ok(None) };
    let flags = u16::from_le_bytes(parts.field(header::EXTENDED_LOAD_FLAGS));
    let highest = match parts.version {
        0x20c.. if flags & CAN_BE_LOADED_ABOVE_4G != 0 => u32::MAX,
        0x203.. => u32::from_le_bytes(parts.field(header::INITRD_MAXIMUM)),
        _ => OLD_INITRD_MAXIMUM,
    };
    let highest = u64::from(highest).min(room.saturating_sub(1));
    let size = initrd.bytes.len() as u64;
    let start = highest.checked_sub(size).map(|start| start & !0xfff).filter(|start| *start >= kernel_end);
    let Some(start) = start.and_then(|start| u32::try_from(start).ok()) else {
        return Err(ConfigError::new(format!(
            "initrd `{}` of {size} bytes does not fit between the kernel, which ends at {kernel_end:#x}, and \
             {highest:#x}",
            initrd.name
        )));
    };
    parts.put(header::RAMDISK_IMAGE, &start.to_le_bytes());
    parts.put(header::RAMDISK_SIZE, &(size as u32).to_le_bytes());
    Ok(Some(start))
}

#[cfg(test)]
mod tests;
