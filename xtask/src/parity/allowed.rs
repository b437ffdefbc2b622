//! The committed list of bytes that may differ, and the limits it must keep.

use std::fmt;
use std::path::Path;

use toml_span::Value;

use super::ParityError;
use super::case::Case;

/// No list may name more bytes than this.
pub const MOST_BYTES: u64 = 64;

/// No entry may be longer than this.
pub const MOST_RANGE_BYTES: u64 = 4;

/// A piece of evidence that addresses count in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Area {
    /// 0-4FFh.
    LowMemory,
    /// E0000h-FFFFFh.
    BiosSegments,
    /// The extended BIOS data area.
    Ebda,
    /// Configuration space of a device and function.
    Pci(u8, u8),
    /// CMOS bytes by index.
    Cmos,
}

impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Area::LowMemory => f.write_str("low-memory"),
            Area::BiosSegments => f.write_str("bios-segments"),
            Area::Ebda => f.write_str("ebda"),
            Area::Pci(device, function) => write!(f, "pci {device:02x}.{function}"),
            Area::Cmos => f.write_str("cmos"),
        }
    }
}

impl Area {
    fn parse(text: &str) -> Option<Area> {
        match text {
            "low-memory" => Some(Area::LowMemory),
            "bios-segments" => Some(Area::BiosSegments),
            "ebda" => Some(Area::Ebda),
            "cmos" => Some(Area::Cmos),
            _ => {
                let (device, function) = text.strip_prefix("pci ")?.split_once('.')?;
                Some(Area::Pci(u8::from_str_radix(device, 16).ok()?, function.parse().ok()?))
            }
        }
    }
}

/// One range that may differ.
#[derive(Clone, Debug)]
struct Entry {
    area: Area,
    at: u64,
    length: u64,
    machine: Option<String>,
    image: Option<String>,
    drives: Option<bool>,
    virtio: Option<bool>,
}

/// The whole list.
#[derive(Clone, Default, Debug)]
pub struct Allowed {
    entries: Vec<Entry>,
}

impl Allowed {
    /// Reads the list from a file.
    pub fn load(path: &Path) -> Result<Allowed, ParityError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ParityError::Io { what: path.display().to_string(), source })?;
        Allowed::parse(&text).map_err(|error| ParityError::Usage(format!("{}: {error}", path.display())))
    }

    /// Reads the list from text; refuses one that breaks the limits.
    pub fn parse(text: &str) -> Result<Allowed, String> {
        let root = toml_span::parse(text).map_err(|error| error.to_string())?;
        let mut allowed = Allowed::default();
        let rows = match root.pointer("/bytes") {
            Some(rows) => rows.as_array().ok_or("`bytes` must be a list of tables")?.as_slice(),
            None => &[],
        };
        for (index, row) in rows.iter().enumerate() {
            let entry = parse_entry(row).map_err(|error| format!("entry {}: {error}", index + 1))?;
            allowed.entries.push(entry);
        }
        let total: u64 = allowed.entries.iter().map(|entry| entry.length).sum();
        if total > MOST_BYTES {
            return Err(format!("names {total} bytes; at most {MOST_BYTES} may differ"));
        }
        Ok(allowed)
    }

    /// Whether this byte may differ in this case.
    pub fn permits(&self, case: &Case, area: Area, at: u64) -> bool {
        self.entries.iter().any(|entry| {
            entry.area == area
                && (entry.at..entry.at.saturating_add(entry.length)).contains(&at)
                && entry.machine.as_deref().is_none_or(|machine| machine == case.machine)
                && entry.image.as_deref().is_none_or(|image| image == case.image.short())
                && entry.drives.is_none_or(|drives| drives == case.drives)
                && entry.virtio.is_none_or(|virtio| virtio == case.virtio.is_some())
        })
    }

    /// How many bytes the list names.
    pub fn bytes(&self) -> u64 {
        self.entries.iter().map(|entry| entry.length).sum()
    }
}

fn parse_entry(row: &Value<'_>) -> Result<Entry, String> {
    let table = row.as_table().ok_or("is not a table")?;
    let text = |key: &str| table.get(key).and_then(Value::as_str);
    let number = |key: &str| {
        table
            .get(key)
            .and_then(Value::as_integer)
            .and_then(|value| u64::try_from(value).ok())
            .ok_or(format!("`{key}` must be a number"))
    };
    for key in table.keys() {
        let known = ["area", "at", "length", "owner", "cause", "machine", "image", "drives", "virtio"];
        if !known.contains(&key.name.as_ref()) {
            return Err(format!("unknown key `{}`; keys: {}", key.name, known.join(", ")));
        }
    }
    let area = text("area").ok_or("has no `area`")?;
    let area = Area::parse(area).ok_or(format!("unknown area `{area}`"))?;
    for key in ["owner", "cause"] {
        if text(key).is_none_or(|value| value.trim().is_empty()) {
            return Err(format!("has no `{key}`"));
        }
    }
    let length = number("length")?;
    if length == 0 || length > MOST_RANGE_BYTES {
        return Err(format!("is {length} bytes long; ranges have 1 to {MOST_RANGE_BYTES}"));
    }
    Ok(Entry {
        area,
        at: number("at")?,
        length,
        machine: text("machine").map(str::to_owned),
        image: text("image").map(str::to_owned),
        drives: table.get("drives").and_then(Value::as_bool),
        virtio: table.get("virtio").and_then(Value::as_bool),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parity::case::{Image, Restart};

    fn entry(at: u64, length: u64) -> String {
        format!("[[bytes]]\narea='ebda'\nat={at}\nlength={length}\nowner='o'\ncause='c'\n")
    }

    #[test]
    fn limits() {
        let check = |text: &str, expect: Result<u64, &str>| {
            let got = Allowed::parse(text).map(|allowed| allowed.bytes());
            match (got, expect) {
                (Ok(bytes), Ok(expected)) => assert_eq!(bytes, expected, "{text}"),
                (Err(error), Err(part)) => assert!(error.contains(part), "{text}: {error}"),
                (got, expect) => panic!("{text}: {got:?}, expected {expect:?}"),
            }
        };
        check("", Ok(0));
        check(&entry(0, 4), Ok(4));
        check(&(0..16).map(|i| entry(i * 8, 4)).collect::<String>(), Ok(64));
        check(&(0..17).map(|i| entry(i * 8, 4)).collect::<String>(), Err("at most 64"));
        check(&entry(0, 5), Err("1 to 4"));
        check(&entry(0, 0), Err("1 to 4"));
        check(&entry(0, 1).replace("owner='o'", "owner=' '"), Err("no `owner`"));
        check(&entry(0, 1).replace("cause='c'\n", ""), Err("no `cause`"));
        check(&entry(0, 1).replace("ebda", "attic"), Err("unknown area"));
        check(&(entry(0, 1) + "extra=1\n"), Err("unknown key"));
    }

    #[test]
    fn the_committed_list_keeps_them() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("parity-allowed.toml");
        let allowed = Allowed::load(&path).expect("the committed list");
        let case = Case {
            machine: "pc-i440fx-1.4",
            image: Image::Large,
            drives: false,
            cpus: 1,
            vga: false,
            virtio: None,
            restart: Restart::SystemReset,
        };
        assert!(allowed.permits(&case, Area::LowMemory, 0x46f));
        assert!(!allowed.permits(&case, Area::LowMemory, 0x470));
        assert!(!allowed.permits(&case, Area::Ebda, 0x46c));
    }
}
