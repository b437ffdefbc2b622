//! What is wrong with a configuration, a key name or a condition, in one sentence.

/// A machine that cannot be built, or an argument that cannot be understood.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ConfigError {
    message: String,
}

impl ConfigError {
    /// An error that says `message`.
    pub fn new(message: impl Into<String>) -> ConfigError {
        ConfigError { message: message.into() }
    }
}
