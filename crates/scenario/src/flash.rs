//! Flash chips: how they are written on a command line, and the files behind them.

use std::{fs, path::PathBuf};

use warmboot_machine::Flash;

use crate::{firmware, problem::InputError, spec::Places};

/// A flash chip as the user writes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FlashSpec {
    /// Known name or path.
    pub image: String,
    /// The guest cannot write.
    pub read_only: bool,
    /// What is in the chip at the end of the run goes to the file.
    pub write_back: bool,
}

impl FlashSpec {
    /// Parses `FILE[,readonly][,write-back]`.
    ///
    /// # Errors
    /// Says what was expected.
    pub fn parse(text: &str) -> Result<FlashSpec, InputError> {
        let mut parts = text.split(',');
        let image = parts.next().unwrap_or_default().to_owned();
        let mut flash = FlashSpec { image, read_only: false, write_back: false };
        if flash.image.is_empty() {
            return Err(InputError(format!("flash `{text}`: expected FILE[,readonly][,write-back]")));
        }
        for option in parts {
            match option {
                "readonly" => flash.read_only = true,
                "write-back" => flash.write_back = true,
                _ => {
                    return Err(InputError(format!(
                        "flash `{text}`: unknown option `{option}`; expected readonly or write-back"
                    )));
                }
            }
        }
        if flash.read_only && flash.write_back {
            return Err(InputError(format!("flash `{text}`: readonly and write-back exclude each other")));
        }
        Ok(flash)
    }

    /// The chip to build a machine with.
    ///
    /// # Errors
    /// An image that cannot be read or, with `write-back`, written.
    pub fn open(&self, places: &Places) -> Result<Flash, InputError> {
        let image = firmware::flash(&self.image, places)?;
        if self.write_back {
            let path = self.path(places)?;
            fs::OpenOptions::new().write(true).open(&path).map_err(|error| {
                InputError(format!("cannot write flash image `{}`: {error}", path.display()))
            })?;
        }
        Ok(Flash { image, read_only: self.read_only })
    }

    /// The file that `write-back` changes.
    ///
    /// # Errors
    /// When the image is known by name: it is shared, and stays as it was fetched.
    pub fn path(&self, places: &Places) -> Result<PathBuf, InputError> {
        if firmware::find(&self.image).is_some() || self.image.starts_with("rom:") {
            let message =
                format!("flash `{}`: write-back needs a file of your own: copy the image", self.image);
            return Err(InputError(message));
        }
        Ok(places.resolve(&self.image))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("a.fd", Some(("a.fd", false, false)), "")]
    #[case("a.fd,readonly", Some(("a.fd", true, false)), "")]
    #[case("a.fd,write-back", Some(("a.fd", false, true)), "")]
    #[case("", None, "expected FILE[,readonly][,write-back]")]
    #[case(",readonly", None, "expected FILE")]
    #[case("a.fd,writeback", None, "unknown option `writeback`")]
    #[case("a.fd,readonly,write-back", None, "exclude each other")]
    fn written(#[case] text: &str, #[case] expect: Option<(&str, bool, bool)>, #[case] message: &str) {
        match (FlashSpec::parse(text), expect) {
            (Ok(flash), Some((image, read_only, write_back))) => {
                assert_eq!(flash, FlashSpec { image: image.into(), read_only, write_back });
            }
            (Err(error), None) => assert!(error.to_string().contains(message), "{error}"),
            (result, _) => panic!("{result:?}"),
        }
    }

    #[rstest]
    #[case("ovmf-vars,write-back", "write-back needs a file of your own")]
    #[case("no/such.fd,write-back", "cannot read firmware `no/such.fd`")]
    fn not_written_back(#[case] text: &str, #[case] expect: &str) {
        let flash = FlashSpec::parse(text).expect("readable");
        let error =
            flash.path(&Places::default()).and_then(|_| flash.open(&Places::default())).expect_err("refused");
        assert!(error.to_string().contains(expect), "{error}");
    }
}
