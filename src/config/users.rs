//! Who may log in to the node's own MQTT listener: the sections `[[mqtt.user]]`.

use std::collections::BTreeMap;
use std::sync::Arc;

use voltree_actors::access::{Access, PasswordHash, Rights, User};
use voltree_model::DeviceId;
use voltree_protocols::mqtt::Filter;

use super::reader::{Mistake, Section};

/// Reads every section. Without any, programs on this machine come in without a name and nobody else does; as soon as
/// there is one, `anonymous = "loopback"` must be said. Where clients show certificates, a user may do without a password.
pub(super) fn read(mqtt: &mut Section, by_certificate: bool, mistakes: &mut Vec<Mistake>) -> Access {
    let anonymous = mqtt.choice("anonymous", &[("loopback", true), ("never", false)], mistakes);
    let mut users = BTreeMap::new();
    for mut section in mqtt.sections("user", mistakes) {
        let read = read_one(&mut section, by_certificate, mistakes);
        if let Some((name, user)) = read
            && users.insert(name.clone(), user).is_some()
        {
            section.mistake("name", &format!("{name} is taken by an earlier user"), mistakes);
        }
        section.finish(mistakes);
    }
    let anonymous = anonymous.unwrap_or(users.is_empty());
    Access::new(users, anonymous)
}

fn read_one(
    section: &mut Section,
    by_certificate: bool,
    mistakes: &mut Vec<Mistake>,
) -> Option<(String, User)> {
    section.required(&["name"], mistakes);
    if !by_certificate {
        section.required(&["password_hash"], mistakes);
    }
    let name = section.checked("name", user_name, mistakes);
    let parse = |text: &str| text.parse::<PasswordHash>().map_err(|error| error.to_string());
    let password = section.checked("password_hash", parse, mistakes);
    let device = section.checked("device", |id| DeviceId::new(id).map_err(|e| e.to_string()), mistakes);
    let mut rights = device.as_ref().map(Rights::of_device).unwrap_or_default();
    rights.publish.extend(filters(section, "publish", mistakes));
    rights.subscribe.extend(filters(section, "subscribe", mistakes));
    if rights == Rights::default() {
        section.mistake(
            "device",
            "is missing: say the device they speak for, or publish and subscribe",
            mistakes,
        );
    }
    Some((name?, User { password, rights: Arc::new(rights) }))
}

fn user_name(text: &str) -> Result<String, String> {
    if text.contains('\0') { Err("may not contain NUL".to_owned()) } else { Ok(text.to_owned()) }
}

fn filters(section: &mut Section, key: &str, mistakes: &mut Vec<Mistake>) -> Vec<Filter> {
    let mut filters = Vec::new();
    for text in section.list(key, mistakes) {
        match Filter::parse(text.as_str()) {
            Ok(filter) => filters.push(filter),
            Err(error) => section.mistake(key, &format!("{text:?}: {error}"), mistakes),
        }
    }
    filters
}

#[cfg(test)]
mod tests {
    use voltree_actors::access::{Denied, Identity, PasswordHash};

    use crate::config::{Config, ConfigError};

    fn with_user(rest: &str) -> Config {
        let hash = PasswordHash::of("secret").unwrap();
        let user = format!("[[mqtt.user]]\nname = \"u\"\npassword_hash = \"{hash}\"\ndevice = \"d\"\n");
        Config::parse(&format!("{rest}\n{user}")).unwrap()
    }

    #[test]
    fn the_first_user_ends_coming_in_without_a_name_unless_it_is_said() {
        let open = Config::parse("").unwrap().mqtt_access;
        assert_eq!(open.judge(None, true), Ok(Identity::Anonymous));
        assert_eq!(open.judge(None, false), Err(Denied::NameNeeded));
        assert_eq!(with_user("").mqtt_access.judge(None, true), Err(Denied::NameNeeded));
        let said = with_user("[mqtt]\nanonymous = \"loopback\"").mqtt_access;
        assert_eq!(said.judge(None, true), Ok(Identity::Anonymous));
        let never = Config::parse("[mqtt]\nanonymous = \"never\"").unwrap().mqtt_access;
        assert_eq!(never.judge(None, true), Err(Denied::NameNeeded));
    }

    #[test]
    fn mistakes_of_users_are_named_by_key() {
        let text = "[mqtt]\nanonymous = \"always\"\n[[mqtt.user]]\nname = \"a\"\npassword_hash = \"secret\"\n\
                    publish = [\"a/#/b\"]\n[[mqtt.user]]\npassword = \"x\"\n";
        let Err(ConfigError::Mistakes(found)) = Config::parse(text) else { panic!("no mistakes") };
        let found: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), 8, "{found:#?}");
        assert!(found[0].starts_with("mqtt.anonymous: "), "{found:?}");
        assert!(found[1].starts_with("mqtt.user[0].password_hash: no argon2 hash"), "{found:?}");
        assert!(found[2].starts_with("mqtt.user[0].publish: \"a/#/b\""), "{found:?}");
    }
}
