//! The error that actors of the tree return, so that a supervisor can tell an error from a panic.

use std::error::Error;
use std::fmt;

use ractor::ActorProcessingErr;
use serde::{Deserialize, Serialize};

/// An error and what caused it, the outermost first; kept as words, so that it can be stored and outlives its types.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ErrorChain(Vec<String>);

/// How much of each error's words is kept.
const MAX_LINK_BYTES: usize = 1_024;
/// How many causes are kept.
const MAX_LINKS: usize = 16;

impl ErrorChain {
    /// Takes an error with all its sources.
    pub fn new(error: &(dyn Error + 'static)) -> Self {
        let causes = std::iter::successors(Some(error), |error: &&(dyn Error + 'static)| (*error).source());
        Self(causes.take(MAX_LINKS).map(|error| cut(&error.to_string())).collect())
    }

    /// Borrows the errors' words, the outermost first.
    pub fn links(&self) -> &[String] {
        &self.0
    }
}

fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_LINK_BYTES)].to_owned()
}

impl<T: Into<String>> From<T> for ErrorChain {
    fn from(text: T) -> Self {
        Self(vec![cut(&text.into())])
    }
}

impl fmt::Display for ErrorChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(": "))
    }
}

/// An actor's own error, with its chain of sources. ractor hands a panic over as a bare string error; whatever is a
/// `Failure` was returned on purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure(ErrorChain);

impl Failure {
    /// Takes an error with all its sources.
    pub fn new(error: &(dyn Error + 'static)) -> Self {
        Self(ErrorChain::new(error))
    }

    /// Takes a sentence.
    pub fn text(text: impl Into<String>) -> Self {
        Self(ErrorChain::from(text))
    }

    /// Boxes an error the way ractor's handlers return it.
    pub fn boxed(error: &(dyn Error + 'static)) -> ActorProcessingErr {
        Box::new(Self::new(error))
    }

    /// Borrows the error and its causes.
    pub fn chain(&self) -> &ErrorChain {
        &self.0
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the outer one")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn a_chain_keeps_each_cause_by_itself_and_reads_as_one_sentence() {
        let chain = ErrorChain::new(&Outer(std::io::Error::other("the cause")));
        assert_eq!(chain.links(), ["the outer one", "the cause"]);
        assert_eq!(chain.to_string(), "the outer one: the cause");
    }

    #[test]
    fn endless_words_are_cut_at_a_character() {
        let chain = ErrorChain::from("é".repeat(MAX_LINK_BYTES));
        assert_eq!(chain.links()[0].len(), MAX_LINK_BYTES);
    }
}
