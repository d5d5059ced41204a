//! Environment variables as an argument, so that a test brings its own.

/// Where variables are looked up.
pub trait Variables: Send + Sync {
    /// The variable's value; `None` when it is not set, is empty or is not UTF-8.
    fn get(&self, name: &str) -> Option<String>;
}

/// The environment of this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessEnvironment;

impl Variables for ProcessEnvironment {
    fn get(&self, name: &str) -> Option<String> {
        std::env::var(name).ok().filter(|value| !value.is_empty())
    }
}
