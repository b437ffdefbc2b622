//! Firmware that behaves at a reset as five SeaBIOS generations do, written from the facts alone.
//!
//! One recipe, of plain facts, makes one ROM; everything else is shared. What the recipes differ in is
//! what decides whether a machine comes back: whether POST notes that it has run, what it does when it
//! finds the note, where it takes a fresh copy of itself from, how it knows shadow RAM, how it resets
//! and switches off, and whether it resets a disk channel before it probes it.
//!
//! The ROMs see hardware only. They have 128 KiB; all code and most variables are in the last 64, seen
//! at F0000. To add one: a file with a `RECIPE` and a `ROM`, a line in [`ALL`] and in the crate's list.

mod ahci;
mod ata;
mod disks;
mod elf;
mod pci;
mod post;
mod reboot;
mod recipe;
mod services;
mod shadow;
mod words;

pub(crate) mod coreboot;
pub(crate) mod el6;
pub(crate) mod el6_fixed;
pub(crate) mod v0_6_1;
pub(crate) mod v1_12;
pub(crate) mod v244caf86;
pub(crate) mod v400c66cd;

pub use recipe::*;

use crate::assemble::{BuildError, Built, Image, assemble};

/// Every recipe, in the order of the generations.
pub const ALL: &[&Recipe] = &[
    &v0_6_1::RECIPE,
    &el6::RECIPE,
    &el6_fixed::RECIPE,
    &v244caf86::RECIPE,
    &v400c66cd::RECIPE,
    &v1_12::RECIPE,
    &coreboot::RECIPE,
];

/// 128 KiB, which is what an ISA machine and a migration's copy rule take.
const SIZE: usize = 0x2_0000;
/// Where the image's last byte but one lies, from its first: what is at E0000 is at 0.
const BASE: u32 = 0xe_0000;
/// Offsets in the F-segment.
const CODE_AT: u32 = 0x8000;
const TEXTS_AT: u32 = 0xb000;
/// Where PC firmware has its entry point since the IBM PC.
const ENTRY_AT: u32 = 0xe05b;

/// A ROM and its symbols.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rom {
    /// 128 KiB.
    pub bytes: Vec<u8>,
    /// An ELF file: the image as a section at E0000, variables and code as symbols with sizes.
    pub elf: Vec<u8>,
}

/// The recipe of the ROM called `name`.
#[must_use]
pub fn find(name: &str) -> Option<&'static Recipe> {
    ALL.iter().copied().find(|recipe| recipe.name == name)
}

/// Makes a ROM, without the steps in `disabled`.
///
/// # Errors
/// Only for a recipe that is wrong in itself.
pub fn build(recipe: &Recipe, disabled: &Disabled) -> Result<Rom, BuildError> {
    let plan = Plan { recipe, disabled };
    let assembled = assemble(SIZE, 0, |image| write(image, &plan))?;
    let elf = elf::write(&assembled, recipe.variables);
    Ok(Rom { bytes: assembled.bytes, elf })
}

/// The bytes and the symbols of a complete ROM.
fn bytes(recipe: &Recipe) -> Built<Vec<u8>> {
    Ok(build(recipe, &Disabled::default())?.bytes)
}

fn symbols(recipe: &Recipe) -> Built<Vec<u8>> {
    Ok(build(recipe, &Disabled::default())?.elf)
}

/// What is being built.
struct Plan<'a> {
    recipe: &'a Recipe,
    disabled: &'a Disabled,
}

fn write(image: &mut Image, plan: &Plan) -> Built {
    let segment = (SIZE - 0x1_0000) as u32;
    image.texts_at((segment + TEXTS_AT) as usize, TEXTS_AT);
    image.code(16, (segment + CODE_AT) as usize, CODE_AT, |b| {
        words::write(b, plan)?;
        pci::write_bytes(b)?;
        shadow::write_routines(b, plan)?;
        reboot::write_routines(b, plan)?;
        post::write(b, plan)?;
        ata::write(b, plan)?;
        if plan.recipe.ahci {
            ahci::write(b, plan)?;
        }
        disks::write(b, plan)?;
        services::write(b, plan)
    })?;
    image.code(16, (segment + ENTRY_AT) as usize, ENTRY_AT, |b| reboot::write_entry(b, plan))?;
    for variable in plan.recipe.variables {
        image.put((variable.at - BASE) as usize, &vec![0; variable.size as usize])?;
    }
    match plan.recipe.entry {
        Entry::Cmos | Entry::HaveRunPost => image.reset_vector("entry_post"),
        Entry::Bootblock => image.near_reset_vector("bootblock"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use goblin::elf::{Elf, sym};
    use rstest::rstest;

    /// The bytes of a symbol, by way of the file's own section.
    fn bytes_of<'a>(elf: &Elf, file: &'a [u8], name: &str) -> Option<&'a [u8]> {
        let symbol = elf.syms.iter().find(|symbol| elf.strtab.get_at(symbol.st_name) == Some(name))?;
        let section = elf.section_headers.get(symbol.st_shndx)?;
        let at = usize::try_from(section.sh_offset + symbol.st_value - section.sh_addr).ok()?;
        file.get(at..at + usize::try_from(symbol.st_size).ok()?)
    }

    #[rstest]
    fn symbols_lie_where_the_bytes_are(#[values(0, 1, 2, 3, 4, 5, 6)] number: usize) {
        let recipe = ALL[number];
        let rom = build(recipe, &Disabled::default()).unwrap();
        let elf = Elf::parse(&rom.elf).unwrap();
        let segment = &elf.program_headers[0];
        assert_eq!((segment.p_vaddr, segment.p_filesz), (0xe_0000, 0x2_0000));
        assert_eq!(&rom.elf[segment.file_range()], rom.bytes);
        for variable in recipe.variables {
            let found = bytes_of(&elf, &rom.elf, variable.name);
            assert_eq!(found, Some(&vec![0; variable.size as usize][..]), "{}", variable.name);
        }
        // CLI; CLD. STI; NOP; PAUSE. HLT in a loop.
        for (name, begins) in [
            ("entry_post", &[0xfa, 0xfc][..]),
            ("yield", &[0xfb, 0x90, 0xf3, 0x90]),
            ("halted", &[0xfa, 0xf4]),
        ] {
            let found = bytes_of(&elf, &rom.elf, name).unwrap();
            assert!(found.starts_with(begins), "{name}: {found:x?}");
        }
        for symbol in elf.syms.iter().skip(1) {
            let function = symbol.st_type() == sym::STT_FUNC;
            assert!(function || symbol.st_type() == sym::STT_OBJECT);
            assert!((0xe_0000..0x10_0000).contains(&symbol.st_value) && symbol.st_size > 0);
        }
    }

    /// The flags are variables with a symbol, and nothing else lies on them.
    #[test]
    fn what_code_uses_is_named() {
        for recipe in ALL {
            let named = |at: u32, size: u32| {
                recipe
                    .variables
                    .iter()
                    .any(|variable| variable.at <= at && at + size <= variable.at + variable.size)
            };
            let lists = &recipe.lists;
            for (at, size) in
                [(lists.boot_count, 1), (lists.cd_count, 1), (lists.id_map, 8), (lists.heap, 0x80)]
            {
                assert!(named(at, size), "{}: {at:x}", recipe.name);
            }
            assert!(named(lists.pm1a_control, 2));
            for (name, flag) in
                [("HaveRunPost", recipe.have_run_post), ("HaveAttemptedReboot", recipe.have_attempted_reboot)]
            {
                let variable = recipe.variables.iter().find(|variable| variable.name == name);
                assert_eq!(variable.map(|variable| variable.at), flag, "{}: {name}", recipe.name);
            }
        }
    }

    #[rstest]
    #[case::copy("reset-0.6.1", Disabled { copy: true, ..Disabled::default() })]
    #[case::copy_244("reset-244caf86", Disabled { copy: true, ..Disabled::default() })]
    #[case::copy_coreboot("reset-coreboot", Disabled { copy: true, ..Disabled::default() })]
    #[case::srst("reset-el6-fixed", Disabled { srst: true, ..Disabled::default() })]
    #[case::have_run_post("reset-1.12", Disabled { have_run_post: true, ..Disabled::default() })]
    fn a_step_left_out_is_left_out(#[case] name: &str, #[case] disabled: Disabled) {
        let recipe = find(name).unwrap();
        assert_ne!(build(recipe, &disabled).unwrap().bytes, bytes(recipe).unwrap());
    }
}
