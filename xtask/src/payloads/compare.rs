//! `cargo xtask payloads --compare`: what a program prints on COM1 or shows on the screen here and in QEMU, on
//! the same images, line for line. Escape sequences and the times in front of a kernel's lines are left out; what else may differ is
//! a table of texts with reasons.

use std::collections::BTreeMap;

use similar::{ChangeTag, TextDiff};

use crate::{
    Failure,
    programs::{Program, QEMU, Says, screen},
    shell,
};

/// Lines that may differ, by a text they have, and why.
type Explained = [(&'static str, &'static str)];

/// Of both.
const EXPLAINED: &Explained = &[
    ("tsc", SPEED),
    ("BogoMIPS", SPEED),
    ("clocksource: ", SPEED),
    ("sched_clock: ", SPEED),
    ("audit: type=2000", DATE),
    ("setting system clock", DATE),
    ("][ ", DATE),
    ("cpu MHz", SPEED),
    ("CLK/Temp: ", SPEED),
    ("Status: Testing", SPEED),
    ("bogomips", SPEED),
    (" Testing: ", LOOK),
    (" Pattern:", LOOK),
    ("APIC calibration not consistent", SPEED),
    ("APIC delta adjusted", SPEED),
    ("Kernel Offset: ", PLACE),
    (" : Kernel ", PLACE),
    ("K available (", PLACE),
    ("deferred pages initialised", SPEED),
    ("hpet: Lost ", SPEED),
    ("RTC can wake from S4", TURN),
    ("Video ROM", "the option ROM that starts kernels is ours, of another length"),
    ("Freeing initrd memory", TURN),
    ("Trying to unpack rootfs image", TURN),
    ("AT Translated Set 2 keyboard", TURN),
];
/// Of QEMU's alone: ours must not have them.
const OF_QEMU: &Explained = &[("PM-Timer running at invalid rate", BUSY)];
const BUSY: &str = "the PM timer is held against the PIT: where the host is busy, QEMU's do not agree";
const LOOK: &str = "what of memory is being tested, and with what, when the screen is looked at";
const PLACE: &str = "where the kernel goes is drawn from its clock, and how much it leaves free with it";
const TURN: &str = "a thread of the kernel's says so at a time of its own";
const SPEED: &str = "a clock's speed is measured: ours is 1 GHz by definition, QEMU's is the host's";
const DATE: &str = "the date: ours is 2024-01-01 by definition, QEMU's is the host's";

/// Lines of which only the order may differ, by how they begin: threads of the kernel's look at drives.
const IN_ANY_ORDER: &[&str] = &["ata", "scsi ", "sd ", "sr ", " sda:", " sdb:"];

/// The task.
pub fn run(programs: impl IntoIterator<Item = &'static Program>) -> Result<(), Failure> {
    if !shell::is_installed(QEMU) {
        println!("payloads: {QEMU} is not installed: nothing was compared");
        return Ok(());
    }
    let mut wrong = Vec::new();
    for program in programs {
        if !program.is_here() {
            println!("payloads: {}: not here: `cargo xtask payloads` brings it", program.name);
            wrong.push(program.name);
        } else if !compare(program)? {
            wrong.push(program.name);
        }
    }
    match wrong.as_slice() {
        [] => Ok(()),
        _ => Err(format!("not as in QEMU: {}", wrong.join("; ")).into()),
    }
}

fn compare(program: &Program) -> Result<bool, Failure> {
    let ((_, theirs), (_, ours)) = (program.run_qemu(&[])?, program.run_here()?);
    // What comes after the milestone depends on when QEMU was ended.
    let said = |text: &str| match program.milestone {
        Says::Serial(end) => text.rfind(end).and_then(|at| text.get(..at)).unwrap_or(text).to_owned(),
        Says::Screen(_) => screen::plain(text),
    };
    let (theirs, ours) = (said(&theirs), said(&ours));
    let mut explained = BTreeMap::new();
    let theirs = lines(&theirs, &[EXPLAINED, OF_QEMU], &mut explained);
    let ours = lines(&ours, &[EXPLAINED], &mut explained);
    let difference = TextDiff::from_lines(&theirs, &ours);
    let changes: Vec<String> = difference
        .iter_all_changes()
        .filter(|change| change.tag() != ChangeTag::Equal)
        .map(|change| format!("    {} {}", change.tag(), change.value().trim_end()))
        .collect();
    let count = theirs.lines().count();
    println!("payloads: {}: {count} lines, {} differ from QEMU's", program.name, changes.len());
    changes.iter().for_each(|change| println!("{change}"));
    for (reason, lines) in explained {
        println!("    {lines} left out: {reason}");
    }
    Ok(changes.is_empty())
}

/// What is compared of a text.
fn lines(text: &str, reasons: &[&Explained], explained: &mut BTreeMap<&'static str, usize>) -> String {
    let mut kept = String::new();
    let mut in_any_order = Vec::new();
    for line in whole_lines(&plain(text)) {
        let line = without_time(&line).trim_end();
        match reasons.iter().copied().flatten().find(|(part, _)| line.contains(part)) {
            Some((_, reason)) => *explained.entry(*reason).or_default() += 1,
            None if line.is_empty() => {}
            None if IN_ANY_ORDER.iter().any(|start| line.starts_with(start)) => {
                in_any_order.push(format!("{line}\n"));
            }
            None => {
                kept.push_str(line);
                kept.push('\n');
            }
        }
    }
    in_any_order.sort();
    kept + &in_any_order.concat()
}

/// The text without a terminal's escape sequences (ECMA-48, 5.4) and carriage returns. One that moves the
/// cursor begins a line.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        match character {
            '\u{1b}' => match rest.next() {
                Some('[') => {
                    let last = rest.by_ref().find(|next| ('\u{40}'..='\u{7e}').contains(next));
                    if matches!(last, Some('A'..='H' | 'J')) {
                        plain.push('\n');
                    }
                }
                Some('(' | ')') => {
                    rest.next();
                }
                _ => {}
            },
            '\r' | '\u{e}' | '\u{f}' => {}
            _ => plain.push(character),
        }
    }
    plain
}

/// The text's lines. One that a kernel's line cuts in two, since it comes when it comes, is one again behind it.
fn whole_lines(text: &str) -> Vec<String> {
    let mut whole = Vec::new();
    let mut cut = String::new();
    for line in text.lines() {
        let mut behind = line.match_indices('[').map(|(at, _)| line.split_at(at));
        match behind.find(|(_, behind)| without_time(behind) != *behind) {
            Some((before, kernel)) => {
                cut.push_str(before);
                whole.push(kernel.to_owned());
            }
            None => whole.push(std::mem::take(&mut cut) + line),
        }
    }
    whole.extend(Some(cut).filter(|cut| !cut.is_empty()));
    whole
}

/// A kernel's line without `[    1.234567] `.
fn without_time(line: &str) -> &str {
    line.strip_prefix('[')
        .and_then(|rest| rest.split_once("] "))
        .map_or(line, |(time, rest)| if time.trim().parse::<f64>().is_ok() { rest } else { line })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::colours("\u{1b}[1m\u{1b}[37mESC\u{1b}[0m in", "ESC in\n")]
    #[case::cursor("a\u{1b}[05;01Hb", "a\nb\n")]
    #[case::time("[    0.123456] Linux\r\n[ none] x\r\n\r\n", "Linux\n[ none] x\n")]
    #[case::between("/ # ca[    1.5] a\n[    2.5] b\nt x\n", "a\nb\n/ # cat x\n")]
    #[case::character_set("\u{1b}(0lqk\u{1b}(B", "lqk\n")]
    #[case::explained("[    0.000000] tsc: Detected\nb", "b\n")]
    #[case::order("sr 1\nx\nscsi 0\ny", "x\ny\nscsi 0\nsr 1\n")]
    #[case::cut("a\u{1b}[", "a\n")]
    fn compared(#[case] text: &str, #[case] expect: &str) {
        assert_eq!(lines(text, &[EXPLAINED], &mut BTreeMap::new()), expect);
    }
}
