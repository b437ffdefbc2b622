//! Registers by name: states as JSON, taken apart into single values.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use warmboot_machine::Machine;

use super::{Change, ChipDiff, Side, ignore::Rules};

/// An array in which more elements than this differ is shown as one.
const ELEMENTS: usize = 64;
const GENERAL: [&str; 16] = [
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
    "r15",
];
const SEGMENTS: [&str; 6] = ["es", "cs", "ss", "ds", "fs", "gs"];

/// What is known of the machine as a whole.
pub(super) fn machine(before: &Machine, after: &Machine, rules: &mut Rules) -> Vec<Change> {
    let facts = |machine: &Machine| {
        let config = machine.config();
        json!({
            "type": machine.machine_type().name,
            "generation": machine.generation().name,
            "cpu": config.cpu.as_deref().unwrap_or(machine.machine_type().cpu),
            "cpus": config.cpus,
            "power": format!("{:?}", machine.power()).to_lowercase(),
            "resets": machine.resets(),
            "instructions": machine.instructions(),
            "virtual_time_ns": machine.virtual_time(),
        })
    };
    let mut changes = changes(Some(&facts(before)), Some(&facts(after)));
    changes.retain(|change| !rules.register("machine", &change.name));
    changes
}

/// The processors' registers. Those of the second on are called `cpu1.eax` and so on.
pub(super) fn cpu(before: &Machine, after: &Machine, rules: &mut Rules) -> Vec<Change> {
    let states = |machine: &Machine| -> Vec<Value> {
        machine.processors().filter_map(|state| serde_json::to_value(state).ok()).collect()
    };
    let (before, after) = (states(before), states(after));
    let mut all = Vec::new();
    for index in 0..before.len().max(after.len()) {
        let mut changes = changes(before.get(index), after.get(index));
        changes.iter_mut().for_each(|change| change.name = processor_name(&change.name));
        // What is ignored is ignored of each.
        changes.retain(|change| !rules.register("cpu", &change.name));
        if index > 0 {
            changes.iter_mut().for_each(|change| change.name.insert_str(0, &format!("cpu{index}.")));
        }
        all.extend(changes);
    }
    all
}

/// What a place in the processor's state is called.
pub(crate) fn processor_name(path: &str) -> String {
    let indexed = |names: &[&str], rest: &str| {
        let (index, more) = rest.split_once('.').map_or((rest, None), |(index, more)| (index, Some(more)));
        let name = index.parse::<usize>().ok().and_then(|index| names.get(index).copied())?;
        Some(match more {
            None | Some("selector") => name.to_owned(),
            Some(more) => format!("{name}.{more}"),
        })
    };
    let numeric = |rest: &str, prefix: &str, first: usize| {
        let (index, part) = rest.split_once('.')?;
        Some(format!("{prefix}{index}.{}", part.parse::<usize>().ok()? + first))
    };
    let named = match path.split_once('.') {
        Some(("fpu", "control")) => Some("fcw".to_owned()),
        Some(("fpu", "status")) => Some("fsw".to_owned()),
        Some(("fpu", "opcode")) => Some("fop".to_owned()),
        Some(("fpu", rest)) => rest
            .strip_prefix("registers.")
            .and_then(|rest| rest.strip_suffix(".significand"))
            .map(|index| format!("mm{index}")),
        Some(("sse", "mxcsr")) => Some("mxcsr".to_owned()),
        Some(("sse", rest)) => rest.strip_prefix("registers.").and_then(|rest| numeric(rest, "xmm", 0)),
        Some(("avx", "xcr0")) => Some("xcr0".to_owned()),
        // The upper halves; the lower ones are XMM0-XMM15.
        Some(("avx", rest)) => rest.strip_prefix("upper.").and_then(|rest| numeric(rest, "ymm", 2)),
        Some(("gpr", rest)) => indexed(&GENERAL, rest),
        Some(("segments", rest)) => indexed(&SEGMENTS, rest),
        Some(("dr", index)) => Some(format!("dr{index}")),
        Some((table @ ("ldtr" | "tr"), "selector")) => Some(table.to_owned()),
        None if path == "flags" => Some("eflags".to_owned()),
        None if path == "tsc_offset" => Some("tsc.offset".to_owned()),
        _ => None,
    };
    named.unwrap_or_else(|| path.to_owned())
}

/// Chips, in the order of the machine before, then those that only the machine after has.
pub(super) fn chips(before: &Machine, after: &Machine, rules: &mut Rules) -> Vec<ChipDiff> {
    let mut names: Vec<&str> = before.chips().collect();
    names.extend(after.chips().filter(|chip| !before.chips().any(|known| known == *chip)));
    let mut diffs = Vec::new();
    for chip in names {
        let (old, new) = (before.chip_state(chip), after.chip_state(chip));
        let only = match (&old, &new) {
            (Some(_), None) => Some(Side::Before),
            (None, Some(_)) => Some(Side::After),
            _ => None,
        };
        let mut registers = if only.is_some() { Vec::new() } else { changes(old.as_ref(), new.as_ref()) };
        registers.retain(|change| !rules.register("chip", &format!("{chip}.{}", change.name)));
        let shown = only.is_some() && !rules.register("chip", chip);
        if shown || !registers.is_empty() {
            diffs.push(ChipDiff { chip: chip.to_owned(), only, registers });
        }
    }
    diffs
}

/// Wires between the chips.
pub(super) fn wires(before: &Machine, after: &Machine, rules: &mut Rules) -> Vec<Change> {
    let mut changes = changes(Some(&before.wires()), Some(&after.wires()));
    changes.retain(|change| !rules.register("wires", &change.name));
    changes
}

/// Single values that differ, by their path.
pub(crate) fn changes(before: Option<&Value>, after: Option<&Value>) -> Vec<Change> {
    let mut found = Vec::new();
    compare(&mut String::new(), before, after, &mut found);
    found
}

fn compare(path: &mut String, before: Option<&Value>, after: Option<&Value>, found: &mut Vec<Change>) {
    if before == after {
        return;
    }
    match (before, after) {
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let names: BTreeMap<&String, ()> = old.keys().chain(new.keys()).map(|name| (name, ())).collect();
            for name in names.keys() {
                below(path, name, |path| compare(path, old.get(*name), new.get(*name), found));
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) if !is_one(old, new) => {
            for index in 0..old.len().max(new.len()) {
                below(path, &index.to_string(), |path| {
                    compare(path, old.get(index), new.get(index), found);
                });
            }
        }
        _ => found.push(Change { name: path.clone(), before: before.cloned(), after: after.cloned() }),
    }
}

/// Whether two arrays are contents rather than registers: of different lengths, or plain numbers of
/// which many differ.
fn is_one(old: &[Value], new: &[Value]) -> bool {
    let plain = old.iter().chain(new).all(|value| !value.is_object() && !value.is_array());
    let different = old.iter().zip(new).filter(|(old, new)| old != new).count();
    plain && (old.len() != new.len() || different > ELEMENTS)
}

fn below(path: &mut String, name: &str, call: impl FnOnce(&mut String)) {
    let length = path.len();
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(name);
    call(path);
    path.truncate(length);
}
