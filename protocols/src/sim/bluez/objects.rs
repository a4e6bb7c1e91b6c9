//! What a simulated BlueZ shows on the bus: its objects, their interfaces and properties, as BlueZ documents them.

use std::collections::{BTreeMap, HashMap};

use dbus::arg::{RefArg, Variant};

/// A property's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Prop {
    Flag(bool),
    Text(String),
    Texts(Vec<String>),
    Path(String),
    Strength(i16),
    Unit(u16),
    Class(u32),
    Bytes(Vec<u8>),
    Makers(BTreeMap<u16, Vec<u8>>),
}

pub(super) type Boxed = Variant<Box<dyn RefArg>>;
pub(super) type Props = BTreeMap<&'static str, Prop>;
pub(super) type Interfaces = BTreeMap<&'static str, Props>;
pub(super) type BoxedProps = HashMap<String, Boxed>;

impl Prop {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    pub(super) fn boxed(&self) -> Boxed {
        let value: Box<dyn RefArg> = match self {
            Self::Flag(flag) => Box::new(*flag),
            Self::Text(text) => Box::new(text.clone()),
            Self::Texts(texts) => Box::new(texts.clone()),
            // A place of ours is always well formed.
            Self::Path(path) => Box::new(dbus::Path::new(path.clone()).unwrap_or_default()),
            Self::Strength(dbm) => Box::new(*dbm),
            Self::Unit(bytes) => Box::new(*bytes),
            Self::Class(class) => Box::new(*class),
            Self::Bytes(bytes) => Box::new(bytes.clone()),
            Self::Makers(makers) => {
                let boxed = |data: &Vec<u8>| Variant(Box::new(data.clone()) as Box<dyn RefArg>);
                let makers: HashMap<u16, Boxed> =
                    makers.iter().map(|(maker, data)| (*maker, boxed(data))).collect();
                Box::new(makers)
            }
        };
        Variant(value)
    }
}

pub(super) fn boxed(props: &Props) -> BoxedProps {
    props.iter().map(|(name, prop)| ((*name).to_owned(), prop.boxed())).collect()
}

pub(super) fn boxed_all(interfaces: &Interfaces) -> HashMap<String, BoxedProps> {
    interfaces.iter().map(|(name, props)| ((*name).to_owned(), boxed(props))).collect()
}

/// The text of a UUID, as BlueZ writes it.
pub(super) fn uuid(bits: u128) -> String {
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    #[test]
    fn uuids_are_written_in_five_groups() {
        assert_eq!(super::uuid(crate::link::gatt::short(0xFFE0)), "0000ffe0-0000-1000-8000-00805f9b34fb");
    }
}
