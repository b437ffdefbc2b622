//! Says where two pieces of evidence differ.

use std::fmt::Write as _;

use super::acpi;
use super::allowed::{Allowed, Area};
use super::case::{Case, Evidence, Stage};
use super::screens;

/// Starts of lines in which 7.2 may differ: they carry the length and the address of AML that we
/// build ourselves. Only there, and only what follows the start.
const AML_LINES: [&str; 2] = [
    // The FADT, which stands behind the DSDT.
    "table(50434146)=",
    "ACPI: parse DSDT at ",
];

/// What a comparison found; empty lists mean equal.
#[derive(Clone, Default, Debug)]
pub struct Differences {
    /// One entry per difference, ready to print.
    pub lines: Vec<String>,
    /// Bytes that differ and are allowed to.
    pub allowed_bytes: usize,
    /// Log lines that differ and are allowed to.
    pub allowed_lines: Vec<String>,
}

/// Compares all of `ours` with all of `theirs`.
pub fn compare(case: &Case, ours: &Evidence, theirs: &Evidence, allowed: &Allowed) -> Differences {
    let mut found = Differences::default();
    compare_logs(case, &ours.debug_log, &theirs.debug_log, &mut found);
    let stages = [
        ("after power-on", &ours.power_on, &theirs.power_on),
        ("after the restart", &ours.restarted, &theirs.restarted),
    ];
    for (when, ours, theirs) in stages {
        compare_stage(case, when, ours, theirs, allowed, &mut found);
    }
    found
}

/// A reset that a guest asks QEMU for comes some instructions late, and SeaBIOS' `OUT CF9h; INT3` can
/// ask twice: then the second reset cuts off the first bytes of the banner's line. Such a start is
/// taken off the line, and said.
fn forget_false_starts(theirs: &mut [&str], found: &mut Differences) {
    const BANNER: &str = "SeaBIOS (version ";
    for line in theirs {
        if let Some(at) = line.rfind(BANNER)
            && at > 0
            && line.as_bytes().iter().zip(BANNER.as_bytes()).take(at).all(|(byte, banner)| byte == banner)
        {
            found.allowed_lines.push(format!("QEMU's reset came twice: `{line}`"));
            *line = line.get(at..).unwrap_or_default();
        }
    }
}

/// Whether this pair of lines is one of the two that carry our own AML's length and address.
fn is_aml_line(case: &Case, ours: &str, theirs: &str) -> bool {
    case.machine == "pc-i440fx-7.2"
        && AML_LINES.iter().any(|start| ours.starts_with(start) && theirs.starts_with(start))
}

fn compare_logs(case: &Case, ours: &str, theirs: &str, found: &mut Differences) {
    let (ours, mut theirs): (Vec<&str>, Vec<&str>) = (ours.lines().collect(), theirs.lines().collect());
    forget_false_starts(&mut theirs, found);
    // An allowed pair is made equal first, so that the diff below stays in step.
    let mut ours_evened = ours.clone();
    for (index, line) in ours_evened.iter_mut().enumerate() {
        if let Some(other) = theirs.get(index)
            && *other != *line
            && is_aml_line(case, line, other)
        {
            found.allowed_lines.push(format!("`{line}` for `{other}`"));
            *line = other;
        }
    }
    let diff = similar::TextDiff::from_slices(&theirs, &ours_evened);
    for change in diff.iter_all_changes() {
        let (sign, place) = match change.tag() {
            similar::ChangeTag::Equal => continue,
            similar::ChangeTag::Delete => ("QEMU only", change.old_index()),
            similar::ChangeTag::Insert => ("ours only", change.new_index()),
        };
        let place = place.map_or(0, |index| index + 1);
        found.lines.push(format!("log line {place}, {sign}: {}", change.value()));
    }
}

fn compare_stage(
    case: &Case,
    when: &str,
    ours: &Stage,
    theirs: &Stage,
    allowed: &Allowed,
    found: &mut Differences,
) {
    let mut area = |area: Area, base: u64, ours: &[u8], theirs: &[u8]| {
        compare_bytes(case, when, area, base, ours, theirs, allowed, found);
    };
    area(Area::LowMemory, 0, &ours.low_memory, &theirs.low_memory);
    area(Area::BiosSegments, 0xe0000, &ours.bios_segments, &theirs.bios_segments);
    area(Area::Ebda, theirs.ebda_address, &ours.ebda, &theirs.ebda);
    area(Area::Cmos, 0x0e, &ours.cmos, &theirs.cmos);
    let mut functions: Vec<_> = ours.pci.keys().chain(theirs.pci.keys()).copied().collect();
    functions.sort_unstable();
    functions.dedup();
    for function in functions {
        let space = |stage: &Stage| stage.pci.get(&function).cloned().unwrap_or_default();
        area(Area::Pci(function.0, function.1), 0, &space(ours), &space(theirs));
    }
    if ours.ebda_address != theirs.ebda_address {
        found.lines.push(format!(
            "{when}: EBDA at {:05x}, QEMU's at {:05x}",
            ours.ebda_address, theirs.ebda_address
        ));
    }
    if let (Some(ours), Some(theirs)) = (&ours.picture, &theirs.picture) {
        found.lines.extend(
            screens::difference(ours, theirs, screens::TEXT_BITS).map(|line| format!("{when}: {line}")),
        );
    }
    for line in acpi::compare(&ours.acpi, &theirs.acpi) {
        found.lines.push(format!("{when}: {line}"));
    }
}

#[allow(clippy::too_many_arguments)] // one caller, which closes over all but four
fn compare_bytes(
    case: &Case,
    when: &str,
    area: Area,
    base: u64,
    ours: &[u8],
    theirs: &[u8],
    allowed: &Allowed,
    found: &mut Differences,
) {
    if ours.len() != theirs.len() {
        found.lines.push(format!("{when}: {area} has {} bytes, QEMU's {}", ours.len(), theirs.len()));
    }
    let mut differing = Vec::new();
    for (offset, (our, their)) in ours.iter().zip(theirs).enumerate() {
        if our == their {
            continue;
        }
        let at = base + offset as u64;
        if allowed.permits(case, area, at) {
            found.allowed_bytes += 1;
        } else {
            differing.push((at, *our, *their));
        }
    }
    for run in differing.chunk_by(|left, right| left.0 + 1 == right.0) {
        found.lines.push(format!("{when}: {area} {}", describe_run(run)));
    }
}

/// `f5588 ours 02, QEMU 01`, or a range with at most 16 bytes of each.
fn describe_run(run: &[(u64, u8, u8)]) -> String {
    let mut text = match run {
        [(at, _, _)] => format!("{at:05x}"),
        [(first, _, _), .., (last, _, _)] => {
            format!("{first:05x}-{last:05x} ({} bytes)", run.len())
        }
        [] => String::new(),
    };
    let hex = |pick: fn(&(u64, u8, u8)) -> u8| {
        let mut bytes = String::new();
        for difference in run.iter().take(16) {
            let _ = write!(bytes, " {:02x}", pick(difference));
        }
        if run.len() > 16 {
            bytes.push_str(" …");
        }
        bytes
    };
    let _ = write!(text, " ours{}, QEMU{}", hex(|d| d.1), hex(|d| d.2));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parity::case::{Image, Restart};

    fn case(machine: &'static str) -> Case {
        let restart = Restart::SystemReset;
        Case { machine, image: Image::Large, drives: false, cpus: 1, vga: false, virtio: None, restart }
    }

    fn with_log(log: &str) -> Evidence {
        Evidence { debug_log: log.to_owned(), ..Evidence::default() }
    }

    #[test]
    fn logs() {
        let check = |machine, ours: &str, theirs: &str, expect: &[&str]| {
            let found = compare(&case(machine), &with_log(ours), &with_log(theirs), &Allowed::default());
            assert_eq!(found.lines, expect, "{ours:?} against {theirs:?}");
        };
        check("pc-i440fx-1.4", "a\nb\n", "a\nb\n", &[]);
        check("pc-i440fx-1.4", "a\nc\n", "a\nb\n", &["log line 2, QEMU only: b", "log line 2, ours only: c"]);
        check("pc-i440fx-1.4", "a\n", "a\nb\n", &["log line 2, QEMU only: b"]);
        let (ours, theirs) = ("ACPI: parse DSDT at 1\n", "ACPI: parse DSDT at 2\n");
        check("pc-i440fx-7.2", ours, theirs, &[]);
        check(
            "pc-i440fx-1.4",
            ours,
            theirs,
            &["log line 1, QEMU only: ACPI: parse DSDT at 2", "log line 1, ours only: ACPI: parse DSDT at 1"],
        );
    }

    #[test]
    fn bytes() {
        let memory = |at: usize, value: u8| {
            let mut evidence = Evidence::default();
            evidence.power_on.bios_segments = vec![0; 0x100];
            evidence.power_on.bios_segments[at] = value;
            evidence
        };
        let allowed =
            Allowed::parse("[[bytes]]\narea='bios-segments'\nat=0xe0010\nlength=1\nowner='o'\ncause='c'\n")
                .expect("a good list");
        let check = |at, expect: &[&str]| {
            let found = compare(&case("pc-i440fx-7.2"), &memory(at, 1), &memory(at, 0), &allowed);
            assert_eq!(found.lines, expect);
        };
        check(0x10, &[]);
        check(0x11, &["after power-on: bios-segments e0011 ours 01, QEMU 00"]);
    }
}
