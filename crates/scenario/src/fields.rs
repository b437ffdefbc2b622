//! What keys a table may have: lists that readers read by and the schema is made from.

/// One key of a table.
#[derive(Debug)]
pub(crate) struct Field {
    /// The key.
    pub(crate) name: &'static str,
    /// What values it takes.
    pub(crate) shape: Shape,
    /// One sentence for editors.
    pub(crate) about: &'static str,
    /// The table is refused without it.
    pub(crate) required: bool,
}

impl Field {
    /// A key that may be left out.
    pub(crate) const fn new(name: &'static str, shape: Shape, about: &'static str) -> Field {
        Field { name, shape, about, required: false }
    }

    /// A key that must be there.
    pub(crate) const fn required(name: &'static str, shape: Shape, about: &'static str) -> Field {
        Field { name, shape, about, required: true }
    }
}

/// What a value may be. In a scenario with a matrix, text of the form `${…}` may stand for any of it.
#[derive(Debug)]
pub(crate) enum Shape {
    /// Any text.
    Text,
    /// True or false.
    Truth,
    /// A whole number from zero.
    Number(u64),
    /// A count of instructions: a number, or text with K, M or G; with a sign, from now on.
    Count,
    /// A span of virtual time with its unit.
    Time,
    /// An amount of memory.
    Amount,
    /// One of some names.
    Choice(fn() -> Vec<&'static str>),
    /// A byte, an array of bytes, or hexadecimal text.
    Bytes,
    /// Text, a number, true, false, or an array of these.
    Scalars,
    /// One value, or an array of at least one.
    OneOrMore(&'static Shape),
    /// An array.
    Array(&'static Shape),
    /// A table with keys of the user's own.
    Map(&'static Shape),
    /// A table with these keys.
    Table(&'static [Field]),
    /// One or the other.
    Either(&'static [Shape]),
    /// A tree of tables whose leaves are text.
    Tree,
    /// A matrix.
    Matrix,
    /// Conditions on the matrix.
    Conditions,
    /// The steps of a scenario.
    Steps,
}
