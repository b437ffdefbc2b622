use proptest::prelude::*;
use rstest::rstest;

use super::*;

/// A little 32-bit ELF file with a section `.text` and symbols in it.
pub(crate) fn elf(relocatable: bool, text: u32, symbols: &[(&str, u32, u32)]) -> Vec<u8> {
    let mut names = vec![0_u8];
    let mut table = vec![0_u8; 16];
    for (name, value, size) in symbols {
        table.extend((names.len() as u32).to_le_bytes());
        table.extend(value.to_le_bytes());
        table.extend(size.to_le_bytes());
        // A global object in section 1.
        table.extend([0x11, 0, 1, 0]);
        names.extend(name.as_bytes());
        names.push(0);
    }
    let section_names = b"\0.text\0.symtab\0.strtab\0.shstrtab\0";
    let symbols_at = 52 + 32;
    let names_at = symbols_at + table.len();
    let section_names_at = names_at + names.len();
    let headers_at = section_names_at + section_names.len();
    let mut bytes = Vec::new();
    bytes.extend([0x7f, b'E', b'L', b'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let half = |bytes: &mut Vec<u8>, value: u16| bytes.extend(value.to_le_bytes());
    let words = |bytes: &mut Vec<u8>, values: &[usize]| {
        bytes.extend(values.iter().flat_map(|value| (*value as u32).to_le_bytes()));
    };
    half(&mut bytes, if relocatable { 1 } else { 2 });
    half(&mut bytes, 3);
    words(&mut bytes, &[1, 0, 52, headers_at, 0]);
    for value in [52, 32, 1, 40, 5, 4] {
        half(&mut bytes, value);
    }
    // One segment over all of .text.
    words(&mut bytes, &[1, 0, text as usize, text as usize, 0, 0x1_0000, 7, 4096]);
    bytes.extend(&table);
    bytes.extend(&names);
    bytes.extend(section_names);
    words(&mut bytes, &[0; 10]);
    words(&mut bytes, &[1, 8, 7, text as usize, 0, 0x1_0000, 0, 0, 1, 0]);
    words(&mut bytes, &[7, 2, 0, 0, symbols_at, table.len(), 3, 1, 4, 16]);
    words(&mut bytes, &[15, 3, 0, 0, names_at, names.len(), 0, 0, 1, 0]);
    words(&mut bytes, &[23, 3, 0, 0, section_names_at, section_names.len(), 0, 0, 1, 0]);
    bytes
}

const FIRMWARE: [(&str, u32, u32); 6] = [
    ("HaveRunPost", 0xf_7290, 4),
    ("IPL", 0xf_71a0, 0x40),
    ("IPL.bev", 0xf_71a8, 8),
    ("entry_post", 0xf_e05b, 0),
    ("entry_end", 0xf_e100, 0),
    ("alias_of_HaveRunPost", 0xf_7290, 4),
];

fn firmware() -> Symbols {
    let mut symbols = Symbols::default();
    symbols.add_elf("rom.o", &elf(false, 0xf_0000, &FIRMWARE), &Bases::default()).expect("well-formed");
    symbols
}

#[rstest]
#[case::first_byte(0xf_7290, Some("HaveRunPost+0"))]
#[case::last_byte(0xf_7293, Some("HaveRunPost+0x3"))]
#[case::behind_it(0xf_7294, None)]
#[case::inner(0xf_71a9, Some("IPL.bev+0x1"))]
#[case::behind_the_inner(0xf_71b0, Some("IPL+0x10"))]
#[case::behind_both(0xf_71e0, None)]
#[case::no_size_reaches_on(0xf_e0ff, Some("entry_post+0xa4"))]
#[case::to_the_next(0xf_e100, Some("entry_end+0"))]
#[case::and_no_further_than_its_section(0xf_ffff, Some("entry_end+0x1eff"))]
#[case::beyond(0x10_0000, None)]
#[case::high(0xffff_7290, Some("HaveRunPost+0 (high copy)"))]
#[case::nowhere(0x1000, None)]
fn addresses(#[case] address: u64, #[case] expect: Option<&str>) {
    let found = firmware().at(address).map(|place| place.to_string());
    // Two names for one place: the first in the alphabet is taken, always.
    let found = found.map(|text| text.replace("alias_of_", ""));
    assert_eq!(found.as_deref(), expect);
}

#[rstest]
#[case("HaveRunPost", Ok((0xf_7290, 4)))]
#[case("IPL+0x10", Ok((0xf_71b0, 0x30)))]
#[case("HaveRunPots", Err("there is no symbol `HaveRunPots`; did you mean `HaveRunPost`?"))]
#[case("HAVERUNPOST", Err("there is no symbol `HAVERUNPOST`; did you mean `HaveRunPost`?"))]
#[case("Nothing_like_it", Err("there is no symbol `Nothing_like_it`"))]
#[case("IPL+ten", Err("`ten` is no offset"))]
fn names(#[case] text: &str, #[case] expect: Result<(u64, u64), &str>) {
    assert_eq!(firmware().resolve(text), expect.map_err(str::to_owned));
}

#[rstest]
#[case::run_addresses("rom.o", false, 0xf_0000, 0xf_7290, 0xf_7290)]
#[case::a_segments_offset("rom16.o,base=0xf0000", false, 0, 0x7290, 0xf_7290)]
#[case::a_section("a.o,section=.text=0xf7000", true, 0, 0x290, 0xf_7290)]
#[case::a_linked_section("a.o,section=.text=0xfff00000", false, 0xf_0000, 0xf_7290, 0xfff0_7290)]
#[case::a_segment("a.o,segment=0=0x1000", false, 0xf_0000, 0xf_7290, 0x8290)]
#[case::section_over_base("a.o,base=0x100,section=.text=0xf7000", true, 0, 0x290, 0xf_7290)]
fn bases(
    #[case] argument: &str,
    #[case] relocatable: bool,
    #[case] text: u32,
    #[case] value: u32,
    #[case] expect: u64,
) {
    let file: SymbolFile = argument.parse().expect("understood");
    let bytes = elf(relocatable, text, &[("X", value, 4)]);
    let mut symbols = Symbols::default();
    symbols.add_elf(&file.path, &bytes, &file.bases).expect("well-formed");
    assert_eq!(symbols.find("X"), Some((expect, 4)));
    assert_eq!(symbols.at(expect + 3).map(|place| place.offset), Some(3));
}

#[rstest]
#[case("", "there is no file name")]
#[case("a.o,base=here", "`here` is no address")]
#[case("a.o,section=.text", "`section=.text` is not understood")]
#[case("a.o,segment=x=1", "`x` is no segment number")]
#[case("a.o,bias=1", "`bias=1` is not understood")]
fn arguments(#[case] text: &str, #[case] expect: &str) {
    let error = text.parse::<SymbolFile>().expect_err("refused").to_string();
    assert!(error.contains(expect), "{error}");
}

#[rstest]
#[case::empty(Vec::new(), Bases::default(), "is no ELF file that can be read")]
#[case::text(b"#!/bin/sh\nexit 0\n".to_vec(), Bases::default(), "is no ELF file that can be read")]
#[case::section(elf(false, 0, &FIRMWARE), Bases { sections: vec![(".data".into(), 0)], ..Bases::default() },
    "`x` has no section `.data`; it has .text, .symtab, .strtab, .shstrtab")]
#[case::segment(elf(false, 0, &FIRMWARE), Bases { segments: vec![(1, 0)], ..Bases::default() },
    "`x` has no segment 1; it has 1 of them, from 0")]
fn refused(#[case] bytes: Vec<u8>, #[case] bases: Bases, #[case] expect: &str) {
    let mut symbols = Symbols::default();
    let error = symbols.add_elf("x", &bytes, &bases).expect_err("refused").to_string();
    assert!(error.contains(expect), "{error}");
    assert!(symbols.is_empty());
}

#[test]
fn several_files_and_the_first_one_has_the_name() {
    let mut symbols = firmware();
    let more = elf(false, 0x1000, &[("HaveRunPost", 0x1000, 1), ("other", 0x1010, 2)]);
    symbols.add_elf("other.o", &more, &Bases::default()).expect("well-formed");
    assert_eq!(symbols.find("HaveRunPost"), Some((0xf_7290, 4)));
    assert_eq!(symbols.at(0x1000).map(|place| place.to_string()).as_deref(), Some("HaveRunPost+0"));
    assert_eq!(symbols.at(0x1011).map(|place| place.to_string()).as_deref(), Some("other+0x1"));
}

#[test]
fn every_truncation_is_an_error_or_symbols() {
    let whole = elf(false, 0xf_0000, &FIRMWARE);
    for length in 0..whole.len() {
        let mut symbols = Symbols::default();
        let result = symbols.add_elf("cut", &whole[..length], &Bases::default());
        assert!(result.is_err(), "{length} bytes of {} are no whole file", whole.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]
    #[test]
    fn no_bytes_do_harm(changes in prop::collection::vec((0..500_usize, any::<u8>()), 1..8), address: u64) {
        let mut bytes = elf(false, 0xf_0000, &FIRMWARE);
        let length = bytes.len();
        for (at, value) in changes {
            bytes[at % length] = value;
        }
        let mut symbols = Symbols::default();
        if symbols.add_elf("changed", &bytes, &Bases::default()).is_ok() {
            let _ = symbols.at(address);
            for (_, start, _) in symbols.iter() {
                let _ = symbols.at(start);
            }
        }
    }
}
