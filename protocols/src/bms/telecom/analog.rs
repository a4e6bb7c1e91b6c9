//! The analog answer (0x42): cells, temperatures, current, voltage and charge, in the order and scales of each maker.
//!
//! What a maker does not send is absent. Pylontech packs too large for sixteen bits send their charge a second time in
//! more of them, and all ones in the old place.

use serde_json::{Map, Value, json};

use super::Maker;

/// Zero degrees Celsius, in tenths of a kelvin.
const ZERO_CELSIUS: i32 = 2731;
/// The number that stands for charge that does not fit.
const TOO_LARGE: u16 = 0xFFFF;

/// A pack's values.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Analog {
    /// Which pack, as it says itself.
    pub pack: u8,
    /// Cells in mV.
    pub cells: Vec<u16>,
    /// Temperatures in 0.1 K.
    pub temperatures_raw: Vec<u16>,
    /// Current, positive while charging; in 0.01 A from Seplos, 0.1 A from Pylontech.
    pub current_raw: i16,
    /// Voltage; in 0.01 V from Seplos, mV from Pylontech.
    pub voltage_raw: u16,
    /// Charge left; in 0.01 Ah from Seplos, mAh from Pylontech.
    pub remaining_raw: u32,
    /// Charge when full, in the same unit.
    pub full_raw: u32,
    /// Full cycles.
    pub cycles: u16,
    /// What only Seplos tells.
    pub seplos: Option<SeplosAnalog>,
    /// What follows and nobody has named.
    pub rest: Vec<u8>,
}

/// What only Seplos tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SeplosAnalog {
    /// 0.1 %.
    pub soc_raw: u16,
    /// 0.01 Ah.
    pub rated_raw: u16,
    /// 0.1 %; not every firmware sends it.
    pub soh_raw: Option<u16>,
    /// 0.01 V; not every firmware sends it.
    pub port_voltage_raw: Option<u16>,
}

/// Takes numbers off the front.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (front, behind) = self.0.split_first_chunk::<N>()?;
        self.0 = behind;
        Some(*front)
    }

    fn u8(&mut self) -> Option<u8> {
        self.bytes::<1>().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.bytes().map(u16::from_be_bytes)
    }

    fn u24(&mut self) -> Option<u32> {
        self.bytes().map(|[a, b, c]| u32::from_be_bytes([0, a, b, c]))
    }

    fn words(&mut self) -> Option<Vec<u16>> {
        let count = self.u8()?;
        (0..count).map(|_| self.u16()).collect()
    }
}

impl Analog {
    /// Reads the information of an answer; `None` where it ends before the charge does.
    pub fn decode(info: &[u8], maker: Maker) -> Option<Self> {
        let mut reader = Reader(info);
        let (_flag, pack) = (reader.u8()?, reader.u8()?);
        let (cells, temperatures_raw) = (reader.words()?, reader.words()?);
        let current_raw = reader.bytes().map(i16::from_be_bytes)?;
        let (voltage_raw, remaining_raw) = (reader.u16()?, reader.u16()?);
        let more = reader.u8()?;
        let analog = Self {
            pack,
            cells,
            temperatures_raw,
            current_raw,
            voltage_raw,
            remaining_raw: remaining_raw.into(),
            full_raw: reader.u16()?.into(),
            ..Self::default()
        };
        match maker {
            Maker::Seplos => analog.seplos(reader),
            Maker::Pylontech => analog.pylontech(more, reader),
        }
    }

    fn seplos(self, mut reader: Reader<'_>) -> Option<Self> {
        let (soc_raw, rated_raw) = (reader.u16()?, reader.u16()?);
        let cycles = reader.u16()?;
        let (soh_raw, port_voltage_raw) = (reader.u16(), reader.u16());
        let seplos = Some(SeplosAnalog { soc_raw, rated_raw, soh_raw, port_voltage_raw });
        Some(Self { cycles, seplos, rest: reader.0.to_vec(), ..self })
    }

    /// `more` counts the values from the remaining charge on: 2 without, 4 with those in more bits.
    fn pylontech(self, more: u8, mut reader: Reader<'_>) -> Option<Self> {
        let cycles = reader.u16()?;
        let (mut remaining_raw, mut full_raw) = (self.remaining_raw, self.full_raw);
        if more >= 4 {
            (remaining_raw, full_raw) = (reader.u24()?, reader.u24()?);
        }
        Some(Self { cycles, remaining_raw, full_raw, rest: reader.0.to_vec(), ..self })
    }

    /// Puts the values into the information of an answer, for simulated packs.
    pub fn encode(&self, maker: Maker) -> Vec<u8> {
        let mut info = vec![0, self.pack];
        for words in [&self.cells, &self.temperatures_raw] {
            info.push(u8::try_from(words.len()).unwrap_or(u8::MAX));
            info.extend(words.iter().flat_map(|word| word.to_be_bytes()));
        }
        info.extend(self.current_raw.to_be_bytes());
        info.extend(self.voltage_raw.to_be_bytes());
        let narrow = |raw: u32| u16::try_from(raw).unwrap_or(TOO_LARGE).to_be_bytes();
        info.extend(narrow(self.remaining_raw));
        match (maker, self.seplos) {
            (Maker::Seplos, seplos) => {
                let seplos = seplos.unwrap_or_default();
                info.push(0x0A);
                info.extend(narrow(self.full_raw));
                info.extend(seplos.soc_raw.to_be_bytes());
                info.extend(seplos.rated_raw.to_be_bytes());
                info.extend(self.cycles.to_be_bytes());
                let optional = [seplos.soh_raw, seplos.port_voltage_raw];
                info.extend(optional.into_iter().flatten().flat_map(u16::to_be_bytes));
            }
            (Maker::Pylontech, _) => {
                info.push(4);
                info.extend(narrow(self.full_raw));
                info.extend(self.cycles.to_be_bytes());
                info.extend(&self.remaining_raw.to_be_bytes()[1..]);
                info.extend(&self.full_raw.to_be_bytes()[1..]);
            }
        }
        info.extend(&self.rest);
        info
    }

    /// Current, positive while charging.
    pub fn amps(&self, maker: Maker) -> f64 {
        f64::from(self.current_raw) / if maker == Maker::Seplos { 100.0 } else { 10.0 }
    }

    /// Terminal voltage.
    pub fn volts(&self, maker: Maker) -> f64 {
        f64::from(self.voltage_raw) / if maker == Maker::Seplos { 100.0 } else { 1000.0 }
    }

    /// Charge left and charge when full.
    pub fn amp_hours(&self, maker: Maker) -> (f64, f64) {
        let per_unit = if maker == Maker::Seplos { 100.0 } else { 1000.0 };
        (f64::from(self.remaining_raw) / per_unit, f64::from(self.full_raw) / per_unit)
    }

    /// State of charge. Pylontech sends none; theirs is by definition the share of the charge that is left.
    pub fn soc_percent(&self, maker: Maker) -> Option<f64> {
        match self.seplos {
            Some(seplos) => Some(f64::from(seplos.soc_raw) / 10.0),
            None => {
                let (left, full) = self.amp_hours(maker);
                (full > 0.0).then(|| 100.0 * left / full)
            }
        }
    }

    /// State of health, where it was sent.
    pub fn soh_percent(&self) -> Option<f64> {
        self.seplos.and_then(|seplos| seplos.soh_raw).map(|raw| f64::from(raw) / 10.0)
    }

    /// Temperatures, first sensor first.
    pub fn celsius(&self) -> impl Iterator<Item = f64> {
        self.temperatures_raw.iter().map(|raw| f64::from(i32::from(*raw) - ZERO_CELSIUS) / 10.0)
    }

    pub(super) fn show(&self, maker: Maker, view: &mut Map<String, Value>) {
        let (left, full) = self.amp_hours(maker);
        let mut shown = json!({
            "pack": self.pack,
            "cell_voltages_mv": self.cells,
            "temperatures_c": self.celsius().collect::<Vec<_>>(),
            "current_a_charge_positive": self.amps(maker),
            "voltage_v": self.volts(maker),
            "remaining_capacity_ah": left,
            "full_capacity_ah": full,
            "cycles": self.cycles,
        });
        if let Some(seplos) = self.seplos {
            shown["soc_pct"] = json!(f64::from(seplos.soc_raw) / 10.0);
            shown["rated_capacity_ah"] = json!(f64::from(seplos.rated_raw) / 100.0);
            if let Some(soh) = self.soh_percent() {
                shown["soh_pct"] = json!(soh);
            }
            if let Some(raw) = seplos.port_voltage_raw {
                shown["port_voltage_v"] = json!(f64::from(raw) / 100.0);
            }
        }
        if !self.rest.is_empty() {
            shown["rest_hex"] = json!(hex::encode(&self.rest));
        }
        if let Value::Object(shown) = shown {
            view.extend(shown);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_large_pylontech_pack_sends_its_charge_in_more_bits() {
        let analog = Analog {
            pack: 2,
            cells: vec![3301; 15],
            temperatures_raw: vec![2951; 5],
            current_raw: -123,
            voltage_raw: 49_515,
            remaining_raw: 70_000,
            full_raw: 148_000,
            cycles: 12,
            ..Analog::default()
        };
        let info = analog.encode(Maker::Pylontech);
        assert_eq!(Analog::decode(&info, Maker::Pylontech), Some(analog.clone()));
        assert!((analog.amps(Maker::Pylontech) + 12.3).abs() < 1e-9);
        assert!((analog.soc_percent(Maker::Pylontech).unwrap() - 47.297).abs() < 0.001);
    }

    #[test]
    fn a_small_pylontech_pack_sends_two_values_only() {
        let mut info =
            vec![0, 2, 1, 0x0C, 0xE4, 1, 0x0B, 0x87, 0, 0, 0x0C, 0xE4, 0x61, 0xA8, 2, 0xC3, 0x50, 0, 9];
        let analog = Analog::decode(&info, Maker::Pylontech).unwrap();
        assert_eq!((analog.amp_hours(Maker::Pylontech), analog.cycles), ((25.0, 50.0), 9));
        info.pop();
        assert_eq!(Analog::decode(&info, Maker::Pylontech), None);
    }

    proptest! {
        #[test]
        fn any_information_is_read_or_refused(info: Vec<u8>) {
            for maker in [Maker::Seplos, Maker::Pylontech] {
                if let Some(analog) = Analog::decode(&info, maker) {
                    analog.show(maker, &mut Map::new());
                    prop_assert!(analog.cells.len() * 2 <= info.len());
                }
            }
        }

        #[test]
        fn what_is_written_is_read(
            cells in proptest::collection::vec(any::<u16>(), 0..32),
            temperatures_raw in proptest::collection::vec(any::<u16>(), 0..8),
            current_raw: i16, voltage_raw: u16, remaining in 0u32..0xFFFF, full in 0u32..0xFFFF,
            cycles: u16, pylontech: bool, soc_raw: u16,
        ) {
            let maker = if pylontech { Maker::Pylontech } else { Maker::Seplos };
            let seplos = SeplosAnalog { soc_raw, rated_raw: 1, soh_raw: Some(1000), port_voltage_raw: Some(5200) };
            let analog = Analog {
                pack: 1, cells, temperatures_raw, current_raw, voltage_raw, cycles,
                remaining_raw: remaining, full_raw: full,
                seplos: (!pylontech).then_some(seplos), rest: Vec::new(),
            };
            prop_assert_eq!(Analog::decode(&analog.encode(maker), maker), Some(analog));
        }
    }
}
