//! Our test ROMs in QEMU's TCG and in Bochs, check by check: what they prove of this machine, another
//! emulator must say of itself too, or it is named here.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use warmboot_machine::{Condition, Config, Firmware, Limits, Machine};

use crate::{Failure, shell};

/// The ROMs, and how many processors each wants.
const ROMS: [(&str, u32); 8] = [
    ("modes", 1),
    ("long-mode", 1),
    ("paging", 1),
    ("task-switch", 1),
    ("v8086", 1),
    ("selfmod", 1),
    ("strings", 1),
    ("processors", 2),
];

/// Checks that QEMU 7.2's TCG fails, by ROM: what it does not do as the manual has it.
const FAILED_BY_QEMU: &[(&str, &[&str])] = &[
    // Segment limits and types are not checked, nor EXT, nor data breakpoints.
    (
        "modes",
        &[
            "limit: a dword that ends behind it",
            "limit: a byte write behind it",
            "limit: expand-down, last byte below",
            "type: write to read-only data",
            "type: access through a null selector",
            "limit: stack segment",
            "#UD whose gate is not present",
            "write breakpoint",
            "the write trapped behind its instruction",
            "limit: real-mode #GP beyond 64 KiB, and the way back",
        ],
    ),
    // Canonical addresses by their first byte and as #GP alone; reserved bits of registers; an error code of
    // an IDT's entry counts in its own size; and what follows from these.
    (
        "long-mode",
        &[
            "the same through RBP is #SS",
            "PUSH below what is canonical is #SS",
            "a read across the end of what is canonical",
            "reserved bits of an entry",
            "the upper half of CR0",
            "EFER.LME cannot be cleared while paging is on",
            "EFER.LMA is set: low half",
            "CR8 has four bits",
            "a model-specific register takes canonical addresses only",
            "code for both sizes",
            "an interrupt through no gate",
            "a task gate does not exist",
            "EFER.SCE again: low half",
            "SYSCALL goes to LSTAR with RFLAGS in R11",
            "SYSCALL goes to LSTAR with RFLAGS in R11: low half",
        ],
    ),
    // W of a read-modify-write's fault, PUSHAD half done, P beside RSVD.
    (
        "paging",
        &["ADD to a missing page", "PUSHAD stored nothing", "4 MiB page: reserved bit", "PAE: reserved bit"],
    ),
];

/// An emulator takes this long at most.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a ROM says last, in front of the number of failures.
const LAST: &str = " failed";

/// Which checks passed, by name.
type Checks = BTreeMap<String, bool>;

/// Compares every ROM; `arguments` must be empty.
pub fn run(arguments: &[String]) -> Result<(), Failure> {
    if let [argument, ..] = arguments {
        return Err(format!("unexpected `{argument}`: this takes no arguments").into());
    }
    let folder = tempfile::Builder::new().prefix("roms-").tempdir()?;
    let qemu = shell::is_installed(QEMU);
    let bochs = shell::is_installed("bochs") && shell::is_installed("script");
    let mut wrong = Vec::new();
    for (name, cpus) in ROMS {
        let rom = warmboot_test_roms::find(name).ok_or("a ROM is missing")?;
        let image = folder.path().join(format!("{name}.bin"));
        fs::write(&image, (rom.build)()?)?;
        let ours = ours(&image, cpus)?;
        print!("{name}: {} checks", ours.len());
        report(name, "here", &ours, &ours, &[], &mut wrong);
        if qemu {
            let known =
                FAILED_BY_QEMU.iter().find(|(rom, _)| *rom == name).map_or(&[][..], |(_, checks)| checks);
            report(name, "QEMU", &in_qemu(&image, cpus, folder.path())?, &ours, known, &mut wrong);
        }
        // Debian's Bochs has one processor.
        if bochs && cpus == 1 {
            report(name, "Bochs", &in_bochs(&image, folder.path())?, &ours, &[], &mut wrong);
        }
        println!();
    }
    for (there, program) in [(qemu, "qemu-system-x86"), (bochs, "bochs, bochs-term")] {
        if !there {
            println!("not compared: {program} is not installed");
        }
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(wrong.join("\n").into()),
    }
}

/// Says how many checks failed, and notes what should not have.
fn report(rom: &str, who: &str, found: &Checks, ours: &Checks, known: &[&str], wrong: &mut Vec<String>) {
    let failed: BTreeSet<&str> =
        found.iter().filter(|(_, passed)| !**passed).map(|(name, _)| name.as_str()).collect();
    print!("; {who}: {} failed", failed.len());
    let expected: BTreeSet<&str> = known.iter().copied().collect();
    wrong.extend(failed.difference(&expected).map(|check| format!("{rom}: {who} fails `{check}`")));
    wrong.extend(expected.difference(&failed).map(|check| format!("{rom}: {who} passes `{check}` now")));
    if !found.keys().eq(ours.keys()) {
        wrong.push(format!("{rom}: {who} made {} checks, not {}", found.len(), ours.len()));
    }
}

/// The checks that a log tells of.
fn checks(log: &str) -> Checks {
    let lines = log.lines().filter_map(|line| {
        let (at, passed) =
            ["PASS ", "FAIL "].iter().find_map(|word| line.find(word)).zip(Some(line.contains("PASS ")))?;
        let name = line.get(at + 5..)?;
        let name = if passed { name } else { name.split(": got ").next().unwrap_or(name) };
        Some((name.trim_end().to_owned(), passed))
    });
    let mut checks = Checks::new();
    for (name, passed) in lines {
        // Some are made more than once: all of them must pass.
        *checks.entry(name).or_insert(true) &= passed;
    }
    checks
}

fn ours(image: &Path, cpus: u32) -> Result<Checks, Failure> {
    let firmware = Firmware { name: "rom".into(), bytes: fs::read(image)?.into() };
    let mut machine = Machine::new(&Config { firmware, cpus, ..Config::default() })?;
    let limits = Limits { instructions: Some(500_000_000), ..Limits::default() };
    machine.run(&[Condition::Debug(LAST.into())], limits)?;
    Ok(checks(&String::from_utf8_lossy(machine.debug_log())))
}

const QEMU: &str = "qemu-system-x86_64";

fn in_qemu(image: &Path, cpus: u32, folder: &Path) -> Result<Checks, Failure> {
    let log = folder.join("qemu.log");
    let mut command = Command::new(QEMU);
    command
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-accel", "tcg", "-M", "pc-i440fx-7.2"])
        .args(["-smp", &cpus.to_string(), "-bios"])
        .arg(image)
        .args(["-chardev", &format!("file,id=log,path={}", log.display())])
        .args(["-device", "isa-debugcon,iobase=0x402,chardev=log"])
        .args(["-device", "isa-debug-exit,iobase=0xf4"]);
    until_said(&mut command, &log)
}

/// Bochs writes what goes to port 402h into its log, line by line.
fn in_bochs(image: &Path, folder: &Path) -> Result<Checks, Failure> {
    let [settings, orders, log] = ["bochsrc", "orders", "bochs.log"].map(|name| folder.join(name));
    let lines = [
        "display_library: term".into(),
        format!("romimage: file={}", image.display()),
        "megs: 32".into(),
        "cpu: count=1, ips=50000000".into(),
        "clock: sync=none, time0=0".into(),
        format!("log: {}", log.display()),
        "panic: action=fatal".into(),
        "error: action=ignore".into(),
        "info: action=report".into(),
    ];
    fs::write(&settings, lines.join("\n"))?;
    fs::write(&orders, "c\n")?;
    let mut command = Command::new("script");
    let order = format!("bochs -q -f {} -rc {}", settings.display(), orders.display());
    until_said(command.args(["-qfc", &order, "/dev/null"]), &log)
}

/// Runs a program until its log has a ROM's last words, ends it, and gives the checks.
fn until_said(command: &mut Command, log: &Path) -> Result<Checks, Failure> {
    let _ = fs::remove_file(log);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child =
        command.spawn().map_err(|error| format!("cannot start `{}`: {error}", shell::shown(command)))?;
    let start = Instant::now();
    let said = loop {
        let text = String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned();
        let over = text.lines().any(|line| line.contains(" checks, ") && line.contains(LAST));
        if over || start.elapsed() > PATIENCE || matches!(child.try_wait(), Ok(Some(_))) {
            break fs::read(log).unwrap_or_default();
        }
        thread::sleep(Duration::from_millis(20));
    };
    end(&mut child);
    Ok(checks(&String::from_utf8_lossy(&said)))
}

/// Ends a program; Bochs, which `script` has started, goes with its terminal.
fn end(child: &mut Child) {
    let _ = Command::new("kill").arg(child.id().to_string()).status();
    for _ in 0..100 {
        if matches!(child.try_wait(), Ok(Some(_))) {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    let _ = child.kill();
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_of_a_log() {
        let log = "00023i[BIOS  ] PASS one\nFAIL two: got 00000001, expected 00000002\nx: 2 checks, 1 failed\nALL PASS\n";
        let expect = [("one".to_owned(), true), ("two".to_owned(), false)];
        assert_eq!(checks(log), expect.into());
    }
}
