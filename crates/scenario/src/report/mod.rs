//! Reports on cases: lines of text, JSON, JUnit XML, annotations, a page.

mod annotations;
mod html;
mod json;
mod junit;
mod text;

pub use annotations::github;
pub use html::html;
pub use json::json;
pub use junit::junit;
pub use text::{line, summary};
