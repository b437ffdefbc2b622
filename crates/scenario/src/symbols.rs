//! Names for memory: the symbols of the ELF files a case names.

use std::{fs, io::Read};

use warmboot_inspect::symbols::{LARGEST_FILE, SymbolFile, Symbols};

use crate::{
    problem::InputError,
    spec::{MachineSpec, Places},
};

/// The symbols of the files that `spec` names.
///
/// # Errors
/// One sentence about the first that is not there or is no ELF file with symbols.
pub fn of(spec: &MachineSpec, places: &Places) -> Result<Symbols, InputError> {
    let mut symbols = Symbols::default();
    for text in &spec.symbols {
        let file: SymbolFile = text.parse().map_err(InputError::said)?;
        let path = places.resolve(&file.path);
        let fail =
            |error: std::io::Error| InputError(format!("cannot read symbols `{}`: {error}", path.display()));
        let mut bytes = Vec::new();
        let most = LARGEST_FILE as u64 + 1;
        fs::File::open(&path).and_then(|file| file.take(most).read_to_end(&mut bytes)).map_err(fail)?;
        symbols.add_elf(&path.display().to_string(), &bytes, &file.bases).map_err(InputError::said)?;
    }
    Ok(symbols)
}
