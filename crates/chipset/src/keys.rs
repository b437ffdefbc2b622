//! The keys of a US keyboard by name, with their scan codes in the three sets.
//!
//! IBM PS/2 Hardware Interface Technical Reference, "Keyboards", tables of scan code sets 1-3. Set 1
//! is what the controller's translation makes of set 2, so only sets 2 and 3 are in the table.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What a key sends in set 2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Code {
    /// One byte; F0h before it on release.
    Plain(u8),
    /// E0h and one byte.
    Extended(u8),
    /// Print Screen pretends to press Shift too.
    PrintScreen,
    /// Pause sends everything on press and nothing on release.
    Pause,
}
use Code::{Extended as E, Plain as P};

/// One key, as an index into the table of keys.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Key(u8);

/// Why a key name was not understood.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// There is no such key.
    #[error("unknown key `{0}` (keys are a-z, 0-9, f1-f12, and names such as ctrl, alt, delete, enter, esc)")]
    Unknown(String),
    /// Nothing between two dashes, or nothing at all.
    #[error("`{0}` lacks a key name; keys held together are joined by a dash, as in ctrl-alt-delete")]
    Empty(String),
    /// More keys than anybody holds.
    #[error("`{0}` holds more than {MOST_KEYS} keys together")]
    Many(String),
}

/// Most keys held together.
pub const MOST_KEYS: usize = 8;

/// Names (the first is the one shown), set 2, set 3.
const KEYS: [(&[&str], Code, u8); 105] = [
    (&["a"], P(0x1c), 0x1c),
    (&["b"], P(0x32), 0x32),
    (&["c"], P(0x21), 0x21),
    (&["d"], P(0x23), 0x23),
    (&["e"], P(0x24), 0x24),
    (&["f"], P(0x2b), 0x2b),
    (&["g"], P(0x34), 0x34),
    (&["h"], P(0x33), 0x33),
    (&["i"], P(0x43), 0x43),
    (&["j"], P(0x3b), 0x3b),
    (&["k"], P(0x42), 0x42),
    (&["l"], P(0x4b), 0x4b),
    (&["m"], P(0x3a), 0x3a),
    (&["n"], P(0x31), 0x31),
    (&["o"], P(0x44), 0x44),
    (&["p"], P(0x4d), 0x4d),
    (&["q"], P(0x15), 0x15),
    (&["r"], P(0x2d), 0x2d),
    (&["s"], P(0x1b), 0x1b),
    (&["t"], P(0x2c), 0x2c),
    (&["u"], P(0x3c), 0x3c),
    (&["v"], P(0x2a), 0x2a),
    (&["w"], P(0x1d), 0x1d),
    (&["x"], P(0x22), 0x22),
    (&["y"], P(0x35), 0x35),
    (&["z"], P(0x1a), 0x1a),
    (&["0"], P(0x45), 0x45),
    (&["1"], P(0x16), 0x16),
    (&["2"], P(0x1e), 0x1e),
    (&["3"], P(0x26), 0x26),
    (&["4"], P(0x25), 0x25),
    (&["5"], P(0x2e), 0x2e),
    (&["6"], P(0x36), 0x36),
    (&["7"], P(0x3d), 0x3d),
    (&["8"], P(0x3e), 0x3e),
    (&["9"], P(0x46), 0x46),
    (&["f1"], P(0x05), 0x07),
    (&["f2"], P(0x06), 0x0f),
    (&["f3"], P(0x04), 0x17),
    (&["f4"], P(0x0c), 0x1f),
    (&["f5"], P(0x03), 0x27),
    (&["f6"], P(0x0b), 0x2f),
    (&["f7"], P(0x83), 0x37),
    (&["f8"], P(0x0a), 0x3f),
    (&["f9"], P(0x01), 0x47),
    (&["f10"], P(0x09), 0x4f),
    (&["f11"], P(0x78), 0x56),
    (&["f12"], P(0x07), 0x5e),
    (&["esc", "escape"], P(0x76), 0x08),
    (&["tab"], P(0x0d), 0x0d),
    (&["caps_lock", "capslock"], P(0x58), 0x14),
    (&["shift", "shift_l"], P(0x12), 0x12),
    (&["shift_r"], P(0x59), 0x59),
    (&["ctrl", "control", "ctrl_l"], P(0x14), 0x11),
    (&["ctrl_r"], E(0x14), 0x58),
    (&["alt", "alt_l"], P(0x11), 0x19),
    (&["alt_r", "altgr"], E(0x11), 0x39),
    (&["meta_l", "super", "win"], E(0x1f), 0x8b),
    (&["meta_r"], E(0x27), 0x8c),
    (&["menu"], E(0x2f), 0x8d),
    (&["spc", "space"], P(0x29), 0x29),
    (&["ret", "enter", "return"], P(0x5a), 0x5a),
    (&["backspace"], P(0x66), 0x66),
    (&["grave_accent", "grave"], P(0x0e), 0x0e),
    (&["minus"], P(0x4e), 0x4e),
    (&["equal"], P(0x55), 0x55),
    (&["bracket_left"], P(0x54), 0x54),
    (&["bracket_right"], P(0x5b), 0x5b),
    (&["backslash"], P(0x5d), 0x5c),
    (&["semicolon"], P(0x4c), 0x4c),
    (&["apostrophe"], P(0x52), 0x52),
    (&["comma"], P(0x41), 0x41),
    (&["dot", "period"], P(0x49), 0x49),
    (&["slash"], P(0x4a), 0x4a),
    (&["less"], P(0x61), 0x13),
    (&["insert"], E(0x70), 0x67),
    (&["delete", "del"], E(0x71), 0x64),
    (&["home"], E(0x6c), 0x6e),
    (&["end"], E(0x69), 0x65),
    (&["pgup", "page_up"], E(0x7d), 0x6f),
    (&["pgdn", "page_down"], E(0x7a), 0x6d),
    (&["up"], E(0x75), 0x63),
    (&["down"], E(0x72), 0x60),
    (&["left"], E(0x6b), 0x61),
    (&["right"], E(0x74), 0x6a),
    (&["num_lock", "numlock"], P(0x77), 0x76),
    (&["scroll_lock", "scrolllock"], P(0x7e), 0x5f),
    (&["print", "sysrq"], Code::PrintScreen, 0x57),
    (&["pause"], Code::Pause, 0x62),
    (&["kp_0"], P(0x70), 0x70),
    (&["kp_1"], P(0x69), 0x69),
    (&["kp_2"], P(0x72), 0x72),
    (&["kp_3"], P(0x7a), 0x7a),
    (&["kp_4"], P(0x6b), 0x6b),
    (&["kp_5"], P(0x73), 0x73),
    (&["kp_6"], P(0x74), 0x74),
    (&["kp_7"], P(0x6c), 0x6c),
    (&["kp_8"], P(0x75), 0x75),
    (&["kp_9"], P(0x7d), 0x7d),
    (&["kp_decimal"], P(0x71), 0x71),
    (&["kp_add"], P(0x79), 0x7c),
    (&["kp_subtract"], P(0x7b), 0x84),
    (&["kp_multiply"], P(0x7c), 0x7e),
    (&["kp_divide"], E(0x4a), 0x77),
    (&["kp_enter"], E(0x5a), 0x79),
];

const EXTEND: u8 = 0xe0;
const EXTEND_1: u8 = 0xe1;
const RELEASE: u8 = 0xf0;

/// Set 2 to set 1 for the codes up to 84h: the 8042's translation. Codes without a key translate
/// too, because the controller does not know which exist.
const TRANSLATION: [u8; 0x85] = [
    0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29,
    0x59, // 00
    0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a, 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11, 0x03,
    0x5b, // 10
    0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21, 0x14, 0x13, 0x06,
    0x5d, // 20
    0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09,
    0x5f, // 30
    0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60, 0x6c, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0c,
    0x61, // 40
    0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e, 0x3a, 0x36, 0x1c, 0x1b, 0x75, 0x2b, 0x63,
    0x76, // 50
    0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b, 0x7c, 0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f,
    0x6f, // 60
    0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45, 0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46,
    0x54, // 70
    0x80, 0x81, 0x82, 0x41, 0x54, // 80
];

/// What the controller's translation makes of one byte, the release prefix apart.
#[must_use]
pub fn translate(byte: u8) -> u8 {
    TRANSLATION.get(usize::from(byte)).copied().unwrap_or(byte)
}

impl Key {
    /// The key called `name`.
    #[must_use]
    pub fn named(name: &str) -> Option<Key> {
        let index = KEYS.iter().position(|(names, ..)| names.contains(&name))?;
        Some(Key(index as u8))
    }

    /// What this key is called; a saved key that does not exist has no name.
    #[must_use]
    pub fn name(self) -> &'static str {
        KEYS.get(usize::from(self.0)).and_then(|(names, ..)| names.first()).copied().unwrap_or("")
    }

    /// The names of all keys.
    pub fn names() -> impl Iterator<Item = &'static str> {
        KEYS.iter().flat_map(|(names, ..)| names.iter().copied())
    }

    /// The bytes this key sends in scan code set `set` (1, 2 or 3) when it goes down or up.
    #[must_use]
    pub fn scan_codes(self, set: u8, down: bool) -> Vec<u8> {
        let Some((_, code, set3)) = KEYS.get(usize::from(self.0)) else {
            return Vec::new();
        };
        let set2 = match (set, code, down) {
            (3, _, true) => return vec![*set3],
            (3, _, false) => return vec![RELEASE, *set3],
            (_, P(code), true) => vec![*code],
            (_, P(code), false) => vec![RELEASE, *code],
            (_, E(code), true) => vec![EXTEND, *code],
            (_, E(code), false) => vec![EXTEND, RELEASE, *code],
            (_, Code::PrintScreen, true) => vec![EXTEND, 0x12, EXTEND, 0x7c],
            (_, Code::PrintScreen, false) => vec![EXTEND, RELEASE, 0x7c, EXTEND, RELEASE, 0x12],
            (_, Code::Pause, true) => {
                vec![EXTEND_1, 0x14, 0x77, EXTEND_1, RELEASE, 0x14, RELEASE, 0x77]
            }
            (_, Code::Pause, false) => Vec::new(),
        };
        if set == 1 { set1(&set2) } else { set2 }
    }
}

/// Set-2 bytes in set 1: the release prefix becomes bit 7.
fn set1(set2: &[u8]) -> Vec<u8> {
    let mut release = 0;
    let mut bytes = Vec::new();
    for byte in set2 {
        if *byte == RELEASE {
            release = 0x80;
        } else {
            bytes.push(translate(*byte) | release);
            release = 0;
        }
    }
    bytes
}

/// The keys of a description such as `ctrl-alt-delete`, `a` or `f12`, in the order in which they go
/// down.
///
/// # Errors
///
/// When a name is unknown or missing, or too many keys are held together.
pub fn parse(keys: &str) -> Result<Vec<Key>, KeyError> {
    let lower = keys.trim().to_ascii_lowercase();
    let names: Vec<&str> = lower.split('-').collect();
    if names.len() > MOST_KEYS {
        return Err(KeyError::Many(keys.to_owned()));
    }
    let key = |name: &&str| match *name {
        "" => Err(KeyError::Empty(keys.to_owned())),
        name => Key::named(name).ok_or_else(|| KeyError::Unknown(name.to_owned())),
    };
    names.iter().map(key).collect()
}

/// The keys of a US keyboard that are no letters and digits: what they type alone and with shift.
const TYPED: [(&str, &str, &str); 13] = [
    ("grave_accent", "`", "~"),
    ("minus", "-", "_"),
    ("equal", "=", "+"),
    ("bracket_left", "[", "{"),
    ("bracket_right", "]", "}"),
    ("backslash", "\\", "|"),
    ("semicolon", ";", ":"),
    ("apostrophe", "'", "\""),
    ("comma", ",", "<"),
    ("dot", ".", ">"),
    ("slash", "/", "?"),
    ("spc", " ", ""),
    ("tab", "\t", ""),
];

/// The keys, as [`parse`] reads them, that type `character` on a US keyboard.
#[must_use]
pub fn typed(character: char) -> Option<String> {
    /// What the digits' keys type with shift, from 0.
    const SHIFTED_DIGITS: &str = ")!@#$%^&*(";
    if character == '\n' {
        return Some("ret".into());
    }
    if character.is_ascii_lowercase() || character.is_ascii_digit() {
        return Some(character.into());
    }
    if character.is_ascii_uppercase() {
        return Some(format!("shift-{}", character.to_ascii_lowercase()));
    }
    if let Some(digit) = SHIFTED_DIGITS.find(character) {
        return Some(format!("shift-{digit}"));
    }
    TYPED.iter().find_map(|(key, alone, shifted)| {
        if alone.contains(character) {
            Some((*key).to_owned())
        } else {
            shifted.contains(character).then(|| format!("shift-{key}"))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use std::collections::BTreeSet;

    #[rstest]
    #[case::letter("a", 1, &[0x1e], &[0x9e])]
    #[case::letter_set_2("a", 2, &[0x1c], &[0xf0, 0x1c])]
    #[case::delete("delete", 1, &[0xe0, 0x53], &[0xe0, 0xd3])]
    #[case::delete_set_2("delete", 2, &[0xe0, 0x71], &[0xe0, 0xf0, 0x71])]
    #[case::delete_set_3("delete", 3, &[0x64], &[0xf0, 0x64])]
    #[case::f7("f7", 1, &[0x41], &[0xc1])]
    #[case::escape("esc", 1, &[0x01], &[0x81])]
    #[case::enter("enter", 1, &[0x1c], &[0x9c])]
    #[case::print("print", 1, &[0xe0, 0x2a, 0xe0, 0x37], &[0xe0, 0xb7, 0xe0, 0xaa])]
    #[case::pause("pause", 1, &[0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5], &[])]
    #[case::space("spc", 1, &[0x39], &[0xb9])]
    #[case::keypad("kp_7", 1, &[0x47], &[0xc7])]
    #[case::less("less", 1, &[0x56], &[0xd6])]
    fn codes(#[case] name: &str, #[case] set: u8, #[case] down: &[u8], #[case] up: &[u8]) {
        let key = Key::named(name).expect("a key of the table");
        assert_eq!((key.scan_codes(set, true), key.scan_codes(set, false)), (down.to_vec(), up.to_vec()));
    }

    #[rstest]
    #[case::three("ctrl-alt-delete", Ok(&["ctrl", "alt", "delete"][..]))]
    #[case::upper("F12", Ok(&["f12"][..]))]
    #[case::synonyms("Control-Enter", Ok(&["ctrl", "ret"][..]))]
    #[case::unknown("ctrl-alt-x1", Err(KeyError::Unknown("x1".into())))]
    #[case::empty("", Err(KeyError::Empty(String::new())))]
    #[case::trailing("ctrl-", Err(KeyError::Empty("ctrl-".into())))]
    #[case::many("a-a-a-a-a-a-a-a-a", Err(KeyError::Many("a-a-a-a-a-a-a-a-a".into())))]
    fn names(#[case] text: &str, #[case] expect: Result<&[&str], KeyError>) {
        let keys = parse(text).map(|keys| keys.into_iter().map(Key::name).collect::<Vec<_>>());
        assert_eq!(keys, expect.map(<[&str]>::to_vec));
    }

    #[rstest]
    #[case('a', Some("a"))]
    #[case('Q', Some("shift-q"))]
    #[case('7', Some("7"))]
    #[case('&', Some("shift-7"))]
    #[case(')', Some("shift-0"))]
    #[case('\\', Some("backslash"))]
    #[case('?', Some("shift-slash"))]
    #[case('\n', Some("ret"))]
    #[case('é', None)]
    fn typing(#[case] character: char, #[case] expect: Option<&str>) {
        assert_eq!(typed(character).as_deref(), expect);
    }

    #[test]
    fn every_printable_character_can_be_typed() {
        for character in ' '..='~' {
            let keys = typed(character).map(|keys| parse(&keys));
            assert!(matches!(keys, Some(Ok(_))), "{character}: {keys:?}");
        }
    }

    #[test]
    fn no_name_and_no_code_is_given_twice() {
        let names: Vec<_> = Key::names().collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
        for set in 1..=3 {
            let codes: BTreeSet<_> =
                (0..KEYS.len()).map(|key| Key(key as u8).scan_codes(set, true)).collect();
            assert_eq!(codes.len(), KEYS.len(), "set {set}");
        }
    }

    #[test]
    fn a_saved_key_that_does_not_exist_sends_nothing() {
        assert_eq!((Key(255).scan_codes(2, true), Key(255).name()), (Vec::new(), ""));
    }
}
