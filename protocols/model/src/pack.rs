//! What any BMS says of its pack, in one shape: the typed view that codecs fill and that becomes a [`Reading`].
//!
//! Every value is optional and never zero-filled; what a device sent but can't be true is withheld with its reason.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::{
    AmpHours, Amps, Celsius, DeviceId, Metric, MetricName, MetricRejection, Millivolts, Percent, Reading,
    RejectReason, Timestamp, Unit, Volts,
};

/// What the pack is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PackState {
    /// No current worth the name.
    Idle,
    /// Current flows in.
    Charging,
    /// Current flows out.
    Discharging,
}

/// Why a value that arrived was not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WithheldReason {
    /// Outside what the quantity can be.
    OutOfRange,
    /// The vendor's code for a sensor that is not there.
    SensorMissing,
    /// Part of a multi-frame answer never came.
    Incomplete,
}

/// A value that was sent and not believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withheld {
    /// The metric it would have become.
    pub metric: String,
    /// Why it was not believed.
    pub reason: WithheldReason,
}

/// One look at a battery pack.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PackReading {
    /// Terminal voltage.
    pub pack_voltage: Option<Volts>,
    /// Current, positive while charging.
    pub pack_current: Option<Amps>,
    /// State of charge.
    pub soc: Option<Percent>,
    /// State of health.
    pub soh: Option<Percent>,
    /// Charge left.
    pub remaining_capacity: Option<AmpHours>,
    /// Charge that the pack holds when full.
    pub full_capacity: Option<AmpHours>,
    /// Full cycles so far.
    pub cycles: Option<u32>,
    /// Cell voltages, first cell first; `None` where a cell's value was withheld.
    pub cell_voltages: Vec<Option<Millivolts>>,
    /// Temperatures, first sensor first; `None` where a sensor is missing.
    pub temperatures: Vec<Option<Celsius>>,
    /// Temperature of the power switches.
    pub mosfet_temperature: Option<Celsius>,
    /// What the pack is doing.
    pub state: Option<PackState>,
    /// Whether the charge switch is closed.
    pub charge_enabled: Option<bool>,
    /// Whether the discharge switch is closed.
    pub discharge_enabled: Option<bool>,
    /// Cells being balanced, 1-based.
    pub cells_balancing: Option<Vec<u8>>,
    /// Alarms in our names, severity L2 ("fault").
    pub faults: Vec<Cow<'static, str>>,
    /// Alarms in our names, severity L1 ("warning").
    pub warnings: Vec<Cow<'static, str>>,
    /// What arrived and was not believed.
    pub withheld: Vec<Withheld>,
}

impl PackReading {
    /// Names the values and stamps them. Series names and units are the REST contract's.
    pub fn into_reading(self, device: DeviceId, at: Timestamp) -> Reading {
        let mut series = Series::default();
        series.push("pack_voltage", "V", self.pack_voltage.map(|v| v.0));
        series.push("pack_current", "A", self.pack_current.map(|a| a.0));
        series.push("pack_power", "W", self.pack_voltage.zip(self.pack_current).map(|(v, a)| v.0 * a.0));
        series.push("soc_percent", "%", self.soc.map(|p| p.0));
        series.push("soh_percent", "%", self.soh.map(|p| p.0));
        series.push("remaining_capacity", "Ah", self.remaining_capacity.map(|c| c.0));
        series.push("full_capacity", "Ah", self.full_capacity.map(|c| c.0));
        series.push("cycles", "", self.cycles.map(f64::from));
        series.push_each(
            "cell_voltage",
            "V",
            self.cell_voltages.iter().map(|c| c.map(|mv| f64::from(mv.0) / 1000.0)),
        );
        series.push_each("temperature", "°C", self.temperatures.iter().map(|t| t.map(|c| c.0)));
        series.push("mosfet_temperature", "°C", self.mosfet_temperature.map(|c| c.0));
        series.push("charge_enabled", "", self.charge_enabled.map(|on| f64::from(u8::from(on))));
        series.push("discharge_enabled", "", self.discharge_enabled.map(|on| f64::from(u8::from(on))));
        Reading {
            device,
            at,
            metrics: series.0.into(),
            attributes: self.attributes(),
            left_out: self.left_out(),
        }
    }

    fn attributes(&self) -> Vec<(MetricName, String)> {
        let mut texts = Vec::new();
        if let Some(state) = self.state {
            let text = match state {
                PackState::Idle => "idle",
                PackState::Charging => "charging",
                PackState::Discharging => "discharging",
            };
            texts.push(("state", text.to_owned()));
        }
        if let Some(cells) = &self.cells_balancing {
            texts.push(("cells_balancing", join(cells.iter())));
        }
        texts.push(("fault_codes", join(self.faults.iter())));
        texts.push(("warning_codes", join(self.warnings.iter())));
        texts.into_iter().filter_map(|(name, text)| Some((MetricName::new(name).ok()?, text))).collect()
    }

    fn left_out(&self) -> Vec<MetricRejection> {
        self.withheld
            .iter()
            .map(|w| MetricRejection { name: w.metric.clone(), reason: RejectReason::BadValue })
            .collect()
    }
}

fn join<T: ToString>(items: impl Iterator<Item = T>) -> String {
    items.map(|item| item.to_string()).collect::<Vec<_>>().join(",")
}

#[derive(Default)]
struct Series(Vec<Metric>);

impl Series {
    fn push(&mut self, name: &str, unit: &str, value: Option<f64>) {
        if let (Some(value), Ok(name)) = (value, MetricName::new(name)) {
            self.0.push(Metric { name, value, unit: Unit::new(unit).ok() });
        }
    }

    fn push_each(&mut self, name: &str, unit: &str, values: impl Iterator<Item = Option<f64>>) {
        for (index, value) in values.enumerate() {
            self.push(&format!("{name}_{}", index + 1), unit, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_values_make_no_series() {
        let pack = PackReading {
            pack_voltage: Some(Volts(52.0)),
            cell_voltages: vec![Some(Millivolts(3301)), None, Some(Millivolts(3302))],
            ..PackReading::default()
        };
        let reading = pack.into_reading(DeviceId::new("p").unwrap(), Timestamp::from_millis(1));
        let names: Vec<_> = reading.metrics.iter().map(|m| m.name.as_str()).collect();
        assert_eq!(names, ["pack_voltage", "cell_voltage_1", "cell_voltage_3"]);
    }

    #[test]
    fn power_needs_both_voltage_and_current() {
        let pack = PackReading {
            pack_voltage: Some(Volts(50.0)),
            pack_current: Some(Amps(-2.0)),
            ..PackReading::default()
        };
        let reading = pack.into_reading(DeviceId::new("p").unwrap(), Timestamp::from_millis(1));
        assert!(
            reading.metrics.iter().any(|m| m.name.as_str() == "pack_power" && (m.value + 100.0).abs() < 1e-9)
        );
    }
}
