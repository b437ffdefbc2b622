//! `cargo xtask parity`: the same SeaBIOS in QEMU (TCG) and in ours, compared line by line and
//! byte by byte.
//!
//! For each case both boot until firmware finds nothing to boot, are started again, and boot once
//! more. Compared are the debug port's text, 0-4FFh, E0000h-FFFFFh, the EBDA, every PCI function's
//! configuration space and CMOS; ACPI tables by meaning. What may differ is named in
//! `xtask/parity-allowed.toml` and nowhere else. Without `--machine` two machine types are compared in
//! every way, and all others that QEMU offers in one. `rom:facts` is compared besides, and pictures of screen modes,
//! dot by dot.

mod acpi;
mod allowed;
mod case;
mod compare;
mod facts;
pub(crate) mod ours;
pub(crate) mod qemu;
mod screens;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use allowed::Allowed;
use case::{Case, Evidence, Stage};

/// How often QEMU may run a case without `-icount` before a difference counts.
const PLAIN_TRIES: usize = 3;

/// Where distributions install SeaBIOS.
const SYSTEM_FOLDERS: [&str; 3] = ["/usr/share/seabios", "/usr/share/qemu", "/usr/share/seabios/qemu"];

/// How many lines of differences one case prints.
const MOST_LINES: usize = 60;

const USAGE: &str = "usage: cargo xtask parity [--require] [--machine NAME|all] [--case PART] \
                     [--firmware-dir DIR] [--collect DIR] [--list]";

/// Why there is no agreement to report.
#[derive(Debug, thiserror::Error)]
pub enum ParityError {
    /// Arguments or the list of allowed bytes are wrong.
    #[error("{0}")]
    Usage(String),
    /// A file or socket failed.
    #[error("{what}: {source}")]
    Io {
        /// Which file or socket.
        what: String,
        /// What the host said.
        source: io::Error,
    },
    /// QEMU does not do what is needed.
    #[error("QEMU: {0}")]
    Qemu(String),
    /// Our machine could not be built or run.
    #[error("ours: {0}")]
    Ours(String),
    /// Something is missing that `--require` asks for.
    #[error("{0}")]
    Missing(String),
    /// The comparison itself failed.
    #[error("{0} of {1} cases differ")]
    Differs(usize, usize),
}

struct Options {
    require: bool,
    machine: Option<String>,
    filter: String,
    firmware_folder: Option<PathBuf>,
    collect: Option<PathBuf>,
    list: bool,
}

/// Runs the comparison; prints a report; an error means that something differs or went wrong.
///
/// Without QEMU or without firmware it says so and succeeds, unless `--require` is given.
pub fn run(arguments: &[String]) -> Result<(), ParityError> {
    let options = parse(arguments)?;
    let allowed = Allowed::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("parity-allowed.toml"))?;
    let cases = Case::chosen(options.machine.as_deref()).map_err(ParityError::Usage)?;
    let cases: Vec<Case> = cases.into_iter().filter(|case| case.name().contains(&options.filter)).collect();
    if options.list {
        cases.iter().for_each(|case| println!("{}", case.name()));
        return Ok(());
    }
    let others = ["facts", "screens"].iter().any(|name| options.filter.starts_with(name));
    if cases.is_empty() && !others {
        return Err(ParityError::Usage(format!("no case has `{}` in its name", options.filter)));
    }
    let Some(version) = qemu::version() else {
        return skip(&options, "QEMU is not installed (Debian: qemu-system-x86)");
    };
    println!("{version}; {} bytes may differ", allowed.bytes());
    for (machine, why) in case::NOT_COMPARED {
        if options.machine.as_deref() != Some(machine) {
            println!("{machine}: not compared: {why}");
        }
    }
    let folder = tempfile::tempdir()
        .map_err(|source| ParityError::Io { what: "a temporary folder".to_owned(), source })?;
    let drives = case::make_drives(folder.path())
        .map_err(|source| ParityError::Io { what: "drive images".to_owned(), source })?;

    let (facts, facts_differing) = facts::compare(&options.filter)?;
    let (screens, screens_differing) =
        screens::compare(&options.filter, options.firmware_folder.as_deref(), folder.path())?;
    let (compared, mut differing) = (facts + screens, facts_differing + screens_differing);
    for case in &cases {
        let Some(firmware) = find_firmware(options.firmware_folder.as_deref(), case.image.file_name()) else {
            skip(&options, &format!("{} is not here (Debian: seabios)", case.image.file_name()))?;
            continue;
        };
        let case_drives = if case.drives { drives.as_slice() } else { &[] };
        let theirs = qemu::evidence(case, &firmware, case_drives)?;
        if let Some(folder) = &options.collect {
            save(&folder.join(case.name()).join("qemu"), &theirs)?;
        }
        let ours = match ours::evidence(case, &firmware, case_drives) {
            Ok(ours) => ours,
            Err(error) => {
                println!("{}: DIFFERS: {error}", case.name());
                differing += 1;
                continue;
            }
        };
        if let Some(folder) = &options.collect {
            save(&folder.join(case.name()).join("ours"), &ours)?;
        }
        let mut equal = report(case, &ours, &theirs, &allowed);
        // Without -icount QEMU runs by its host's clock, and a busy host can set it apart from itself.
        // Ours is the same each time: QEMU is asked again, and what each run showed has been printed.
        for _ in 1..PLAIN_TRIES {
            if equal || case.drives {
                break;
            }
            println!("    QEMU runs by its host's clock in this case: once more");
            equal = report(case, &ours, &qemu::evidence(case, &firmware, case_drives)?, &allowed);
        }
        if !equal {
            differing += 1;
        }
    }
    if differing > 0 {
        return Err(ParityError::Differs(differing, cases.len() + compared));
    }
    Ok(())
}

/// Prints what one case gave; true if nothing differs.
fn report(case: &Case, ours: &Evidence, theirs: &Evidence, allowed: &Allowed) -> bool {
    let name = case.name();
    let lines = theirs.debug_log.lines().count();
    let found = compare::compare(case, ours, theirs, allowed);
    let word = if found.lines.is_empty() { "equal" } else { "DIFFERS" };
    println!(
        "{name}: {word}; {lines} log lines ({} with our AML's length or address), {} allowed bytes differ",
        found.allowed_lines.len(),
        found.allowed_bytes
    );
    for line in found.lines.iter().take(MOST_LINES) {
        println!("    {line}");
    }
    if found.lines.len() > MOST_LINES {
        println!("    … and {} more", found.lines.len() - MOST_LINES);
    }
    found.lines.is_empty()
}

fn skip(options: &Options, why: &str) -> Result<(), ParityError> {
    if options.require {
        return Err(ParityError::Missing(why.to_owned()));
    }
    println!("skipped: {why}");
    Ok(())
}

fn parse(arguments: &[String]) -> Result<Options, ParityError> {
    let mut options = Options {
        require: false,
        machine: None,
        filter: String::new(),
        firmware_folder: None,
        collect: None,
        list: false,
    };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut value = || {
            arguments
                .next()
                .cloned()
                .ok_or_else(|| ParityError::Usage(format!("{argument} needs a value\n{USAGE}")))
        };
        match argument.as_str() {
            "--require" => options.require = true,
            "--list" => options.list = true,
            "--machine" => options.machine = Some(value()?),
            "--case" => options.filter = value()?,
            "--firmware-dir" => options.firmware_folder = Some(value()?.into()),
            "--collect" => options.collect = Some(value()?.into()),
            _ => {
                return Err(ParityError::Usage(format!("unknown argument `{argument}`\n{USAGE}")));
            }
        }
    }
    Ok(options)
}

/// Looks in the folder that was named, else the project's, else where distributions put it.
pub(crate) fn find_firmware(named: Option<&Path>, name: &str) -> Option<PathBuf> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("../firmware");
    let folders: Vec<PathBuf> = match named {
        Some(folder) => vec![folder.to_owned()],
        None => std::iter::once(project).chain(SYSTEM_FOLDERS.map(PathBuf::from)).collect(),
    };
    folders.into_iter().map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Writes evidence as files for a person to look at.
fn save(folder: &Path, evidence: &Evidence) -> Result<(), ParityError> {
    let write = || -> io::Result<()> {
        fs::create_dir_all(folder)?;
        fs::write(folder.join("debug.log"), &evidence.debug_log)?;
        save_stage(&folder.join("power-on"), &evidence.power_on)?;
        save_stage(&folder.join("restarted"), &evidence.restarted)
    };
    write().map_err(|source| ParityError::Io { what: folder.display().to_string(), source })
}

fn save_stage(folder: &Path, stage: &Stage) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join("low.bin"), &stage.low_memory)?;
    fs::write(folder.join("efseg.bin"), &stage.bios_segments)?;
    fs::write(folder.join("ebda.bin"), &stage.ebda)?;
    fs::write(folder.join("cmos-0e.bin"), &stage.cmos)?;
    fs::write(folder.join("registers.txt"), &stage.registers)?;
    let mut pci = String::new();
    for ((device, function), space) in &stage.pci {
        pci.push_str(&format!("{device:02x}.{function}\n"));
        for (row, bytes) in space.chunks(16).enumerate() {
            let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            pci.push_str(&format!("{:02x}: {}\n", row * 16, hex.join(" ")));
        }
    }
    fs::write(folder.join("pci.txt"), pci)?;
    acpi::save(&folder.join("tables"), &stage.acpi)
}
