//! Options that several commands share.

use std::path::PathBuf;

use clap::Args;
use warmboot::{
    Condition, Config, Limits, Machine, MachineSpec, Places,
    inspect::symbols::Symbols,
    machine::{BootOptions, DEFAULT_LIMIT_TIME, Firmware, Flash, Kernel, Path, Vga, VirtioInterface},
    scenario::{
        drives::DriveSpec,
        firmware,
        flash::FlashSpec,
        problem::InputError,
        session::{Act, Action, Plan, SLICE},
        snapshots,
        spec::{DEBUG_EXIT, virtio_interface},
        symbols,
    },
};

/// Ports that options of their own add, since some have a file behind them.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Ports {
    /// A screen, where nothing is said about a display adapter.
    pub screen: bool,
    /// COM1.
    pub(crate) serial: bool,
    /// LPT1.
    pub(crate) parallel: bool,
}

/// Which machine.
#[derive(Args, Debug)]
#[command(next_help_heading = "Machine")]
pub(crate) struct MachineArguments {
    /// Machine type; `warmboot machines` lists them [default: pc-i440fx-7.2]
    #[arg(long, value_name = "NAME")]
    machine: Option<String>,
    /// Emulator generation to behave like [default: qemu]
    #[arg(long, value_name = "NAME")]
    emulator: Option<String>,
    /// CPU model [default: the machine type's]
    #[arg(long, value_name = "NAME")]
    cpu: Option<String>,
    /// Number of processors [default: 1]
    #[arg(long, value_name = "N")]
    cpus: Option<u32>,
    /// Memory, with a binary suffix (64M, 1G); without one, MiB [default: 128M]
    #[arg(long, value_name = "SIZE", value_parser = warmboot::machine::memory)]
    memory: Option<u64>,
    /// Firmware: a known name, rom:NAME for one of our own, or a path [default: seabios-256k]
    #[arg(long, value_name = "NAME|PATH")]
    firmware: Option<String>,
    /// Look for firmware here first
    #[arg(long, value_name = "FOLDER")]
    firmware_dir: Option<PathBuf>,
    /// Flash chip in place of firmware: a known name (ovmf-code, ovmf-vars) or a path, then ,readonly or
    /// ,write-back (may be given twice: the first ends at 4 GiB, the second below it). The file stays as
    /// it is unless ,write-back says that it shall hold the chip's bytes when the run has ended
    #[arg(long, value_name = "FILE[,OPTION]", value_parser = FlashSpec::parse, conflicts_with = "firmware")]
    pflash: Vec<FlashSpec>,
    /// Option ROM: a known name, rom:NAME, or a path (may be repeated)
    #[arg(long, value_name = "NAME|PATH")]
    option_rom: Vec<String>,
    /// Linux kernel for firmware to start: a known name (linux-cloud-amd64, linux-686) or a path
    #[arg(long, value_name = "NAME|PATH")]
    kernel: Option<String>,
    /// Initial RAM disk for --kernel
    #[arg(long, value_name = "FILE", requires = "kernel")]
    initrd: Option<String>,
    /// Command line for --kernel
    #[arg(long, value_name = "TEXT", requires = "kernel")]
    append: Option<String>,
    /// Display adapter: none, std for QEMU's standard VGA, or isa for the same without PCI [default: none]
    #[arg(long, value_name = "NAME")]
    vga: Option<String>,
    /// Its option ROM: a known name, rom:NAME, or a path [default: vgabios-stdvga, vgabios-isavga without
    /// PCI]
    #[arg(long, value_name = "NAME|PATH", requires = "vga")]
    vga_rom: Option<String>,
    /// A drive: ide0-0=disk.img, ide1-0=cd.iso, sata0=disk.img, floppy0=a.img, virtio0=disk.img; the image may
    /// also be rom:NAME or zero:8M; then ,readonly ,latency=50ms ,format=raw|qcow2
    /// ,media=disk|cdrom ,write (may be repeated); images named .iso are CD-ROMs unless said otherwise
    #[arg(long, value_name = "SLOT=IMAGE[,OPTION]", value_parser = DriveSpec::parse)]
    drive: Vec<DriveSpec>,
    /// A CD-ROM image at ide1-0, which is sata2 where there is no IDE
    #[arg(long, value_name = "IMAGE")]
    cdrom: Option<String>,
    /// A virtio entropy device, whose bytes --seed decides
    #[arg(long)]
    rng: bool,
    /// Which interfaces virtio devices have: legacy, transitional or modern [default: the machine type's]
    #[arg(long, value_name = "INTERFACE", value_parser = virtio_interface)]
    virtio: Option<VirtioInterface>,
    /// Boot order: a floppy, c hard disk, d CD-ROM, n network; then ,menu=on ,splash-time=MILLISECONDS
    /// ,reboot-timeout=MILLISECONDS [default: cad]
    #[arg(long, value_name = "ORDER[,OPTION]")]
    boot: Option<BootOptions>,
    /// Add the debug-exit port, at 0xf4 unless another is named
    #[arg(long, value_name = "PORT", num_args = 0..=1, require_equals = true, value_parser = port)]
    debug_exit: Option<Option<u16>>,
    /// Add the panic port, 0x505 (QEMU's pvpanic): a guest that says there that it has crashed ends the run
    #[arg(long)]
    pvpanic: bool,
    /// Seed of the random numbers of the processor, RDRAND and RDSEED, and of --rng [default: 0]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Execute one instruction at a time without caches: slower, the same digest
    #[arg(long)]
    plain: bool,
    /// Go on from a snapshot instead of power-on; --drive gives disk images back that are no longer
    /// where they were, and no other option may say what the snapshot's machine is not
    #[arg(long, value_name = "FILE", help_heading = "Run")]
    load: Option<PathBuf>,
}

fn port(text: &str) -> Result<u16, String> {
    if text.contains('+') {
        return Err("expected a port from 0 to 0xffff".to_owned());
    }
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u16::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| "expected a port from 0 to 0xffff".to_owned())
}

impl MachineArguments {
    /// Whether the guest is one that runs for long, in much memory.
    pub(crate) fn needs_much(&self) -> bool {
        self.kernel.is_some() || self.memory.is_some_and(|memory| memory > 128 << 20)
    }

    /// The machine they describe, with these `ports` too.
    pub(crate) fn spec(&self, ports: Ports) -> MachineSpec {
        let mut spec = MachineSpec::default();
        let text = |given: &Option<String>, default: String| given.clone().unwrap_or(default);
        spec.machine = text(&self.machine, spec.machine);
        spec.emulator = text(&self.emulator, spec.emulator);
        spec.cpu = self.cpu.clone().or(spec.cpu);
        spec.cpus = self.cpus.unwrap_or(spec.cpus);
        spec.memory = self.memory.unwrap_or(spec.memory);
        spec.firmware = text(&self.firmware, spec.firmware);
        spec.flash.clone_from(&self.pflash);
        spec.option_roms.clone_from(&self.option_rom);
        spec.kernel.clone_from(&self.kernel);
        spec.initrd.clone_from(&self.initrd);
        spec.append.clone_from(&self.append);
        let none = if ports.screen { "std".to_owned() } else { spec.vga };
        spec.vga = text(&self.vga, none);
        spec.vga_rom.clone_from(&self.vga_rom);
        spec.drives.clone_from(&self.drive);
        if let Some(image) = &self.cdrom {
            spec.drives.push(DriveSpec { cdrom: Some(true), ..DriveSpec::new("ide1-0", image) });
        }
        spec.rng = self.rng;
        spec.virtio = self.virtio;
        spec.boot = self.boot.clone().unwrap_or(spec.boot);
        spec.serial = ports.serial;
        spec.parallel = ports.parallel;
        spec.debug_exit = self.debug_exit.map(|port| port.unwrap_or(DEBUG_EXIT));
        spec.pvpanic = self.pvpanic;
        spec.seed = self.seed.unwrap_or(spec.seed);
        spec.path = if self.plain { Path::Plain } else { Path::Cached };
        spec
    }

    /// Builds the machine they describe, or loads it; it has these `ports`.
    pub(crate) fn machine(&self, ports: Ports, places: &Places) -> Result<Machine, InputError> {
        let spec = self.spec(ports);
        let Some(file) = &self.load else { return Ok(Machine::new(&spec.config(places)?)?) };
        let snapshot = snapshots::read(file)?;
        let path = self.plain.then_some(Path::Plain);
        let machine = snapshots::machine(&snapshot, &spec.drives, places, path)
            .map_err(|InputError(why)| InputError::new(format!("`{}`: {why}", file.display())))?;
        self.check_against(&spec, machine.config(), ports, places)?;
        Ok(machine)
    }

    /// Refuses options that say something else than the loaded machine's configuration.
    fn check_against(
        &self,
        spec: &MachineSpec,
        config: &Config,
        ports: Ports,
        places: &Places,
    ) -> Result<(), InputError> {
        let firmware = match &self.firmware {
            Some(name) => firmware::system(name, places)?.bytes == config.firmware.bytes,
            None => true,
        };
        let flash: Vec<Flash> =
            self.pflash.iter().map(|flash| flash.open(places)).collect::<Result<_, _>>()?;
        let flash = flash.is_empty() || is_flash(&flash, &config.flash);
        let option_roms: Vec<_> = self
            .option_rom
            .iter()
            .map(|name| firmware::option_rom(name, places))
            .collect::<Result<_, _>>()?;
        let same_roms =
            option_roms.iter().map(|rom| &rom.bytes).eq(config.option_roms.iter().map(|rom| &rom.bytes));
        let display = |vga: Option<&Vga>| vga.map(|vga| (vga.adapter, vga.rom.bytes.clone()));
        let vga =
            self.vga.is_none() || display(spec.read_vga(places)?.as_ref()) == display(config.vga.as_ref());
        let kernel = spec.read_kernel(places)?;
        let says = |given: &Option<String>, is: &str| given.as_deref().is_none_or(|given| given == is);
        let drives = self.drive.iter().all(|spec| {
            let drive = config.drives.iter().find(|drive| drive.at.to_string() == spec.at);
            drive.is_some_and(|drive| {
                (drive.read_only || !spec.read_only)
                    && spec.latency.is_none_or(|latency| latency == drive.latency)
            })
        });
        for (option, fits) in [
            ("--machine", says(&self.machine, &config.machine)),
            ("--emulator", says(&self.emulator, &config.emulator)),
            ("--cpu", self.cpu.is_none() || self.cpu == config.cpu),
            ("--cpus", self.cpus.is_none_or(|cpus| cpus == config.cpus)),
            ("--memory", self.memory.is_none_or(|memory| memory == config.memory)),
            ("--firmware", firmware),
            ("--pflash", flash),
            ("--option-rom", option_roms.is_empty() || same_roms),
            ("--kernel", kernel.is_none_or(|kernel| is_kernel(&kernel, config.kernel.as_ref()))),
            ("--vga", vga),
            ("--drive", drives),
            ("--rng", !self.rng || config.rng),
            ("--virtio", self.virtio.is_none() || self.virtio == config.virtio),
            ("--seed", self.seed.is_none_or(|seed| seed == config.seed)),
            ("--pvpanic", !self.pvpanic || config.pvpanic),
            ("--boot", self.boot.as_ref().is_none_or(|boot| *boot == config.boot)),
            ("--serial", !ports.serial || config.serial),
            ("--parallel", !ports.parallel || config.parallel),
            (
                "--debug-exit",
                self.debug_exit.is_none_or(|port| Some(port.unwrap_or(DEBUG_EXIT)) == config.debug_exit),
            ),
        ] {
            if !fits {
                return Err(InputError::new(format!(
                    "{option} contradicts the snapshot, whose machine is already built: {}",
                    contents(config)
                )));
            }
        }
        Ok(())
    }

    /// Whether they name a snapshot to go on from.
    pub(crate) fn loads(&self) -> bool {
        self.load.is_some()
    }

    /// Where the files they name are looked for.
    pub(crate) fn places(&self) -> Result<Places, InputError> {
        places(self.firmware_dir.as_ref())
    }
}

/// Whether `given` are the chips of the machine. What is in them may be newer than either.
fn is_flash(given: &[Flash], built: &[Flash]) -> bool {
    let sizes = |chips: &[Flash]| -> Vec<(usize, bool)> {
        chips.iter().map(|chip| (chip.image.bytes.len(), chip.read_only)).collect()
    };
    sizes(given) == sizes(built)
}

/// Whether `given` is what the machine was built with.
fn is_kernel(given: &Kernel, built: Option<&Kernel>) -> bool {
    let bytes = |image: &Option<Firmware>| image.as_ref().map(|image| image.bytes.clone());
    built.is_some_and(|built| {
        given.image.bytes == built.image.bytes
            && bytes(&given.initrd) == bytes(&built.initrd)
            && given.append == built.append
    })
}

/// What a loaded machine is, in a line.
fn contents(config: &Config) -> String {
    let with = |there: bool| if there { "with" } else { "without" };
    let drives: Vec<String> =
        config.drives.iter().map(|drive| format!("{}={}", drive.at, drive.name)).collect();
    format!(
        "{} on {}, {} MiB, firmware {}, {} option ROMs, {}{}drives [{}], boot {}, {} COM1, {} LPT1, {} panic port, {}",
        config.machine,
        config.emulator,
        config.memory >> 20,
        config.firmware.name,
        config.option_roms.len(),
        config.kernel.as_ref().map_or(String::new(), |kernel| format!("kernel {}, ", kernel.image.name)),
        config.vga.as_ref().map_or(String::new(), |vga| format!("VGA with {}, ", vga.rom.name)),
        drives.join(" "),
        config.boot,
        with(config.serial),
        with(config.parallel),
        with(config.pvpanic),
        config.debug_exit.map_or("no debug exit".to_owned(), |port| format!("debug exit at {port:#x}")),
    )
}

/// Where firmware is looked for when `folder` was named.
pub(crate) fn places(folder: Option<&PathBuf>) -> Result<Places, InputError> {
    if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        return Err(InputError::new(format!("--firmware-dir `{}` is not a folder", folder.display())));
    }
    let firmware_folders = folder.cloned().into_iter().chain(firmware::download_folders()).collect();
    Ok(Places { firmware_folders, ..Places::default() })
}

/// What addresses are called.
#[derive(Args, Debug)]
#[command(next_help_heading = "Look")]
pub(crate) struct SymbolArguments {
    /// ELF file with symbols; where its values are no run addresses: base=ADDRESS is added,
    /// section=.text=ADDRESS and segment=0=ADDRESS say where a part is (may be repeated; rom:NAME brings
    /// its own)
    #[arg(long, value_name = "FILE[,base=ADDRESS][,section=NAME=ADDRESS]")]
    symbols: Vec<String>,
}

impl SymbolArguments {
    /// The symbols, with those that `firmware` brings.
    pub(crate) fn load(&self, firmware: &str, places: &Places) -> Result<Symbols, InputError> {
        symbols::load(&self.symbols, firmware, places)
    }
}

/// How far to run, and what to do on the way.
#[derive(Args, Debug)]
#[command(next_help_heading = "Run")]
pub(crate) struct RunArguments {
    /// End when this is met: debug:TEXT, serial:TEXT, parallel:TEXT, screen:TEXT, port:0x80=0x55, address:0x7c00,
    /// address:f000:fff0, instructions:N, time:500ms, halt, shutdown, suspend, reset, reset:PATH,
    /// guest-panic (may be repeated: the first one met ends the run)
    #[arg(long, value_name = "CONDITION")]
    until: Vec<Condition>,
    /// End after N instructions since power-on (K, M, G are decimal)
    #[arg(long, value_name = "N", value_parser = warmboot::machine::count)]
    limit: Option<u64>,
    /// End after this much virtual time since power-on [default: 1h]
    #[arg(long, value_name = "TIME", value_parser = warmboot::machine::time)]
    limit_time: Option<u64>,
    /// Press keys when a condition is first met: ctrl-alt-delete@debug:TEXT (may be repeated)
    #[arg(long, value_name = "KEY@CONDITION", value_parser = Action::press)]
    press: Vec<Action>,
    /// Type text on a US keyboard when a condition is first met, each key as soon as the guest has taken
    /// the one before: $'dir\n@serial:TEXT' (may be repeated)
    #[arg(long = "type", value_name = "TEXT@CONDITION", value_parser = Action::typed)]
    typed: Vec<Action>,
    /// Send text to the serial port when a condition is first met, each byte as soon as there is room for
    /// it: $'ls\n@serial:TEXT' (may be repeated)
    #[arg(long = "send", value_name = "TEXT@CONDITION", value_parser = Action::sent)]
    sent: Vec<Action>,
    /// Reset when a condition is first met: system@instructions:5M (may be repeated; `warmboot
    /// machines` lists the paths)
    #[arg(long, value_name = "PATH@CONDITION", value_parser = Action::reset)]
    reset: Vec<Action>,
}

impl RunArguments {
    /// The plan they describe.
    pub(crate) fn plan(&self) -> Plan {
        let limits = Limits {
            instructions: self.limit,
            time: Some(self.limit_time.unwrap_or(DEFAULT_LIMIT_TIME)),
            slice: Some(SLICE),
        };
        let actions =
            self.press.iter().chain(&self.typed).chain(&self.sent).chain(&self.reset).cloned().collect();
        Plan { until: self.until.clone(), actions, limits }
    }

    /// Whether anything was said about how far to run.
    pub(crate) fn says_anything(&self) -> bool {
        !self.until.is_empty() || self.limit.is_some() || self.limit_time.is_some()
    }

    /// Action number `index` of [`RunArguments::plan`] as it was written.
    pub(crate) fn action_text(&self, index: usize) -> String {
        self.plan().actions.get(index).map_or(String::new(), |action| match &action.act {
            Act::Press(keys) => format!("--press {keys}@{}", action.at),
            Act::Type(text) => format!("--type {text:?}@{}", action.at),
            Act::Send(text) => format!("--send {text:?}@{}", action.at),
            Act::Reset(path) => format!("--reset {path}@{}", action.at),
        })
    }
}
