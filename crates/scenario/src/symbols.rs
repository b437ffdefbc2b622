//! Names for memory: the symbols of the ELF files that a case or the command names, and those that
//! our own firmware brings.

use std::{fs, io::Read};

use warmboot_inspect::symbols::{Bases, LARGEST_FILE, SymbolFile, Symbols};

use crate::{
    problem::InputError,
    spec::{MachineSpec, Places},
};

/// The symbols of the files that `spec` names, and those of its firmware.
///
/// # Errors
/// As [`load`].
pub fn of(spec: &MachineSpec, places: &Places) -> Result<Symbols, InputError> {
    load(&spec.symbols, &spec.firmware, places)
}

/// The symbols of `files`, each `FILE[,base=ADDRESS][,section=NAME=ADDRESS][,segment=N=ADDRESS]`, and
/// those of `firmware` if that is a `rom:NAME` which has some.
///
/// # Errors
/// One sentence about the first that is not there or is no ELF file with symbols.
pub fn load(files: &[String], firmware: &str, places: &Places) -> Result<Symbols, InputError> {
    let mut symbols = Symbols::default();
    for text in files {
        let file: SymbolFile = text.parse().map_err(InputError::said)?;
        let path = places.resolve(&file.path);
        let fail =
            |error: std::io::Error| InputError(format!("cannot read symbols `{}`: {error}", path.display()));
        let mut bytes = Vec::new();
        let most = LARGEST_FILE as u64 + 1;
        fs::File::open(&path).and_then(|file| file.take(most).read_to_end(&mut bytes)).map_err(fail)?;
        symbols.add_elf(&path.display().to_string(), &bytes, &file.bases).map_err(InputError::said)?;
    }
    let ours = firmware.strip_prefix("rom:").and_then(warmboot_test_roms::find);
    if let Some(build) = ours.and_then(|rom| rom.symbols) {
        let bytes = build().map_err(InputError::said)?;
        symbols.add_elf(firmware, &bytes, &Bases::default()).map_err(InputError::said)?;
    }
    Ok(symbols)
}
