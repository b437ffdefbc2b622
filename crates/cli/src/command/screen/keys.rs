//! What a terminal says of a key, as keys of a US keyboard.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use warmboot::machine::typed_key;

/// Keys that are no characters, with the names `--press` has for them.
const NAMES: [(KeyCode, &str); 20] = [
    (KeyCode::Enter, "ret"),
    (KeyCode::Esc, "esc"),
    (KeyCode::Backspace, "backspace"),
    (KeyCode::Tab, "tab"),
    (KeyCode::BackTab, "shift-tab"),
    (KeyCode::Insert, "insert"),
    (KeyCode::Delete, "delete"),
    (KeyCode::Home, "home"),
    (KeyCode::End, "end"),
    (KeyCode::PageUp, "pgup"),
    (KeyCode::PageDown, "pgdn"),
    (KeyCode::Up, "up"),
    (KeyCode::Down, "down"),
    (KeyCode::Left, "left"),
    (KeyCode::Right, "right"),
    (KeyCode::CapsLock, "caps_lock"),
    (KeyCode::NumLock, "num_lock"),
    (KeyCode::ScrollLock, "scroll_lock"),
    (KeyCode::PrintScreen, "print"),
    (KeyCode::Menu, "menu"),
];

/// The keys to press together, as `--press` takes them; `None` for what is on no key.
pub(super) fn name(key: KeyEvent) -> Option<String> {
    let name = match key.code {
        KeyCode::Char(character) => typed_key(character)?,
        KeyCode::F(number @ 1..=12) => format!("f{number}"),
        // Ctrl+Space is a zero byte.
        KeyCode::Null => "ctrl-spc".to_owned(),
        code => NAMES.iter().find(|(known, _)| *known == code)?.1.to_owned(),
    };
    // What a character needs Shift for, its name says.
    let shift = !matches!(key.code, KeyCode::Char(_)) && key.modifiers.contains(KeyModifiers::SHIFT);
    let held = [
        (key.modifiers.contains(KeyModifiers::CONTROL), "ctrl-"),
        (key.modifiers.contains(KeyModifiers::ALT), "alt-"),
        (shift, "shift-"),
    ];
    let prefixes = held.iter().filter(|(held, prefix)| *held && !name.starts_with(prefix));
    Some(prefixes.map(|(_, prefix)| *prefix).collect::<String>() + &name)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use warmboot::machine::parse_keys;

    use super::*;

    const NONE: KeyModifiers = KeyModifiers::NONE;
    const SHIFT: KeyModifiers = KeyModifiers::SHIFT;
    const CONTROL: KeyModifiers = KeyModifiers::CONTROL;
    const ALT: KeyModifiers = KeyModifiers::ALT;

    #[rstest]
    #[case::letter(KeyCode::Char('a'), NONE, Some("a"))]
    #[case::capital(KeyCode::Char('A'), SHIFT, Some("shift-a"))]
    #[case::sign(KeyCode::Char('?'), NONE, Some("shift-slash"))]
    #[case::sign_with_shift(KeyCode::Char('!'), SHIFT, Some("shift-1"))]
    #[case::space(KeyCode::Char(' '), NONE, Some("spc"))]
    #[case::control(KeyCode::Char('c'), CONTROL, Some("ctrl-c"))]
    #[case::alt(KeyCode::Char('x'), ALT, Some("alt-x"))]
    #[case::both(KeyCode::Char('x'), CONTROL.union(ALT), Some("ctrl-alt-x"))]
    #[case::enter(KeyCode::Enter, NONE, Some("ret"))]
    #[case::escape(KeyCode::Esc, NONE, Some("esc"))]
    #[case::delete(KeyCode::Delete, CONTROL.union(ALT), Some("ctrl-alt-delete"))]
    #[case::back_tab(KeyCode::BackTab, SHIFT, Some("shift-tab"))]
    #[case::arrow(KeyCode::Up, NONE, Some("up"))]
    #[case::arrow_with_shift(KeyCode::Left, SHIFT, Some("shift-left"))]
    #[case::function(KeyCode::F(12), NONE, Some("f12"))]
    #[case::function_with_alt(KeyCode::F(4), ALT, Some("alt-f4"))]
    #[case::no_such_function(KeyCode::F(13), NONE, None)]
    #[case::control_space(KeyCode::Null, NONE, Some("ctrl-spc"))]
    #[case::on_no_key(KeyCode::Char('\u{e9}'), NONE, None)]
    fn names(#[case] code: KeyCode, #[case] modifiers: KeyModifiers, #[case] expect: Option<&str>) {
        let found = name(KeyEvent::new(code, modifiers));
        assert_eq!(found.as_deref(), expect);
        assert!(found.is_none_or(|keys| parse_keys(&keys).is_ok()));
    }

    #[test]
    fn every_name_is_a_key() {
        for (code, _) in NAMES {
            let keys = name(KeyEvent::new(code, NONE));
            assert!(keys.is_some_and(|keys| parse_keys(&keys).is_ok()), "{code:?}");
        }
    }
}
