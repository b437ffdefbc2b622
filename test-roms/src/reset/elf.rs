//! The symbol table as an ELF file (System V ABI, chapter 4), for gdb, nm and our own reports.

use object::{
    Endianness, elf,
    write::elf::{FileHeader, ProgramHeader, SectionHeader, Sym, Writer},
};

use super::{BASE, Variable, words::SEGMENT};
use crate::assemble::Assembled;

/// The image as one section and one segment at E0000; a symbol for each variable and each named place
/// in the code, whose size reaches to the next one.
pub(super) fn write(assembled: &Assembled, variables: &[Variable]) -> Vec<u8> {
    let mut symbols = code_symbols(assembled);
    symbols.extend(variables.iter().map(|variable| Symbol {
        name: variable.name,
        kind: elf::STT_OBJECT,
        at: variable.at,
        size: variable.size,
    }));
    let mut file = Vec::new();
    // The writer fails only for files of 4 GiB; ours has 128 KiB and a few.
    let written = write_file(&mut Writer::new(Endianness::Little, false, &mut file), assembled, &symbols);
    if written.is_err() {
        file.clear();
    }
    file
}

struct Symbol<'a> {
    name: &'a str,
    kind: u8,
    at: u32,
    size: u32,
}

fn code_symbols(assembled: &Assembled) -> Vec<Symbol<'_>> {
    // Names with a plus sign are places that the assembler named.
    let named = || assembled.names.iter().filter(|(name, _)| !name.contains('+'));
    let mut places: Vec<u32> = named().map(|(_, at)| *at).chain(assembled.ends.iter().copied()).collect();
    places.sort_unstable();
    let mut symbols: Vec<Symbol> = named()
        .map(|(name, &at)| {
            let end = places.iter().copied().find(|place| *place > at).unwrap_or(at);
            Symbol { name, kind: elf::STT_FUNC, at: SEGMENT + at, size: end - at }
        })
        .collect();
    symbols.sort_by_key(|symbol| (symbol.at, symbol.name));
    symbols
}

fn write_file<'a>(
    writer: &mut Writer<'a>,
    assembled: &Assembled,
    symbols: &'a [Symbol],
) -> object::write::Result<()> {
    let names: Vec<_> = symbols.iter().map(|symbol| writer.add_string(symbol.name.as_bytes())).collect();
    let section_name = writer.add_section_name(b".rom");
    writer.reserve_file_header();
    writer.reserve_program_headers(1);
    let section = writer.reserve_section_index();
    let at = writer.reserve(assembled.bytes.len(), 16);
    writer.reserve_null_symbol_index();
    for _ in symbols {
        writer.reserve_symbol_index(Some(section));
    }
    writer.reserve_symtab_section_index();
    writer.reserve_symtab();
    writer.reserve_strtab_section_index();
    writer.reserve_strtab();
    writer.reserve_shstrtab_section_index();
    writer.reserve_shstrtab();
    writer.reserve_section_headers();

    let size = assembled.bytes.len() as u64;
    writer.write_file_header(&FileHeader {
        os_abi: elf::ELFOSABI_NONE,
        abi_version: 0,
        e_type: elf::ET_EXEC,
        e_machine: elf::EM_386,
        e_entry: u64::from(SEGMENT) + 0xfff0,
        e_flags: 0,
    })?;
    writer.write_align_program_headers();
    writer.write_program_header(&ProgramHeader {
        p_type: elf::PT_LOAD,
        p_flags: elf::PF_R | elf::PF_W | elf::PF_X,
        p_offset: at as u64,
        p_vaddr: u64::from(BASE),
        p_paddr: u64::from(BASE),
        p_filesz: size,
        p_memsz: size,
        p_align: 16,
    });
    writer.write_align(16);
    writer.write(&assembled.bytes);
    writer.write_null_symbol();
    for (symbol, name) in symbols.iter().zip(names) {
        writer.write_symbol(&Sym {
            name: Some(name),
            section: Some(section),
            st_info: elf::STB_GLOBAL << 4 | symbol.kind,
            st_other: elf::STV_DEFAULT,
            st_shndx: 0,
            st_value: u64::from(symbol.at),
            st_size: u64::from(symbol.size),
        });
    }
    writer.write_strtab();
    writer.write_shstrtab();
    writer.write_null_section_header();
    writer.write_section_header(&SectionHeader {
        name: Some(section_name),
        sh_type: elf::SHT_PROGBITS,
        sh_flags: u64::from(elf::SHF_ALLOC | elf::SHF_WRITE | elf::SHF_EXECINSTR),
        sh_addr: u64::from(BASE),
        sh_offset: at as u64,
        sh_size: size,
        sh_link: 0,
        sh_info: 0,
        sh_addralign: 16,
        sh_entsize: 0,
    });
    writer.write_symtab_section_header(1);
    writer.write_strtab_section_header();
    writer.write_shstrtab_section_header();
    Ok(())
}
