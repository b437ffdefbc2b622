//! Writes one of our images to a file, for use with other emulators, and its symbols beside it with the
//! ending `.elf` if it has some:
//! `cargo run -p warmboot-test-roms --example write -- hello hello.bin`; without arguments, lists them.

use std::{env, error::Error, fs, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [name, path] = arguments.as_slice() else {
        for rom in warmboot_test_roms::all() {
            println!("{:14} {}", rom.name, rom.about);
        }
        return Ok(());
    };
    let rom = warmboot_test_roms::find(name).ok_or("no such image")?;
    fs::write(path, (rom.build)()?)?;
    if let Some(symbols) = rom.symbols {
        fs::write(Path::new(path).with_extension("elf"), symbols()?)?;
    }
    Ok(())
}
