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
    let mut section = |title: &str, rows: Vec<(String, String)>| {
        let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        text.push_str(title);
        text.push('\n');
        for (name, about) in rows {
            text.push_str(&format!("  {name:width$}  {about}\n"));
        }
        text.push('\n');
    };
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
        "CPU models (--cpu); x87, SSE and long mode raise #UD so far, whatever CPUID says:",
        machine::cpu_models::MODELS.iter().map(|cpu| row(cpu.name, cpu.about)).collect(),
    );
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
