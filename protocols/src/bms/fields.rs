//! Tables of fields: where a value stands in a message, how it is written and what turns it into its unit.
//!
//! A value that lies past the end of a message is absent, never zero.

use serde_json::{Map, Value, json};

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    U8,
    U16,
    I16,
    U32,
    I32,
}

/// Which byte comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Big,
    Little,
}

/// One value of a message: `raw / per_unit`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) offset: usize,
    pub(super) kind: Kind,
    pub(super) per_unit: f64,
}

pub(super) const fn field(name: &'static str, offset: usize, kind: Kind, per_unit: f64) -> Field {
    Field { name, offset, kind, per_unit }
}

/// Reads a whole number at a place.
pub(super) fn whole(bytes: &[u8], offset: usize, kind: Kind, order: Order) -> Option<i64> {
    fn at<const N: usize>(bytes: &[u8], offset: usize, order: Order) -> Option<[u8; N]> {
        let mut found = *bytes.get(offset..)?.first_chunk::<N>()?;
        if order == Order::Little {
            found.reverse();
        }
        Some(found)
    }
    Some(match kind {
        Kind::U8 => at::<1>(bytes, offset, order).map(u8::from_be_bytes)?.into(),
        Kind::U16 => at(bytes, offset, order).map(u16::from_be_bytes)?.into(),
        Kind::I16 => at(bytes, offset, order).map(i16::from_be_bytes)?.into(),
        Kind::U32 => at(bytes, offset, order).map(u32::from_be_bytes)?.into(),
        Kind::I32 => at(bytes, offset, order).map(i32::from_be_bytes)?.into(),
    })
}

/// Turns a whole number of up to 32 bits into a float without a lossy cast.
pub(super) fn float(whole: i64) -> Option<f64> {
    i32::try_from(whole).map(f64::from).or_else(|_| u32::try_from(whole).map(f64::from)).ok()
}

impl Field {
    /// Reads the value in its unit.
    pub(super) fn value(&self, bytes: &[u8], order: Order) -> Option<f64> {
        Some(float(whole(bytes, self.offset, self.kind, order)?)? / self.per_unit)
    }

    /// Adds the value to a view: whole where its unit is that of the wire.
    pub(super) fn show(&self, bytes: &[u8], order: Order, view: &mut Map<String, Value>) {
        let plain = (self.per_unit - 1.0).abs() < f64::EPSILON;
        let value = if plain {
            whole(bytes, self.offset, self.kind, order).map(|raw| json!(raw))
        } else {
            self.value(bytes, order).map(|value| json!(value))
        };
        if let Some(value) = value {
            view.insert(self.name.to_owned(), value);
        }
    }
}

/// ASCII up to the first zero byte; anything unprintable is left out.
pub(super) fn printable(bytes: &[u8]) -> String {
    let text: String = bytes
        .iter()
        .take_while(|byte| **byte != 0)
        .filter(|byte| byte.is_ascii_graphic() || **byte == b' ')
        .map(|byte| char::from(*byte))
        .collect();
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_either_order_and_absent_past_the_end() {
        let bytes = [0xFF, 0xFE, 0x00, 0x01];
        assert_eq!(whole(&bytes, 0, Kind::I16, Order::Big), Some(-2));
        assert_eq!(whole(&bytes, 0, Kind::U16, Order::Little), Some(0xFEFF));
        assert_eq!(whole(&bytes, 0, Kind::I32, Order::Big), Some(-131_071));
        assert_eq!(whole(&bytes, 3, Kind::U16, Order::Big), None);
        assert_eq!(whole(&bytes, 9, Kind::U8, Order::Big), None);
    }

    #[test]
    fn a_scale_makes_a_float_and_no_scale_a_whole_number() {
        let mut view = Map::new();
        field("volts", 0, Kind::U16, 100.0).show(&[0x14, 0xB4], Order::Big, &mut view);
        field("cycles", 0, Kind::U16, 1.0).show(&[0x14, 0xB4], Order::Big, &mut view);
        assert_eq!((&view["volts"], &view["cycles"]), (&json!(53.0), &json!(5300)));
    }
}
