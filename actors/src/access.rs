//! Who may come in, and what they may do then: users with hashed passwords, and rights by topic.
//!
//! Pure but for the hashing, which takes tens of milliseconds on purpose and so belongs on a blocking thread. Knows
//! nothing of sockets; the broker asks, and tells the client.

mod password;
mod rights;

use std::collections::BTreeMap;
use std::sync::Arc;

use voltree_model::DeviceId;
use voltree_protocols::mqtt::DeviceTopic;

pub use password::{PasswordHash, PasswordHashError};
pub use rights::Rights;

/// Somebody with a name and a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// What proves that it is them, besides a certificate in their name.
    pub password: Option<PasswordHash>,
    /// What they may do.
    pub rights: Arc<Rights>,
}

/// Who was let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// Nobody in particular, from this machine, who may do everything.
    Anonymous,
    /// A user, by name, within their rights.
    User(Arc<str>, Arc<Rights>),
}

/// Why somebody is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// There is no such user, or the password is another; which of the two is nobody's business.
    #[error("user name or password is wrong")]
    BadCredentials,
    /// Without a name one comes in from this machine only, and only where that is allowed.
    #[error("a user name is needed")]
    NameNeeded,
    /// A good certificate in a name that no user has.
    #[error("the certificate's name is no user's")]
    UnknownCertificate,
}

/// The node's users.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Access {
    users: BTreeMap<String, User>,
    anonymous: bool,
}

impl Access {
    /// These users, and whether anyone on this machine may come in without a name.
    pub fn new(users: BTreeMap<String, User>, anonymous: bool) -> Self {
        Self { users, anonymous }
    }

    /// Whether nobody can come in from another machine.
    pub fn is_local_only(&self) -> bool {
        self.users.is_empty()
    }

    /// The devices that users speak for by name: whoever wrote that down knows them.
    pub fn devices(&self) -> impl Iterator<Item = DeviceId> {
        let filters = self.users.values().flat_map(|user| &user.rights.publish);
        filters.filter_map(|filter| match DeviceTopic::parse(filter.as_str()) {
            Ok(DeviceTopic::Telemetry(device)) => Some(device),
            Ok(
                DeviceTopic::Status(_)
                | DeviceTopic::Commands(_)
                | DeviceTopic::CommandAck(_)
                | DeviceTopic::Config(_),
            )
            | Err(_) => None,
        })
    }

    /// Judges whoever knocks with a name and a password, or without. Hashes, so not for an async thread.
    pub fn judge(
        &self,
        credentials: Option<(&str, &str)>,
        on_this_machine: bool,
    ) -> Result<Identity, Denied> {
        match credentials {
            Some((name, password)) if !self.users.is_empty() => self.log_in(name, password),
            // Where nobody has a password, a name proves nothing and harms nothing.
            Some(_) | None if self.anonymous && on_this_machine => Ok(Identity::Anonymous),
            Some(_) => Err(Denied::BadCredentials),
            None => Err(Denied::NameNeeded),
        }
    }

    /// Judges whoever showed a certificate of the authority that the node trusts.
    pub fn by_certificate(&self, name: &str) -> Result<Identity, Denied> {
        let user = self.users.get(name).ok_or(Denied::UnknownCertificate)?;
        Ok(Identity::User(name.into(), Arc::clone(&user.rights)))
    }

    /// An unknown name costs as much time as a wrong password, so that names can't be guessed by the clock.
    fn log_in(&self, name: &str, password: &str) -> Result<Identity, Denied> {
        let user = self.users.get(name);
        let Some((user, hash)) = user.and_then(|user| Some((user, user.password.as_ref()?))) else {
            if let Some(any) = self.users.values().find_map(|user| user.password.as_ref()) {
                any.verify(password);
            }
            return Err(Denied::BadCredentials);
        };
        if hash.verify(password) {
            Ok(Identity::User(name.into(), Arc::clone(&user.rights)))
        } else {
            Err(Denied::BadCredentials)
        }
    }
}

impl Identity {
    /// Whether they may publish to this topic.
    pub fn may_publish(&self, topic: &str) -> bool {
        match self {
            Self::Anonymous => true,
            Self::User(_, rights) => rights.may_publish(topic),
        }
    }

    /// The key of a client's session. A user can't take over the session of another by choosing the same client id: the
    /// parts are divided by NUL, which no MQTT text may contain.
    pub fn session_key(&self, client_id: &str) -> String {
        match self {
            Self::Anonymous => client_id.to_owned(),
            Self::User(name, _) => format!("{name}\0{client_id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(anonymous: bool) -> Access {
        let user = User { password: PasswordHash::of("secret").ok(), rights: Arc::default() };
        Access::new([("ann".to_owned(), user)].into(), anonymous)
    }

    #[test]
    fn only_name_and_password_together_let_a_user_in() {
        let access = access(false);
        let identity = access.judge(Some(("ann", "secret")), false).unwrap();
        assert_eq!(identity, Identity::User("ann".into(), Arc::default()));
        for wrong in [("ann", "Secret"), ("ann", ""), ("bob", "secret"), ("", "")] {
            assert_eq!(access.judge(Some(wrong), true), Err(Denied::BadCredentials), "{wrong:?}");
        }
        assert_eq!(access.judge(None, true), Err(Denied::NameNeeded));
    }

    #[test]
    fn a_certificate_is_as_good_as_a_password_if_a_user_has_its_name() {
        let by_certificate_alone = User { password: None, rights: Arc::default() };
        let access = Access::new([("pack".to_owned(), by_certificate_alone)].into(), true);
        assert!(matches!(access.by_certificate("pack"), Ok(Identity::User(name, _)) if &*name == "pack"));
        for name in ["", "other"] {
            assert_eq!(access.by_certificate(name), Err(Denied::UnknownCertificate));
        }
        assert_eq!(access.judge(Some(("pack", "")), true), Err(Denied::BadCredentials));
    }

    #[test]
    fn without_a_name_one_comes_in_from_this_machine_only_and_a_wrong_password_is_never_overlooked() {
        let access = access(true);
        assert_eq!(access.judge(None, true), Ok(Identity::Anonymous));
        assert_eq!(access.judge(None, false), Err(Denied::NameNeeded));
        assert_eq!(access.judge(Some(("ann", "wrong")), true), Err(Denied::BadCredentials));
    }

    #[test]
    fn where_nobody_has_a_password_names_mean_nothing() {
        let access = Access::new(BTreeMap::new(), true);
        assert_eq!(access.judge(Some(("tasmota", "x")), true), Ok(Identity::Anonymous));
        assert_eq!(access.judge(Some(("tasmota", "x")), false), Err(Denied::BadCredentials));
    }

    #[test]
    fn sessions_of_two_users_never_meet() {
        let of = |name: &str| Identity::User(name.into(), Arc::default());
        assert_ne!(of("a").session_key("b"), of("b").session_key("b"));
        assert_ne!(of("a").session_key("b"), Identity::Anonymous.session_key("a:b"));
    }
}
