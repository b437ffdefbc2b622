//! Which machine: names, sizes and files, as the command's options and a scenario's `[machine]` say
//! them, with the same defaults.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use warmboot_machine::{
    Adapter, BootOptions, Config, Firmware, Flash, Generation, Kernel, MachineType, Vga, VirtioInterface,
    cpu_models, generations, machine_types,
};

use crate::{
    drives::DriveSpec,
    firmware,
    flash::FlashSpec,
    problem::{InputError, or_did_you_mean},
};

/// Where files are looked for.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// Folders with downloaded firmware, searched before the distribution's.
    pub firmware_folders: Vec<PathBuf>,
    /// What relative paths start from: the scenario file's folder, or nothing.
    pub base: PathBuf,
    /// What takes the place of things a scenario names.
    pub substitutes: Arc<Substitutes>,
}

/// Things put in the place of those that scenarios name, to see which case notices: a generation with
/// one field changed, a firmware with one step left out.
#[derive(Clone, Debug, Default)]
pub struct Substitutes {
    /// Each takes the place of the generation of the same name.
    pub generations: Vec<Generation>,
    /// Firmware by the name that scenarios call it by.
    pub firmware: BTreeMap<String, Firmware>,
}

impl Substitutes {
    /// What takes the place of the generation called `name`.
    #[must_use]
    pub fn generation(&self, name: &str) -> Option<Generation> {
        self.generations.iter().find(|generation| generation.name == name).copied()
    }
}

impl Places {
    /// `path`, from [`Places::base`] if it is relative.
    #[must_use]
    pub fn resolve(&self, path: &str) -> PathBuf {
        self.base.join(Path::new(path))
    }
}

/// A machine described, not yet built. [`MachineSpec::default`] has the documented defaults.
#[derive(Clone, PartialEq, Debug)]
pub struct MachineSpec {
    /// Machine type.
    pub machine: String,
    /// Emulator generation.
    pub emulator: String,
    /// A generation that is in no list, in place of `emulator`.
    pub generation: Option<Generation>,
    /// CPU model; the machine type has a default.
    pub cpu: Option<String>,
    /// Number of processors.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory: u64,
    /// System firmware: known name, `rom:NAME` or path.
    pub firmware: String,
    /// Flash chips; there is no other system firmware then.
    pub flash: Vec<FlashSpec>,
    /// Option ROMs, likewise.
    pub option_roms: Vec<String>,
    /// A Linux kernel for firmware to start: known name or path.
    pub kernel: Option<String>,
    /// Its initial RAM disk: a path.
    pub initrd: Option<String>,
    /// Its command line.
    pub append: Option<String>,
    /// Display adapter: one of [`VGAS`].
    pub vga: String,
    /// Its option ROM, named as firmware is; there is a default.
    pub vga_rom: Option<String>,
    /// Drives.
    pub drives: Vec<DriveSpec>,
    /// A virtio entropy device.
    pub rng: bool,
    /// Which interfaces virtio devices have; the machine type has a default.
    pub virtio: Option<VirtioInterface>,
    /// What firmware is told about booting.
    pub boot: BootOptions,
    /// COM1 exists.
    pub serial: bool,
    /// LPT1 exists.
    pub parallel: bool,
    /// Port of the debug-exit device, when there is one.
    pub debug_exit: Option<u16>,
    /// The panic port exists.
    pub pvpanic: bool,
    /// Seed of the processor's random numbers.
    pub seed: u64,
    /// ELF files whose symbols name this machine's memory; firmware `rom:NAME` brings its own.
    pub symbols: Vec<String>,
    /// Execution path.
    pub path: warmboot_machine::Path,
}

/// The interfaces that virtio devices can have.
pub const VIRTIO_INTERFACES: [(&str, VirtioInterface); 3] = [
    ("legacy", VirtioInterface::Legacy),
    ("transitional", VirtioInterface::Transitional),
    ("modern", VirtioInterface::Modern),
];

/// The virtio interface called `name`.
///
/// # Errors
/// Says which there are.
pub fn virtio_interface(name: &str) -> Result<VirtioInterface, InputError> {
    choose("virtio interface", name, VIRTIO_INTERFACES.into_iter().map(|(name, _)| name))?;
    let found = VIRTIO_INTERFACES.into_iter().find(|(known, _)| *known == name);
    found.map(|(_, interface)| interface).ok_or_else(|| InputError(format!("no virtio interface `{name}`")))
}

/// The display adapters there are.
pub const VGAS: [&str; 3] = [NO_VGA, "std", ISA_VGA];
const NO_VGA: &str = "none";
const ISA_VGA: &str = "isa";
/// Their option ROMs, on PCI and on ISA.
const VGA_ROMS: [&str; 2] = ["vgabios-stdvga", "vgabios-isavga"];

/// Where the debug-exit port is when no other is named.
pub const DEBUG_EXIT: u16 = 0xf4;

impl Default for MachineSpec {
    fn default() -> MachineSpec {
        let config = Config::default();
        MachineSpec {
            machine: config.machine,
            emulator: config.emulator,
            generation: config.generation,
            cpu: config.cpu,
            cpus: config.cpus,
            memory: config.memory,
            firmware: "seabios-256k".to_owned(),
            flash: Vec::new(),
            option_roms: Vec::new(),
            kernel: None,
            initrd: None,
            append: None,
            vga: NO_VGA.to_owned(),
            vga_rom: None,
            drives: Vec::new(),
            rng: config.rng,
            virtio: config.virtio,
            boot: config.boot,
            serial: config.serial,
            parallel: config.parallel,
            debug_exit: config.debug_exit,
            pvpanic: config.pvpanic,
            seed: config.seed,
            symbols: Vec::new(),
            path: config.path,
        }
    }
}

impl MachineSpec {
    /// Finds and reads every file, and gives what a machine is built from.
    ///
    /// # Errors
    /// One sentence about the first thing that is not there or not as it must be.
    pub fn config(&self, places: &Places) -> Result<Config, InputError> {
        let machines = machine_types::ALL.iter().map(|machine| machine.name);
        choose("machine", &self.machine, machines)?;
        let emulators = generations::ALL.iter().map(|generation| generation.name);
        choose("emulator", &self.emulator, emulators)?;
        if let Some(cpu) = &self.cpu {
            choose("cpu", cpu, cpu_models::MODELS.iter().map(|cpu| cpu.name))?;
        }
        let mut drives = Vec::new();
        for spec in &self.drives {
            let drive = spec.open(places)?;
            if drives.iter().any(|other: &warmboot_machine::Drive| other.at == drive.at) {
                return Err(InputError(format!("there are two drives at {}", drive.at)));
            }
            drives.push(drive);
        }
        let mut roms = std::collections::BTreeSet::new();
        for name in &self.option_roms {
            // Firmware finds them by file name alone.
            if !roms.insert(Path::new(name).file_name()) {
                return Err(InputError(format!("two option ROMs have the file name of `{name}`")));
            }
        }
        let option_roms = self
            .option_roms
            .iter()
            .map(|name| firmware::option_rom(name, places))
            .collect::<Result<_, _>>()?;
        let vga = self.read_vga(places)?;
        let kernel = self.read_kernel(places)?;
        let flash: Vec<Flash> =
            self.flash.iter().map(|flash| flash.open(places)).collect::<Result<_, _>>()?;
        let firmware = match (flash.first(), places.substitutes.firmware.get(&self.firmware)) {
            (Some(flash), _) => Config::low_firmware(&flash.image),
            (None, Some(substitute)) => substitute.clone(),
            (None, None) => firmware::system(&self.firmware, places)?,
        };
        Ok(Config {
            machine: self.machine.clone(),
            emulator: self.emulator.clone(),
            generation: self.generation.or_else(|| places.substitutes.generation(&self.emulator)),
            cpu: self.cpu.clone(),
            cpus: self.cpus,
            memory: self.memory,
            firmware,
            flash,
            option_roms,
            kernel,
            vga,
            drives,
            rng: self.rng,
            virtio: self.virtio,
            boot: self.boot.clone(),
            serial: self.serial,
            parallel: self.parallel,
            debug_exit: self.debug_exit,
            pvpanic: self.pvpanic,
            seed: self.seed,
            path: self.path,
        })
    }
}

impl MachineSpec {
    /// The display adapter with its option ROM, if there is one.
    ///
    /// # Errors
    /// There is no such adapter, or its ROM cannot be read.
    pub fn read_vga(&self, places: &Places) -> Result<Option<Vga>, InputError> {
        choose("vga", &self.vga, VGAS.into_iter())?;
        if self.vga == NO_VGA {
            return match &self.vga_rom {
                Some(rom) => Err(InputError(format!("option ROM `{rom}` without a display adapter"))),
                None => Ok(None),
            };
        }
        let adapter = if self.vga == ISA_VGA { Adapter::Isa } else { Adapter::Std };
        let isa =
            adapter == Adapter::Isa || machine_types::find(&self.machine).is_some_and(MachineType::is_isa);
        let [pci_rom, isa_rom] = VGA_ROMS;
        let rom = self.vga_rom.as_deref().unwrap_or(if isa { isa_rom } else { pci_rom });
        Ok(Some(Vga { adapter, rom: firmware::option_rom(rom, places)? }))
    }

    /// The kernel with what is given to it, if there is one.
    ///
    /// # Errors
    /// As [`firmware::kernel`].
    pub fn read_kernel(&self, places: &Places) -> Result<Option<Kernel>, InputError> {
        let [kernel, initrd, append] = [&self.kernel, &self.initrd, &self.append].map(Option::as_deref);
        firmware::kernel(kernel, initrd, append, places)
    }
}

/// Refuses a name that is not among the known ones, with the nearest that is.
pub(crate) fn choose<'a>(
    what: &str,
    name: &str,
    known: impl Iterator<Item = &'a str>,
) -> Result<(), InputError> {
    let known: Vec<&str> = known.collect();
    if known.contains(&name) {
        return Ok(());
    }
    let all = if known.len() <= MOST_LISTED {
        format!("expected one of {}", known.join(", "))
    } else {
        "`warmboot machines` lists them all".to_owned()
    };
    let meant = or_did_you_mean(name, known.iter().copied());
    Err(InputError(format!("unknown {what} `{name}`{meant}; {all}")))
}

/// More names than this make no sentence.
const MOST_LISTED: usize = 12;

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(MachineSpec { machine: "pc-i440fx-7.3".into(), ..MachineSpec::default() },
        "unknown machine `pc-i440fx-7.3`; did you mean")]
    #[case(MachineSpec { emulator: "qmeu".into(), ..MachineSpec::default() },
        "unknown emulator `qmeu`; did you mean `qemu`?")]
    #[case(MachineSpec { drives: vec![DriveSpec::new("ide0-0", "zero:1M"); 2], ..MachineSpec::default() },
        "there are two drives at ide0-0")]
    #[case(MachineSpec { option_roms: vec!["a/x.bin".into(), "b/x.bin".into()], ..MachineSpec::default() },
        "two option ROMs have the file name of `b/x.bin`")]
    #[case(MachineSpec { vga: "cirrus".into(), ..MachineSpec::default() },
        "unknown vga `cirrus`; expected one of none, std, isa")]
    #[case(MachineSpec { vga_rom: Some("x.bin".into()), ..MachineSpec::default() },
        "option ROM `x.bin` without a display adapter")]
    #[case(MachineSpec { initrd: Some("x.gz".into()), ..MachineSpec::default() },
        "initrd `x.gz` without a kernel")]
    #[case(MachineSpec { append: Some("quiet".into()), ..MachineSpec::default() },
        "command line `quiet` without a kernel")]
    #[case(MachineSpec { kernel: Some("linux-868".into()), ..MachineSpec::default() },
        "unknown kernel `linux-868`; did you mean `linux-686`?")]
    #[case(MachineSpec { kernel: Some("linux-686".into()), ..MachineSpec::default() },
        "kernel `linux-686` is not here: no folder `firmware` to look for vmlinuz-686 in; `cargo xtask payloads` brings it")]
    #[case(MachineSpec { kernel: Some("no/vmlinuz".into()), ..MachineSpec::default() },
        "cannot read kernel `no/vmlinuz`")]
    #[case(MachineSpec { kernel: Some("Cargo.toml".into()), initrd: Some("no/initrd".into()),
        ..MachineSpec::default() }, "cannot read initrd `no/initrd`")]
    fn refused(#[case] spec: MachineSpec, #[case] expect: &str) {
        let error = spec.config(&Places::default()).map(|_| ()).expect_err("refused").to_string();
        assert!(error.contains(expect), "{error}");
    }
}
