//! A JSON Schema of scenario files for editors, made from the lists of fields that they are read by.
//!
//! JSON Schema 2020-12. It says which keys there are and what shape their values have; whether a name is
//! a symbol of the firmware, or a matrix has the axis that `when` asks for, only the reader knows.

use serde_json::{Map, Value, json};

use crate::{
    fields::{Field, Shape},
    load::{MACHINE, SCENARIO},
    matrix::EXCLUDE,
    steps::{COMMON, KINDS},
};

/// The schema.
#[must_use]
pub fn schema() -> Value {
    let mut schema = table(SCENARIO.iter());
    if let Value::Object(top) = &mut schema {
        top.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
        top.insert("title".into(), json!("warmboot scenario"));
        top.insert(
            "$defs".into(),
            json!({
                "variable": { "type": "string", "pattern": "^\\$\\{[^}]+\\}$" },
                "tree": {
                    "anyOf": [
                        { "type": "string" },
                        { "type": "object", "additionalProperties": { "$ref": "#/$defs/tree" } },
                    ],
                },
            }),
        );
    }
    schema
}

/// An object with exactly these keys.
fn table<'a>(fields: impl Iterator<Item = &'a Field> + Clone) -> Value {
    let mut properties = Map::new();
    for field in fields.clone() {
        let mut of = shape(&field.shape);
        if let Value::Object(of) = &mut of {
            of.insert("description".into(), json!(field.about));
        }
        properties.insert(field.name.into(), of);
    }
    let required: Vec<&str> = fields.filter(|field| field.required).map(|field| field.name).collect();
    let mut table = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if let (Value::Object(table), false) = (&mut table, required.is_empty()) {
        table.insert("required".into(), json!(required));
    }
    table
}

/// What a value may be.
fn shape(of: &Shape) -> Value {
    match of {
        Shape::Text => json!({ "type": "string" }),
        Shape::Truth => or_variable(&[json!({ "type": "boolean" })]),
        Shape::Number(largest) => or_variable(&[number(*largest)]),
        Shape::Count => {
            or_variable(&[number(u64::MAX), json!({ "type": "string", "pattern": "^\\+?[0-9]+[KMGkmg]?$" })])
        }
        Shape::Time => {
            or_variable(&[json!({ "type": "string", "pattern": "^\\+?[0-9]+(ns|us|ms|s|min|h)$" })])
        }
        Shape::Amount => or_variable(&[
            number(u64::MAX),
            json!({ "type": "string", "pattern": "^[0-9]+([KMGT](iB)?|B)?$" }),
        ]),
        Shape::Choice(names) => or_variable(&[json!({ "enum": names() })]),
        Shape::Bytes => or_variable(&[
            number(u64::MAX),
            json!({ "type": "array", "items": number(0xff), "minItems": 1 }),
            json!({ "type": "string", "pattern": "^\\s*[0-9A-Fa-f]{1,2}(\\s+[0-9A-Fa-f]{1,2})*\\s*$" }),
        ]),
        Shape::Scalars => json!({
            "anyOf": [scalar(), { "type": "array", "items": scalar() }],
        }),
        Shape::OneOrMore(one) => one_or_more(&shape(one)),
        Shape::Array(one) => json!({ "type": "array", "items": shape(one) }),
        Shape::Map(one) => json!({ "type": "object", "additionalProperties": shape(one) }),
        Shape::Table(fields) => table(fields.iter()),
        Shape::Either(shapes) => json!({ "anyOf": shapes.iter().map(shape).collect::<Vec<_>>() }),
        Shape::Tree => json!({ "$ref": "#/$defs/tree" }),
        Shape::Matrix => matrix(),
        Shape::Conditions => conditions(),
        Shape::Steps => steps(),
    }
}

/// Any of `shapes`, or a variable of the matrix.
fn or_variable(shapes: &[Value]) -> Value {
    let mut any = shapes.to_vec();
    any.push(json!({ "$ref": "#/$defs/variable" }));
    json!({ "anyOf": any })
}

fn one_or_more(one: &Value) -> Value {
    json!({ "anyOf": [one, { "type": "array", "items": one, "minItems": 1 }] })
}

fn number(largest: u64) -> Value {
    // TOML's integers have 64 bits and a sign.
    let largest = i64::try_from(largest).unwrap_or(i64::MAX);
    json!({ "type": "integer", "minimum": 0, "maximum": largest })
}

fn scalar() -> Value {
    json!({ "type": ["string", "integer", "boolean"] })
}

/// Axes: arrays of values or of rows, and keys of `[machine]` with arrays.
fn matrix() -> Value {
    let values = json!({ "type": "array", "items": scalar(), "minItems": 1 });
    let row = json!({
        "type": "object",
        "properties": {
            "name": { "type": "string", "description": "As names of cases and `when` have it." },
            "machine": table(MACHINE.iter()),
        },
        "required": ["name"],
        "additionalProperties": scalar(),
    });
    let rows = json!({ "type": "array", "items": row, "minItems": 1 });
    let machine: Map<String, Value> =
        MACHINE.iter().map(|field| (field.name.to_owned(), values.clone())).collect();
    let quoted: Map<String, Value> =
        MACHINE.iter().map(|field| (format!("machine.{}", field.name), values.clone())).collect();
    let mut properties = quoted;
    properties.insert(EXCLUDE.into(), conditions());
    properties.insert(
        "machine".into(),
        json!({ "type": "object", "properties": machine, "additionalProperties": false }),
    );
    json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": { "anyOf": [values, rows] },
    })
}

/// One or more tables of axes and their values.
fn conditions() -> Value {
    one_or_more(&json!({
        "type": "object",
        "additionalProperties": one_or_more(&scalar()),
        "minProperties": 1,
    }))
}

/// One of the kinds, with its own keys and those of every step.
fn steps() -> Value {
    let kinds: Vec<Value> = KINDS
        .iter()
        .map(|kind| {
            let fields = std::iter::once(&kind.field).chain(kind.keys).chain(COMMON);
            let mut step = table(fields.clone());
            let others = fields.filter(|field| field.required && field.name != kind.field.name);
            let required: Vec<&str> =
                std::iter::once(kind.field.name).chain(others.map(|field| field.name)).collect();
            if let Value::Object(step) = &mut step {
                step.insert("required".into(), json!(required));
                step.insert("title".into(), json!(kind.field.name));
            }
            step
        })
        .collect();
    json!({ "type": "array", "items": { "anyOf": kinds }, "minItems": 1 })
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use rstest::rstest;

    use super::*;

    /// Whether `value` is as `schema` says, for the words of JSON Schema that are used above. Patterns are
    /// left out: a string passes any.
    fn is_valid(value: &Value, schema: &Value, top: &Value) -> bool {
        let all = |words: &Map<String, Value>| {
            words.iter().all(|(word, what)| holds(word, what, words, value, top))
        };
        schema.as_object().is_some_and(all)
    }

    fn holds(word: &str, what: &Value, words: &Map<String, Value>, value: &Value, top: &Value) -> bool {
        let size = |most: usize| what.as_u64().is_some_and(|least| most as u64 >= least);
        match word {
            "$schema" | "title" | "description" | "$defs" | "pattern" => true,
            "$ref" => {
                let path = what.as_str().and_then(|path| path.strip_prefix('#')).expect("a path");
                is_valid(value, top.pointer(path).expect("a definition"), top)
            }
            "type" => match what {
                Value::Array(types) => types.iter().any(|one| is_type(value, one)),
                one => is_type(value, one),
            },
            "enum" => what.as_array().expect("names").contains(value),
            "anyOf" => what.as_array().expect("schemas").iter().any(|schema| is_valid(value, schema, top)),
            "minimum" => value.as_i64().is_none_or(|number| Some(number) >= what.as_i64()),
            "maximum" => value.as_i64().is_none_or(|number| Some(number) <= what.as_i64()),
            "minItems" => value.as_array().is_none_or(|items| size(items.len())),
            "minProperties" => value.as_object().is_none_or(|keys| size(keys.len())),
            "items" => {
                value.as_array().is_none_or(|items| items.iter().all(|item| is_valid(item, what, top)))
            }
            "required" => {
                let has = |key: &Value| value.get(key.as_str().unwrap_or_default()).is_some();
                value.as_object().is_none() || what.as_array().expect("names").iter().all(has)
            }
            "properties" => {
                let valid = |(key, value): (&String, &Value)| {
                    what.get(key).is_none_or(|schema| is_valid(value, schema, top))
                };
                value.as_object().is_none_or(|keys| keys.iter().all(valid))
            }
            "additionalProperties" => {
                let named = |key: &str| words.get("properties").is_some_and(|known| known.get(key).is_some());
                let valid = |(key, value): (&String, &Value)| {
                    named(key) || (*what != Value::Bool(false) && is_valid(value, what, top))
                };
                value.as_object().is_none_or(|keys| keys.iter().all(valid))
            }
            other => panic!("the test does not know the word {other}"),
        }
    }

    fn is_type(value: &Value, name: &Value) -> bool {
        match name.as_str().expect("a type") {
            "string" => value.is_string(),
            "integer" => value.is_i64(),
            "boolean" => value.is_boolean(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            other => panic!("unknown type {other}"),
        }
    }

    fn check(text: &str, expect: bool) {
        let value: Value = toml::from_str(text).expect("TOML");
        let schema = schema();
        assert_eq!(is_valid(&value, &schema, &schema), expect, "{text}");
    }

    #[rstest]
    #[case::plain("[[step]]\nrun-until = [\"halt\", \"limit\"]\nlimit = \"+3M\"\n", true)]
    #[case::no_steps("title = \"x\"\n", false)]
    #[case::unknown_key("titel = \"x\"\n[[step]]\nrun-until = \"halt\"\n", false)]
    #[case::unknown_step("[[step]]\nrun-untill = \"halt\"\n", false)]
    #[case::unknown_key_of_step("[[step]]\nrun-until = \"halt\"\nlimits = 3\n", false)]
    #[case::two_steps("[[step]]\nrun-until = \"halt\"\npress = \"a\"\n", false)]
    #[case::unknown_machine("[machine]\ntype = 3\n[[step]]\npress = \"a\"\n", false)]
    #[case::variable("[[step]]\nmigrate = { shadow-bios = \"${hook}\" }\n", true)]
    #[case::diff_without_from("[[step]]\ndiff = { show = [\"cpu\"] }\n", false)]
    #[case::outcome_without_by("[[step]]\noutcome = \"OK\"\n", false)]
    #[case::bytes("[[step]]\nexpect = { memory = { \"0x10\" = [1, 256] } }\n", false)]
    #[case::matrix(
        "[matrix]\nhook = [true]\nexclude = { hook = true }\n\"machine.cpus\" = [1]\n\
         [[matrix.reset]]\nname = \"C\"\nmachine.type = \"pc-i440fx-7.2\"\nbanner = \"x\"\n\
         [outcomes.OK]\ndisks = 2\n[[step]]\nby = [\"reset\"]\noutcome = { C = \"OK\" }\n",
        true
    )]
    #[case::row_without_name("[[matrix.reset]]\nbanner = \"x\"\n[[step]]\npress = \"a\"\n", false)]
    fn small_files(#[case] text: &str, #[case] expect: bool) {
        check(text, expect);
    }

    #[test]
    fn committed_scenarios_are_valid_and_are_read() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios");
        let files = crate::scenario_files(&[folder]).expect("scenarios");
        assert!(files.len() > 5);
        for file in files {
            let text = fs::read_to_string(&file).expect("read");
            check(&text, true);
            if let Err(problem) = crate::load(&file.display().to_string(), &text) {
                panic!("{problem}");
            }
        }
    }
}
