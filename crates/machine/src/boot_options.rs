//! What firmware is told about booting, as one text with QEMU's words:
//! `cad,menu=on,splash-time=500,reboot-timeout=1000`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What firmware is told about booting; a snapshot has its text.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BootOptions {
    /// Letters of `a` (floppy), `c` (hard disk), `d` (CD-ROM), `n` (network), in the order of trying.
    pub order: String,
    /// Firmware shall offer its boot menu.
    pub menu: bool,
    /// How long it shows its splash screen and offers the menu, in milliseconds; its own choice when absent.
    pub splash_time: Option<u16>,
    /// How long it waits before it resets the machine when nothing boots, in milliseconds; it waits for ever when
    /// absent.
    pub reboot_timeout: Option<u16>,
}

impl Default for BootOptions {
    fn default() -> BootOptions {
        BootOptions { order: "cad".to_owned(), menu: false, splash_time: None, reboot_timeout: None }
    }
}

/// Why a text says nothing about booting.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum BootOptionsError {
    /// Letters that are no order.
    #[error(
        "boot order `{0}`; expected at most three different letters of a (floppy), c (disk), d (CD), n (network), then \
         ,menu=on ,splash-time=MILLISECONDS ,reboot-timeout=MILLISECONDS"
    )]
    Order(String),
    /// An option there is not.
    #[error(
        "boot option `{0}`; expected order=LETTERS, menu=on, menu=off, splash-time=N or reboot-timeout=N, \
         where N is 0 to 65535 milliseconds"
    )]
    Option(String),
}

impl FromStr for BootOptions {
    type Err = BootOptionsError;

    /// Reads letters, options, or both; letters come first unless they have their name, `order`.
    fn from_str(text: &str) -> Result<BootOptions, BootOptionsError> {
        let mut options = BootOptions::default();
        for (number, part) in text.split(',').enumerate() {
            let wrong = || BootOptionsError::Option(part.to_owned());
            let milliseconds = |text: &str| text.parse().map(Some).map_err(|_| wrong());
            match part.split_once('=') {
                None if number == 0 => options.order = order(part)?,
                Some(("order", letters)) => options.order = order(letters)?,
                Some(("menu", "on")) => options.menu = true,
                Some(("menu", "off")) => options.menu = false,
                Some(("splash-time", time)) => options.splash_time = milliseconds(time)?,
                Some(("reboot-timeout", time)) => options.reboot_timeout = milliseconds(time)?,
                _ => return Err(wrong()),
            }
        }
        Ok(options)
    }
}

impl TryFrom<String> for BootOptions {
    type Error = BootOptionsError;

    fn try_from(text: String) -> Result<BootOptions, BootOptionsError> {
        text.parse()
    }
}

impl From<BootOptions> for String {
    fn from(options: BootOptions) -> String {
        options.to_string()
    }
}

/// One text for what is the same: what is as always is left out.
impl fmt::Display for BootOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BootOptions { order, menu, splash_time, reboot_timeout } = self;
        f.write_str(order)?;
        if *menu {
            f.write_str(",menu=on")?;
        }
        if let Some(time) = splash_time {
            write!(f, ",splash-time={time}")?;
        }
        if let Some(time) = reboot_timeout {
            write!(f, ",reboot-timeout={time}")?;
        }
        Ok(())
    }
}

fn order(letters: &str) -> Result<String, BootOptionsError> {
    let mut seen = std::collections::BTreeSet::new();
    // CMOS has room for three.
    if letters.len() <= 3 && letters.chars().all(|letter| "acdn".contains(letter) && seen.insert(letter)) {
        Ok(letters.to_owned())
    } else {
        Err(BootOptionsError::Order(letters.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(
        order: &str,
        menu: bool,
        splash_time: Option<u16>,
        reboot_timeout: Option<u16>,
    ) -> BootOptions {
        BootOptions { order: order.to_owned(), menu, splash_time, reboot_timeout }
    }

    #[rstest::rstest]
    #[case::letters("cd", Ok(options("cd", false, None, None)))]
    #[case::nothing("", Ok(options("", false, None, None)))]
    #[case::menu("menu=on", Ok(options("cad", true, None, None)))]
    #[case::all(
        "d,menu=on,splash-time=500,reboot-timeout=65535",
        Ok(options("d", true, Some(500), Some(65535)))
    )]
    #[case::named("menu=off,order=a", Ok(options("a", false, None, None)))]
    #[case::twice("cc", Err("boot order `cc`; expected at most three different letters"))]
    #[case::four("acdn", Err("boot order `acdn`"))]
    #[case::letter("x", Err("boot order `x`"))]
    #[case::late("menu=on,cd", Err("boot option `cd`"))]
    #[case::word("menu=yes", Err("boot option `menu=yes`"))]
    #[case::long("reboot-timeout=65536", Err("boot option `reboot-timeout=65536`; expected order=LETTERS"))]
    #[case::comma("cad,", Err("boot option ``"))]
    fn check(#[case] text: &str, #[case] expect: Result<BootOptions, &str>) {
        let found: Result<BootOptions, _> = text.parse();
        match expect {
            Ok(expect) => {
                assert_eq!(expect.to_string().parse(), Ok(expect.clone()));
                assert_eq!(found, Ok(expect));
            }
            Err(expect) => {
                let message = found.expect_err("an error").to_string();
                assert!(message.starts_with(expect), "{message}");
            }
        }
    }
}
