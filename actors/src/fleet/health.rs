//! Whether the node can serve.

/// One thing the node needs in order to serve.
#[derive(Debug, Clone)]
pub struct HealthCheck {
    /// What is checked ("journal", "mqtt").
    pub name: &'static str,
    /// Whether it holds.
    pub ok: bool,
    /// What was found, in a sentence.
    pub detail: String,
}

/// Whether the node can serve.
pub trait Health: Send + Sync {
    /// Everything that must hold before the node is ready.
    fn checks(&self) -> Vec<HealthCheck>;
}
