//! The error that actors of the tree return, so that a supervisor can tell an error from a panic.

use std::error::Error;
use std::fmt;

use ractor::ActorProcessingErr;

/// An actor's own error, with its chain of sources as text. ractor hands a panic over as a bare string error;
/// whatever is a `Failure` was returned on purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure(String);

impl Failure {
    /// Takes an error with all its sources.
    pub fn new(error: &(dyn Error + 'static)) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        Self(text)
    }

    /// Takes a sentence.
    pub fn text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Boxes an error the way ractor's handlers return it.
    pub fn boxed(error: &(dyn Error + 'static)) -> ActorProcessingErr {
        Box::new(Self::new(error))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Failure {}
