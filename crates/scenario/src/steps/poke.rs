//! `poke = { "0x472" = "34 12", HaveRunPost = 0, "register.eax" = 5 }`: memory and registers are changed.

use std::str::FromStr;

use toml_span::Value;

use super::{
    Kind, Scene, Setting, Step, Stop,
    check::{Amount, hex},
};
use crate::{
    fields::{Field, Shape},
    place::Place,
    problem::{Problem, Source},
    table::{self, Reader},
};

pub(super) const KIND: Kind = Kind {
    field: Field::new(
        "poke",
        Shape::Map(&Shape::Bytes),
        "Writes memory by address, symbol or block, and registers as \"register.eax\".",
    ),
    keys: &[],
    parse,
};

#[derive(Debug)]
struct Poke {
    writes: Vec<Write>,
}

#[derive(Debug)]
enum Write {
    Memory(Place, Amount),
    Register(String, u64),
}

fn parse(
    source: &Source,
    value: &Value<'_>,
    _: &Reader<'_, '_>,
    _: &Setting<'_>,
) -> Result<Box<dyn Step>, Problem> {
    let mut writes = Vec::new();
    for (key, value) in table::in_order(table::table(source, value)?) {
        writes.push(match key.name.strip_prefix("register.") {
            Some(name) => {
                let value = table::integer(source, value, i64::MAX.unsigned_abs())?;
                Write::Register(name.to_owned(), value)
            }
            None => {
                let place = Place::from_str(&key.name)
                    .map_err(|error| source.problem(key.span, error.to_string(), ""))?;
                let amount = Amount::read(source, value, &place)?;
                Write::Memory(place, amount)
            }
        });
    }
    if writes.is_empty() {
        return Err(source.problem(value.span, "this step writes nothing", ""));
    }
    Ok(Box::new(Poke { writes }))
}

impl Step for Poke {
    fn describe(&self) -> String {
        let shown: Vec<String> = self
            .writes
            .iter()
            .map(|write| match write {
                Write::Memory(place, amount) => format!("{place} = {amount}"),
                Write::Register(name, value) => format!("register {name} = {value:#x}"),
            })
            .collect();
        format!("poke {}", shown.join(", "))
    }

    fn expects(&self) -> bool {
        false
    }

    fn take(&self, scene: &mut Scene<'_>) -> Result<(), Stop> {
        for write in &self.writes {
            match write {
                Write::Register(name, value) => scene.machine.set_register(name, *value)?,
                Write::Memory(place, amount) => {
                    let found = place.find(scene.symbols)?;
                    let bytes = amount.bytes(found.size)?;
                    let mut before = vec![0; bytes.len()];
                    found.read(scene.machine, &mut before)?;
                    found.write(scene.machine, &bytes)?;
                    let text = format!("{} → {}", hex(&before), hex(&bytes));
                    scene.shown.push((place.to_string(), text));
                }
            }
        }
        Ok(())
    }
}
