//! `warmboot machines`: what can be chosen, and how the choices differ.

use std::path::PathBuf;

use clap::Args;
use warmboot::{
    ResetPath, machine,
    scenario::{firmware, problem::InputError},
    test_roms,
};

use super::{Outcome, arguments, output};

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Look for firmware here first
    #[arg(long, value_name = "FOLDER")]
    firmware_dir: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Outcome, InputError> {
    let places = arguments::places(arguments.firmware_dir.as_ref())?;
    let mut text = String::new();
    let mut section = |title: &str, rows: Vec<(String, String)>| list(&mut text, title, rows);
    let row = |name: &str, about: &str| (name.to_owned(), about.to_owned());
    section(
        "Machine types (--machine):",
        machine::machine_types::ALL.iter().map(|machine| row(machine.name, machine.about)).collect(),
    );
    section(
        "Emulator generations (--emulator):",
        machine::generations::ALL.iter().map(|generation| row(generation.name, generation.about)).collect(),
    );
    section(
        "CPU models (--cpu); an instruction that CPUID does not offer raises #UD:",
        machine::cpu_models::MODELS.iter().map(|cpu| row(cpu.name, cpu.about)).collect(),
    );
    compare_many(&mut text, "How machine types differ", &machine_type_facts());
    compare(&mut text, "What emulator generations do", &generation_facts());
    reset_tables(&mut text);
    compare(&mut text, "How CPU models differ (as CPUID says)", &cpu_facts());
    let mut section = |title: &str, rows: Vec<(String, String)>| list(&mut text, title, rows);
    section(
        "Firmware (--firmware, --option-rom):",
        firmware::KNOWN
            .iter()
            .map(|known| {
                let place = firmware::locate(known, &places).map_or_else(
                    || format!("not here; package {}", known.package),
                    |path| path.display().to_string(),
                );
                (known.name.to_owned(), format!("{} — {place}", known.about))
            })
            .collect(),
    );
    section(
        "Our own images (rom:NAME, for --firmware or --drive):",
        test_roms::all().iter().map(|rom| (format!("rom:{}", rom.name), rom.about.to_owned())).collect(),
    );
    let paths: Vec<&str> = ResetPath::ALL.iter().map(|(name, _)| *name).collect();
    text.push_str(&format!("Reset paths (--reset):\n  {}\n", paths.join(", ")));
    output::print(text.as_bytes())?;
    Ok(Outcome::Expected)
}

/// Prints names with a sentence each.
fn list(text: &mut String, title: &str, rows: Vec<(String, String)>) {
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    text.push_str(title);
    text.push('\n');
    for (name, about) in rows {
        text.push_str(&format!("  {name:width$}  {about}\n"));
    }
    text.push('\n');
}

/// One thing that can be chosen: its name, and each field with its value.
type Facts = (&'static str, Vec<(&'static str, String)>);

/// Prints a column for each choice and a line for each field.
fn compare(text: &mut String, title: &str, choices: &[Facts]) {
    let fields = choices.first().map(|(_, facts)| facts.as_slice()).unwrap_or_default();
    let width = fields.iter().map(|(field, _)| field.chars().count()).max().unwrap_or(0);
    text.push_str(&format!("{title}:\n"));
    let mut lines = vec![format!("  {:width$}", "")];
    lines.extend(fields.iter().map(|(field, _)| format!("  {field:width$}")));
    for (name, facts) in choices {
        let values = std::iter::once(*name).chain(facts.iter().map(|(_, value)| value.as_str()));
        let values: Vec<&str> = values.collect();
        let column = values.iter().map(|value| value.chars().count()).max().unwrap_or(0);
        for (line, value) in lines.iter_mut().zip(values) {
            line.push_str(&format!("  {value:column$}"));
        }
    }
    for line in lines {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.push('\n');
}

/// Prints a line for each choice and a column for each field: for choices that are many.
fn compare_many(text: &mut String, title: &str, choices: &[Facts]) {
    let fields = choices.first().map(|(_, facts)| facts.as_slice()).unwrap_or_default();
    let header: Vec<&str> = std::iter::once("").chain(fields.iter().map(|(field, _)| *field)).collect();
    let rows = choices.iter().map(|(name, facts)| {
        std::iter::once(*name).chain(facts.iter().map(|(_, value)| value.as_str())).collect()
    });
    let rows: Vec<Vec<&str>> = std::iter::once(header).chain(rows).collect();
    let columns = fields.len() + 1;
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    text.push_str(&format!("{title}:\n"));
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("  {cell:width$}"));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.push('\n');
}

fn yes(flag: bool) -> String {
    if flag { "yes" } else { "no" }.to_owned()
}

fn machine_type_facts() -> Vec<Facts> {
    use machine::machine_types::{FileBlocks, SmbiosContents};
    let facts = |machine: &&'static machine::MachineType| {
        let facts = vec![
            ("CPU", machine.cpu.to_owned()),
            ("APIC", format!("{:02x}", machine.local_apic_version)),
            ("I/O APIC", machine.io_apic_version.map_or("-".to_owned(), |version| format!("{version:02x}"))),
            ("HPET", yes(machine.hpet)),
            ("below 4G", format!("{} MiB", machine.memory_split.below >> 20)),
            ("ROM", if machine.firmware_writable { "plain RAM" } else { "as generation" }.to_owned()),
            ("TCG leaf", yes(machine.tcg_named)),
            ("DMA", yes(machine.fw_cfg.dma)),
            ("files", format!("{} of {}", machine.fw_cfg.files.len(), machine.fw_cfg.slots)),
            (
                "file blocks",
                match machine.file_blocks {
                    FileBlocks::None => "none",
                    FileBlocks::Tables => "tables",
                    FileBlocks::TablesAndOptionRoms => "tables, option ROMs",
                }
                .to_owned(),
            ),
            (
                "ACPI tables",
                machine
                    .acpi
                    .map_or("firmware's".to_owned(), |acpi| format!("{} KiB", acpi.tables_bytes >> 10)),
            ),
            (
                "SMBIOS",
                match machine.smbios {
                    SmbiosContents::Nothing => "firmware's",
                    SmbiosContents::Strings { .. } => "strings",
                    SmbiosContents::Tables { .. } => "tables",
                }
                .to_owned(),
            ),
            ("floppy", format!("{:?}", machine.floppy)),
            ("shadows after incoming", yes(machine.shadow_bios_after_incoming)),
            ("offered by", machine.generations.join(", ")),
        ];
        (machine.name, facts)
    };
    machine::machine_types::ALL.iter().map(facts).collect()
}

fn generation_facts() -> Vec<Facts> {
    machine::generations::ALL.iter().map(|generation| (generation.name, generation.facts())).collect()
}

/// Who resets what: a table for each generation; generations of the same table share one.
fn reset_tables(text: &mut String) {
    let mut tables: Vec<(Vec<&str>, Vec<machine::PathFacts>)> = Vec::new();
    for generation in machine::generations::ALL {
        let rows = generation.path_facts();
        match tables.iter_mut().find(|(_, known)| *known == rows) {
            Some((names, _)) => names.push(generation.name),
            None => tables.push((vec![generation.name], rows)),
        }
    }
    for (names, rows) in tables {
        text.push_str(&format!("Who resets what on {}:\n", names.join(", ")));
        let titles = rows.first().map(|row| row.columns().map(|(title, _)| title.to_owned()).to_vec());
        let values = rows.iter().map(|row| row.columns().map(|(_, value)| value.to_owned()).to_vec());
        let lines: Vec<Vec<String>> = titles.into_iter().chain(values).collect();
        let widths = lines.iter().fold(Vec::new(), |mut widths: Vec<usize>, line| {
            widths.resize(line.len().max(widths.len()), 0);
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = (*width).max(cell.chars().count());
            }
            widths
        });
        for line in lines {
            let cells = line.iter().zip(&widths).map(|(cell, width)| format!("  {cell:width$}"));
            text.push_str(cells.collect::<String>().trim_end());
            text.push('\n');
        }
        text.push('\n');
    }
}

fn cpu_facts() -> Vec<Facts> {
    let facts = |model: &&'static machine::cpu_models::Model| {
        let leaf = |function| model.cpuid(function, 0, 0, true);
        let [highest, b, c, d] = leaf(0);
        let vendor: Vec<u8> = [b, d, c].iter().flat_map(|word| word.to_le_bytes()).collect();
        let [signature, _, ecx, edx] = leaf(1);
        let [extended_highest, ..] = leaf(0x8000_0000);
        let extended = if extended_highest >= 0x8000_0001 { leaf(0x8000_0001) } else { [0; 4] };
        let hex = |value: u32| format!("{value:#010x}");
        let facts = vec![
            ("vendor", String::from_utf8_lossy(&vendor).into_owned()),
            ("signature", hex(signature)),
            ("highest leaf", format!("{highest:#x}")),
            (
                "highest extended leaf",
                if extended_highest == 0 { "none".to_owned() } else { hex(extended_highest) },
            ),
            ("leaf 1 ECX", hex(ecx)),
            ("leaf 1 EDX", hex(edx)),
            ("leaf 80000001 ECX", hex(extended[2])),
            ("leaf 80000001 EDX", hex(extended[3])),
            ("physical address bits", model.physical_bits.to_string()),
            ("settable bits of CR4", format!("{:#x}", model.cr4)),
            (
                "settable bits of EFER",
                if model.efer() == 0 { "none".to_owned() } else { format!("{:#x}", model.efer()) },
            ),
            ("SMM state save map", format!("{:?}", model.save_map)),
        ];
        (model.name, facts)
    };
    machine::cpu_models::MODELS.iter().map(facts).collect()
}
