//! What messages of other conventions mean: the sections `[[mapping]]`. Each takes a preset, names a file, or says it all
//! itself.

use std::collections::BTreeMap;

use voltree_protocols::mapping::{Mapping, MappingError};
use voltree_protocols::mqtt::publish_topic_valid;

use super::reader::{Mistake, Section};

/// Reads every section. Of two mappings that know a topic the earlier counts.
pub(super) fn read(root: &mut Section, mistakes: &mut Vec<Mistake>) -> Vec<Mapping> {
    let mut mappings: Vec<Mapping> = Vec::new();
    for section in root.sections("mapping", mistakes) {
        let path = section.key("name");
        let Some(mapping) = read_one(section, mistakes) else { continue };
        if mappings.iter().any(|other| other.name() == mapping.name()) {
            mistakes.push(Mistake::new(path, format!("{} is taken by an earlier mapping", mapping.name())));
        }
        mappings.push(mapping);
    }
    mappings
}

/// Checks where announcements to Home Assistant begin.
pub(super) fn prefix(text: &str) -> Result<String, String> {
    if text.ends_with('/') {
        return Err("must not end with a slash".to_owned());
    }
    publish_topic_valid(text).map(|()| text.to_owned()).map_err(|error| error.to_string())
}

fn read_one(mut section: Section, mistakes: &mut Vec<Mistake>) -> Option<Mapping> {
    let (preset, file) = (section.has("preset"), section.has("file"));
    if !preset && !file {
        let path = section.key("");
        return good(&path, Mapping::from_table(section.into_table()), mistakes);
    }
    let key = section.key(if preset { "preset" } else { "file" });
    let chosen = section.text(if preset { "preset" } else { "file" }, mistakes);
    let set = section.texts("set", mistakes);
    section.finish(mistakes);
    let read = if preset { Mapping::preset(&chosen?, &set) } else { read_file(&chosen?, &set) };
    good(&key, read, mistakes)
}

fn read_file(path: &str, set: &BTreeMap<String, String>) -> Result<Mapping, MappingError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| MappingError::Syntax(format!("{path} could not be read: {error}")))?;
    Mapping::with_variables(&text, set)
}

fn good(key: &str, read: Result<Mapping, MappingError>, mistakes: &mut Vec<Mistake>) -> Option<Mapping> {
    let key = key.trim_end_matches('.');
    match read {
        Ok(mapping) => Some(mapping),
        Err(MappingError::Mistakes { mistakes: found, .. }) => {
            mistakes.extend(found.into_iter().map(|mistake| match mistake.split_once(": ") {
                Some((inner, what)) => Mistake::new(format!("{key}.{inner}"), what.to_owned()),
                None => Mistake::new(key.to_owned(), mistake),
            }));
            None
        }
        Err(error @ (MappingError::Syntax(_) | MappingError::UnknownPreset { .. })) => {
            mistakes.push(Mistake::new(key.to_owned(), error.to_string().trim().to_owned()));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, ConfigError};

    #[test]
    fn a_mapping_is_a_preset_a_file_or_says_it_all_itself() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("own.toml");
        std::fs::write(&file, "name = \"own\"\n[[message]]\ntopic = \"own/{device}\"\n[message.leaves]\n")
            .unwrap();
        let text = format!(
            "[[mapping]]\npreset = \"zigbee2mqtt\"\nset = {{ base = \"z\" }}\n[[mapping]]\nfile = {file:?}\n\
             [[mapping]]\nname = \"third\"\n[[mapping.message]]\ntopic = \"t/{{device}}\"\nformat = \"text\"\n\
             metrics = [{{ name = \"t\", unit = \"°C\" }}]\n"
        );
        let config = Config::parse(&text).unwrap();
        let names: Vec<_> = config.mappings.iter().map(|mapping| mapping.name()).collect();
        assert_eq!(names, ["zigbee2mqtt", "own", "third"]);
        assert!(config.mappings[0].read("z/lamp", b"{}").is_some());
    }

    #[test]
    fn mistakes_of_mappings_are_named_by_key() {
        let text = "[[mapping]]\npreset = \"tuya\"\n[[mapping]]\nfile = \"nowhere.toml\"\n[[mapping]]\nname = \"a\"\n\
                    [[mapping]]\nname = \"b\"\nscript = \"x\"\n[[mapping]]\npreset = \"tasmota\"\ntypo = 1\n\
                    [[mapping]]\npreset = \"tasmota\"\n";
        let Err(ConfigError::Mistakes(found)) = Config::parse(text) else { panic!("no mistakes") };
        let found: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), 6, "{found:#?}");
        assert!(found[0].starts_with("mapping[0].preset: \"tuya\" is no preset; there are: "), "{found:#?}");
        assert!(found[1].starts_with("mapping[1].file: nowhere.toml could not be read"), "{found:#?}");
        assert!(found[2].starts_with("mapping[2].message: is missing"), "{found:#?}");
        assert!(found[3].starts_with("mapping[3]: unknown field `script`"), "{found:#?}");
        assert_eq!(found[4], "mapping[4].typo: unknown key");
        assert_eq!(found[5], "mapping[5].name: tasmota is taken by an earlier mapping");
    }
}
