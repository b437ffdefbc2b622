//! Names for addresses: the symbol tables of ELF files, at the addresses where the code runs.
//!
//! A linker gives each symbol a value; where that value is in the machine depends on the file. A file
//! linked at its run addresses (SeaBIOS' `out/rom.o`, which has `HaveRunPost` at F7290h) needs
//! nothing. A 16-bit object whose values are offsets in its segment needs that segment's base; a
//! relocatable object, whose values are offsets in their section, needs the sections' addresses.
//! [`Bases`] says all of that.
//!
//! A PC has its BIOS twice: below 1 MiB and below 4 GiB. A symbol of the one names the other too, and
//! says so: `HaveRunPost (high copy)`.
//!
//! Formats: System V ABI, chapter 4 (sections, symbol table).

use std::{collections::BTreeMap, fmt, str::FromStr};

use goblin::{
    container::Ctx,
    elf::{
        Elf, header,
        program_header::ProgramHeader,
        section_header::{self, SectionHeader},
        sym::{self, Sym},
    },
};
use serde::Serialize;
use thiserror::Error;

/// From an address below 1 MiB to the same byte of the BIOS below 4 GiB.
pub const HIGH_COPY: u64 = 0xfff0_0000;
/// The part of the low megabyte that is seen again below 4 GiB.
const COPIED: std::ops::Range<u64> = 0xe_0000..0x10_0000;
/// Largest ELF file looked into.
pub const LARGEST_FILE: usize = 256 << 20;
/// Most symbols taken from one file.
const MOST_SYMBOLS: usize = 1 << 20;
/// Longer names than this are nobody's.
const LONGEST_NAME: usize = 1024;
/// How deeply a lookup follows symbols that lie within symbols.
const DEEPEST: usize = 64;
/// A name this far (in edits) from a known one is taken for a slip.
const NEAREST: usize = 3;

/// What is wrong with an ELF file or with what was said about it.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum SymbolError {
    /// Not an ELF file, or one whose tables do not lie within it.
    #[error("`{file}` is no ELF file that can be read: {why}")]
    Malformed {
        /// The file, as it was given.
        file: String,
        /// What is wrong with it.
        why: String,
    },
    /// It has no symbol table.
    #[error("`{file}` has no symbol table: it was stripped")]
    Stripped {
        /// The file, as it was given.
        file: String,
    },
    /// More than is read.
    #[error("`{file}` is too large: {what}")]
    TooLarge {
        /// The file, as it was given.
        file: String,
        /// What there is too much of.
        what: String,
    },
    /// A base was given for a section or segment that the file does not have.
    #[error("`{file}` has no {what}; it has {known}")]
    Unknown {
        /// The file, as it was given.
        file: String,
        /// The section or segment asked for.
        what: String,
        /// Those it has.
        known: String,
    },
    /// `--symbols` does not say what it should.
    #[error(
        "symbols `{text}`: {why}; expected FILE[,base=ADDRESS][,section=NAME=ADDRESS][,segment=N=ADDRESS]"
    )]
    Argument {
        /// What was given.
        text: String,
        /// What is wrong with it.
        why: String,
    },
}

/// Where a file's symbols are in the machine, where that differs from what the file says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Bases {
    /// Added to every value that no section or segment below decides.
    pub base: u64,
    /// Addresses of sections, by name.
    pub sections: Vec<(String, u64)>,
    /// Addresses of segments, by their number in the program header table.
    pub segments: Vec<(usize, u64)>,
}

/// One `--symbols` argument: a file and its bases.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SymbolFile {
    /// Path of the file.
    pub path: String,
    /// Where its symbols are.
    pub bases: Bases,
}

impl FromStr for SymbolFile {
    type Err = SymbolError;

    /// `FILE[,base=0xADDRESS][,section=.text=0xADDRESS][,segment=0=0xADDRESS]`.
    fn from_str(text: &str) -> Result<SymbolFile, SymbolError> {
        let bad = |why: String| SymbolError::Argument { text: text.to_owned(), why };
        let mut parts = text.split(',');
        let path = parts.next().unwrap_or_default().to_owned();
        if path.is_empty() {
            return Err(bad("there is no file name".to_owned()));
        }
        let mut bases = Bases::default();
        for part in parts {
            let (kind, rest) = part.split_once('=').unwrap_or((part, ""));
            let address = |digits: &str| {
                number(digits).ok_or_else(|| bad(format!("`{digits}` is no address such as 0xf0000")))
            };
            match (kind, rest.rsplit_once('=')) {
                ("base", _) => bases.base = address(rest)?,
                ("section", Some((name, digits))) if !name.is_empty() => {
                    bases.sections.push((name.to_owned(), address(digits)?));
                }
                ("segment", Some((index, digits))) => {
                    let index = index.parse().map_err(|_| bad(format!("`{index}` is no segment number")))?;
                    bases.segments.push((index, address(digits)?));
                }
                _ => return Err(bad(format!("`{part}` is not understood"))),
            }
        }
        Ok(SymbolFile { path, bases })
    }
}

/// A number as options spell it: decimal, or hexadecimal after `0x`.
pub(crate) fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) if !digits.starts_with('+') => u64::from_str_radix(digits, 16).ok(),
        None if !text.starts_with('+') => text.parse().ok(),
        _ => None,
    }
}

/// What an address is called: a symbol and how far behind its beginning.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct Place<'a> {
    /// The symbol.
    pub name: &'a str,
    /// Bytes from its beginning.
    pub offset: u64,
    /// Its size; zero when its file does not say, and then it reaches to the next symbol.
    pub size: u64,
    /// The address is that of the copy below 4 GiB of what the file has below 1 MiB.
    pub high_copy: bool,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.offset {
            0 => write!(f, "{}+0", self.name)?,
            offset => write!(f, "{}+{offset:#x}", self.name)?,
        }
        if self.high_copy { f.write_str(" (high copy)") } else { Ok(()) }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Symbol {
    address: u64,
    size: u64,
    /// First address behind it; for one of unknown size, where the next symbol or its section ends it.
    end: u64,
    name: String,
    /// The symbol that this one lies within.
    parent: Option<usize>,
    /// A bare number (`SHN_ABS`): found by name, but no byte is called by it.
    number: bool,
    /// Among those of one address the one to name it by: sized before unsized, global before local.
    rank: u8,
}

/// The symbols of any number of ELF files.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Symbols {
    /// By address, outer before inner.
    symbols: Vec<Symbol>,
    /// Bare numbers.
    numbers: Vec<Symbol>,
    /// First address and size by name; of several with one name the first file's first one.
    names: BTreeMap<String, (u64, u64)>,
}

impl Symbols {
    /// Adds the symbols of an ELF file, which messages call `file`.
    ///
    /// # Errors
    /// [`SymbolError`]: not an ELF file, cut short, without symbols, or without a section or segment
    /// that `bases` names. Nothing is added then.
    pub fn add_elf(&mut self, file: &str, bytes: &[u8], bases: &Bases) -> Result<(), SymbolError> {
        let object = Object::read(file, bytes)?;
        let found = object.symbols(bases)?;
        for symbol in &found {
            self.names.entry(symbol.name.clone()).or_insert((symbol.address, symbol.size));
        }
        let (numbers, places): (Vec<_>, Vec<_>) = found.into_iter().partition(|symbol| symbol.number);
        self.numbers.extend(numbers);
        self.symbols.extend(places);
        self.arrange();
        Ok(())
    }

    /// Sorts, ends what has no size where the next begins, and finds what lies within what.
    fn arrange(&mut self) {
        let outer_first = |symbol: &Symbol| (symbol.address, u64::MAX - symbol.size, symbol.rank);
        self.symbols.sort_by(|a, b| outer_first(a).cmp(&outer_first(b)).then_with(|| a.name.cmp(&b.name)));
        let mut next = u64::MAX;
        let mut later = u64::MAX;
        for symbol in self.symbols.iter_mut().rev() {
            if symbol.address < next {
                (later, next) = (next, symbol.address);
            }
            if symbol.size == 0 {
                symbol.end = symbol.end.min(later).max(symbol.address);
            }
        }
        let mut open: Vec<usize> = Vec::new();
        for index in 0..self.symbols.len() {
            let Some(address) = self.symbols.get(index).map(|symbol| symbol.address) else { break };
            while open.last().and_then(|&outer| self.symbols.get(outer)).is_some_and(|o| o.end <= address) {
                open.pop();
            }
            let parent = open.last().copied();
            if let Some(symbol) = self.symbols.get_mut(index) {
                symbol.parent = parent;
            }
            open.push(index);
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.symbols.is_empty() && self.numbers.is_empty()
    }

    /// The symbol that `address` lies within, the innermost one; if it lies in the BIOS below 4 GiB and
    /// nothing is there, the symbol of its copy below 1 MiB.
    #[must_use]
    pub fn at(&self, address: u64) -> Option<Place<'_>> {
        self.directly_at(address).or_else(|| {
            let low = address.checked_sub(HIGH_COPY).filter(|low| COPIED.contains(low))?;
            Some(Place { high_copy: true, ..self.directly_at(low)? })
        })
    }

    fn directly_at(&self, address: u64) -> Option<Place<'_>> {
        let mut index = self.symbols.partition_point(|symbol| symbol.address <= address).checked_sub(1)?;
        for _ in 0..DEEPEST {
            let symbol = self.symbols.get(index)?;
            if address < symbol.end {
                // Of several that begin and end together, the best one is the first.
                let best = self.best_of(index).unwrap_or(symbol);
                return Some(Place {
                    name: &best.name,
                    offset: address - best.address,
                    size: best.size,
                    high_copy: false,
                });
            }
            index = symbol.parent?;
        }
        None
    }

    /// Of the symbols with the same address and size as number `index`, the first in order.
    fn best_of(&self, index: usize) -> Option<&Symbol> {
        let found = self.symbols.get(index)?;
        let earlier = self.symbols.get(..index)?.iter().rev().take(DEEPEST);
        let same = |other: &&Symbol| (other.address, other.size) == (found.address, found.size);
        earlier.take_while(same).last()
    }

    /// Address and size of the symbol called `name`.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<(u64, u64)> {
        self.names.get(name).copied()
    }

    /// As [`Symbols::find`], for `NAME` and `NAME+OFFSET`.
    ///
    /// # Errors
    /// One sentence, with the name that may have been meant.
    pub fn resolve(&self, text: &str) -> Result<(u64, u64), String> {
        let (name, offset) = match text.rsplit_once('+') {
            Some((name, digits)) => (name, number(digits).ok_or_else(|| format!("`{digits}` is no offset"))?),
            None => (text, 0),
        };
        let (address, size) = self.find(name).ok_or_else(|| {
            let meant = self.nearest(name).map_or(String::new(), |name| format!("; did you mean `{name}`?"));
            let none = if self.is_empty() { " (no symbols are loaded)" } else { "" };
            format!("there is no symbol `{name}`{none}{meant}")
        })?;
        Ok((address.wrapping_add(offset), size.saturating_sub(offset)))
    }

    /// The known name nearest to `name`, if it is near enough to be a slip.
    #[must_use]
    pub fn nearest(&self, name: &str) -> Option<&str> {
        let near = self.names.keys().filter(|known| known.len().abs_diff(name.len()) <= NEAREST);
        let measured = near.map(|known| {
            let same_letters = usize::from(!known.eq_ignore_ascii_case(name));
            (strsim::damerau_levenshtein(known, name).min(NEAREST + same_letters), known)
        });
        measured.filter(|(distance, _)| *distance <= NEAREST).min().map(|(_, known)| known.as_str())
    }

    /// Every symbol that names bytes, by address: name, address and size.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64, u64)> {
        self.symbols.iter().map(|symbol| (symbol.name.as_str(), symbol.address, symbol.size))
    }
}

/// The parts of an ELF file that symbols need.
struct Object<'a> {
    file: &'a str,
    bytes: &'a [u8],
    context: Ctx,
    relocatable: bool,
    sections: Vec<SectionHeader>,
    segments: Vec<ProgramHeader>,
    section_names: &'a [u8],
}

impl<'a> Object<'a> {
    fn read(file: &'a str, bytes: &'a [u8]) -> Result<Object<'a>, SymbolError> {
        if bytes.len() > LARGEST_FILE {
            return Err(SymbolError::TooLarge {
                file: file.to_owned(),
                what: format!("more than {} MiB", LARGEST_FILE >> 20),
            });
        }
        let malformed = |why: String| SymbolError::Malformed { file: file.to_owned(), why };
        let goblin = |error: goblin::error::Error| malformed(error.to_string());
        let header = Elf::parse_header(bytes).map_err(goblin)?;
        let context = Ctx::new(header.container().map_err(goblin)?, header.endianness().map_err(goblin)?);
        let offset = |value: u64| usize::try_from(value).map_err(|_| malformed("an offset is huge".into()));
        let sections =
            SectionHeader::parse(bytes, offset(header.e_shoff)?, usize::from(header.e_shnum), context)
                .map_err(goblin)?;
        let segments =
            ProgramHeader::parse(bytes, offset(header.e_phoff)?, usize::from(header.e_phnum), context)
                .map_err(goblin)?;
        let mut object = Object {
            file,
            bytes,
            context,
            relocatable: header.e_type == header::ET_REL,
            sections,
            segments,
            section_names: &[],
        };
        object.section_names = match object.sections.get(usize::from(header.e_shstrndx)) {
            Some(names) => object.contents(names)?,
            None => &[],
        };
        Ok(object)
    }

    fn malformed(&self, why: impl Into<String>) -> SymbolError {
        SymbolError::Malformed { file: self.file.to_owned(), why: why.into() }
    }

    /// The bytes of a section in the file.
    fn contents(&self, section: &SectionHeader) -> Result<&'a [u8], SymbolError> {
        let range = usize::try_from(section.sh_offset).ok().and_then(|start| {
            let end = start.checked_add(usize::try_from(section.sh_size).ok()?)?;
            self.bytes.get(start..end)
        });
        range.ok_or_else(|| {
            self.malformed(format!(
                "a section of {:#x} bytes at {:#x} reaches past the end of the file ({:#x})",
                section.sh_size,
                section.sh_offset,
                self.bytes.len()
            ))
        })
    }

    fn section_name(&self, section: &SectionHeader) -> &'a str {
        text_at(self.section_names, section.sh_name).unwrap_or("?")
    }

    fn symbols(&self, bases: &Bases) -> Result<Vec<Symbol>, SymbolError> {
        self.check_bases(bases)?;
        let table = self.sections.iter().find(|section| section.sh_type == section_header::SHT_SYMTAB);
        let Some(table) = table else { return Err(SymbolError::Stripped { file: self.file.to_owned() }) };
        let bytes = self.contents(table)?;
        let names = self.sections.get(table.sh_link as usize);
        let names = names.ok_or_else(|| self.malformed("its symbols have no string table"))?;
        let names = self.contents(names)?;
        let count = bytes.len() / Sym::size(self.context.container);
        if count > MOST_SYMBOLS {
            return Err(SymbolError::TooLarge {
                file: self.file.to_owned(),
                what: format!("{count} symbols"),
            });
        }
        let raw =
            Sym::parse(bytes, 0, count, self.context).map_err(|error| self.malformed(error.to_string()))?;
        Ok(raw.iter().filter_map(|raw| self.symbol(raw, names, bases)).collect())
    }

    /// Every base must be for something that is there: a slip would leave symbols at wrong places.
    fn check_bases(&self, bases: &Bases) -> Result<(), SymbolError> {
        for (name, _) in &bases.sections {
            let mut known = self.sections.iter().map(|section| self.section_name(section));
            if !known.any(|known| known == name) {
                let known = self.sections.iter().map(|section| self.section_name(section));
                let known: Vec<&str> = known.filter(|name| !name.is_empty()).take(40).collect();
                return Err(SymbolError::Unknown {
                    file: self.file.to_owned(),
                    what: format!("section `{name}`"),
                    known: if known.is_empty() { "none".to_owned() } else { known.join(", ") },
                });
            }
        }
        for (index, _) in &bases.segments {
            if *index >= self.segments.len() {
                return Err(SymbolError::Unknown {
                    file: self.file.to_owned(),
                    what: format!("segment {index}"),
                    known: format!("{} of them, from 0", self.segments.len()),
                });
            }
        }
        Ok(())
    }

    /// One symbol at its address; `None` for what names no place (sections, files, imports).
    fn symbol(&self, raw: &Sym, names: &[u8], bases: &Bases) -> Option<Symbol> {
        let kind = raw.st_type();
        if !matches!(kind, sym::STT_NOTYPE | sym::STT_OBJECT | sym::STT_FUNC) {
            return None;
        }
        let name = text_at(names, raw.st_name).filter(|name| !name.is_empty())?;
        let index = u32::try_from(raw.st_shndx).ok()?;
        if index == section_header::SHN_UNDEF || index == section_header::SHN_COMMON {
            return None;
        }
        let absolute = index == section_header::SHN_ABS;
        let section = if absolute { None } else { Some(self.sections.get(raw.st_shndx)?) };
        let address = self.address(raw.st_value, section, bases);
        let section_end = section.map_or(u64::MAX, |section| {
            let start = if self.relocatable { 0 } else { section.sh_addr };
            let left = start.saturating_add(section.sh_size).saturating_sub(raw.st_value);
            address.saturating_add(left)
        });
        let size = raw.st_size;
        Some(Symbol {
            address,
            size,
            end: if size == 0 { section_end } else { address.saturating_add(size) },
            name: name.to_owned(),
            parent: None,
            number: absolute && size == 0 && kind == sym::STT_NOTYPE,
            rank: u8::from(raw.st_bind() == sym::STB_LOCAL),
        })
    }

    /// Where a symbol's value is in the machine.
    fn address(&self, value: u64, section: Option<&SectionHeader>, bases: &Bases) -> u64 {
        let linked = section.map_or(0, |section| section.sh_addr);
        let within = if self.relocatable { value } else { value.wrapping_sub(linked) };
        if let Some(section) = section {
            let name = self.section_name(section);
            if let Some((_, base)) = bases.sections.iter().find(|(given, _)| given == name) {
                return base.wrapping_add(within);
            }
        }
        let whole = if self.relocatable { linked.wrapping_add(value) } else { value };
        for (index, base) in &bases.segments {
            if let Some(segment) = self.segments.get(*index)
                && let Some(distance) = whole.checked_sub(segment.p_vaddr)
                && distance < segment.p_memsz
            {
                return base.wrapping_add(distance);
            }
        }
        whole.wrapping_add(bases.base)
    }
}

/// The text at `offset` of a string table, up to its NUL; `None` if it is no text.
fn text_at(table: &[u8], offset: usize) -> Option<&str> {
    let rest = table.get(offset..)?;
    let rest = rest.get(..LONGEST_NAME).unwrap_or(rest);
    let end = rest.iter().position(|byte| *byte == 0)?;
    std::str::from_utf8(rest.get(..end)?).ok()
}

#[cfg(test)]
pub(crate) mod tests;
