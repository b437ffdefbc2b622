//! `cargo xtask memory-map`: what answers each address, in QEMU (`info mtree -f`) and here.
//!
//! The same SeaBIOS runs in both. The views `memory`, `cpu-smm-0` and `I/O` are compared before its
//! first instruction, when it has found nothing to boot, and after a system reset: kinds, names,
//! priorities, offsets, and where each range ends. What is left out on purpose is named in
//! `xtask/memory-map-allowed.toml` and nowhere else.

mod allowed;
mod views;

use std::path::Path;

use allowed::Allowed;
use views::Views;

use crate::parity::{ParityError, ours, qemu};

/// The machine types that are compared, with the firmware each takes, and whether there is a VGA.
const MACHINES: [(&str, &str, bool); 5] = [
    ("pc-i440fx-7.2", "bios-256k.bin", false),
    ("pc-i440fx-7.2", "bios-256k.bin", true),
    ("isapc", "bios.bin", false),
    ("pc-i440fx-1.4", "bios-256k.bin", false),
    ("pc-i440fx-1.4", "bios-256k.bin", true),
];

/// When the views are looked at.
const MOMENTS: [&str; 3] = ["before POST", "after POST", "after a reset"];

/// The task. Without QEMU or without firmware it says so and succeeds.
pub fn run(arguments: &[String]) -> Result<(), ParityError> {
    let wanted = match arguments {
        [] => None,
        [option, name] if option == "--machine" => Some(name.as_str()),
        _ => return Err(ParityError::Usage("usage: cargo xtask memory-map [--machine NAME]".to_owned())),
    };
    let allowed = Allowed::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("memory-map-allowed.toml"))?;
    let Some(version) = qemu::version() else {
        println!("skipped: QEMU is not installed (Debian: qemu-system-x86)");
        return Ok(());
    };
    println!("{version}; {} ranges may differ", allowed.len());
    let machines: Vec<_> = match wanted {
        None => MACHINES.to_vec(),
        Some(name) => {
            let known: Vec<_> = MACHINES.iter().copied().filter(|(known, ..)| *known == name).collect();
            if known.is_empty() { vec![(name, "bios-256k.bin", false)] } else { known }
        }
    };
    let mut differing = 0;
    for (machine, image, vga) in &machines {
        let Some(firmware) = crate::parity::find_firmware(None, image) else {
            println!("skipped: {image} is not here (Debian: seabios)");
            continue;
        };
        let theirs = qemu::memory_maps(machine, *vga, &firmware)?;
        let ours = ours::memory_maps(machine, *vga, &firmware)?;
        let name = format!("{machine}{}", if *vga { " with a VGA" } else { "" });
        for (moment, (our, their)) in MOMENTS.iter().zip(ours.iter().zip(&theirs)) {
            let our = Views::parse(our).map_err(ParityError::Ours)?;
            let their = Views::parse(their).map_err(ParityError::Qemu)?;
            let found = views::differences(&our, &their, &allowed);
            let word = if found.is_empty() { "equal" } else { "DIFFERS" };
            println!("{name}, {moment}: {word}; {} ranges", their.count());
            found.iter().for_each(|line| println!("    {line}"));
            differing += usize::from(!found.is_empty());
        }
    }
    if differing > 0 {
        return Err(ParityError::Differs(differing, machines.len() * MOMENTS.len()));
    }
    Ok(())
}
