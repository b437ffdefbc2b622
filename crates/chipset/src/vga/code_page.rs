//! Code page 437, which the fonts of PC display adapters follow.
//!
//! IBM PS/2 Hardware Interface Technical Reference, "Characters and Keystrokes"; Unicode's `CP437.TXT`.

/// The first 32 codes, which are signs on a screen.
const SIGNS: &str = " ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼";
/// The codes from 7Fh on. The last looks as a space does.
const UPPER: &str = "⌂ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■ ";

/// What a code shows.
pub(super) fn character(code: u8) -> char {
    match code {
        0..0x20 => SIGNS.chars().nth(usize::from(code)).unwrap_or(' '),
        0x20..0x7f => char::from(code),
        0x7f.. => UPPER.chars().nth(usize::from(code - 0x7f)).unwrap_or(' '),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(0x01, '☺')]
    #[case(0x1f, '▼')]
    #[case(b'A', 'A')]
    #[case(0x7f, '⌂')]
    #[case(0x80, 'Ç')]
    #[case(0xb0, '░')]
    #[case(0xcd, '═')]
    #[case(0xe1, 'ß')]
    #[case(0xfe, '■')]
    #[case(0xff, ' ')]
    fn characters(#[case] code: u8, #[case] expect: char) {
        assert_eq!(character(code), expect);
    }
}
