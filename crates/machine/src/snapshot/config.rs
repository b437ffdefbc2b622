//! A machine's configuration as a file carries it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use warmboot_chipset::{disk::BlockSource, virtio::Interface};

use super::{SnapshotError, file::hex};
use crate::{
    BootOptions, Config, Firmware,
    config::{Adapter, Drive, DriveKind, Flash, Kernel, Vga},
};

/// What a machine is built from; images by their blob's number.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedConfig {
    /// Machine type.
    pub machine: String,
    /// Emulator generation.
    pub emulator: String,
    /// CPU model, when it is not the machine type's.
    pub cpu: Option<String>,
    /// Number of processors.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory: u64,
    /// The BIOS image as it was given.
    pub firmware: SavedImage,
    /// Flash chips.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flash: Vec<SavedFlash>,
    /// Option ROMs.
    pub option_roms: Vec<SavedImage>,
    /// A Linux kernel to start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<SavedKernel>,
    /// The display adapter's option ROM, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vga: Option<SavedImage>,
    /// Which adapter, when it is not the standard one.
    #[serde(default, skip_serializing_if = "is_standard")]
    pub adapter: Adapter,
    /// Drives.
    pub drives: Vec<SavedDrive>,
    /// A virtio entropy device.
    #[serde(default, skip_serializing_if = "is_false")]
    pub rng: bool,
    /// Which interfaces virtio devices have, when they are not the machine type's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtio: Option<Interface>,
    /// What firmware is told about booting.
    pub boot: BootOptions,
    /// COM1 exists.
    pub serial: bool,
    /// LPT1 exists.
    #[serde(default, skip_serializing_if = "is_false")]
    pub parallel: bool,
    /// The debug-exit port.
    pub debug_exit: Option<u16>,
    /// The panic port exists.
    #[serde(default, skip_serializing_if = "is_false")]
    pub pvpanic: bool,
    /// The seed of random numbers; the processor's state says how far they are.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub seed: u64,
    /// Which execution path ran; both give the same.
    pub path: warmboot_cpu::Path,
}

fn is_standard(adapter: &Adapter) -> bool {
    *adapter == Adapter::Std
}

pub(super) fn is_false(value: &bool) -> bool {
    !*value
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// An image that is inside.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedImage {
    /// Name or path it had.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// BLAKE3 of its bytes.
    pub digest: String,
    /// Number of the blob with its bytes.
    pub blob: usize,
}

/// A flash chip: its image as it was given; what is in it now is a block.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedFlash {
    /// The image.
    pub image: SavedImage,
    /// The guest cannot write.
    pub read_only: bool,
}

/// A Linux kernel with what is given to it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedKernel {
    /// The kernel.
    pub image: SavedImage,
    /// The initial RAM disk.
    pub initrd: Option<SavedImage>,
    /// The command line.
    pub append: String,
    /// The option ROM that starts it.
    pub option_rom: SavedImage,
}

/// A drive; its image is named, not carried.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedDrive {
    /// `ide0-0`, `floppy0`…
    pub at: String,
    /// What it is.
    pub kind: DriveKind,
    /// The image's name when the snapshot was made.
    pub name: String,
    /// Its length in bytes.
    pub size: u64,
    /// BLAKE3 of its bytes.
    pub digest: String,
    /// The guest cannot write.
    pub read_only: bool,
    /// Nanoseconds from a command to its data.
    pub latency: u64,
}

/// A disk image that a snapshot needs back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DriveWanted {
    /// The drive.
    pub at: crate::Slot,
    /// What it is.
    pub kind: DriveKind,
    /// The image's name when the snapshot was made.
    pub name: String,
    /// Its length in bytes.
    pub size: u64,
    /// BLAKE3 of its bytes.
    pub digest: [u8; 32],
}

impl SavedConfig {
    /// A configuration without its images' bytes; those go to `blobs`.
    pub(super) fn of(config: &Config, blobs: &mut Vec<Arc<[u8]>>) -> Result<SavedConfig, SnapshotError> {
        let Config {
            machine,
            emulator,
            generation,
            cpu,
            cpus,
            memory,
            firmware,
            flash,
            option_roms,
            kernel,
            vga,
            drives,
            rng,
            virtio,
            boot,
            serial,
            parallel,
            debug_exit,
            pvpanic,
            seed,
            path,
        } = config;
        if let Some(generation) = generation {
            return Err(SnapshotError::UnnamedGeneration { generation: generation.name.into() });
        }
        let mut image = |image: &Firmware| {
            let Firmware { name, bytes } = image;
            blobs.push(bytes.clone());
            SavedImage {
                name: name.clone(),
                size: bytes.len() as u64,
                digest: blake3::hash(bytes).to_hex().to_string(),
                blob: blobs.len() - 1,
            }
        };
        Ok(SavedConfig {
            machine: machine.clone(),
            emulator: emulator.clone(),
            cpu: cpu.clone(),
            cpus: *cpus,
            memory: *memory,
            firmware: image(firmware),
            flash: flash
                .iter()
                .map(|flash| SavedFlash { image: image(&flash.image), read_only: flash.read_only })
                .collect(),
            option_roms: option_roms.iter().map(&mut image).collect(),
            kernel: kernel.as_ref().map(|kernel| {
                let Kernel { image: kernel, initrd, append, option_rom } = kernel;
                SavedKernel {
                    image: image(kernel),
                    initrd: initrd.as_ref().map(&mut image),
                    append: append.clone(),
                    option_rom: image(option_rom),
                }
            }),
            vga: vga.as_ref().map(|vga| image(&vga.rom)),
            adapter: vga.as_ref().map_or_else(Adapter::default, |vga| vga.adapter),
            drives: drives.iter().map(SavedDrive::of).collect(),
            rng: *rng,
            virtio: *virtio,
            boot: boot.clone(),
            serial: *serial,
            parallel: *parallel,
            debug_exit: *debug_exit,
            pvpanic: *pvpanic,
            seed: *seed,
            path: *path,
        })
    }

    /// How many images are inside: the first blobs.
    pub(super) fn images(&self) -> usize {
        let kernel = self.kernel.as_ref().map_or(0, |kernel| 2 + usize::from(kernel.initrd.is_some()));
        1 + self.flash.len() + self.option_roms.len() + kernel + usize::from(self.vga.is_some())
    }

    /// The configuration, with images from `blobs` and disk images from `bases`.
    pub(super) fn rebuild(
        &self,
        blobs: &[&[u8]],
        bases: &mut dyn FnMut(&DriveWanted) -> Option<Arc<dyn BlockSource>>,
    ) -> Result<Config, SnapshotError> {
        let SavedConfig {
            machine,
            emulator,
            cpu,
            cpus,
            memory,
            firmware,
            flash,
            option_roms,
            kernel,
            vga,
            adapter,
            drives,
            rng,
            virtio,
            boot,
            serial,
            parallel,
            debug_exit,
            pvpanic,
            seed,
            path,
        } = self;
        let image = |image: &SavedImage| {
            let SavedImage { name, size, digest, blob } = image;
            let bytes = blobs.get(*blob).copied().filter(|bytes| {
                bytes.len() as u64 == *size && blake3::hash(bytes).to_hex().as_str() == digest
            });
            let bytes = bytes.ok_or_else(|| SnapshotError::Part {
                part: "image",
                reason: format!("blob {blob} is not `{name}` of {size} bytes with BLAKE3 {digest}"),
            })?;
            Ok(Firmware { name: name.clone(), bytes: bytes.into() })
        };
        let drives: Result<_, SnapshotError> = drives.iter().map(|drive| drive.rebuild(bases)).collect();
        Ok(Config {
            machine: machine.clone(),
            emulator: emulator.clone(),
            generation: None,
            cpu: cpu.clone(),
            cpus: *cpus,
            memory: *memory,
            firmware: image(firmware)?,
            flash: flash
                .iter()
                .map(|flash| Ok(Flash { image: image(&flash.image)?, read_only: flash.read_only }))
                .collect::<Result<_, SnapshotError>>()?,
            option_roms: option_roms.iter().map(&image).collect::<Result<_, SnapshotError>>()?,
            kernel: kernel.as_ref().map(|kernel| kernel.rebuild(&image)).transpose()?,
            vga: vga
                .as_ref()
                .map(|rom| Ok::<_, SnapshotError>(Vga { adapter: *adapter, rom: image(rom)? }))
                .transpose()?,
            drives: drives?,
            rng: *rng,
            virtio: *virtio,
            boot: boot.clone(),
            serial: *serial,
            parallel: *parallel,
            debug_exit: *debug_exit,
            pvpanic: *pvpanic,
            seed: *seed,
            path: *path,
        })
    }
}

impl SavedKernel {
    fn rebuild(
        &self,
        image: &impl Fn(&SavedImage) -> Result<Firmware, SnapshotError>,
    ) -> Result<Kernel, SnapshotError> {
        Ok(Kernel {
            image: image(&self.image)?,
            initrd: self.initrd.as_ref().map(image).transpose()?,
            append: self.append.clone(),
            option_rom: image(&self.option_rom)?,
        })
    }
}

impl SavedDrive {
    fn of(drive: &Drive) -> SavedDrive {
        let Drive { at, kind, source, name, read_only, latency } = drive;
        SavedDrive {
            at: at.to_string(),
            kind: *kind,
            name: name.clone(),
            size: source.size(),
            digest: hex(&source.digest()),
            read_only: *read_only,
            latency: *latency,
        }
    }

    /// What must be given back for this drive.
    pub(super) fn wanted(&self) -> Result<DriveWanted, SnapshotError> {
        let digest = blake3::Hash::from_hex(&self.digest).map_err(|error| SnapshotError::Part {
            part: "drives",
            reason: format!("digest `{}` of {}: {error}", self.digest, self.at),
        })?;
        Ok(DriveWanted {
            at: self.at.parse()?,
            kind: self.kind,
            name: self.name.clone(),
            size: self.size,
            digest: *digest.as_bytes(),
        })
    }

    fn rebuild(
        &self,
        bases: &mut dyn FnMut(&DriveWanted) -> Option<Arc<dyn BlockSource>>,
    ) -> Result<Drive, SnapshotError> {
        let SavedDrive { at, kind, name, size, digest, read_only, latency } = self;
        let wanted = self.wanted()?;
        let source = bases(&wanted).ok_or_else(|| SnapshotError::DriveMissing {
            at: at.clone(),
            name: name.clone(),
            size: *size,
            digest: digest.clone(),
        })?;
        if (source.size(), source.digest()) != (wanted.size, wanted.digest) {
            return Err(SnapshotError::DriveDiffers {
                at: at.clone(),
                found: format!("{} bytes, digest {}", source.size(), hex(&source.digest())),
                expected: format!("{size} bytes, digest {digest}"),
            });
        }
        Ok(Drive {
            at: wanted.at,
            kind: *kind,
            source,
            name: name.clone(),
            read_only: *read_only,
            latency: *latency,
        })
    }
}
