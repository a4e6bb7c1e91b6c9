//! Passwords as they are kept: argon2id in the PHC string format, never the text itself.

use std::fmt;
use std::str::FromStr;

use argon2::Argon2;
use argon2::password_hash::rand_core::OsRng;
use argon2::password_hash::{
    self, PasswordHash as Parsed, PasswordHashString, PasswordHasher as _, PasswordVerifier as _, SaltString,
};

/// A hashed password, `$argon2id$…`.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(PasswordHashString);

/// Why a text is no hash that can be used, or no hash could be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no argon2 hash in the PHC format ({0}); `voltree passwd` makes one")]
pub struct PasswordHashError(password_hash::Error);

impl PasswordHash {
    /// Hashes a password with a salt of its own and OWASP's recommended cost (19 MiB, two passes), argon2's default.
    pub fn of(password: &str) -> Result<Self, PasswordHashError> {
        let salt = SaltString::generate(&mut OsRng);
        let hash = Argon2::default().hash_password(password.as_bytes(), &salt).map_err(PasswordHashError)?;
        Ok(Self(hash.serialize()))
    }

    /// Whether this is the password.
    pub fn verify(&self, password: &str) -> bool {
        Argon2::default().verify_password(password.as_bytes(), &self.0.password_hash()).is_ok()
    }
}

impl FromStr for PasswordHash {
    type Err = PasswordHashError;

    fn from_str(text: &str) -> Result<Self, PasswordHashError> {
        let parsed = Parsed::new(text).map_err(PasswordHashError)?;
        let algorithm = argon2::Algorithm::try_from(parsed.algorithm);
        if algorithm.is_err() || parsed.hash.is_none() || parsed.salt.is_none() {
            return Err(PasswordHashError(password_hash::Error::Algorithm));
        }
        Ok(Self(parsed.serialize()))
    }
}

/// The PHC string, as it goes into a configuration.
impl fmt::Display for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

/// Even a hash is nothing for a log.
impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_knows_its_password_after_being_written_and_read() {
        let hash: PasswordHash = PasswordHash::of("sun & grid").unwrap().to_string().parse().unwrap();
        assert!(hash.verify("sun & grid"));
        assert!(!hash.verify("sun & grit"));
    }

    #[test]
    fn two_hashes_of_one_password_differ() {
        assert_ne!(PasswordHash::of("x").unwrap(), PasswordHash::of("x").unwrap());
    }

    #[test]
    fn what_is_no_argon2_hash_is_refused() {
        let bcrypt = "$2b$12$abcdefghijklmnopqrstuuO1KIYc0pZ8X5M3hPzS3P1mXy1Q1Z1aK";
        for text in ["", "secret", bcrypt, "$argon2id$", "$scrypt$ln=1$aaaaaaaa$bbbbbbbbbbbbbbbb"] {
            assert!(text.parse::<PasswordHash>().is_err(), "{text}");
        }
    }
}
