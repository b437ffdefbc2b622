//! Reports on cases: lines of text, JSON, JUnit XML.

mod json;
mod junit;
mod text;

pub use json::json;
pub use junit::junit;
pub use text::{line, summary};
