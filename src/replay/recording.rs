//! A recording as readings: which column is the time, what the others are called, and in what unit.

use std::collections::BTreeMap;
use std::io::Read;

use anyhow::{Context as _, bail};
use voltree_model::{DeviceId, Metric, MetricName, Reading, Timestamp, Unit};

/// Columns that hold the time unless told otherwise, in this order, whatever their case.
const TIME_COLUMNS: [&str; 4] = ["epoch_s", "time_s", "timestamp", "time"];

/// What a column's last part says of its unit.
const UNITS: [(&str, &str); 11] = [
    ("_v", "V"),
    ("_a", "A"),
    ("_w", "W"),
    ("_c", "°C"),
    ("_ah", "Ah"),
    ("_wh", "Wh"),
    ("_hz", "Hz"),
    ("_ohm", "Ω"),
    ("_pct", "%"),
    ("_s", "s"),
    ("_d", "d"),
];

/// How the columns are understood.
#[derive(Debug)]
pub(super) struct Columns {
    time: Option<String>,
    renamed: BTreeMap<String, (MetricName, Option<Unit>)>,
    skipped: Vec<String>,
}

/// A recording of one device, in the order of the file.
#[derive(Debug)]
pub(crate) struct Recording {
    device: DeviceId,
    rows: Vec<Reading>,
}

/// A column that becomes a series.
#[derive(Debug)]
struct Column {
    index: usize,
    name: MetricName,
    unit: Option<Unit>,
}

impl Columns {
    pub(super) fn new(time: Option<&str>, renamed: &[String], skipped: &[String]) -> anyhow::Result<Self> {
        let renamed = renamed
            .iter()
            .map(|text| parse_rename(text).with_context(|| format!("--column {text}")))
            .collect::<anyhow::Result<_>>()?;
        Ok(Self { time: time.map(str::to_owned), renamed, skipped: skipped.to_vec() })
    }

    /// The index of the time column, and the columns that become series.
    fn assign(&self, header: &csv::StringRecord) -> anyhow::Result<(usize, Vec<Column>)> {
        let time = self.find_time(header)?;
        for wanted in self.renamed.keys().chain(&self.skipped) {
            if !header.iter().any(|name| name == wanted) {
                bail!("there is no column {wanted:?}; there are: {}", names(header));
            }
        }
        let others = header.iter().enumerate().filter(|(index, _)| *index != time);
        let kept = others.filter(|(_, name)| !self.skipped.iter().any(|skipped| skipped == name));
        let series = kept.map(|(index, column)| self.series(index, column)).collect::<anyhow::Result<_>>()?;
        Ok((time, series))
    }

    fn find_time(&self, header: &csv::StringRecord) -> anyhow::Result<usize> {
        let position = |wanted: &str| header.iter().position(|name| name.eq_ignore_ascii_case(wanted));
        let found = match &self.time {
            Some(column) => position(column),
            None => TIME_COLUMNS.into_iter().find_map(position),
        };
        found.with_context(|| {
            format!("no column holds the time; name it with --time, one of: {}", names(header))
        })
    }

    fn series(&self, index: usize, column: &str) -> anyhow::Result<Column> {
        if let Some((name, unit)) = self.renamed.get(column) {
            return Ok(Column { index, name: name.clone(), unit: unit.clone() });
        }
        let lower = column.to_ascii_lowercase();
        let known = UNITS.iter().find_map(|(suffix, unit)| Some((lower.strip_suffix(suffix)?, *unit)));
        let (name, unit) = known.map_or((lower.as_str(), None), |(name, unit)| (name, Unit::new(unit).ok()));
        let name =
            MetricName::new(name).with_context(|| format!("column {column:?}; rename it with --column"))?;
        Ok(Column { index, name, unit })
    }
}

fn names(header: &csv::StringRecord) -> String {
    header.iter().collect::<Vec<_>>().join(", ")
}

fn parse_rename(text: &str) -> anyhow::Result<(String, (MetricName, Option<Unit>))> {
    let (column, to) = text.split_once('=').context("must be COLUMN=NAME or COLUMN=NAME:UNIT")?;
    let (name, unit) = to.split_once(':').map_or((to, None), |(name, unit)| (name, Some(unit)));
    Ok((column.to_owned(), (MetricName::new(name)?, unit.map(Unit::new).transpose()?)))
}

impl Recording {
    /// Reads all rows; the first that can't be understood is named by its line.
    pub(super) fn read(source: impl Read, device: DeviceId, columns: &Columns) -> anyhow::Result<Self> {
        let mut reader = csv::Reader::from_reader(source);
        let (time, series) = columns.assign(reader.headers()?)?;
        let mut rows = Vec::new();
        for record in reader.records() {
            let record = record?;
            let line = record.position().map_or(0, csv::Position::line);
            rows.push(row(&device, &record, time, &series).with_context(|| format!("line {line}"))?);
        }
        if rows.is_empty() {
            bail!("the recording has no rows");
        }
        Ok(Self { device, rows })
    }

    /// Whose recording it is.
    pub(super) fn device(&self) -> &DeviceId {
        &self.device
    }

    /// Moves all times alike, so that the last one is `end`.
    pub(super) fn end_at(&mut self, end: Timestamp) {
        let last = self.rows.iter().map(|row| row.at.as_millis()).max().unwrap_or_default();
        let shift = end.as_millis() - last;
        self.rows.iter_mut().for_each(|row| row.at = Timestamp::from_millis(row.at.as_millis() + shift));
    }

    /// How many rows are older than this.
    pub(super) fn older_than(&self, limit: Timestamp) -> usize {
        self.rows.iter().filter(|row| row.at < limit).count()
    }

    /// The rows as readings.
    pub(crate) fn into_rows(self) -> Vec<Reading> {
        self.rows
    }
}

fn row(
    device: &DeviceId,
    record: &csv::StringRecord,
    time: usize,
    series: &[Column],
) -> anyhow::Result<Reading> {
    let at = parse_time(record.get(time).unwrap_or_default().trim())?;
    let (mut metrics, mut attributes) = (Vec::new(), Vec::new());
    for column in series {
        match record.get(column.index).unwrap_or_default().trim() {
            "" => {}
            cell => match cell.parse::<f64>() {
                Ok(value) if value.is_finite() => {
                    metrics.push(Metric { name: column.name.clone(), value, unit: column.unit.clone() });
                }
                Ok(_) => {}
                Err(_) => attributes.push((column.name.clone(), cell.to_owned())),
            },
        }
    }
    Ok(Reading { device: device.clone(), at, metrics: metrics.into(), attributes, left_out: Vec::new() })
}

#[expect(clippy::cast_possible_truncation, reason = "the range was checked just before")]
fn parse_time(cell: &str) -> anyhow::Result<Timestamp> {
    match cell.parse::<f64>() {
        Ok(seconds) if (0.0..250e9).contains(&seconds) => {
            Ok(Timestamp::from_millis((seconds * 1000.0).round() as i64))
        }
        Ok(seconds) => bail!("{seconds} is no time in seconds"),
        Err(_) => Ok(Timestamp::parse_rfc3339(cell)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(csv: &str, renamed: &[&str], skipped: &[&str]) -> anyhow::Result<Recording> {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let columns = Columns::new(None, &owned(renamed), &owned(skipped))?;
        Recording::read(csv.as_bytes(), DeviceId::new("cell")?, &columns)
    }

    #[test]
    fn columns_become_series_with_the_unit_that_their_name_carries() {
        let csv = "epoch_s,step,Voltage_V,Current_A,Charge_Capacity_Ah,Z_Mag_Ohm\n1.25,rest,3.5,-1e-3,0.2,\n";
        let rows = read(csv, &[], &[]).unwrap().into_rows();
        let metrics: Vec<_> = rows[0]
            .metrics
            .iter()
            .map(|m| (m.name.as_str(), m.value, m.unit.as_ref().map_or("", |unit| unit.as_str())))
            .collect();
        assert_eq!(metrics, [("voltage", 3.5, "V"), ("current", -1e-3, "A"), ("charge_capacity", 0.2, "Ah")]);
        assert_eq!(rows[0].at, Timestamp::from_millis(1_250));
        assert_eq!(rows[0].attributes, [(MetricName::new("step").unwrap(), "rest".to_owned())]);
    }

    #[test]
    fn columns_can_be_renamed_and_skipped() {
        let rows = read("time,Ecell,note\n0,3.7,1\n", &["Ecell=voltage:V"], &["note"]).unwrap().into_rows();
        assert_eq!(rows[0].metrics.len(), 1);
        assert_eq!(rows[0].metrics.get(0).unwrap().name.as_str(), "voltage");
    }

    #[test]
    fn the_end_moves_and_the_intervals_stay() {
        let mut recording = read("time_s,v\n0,1\n1.5,2\n9,3\n", &[], &[]).unwrap();
        recording.end_at(Timestamp::from_millis(1_000_000));
        assert_eq!(recording.older_than(Timestamp::from_millis(992_500)), 1);
        let times: Vec<_> = recording.into_rows().iter().map(|row| row.at.as_millis()).collect();
        assert_eq!(times, [991_000, 992_500, 1_000_000]);
    }

    #[test]
    fn mistakes_name_the_line_the_column_and_the_choice() {
        let line = read("time_s,v\n0,1\nnoon,2\n", &[], &[]).unwrap_err();
        assert!(format!("{line:#}").contains("line 3"), "{line:#}");
        let time = read("a,b\n1,2\n", &[], &[]).unwrap_err();
        assert!(format!("{time:#}").contains("one of: a, b"), "{time:#}");
        let column = read("time,b\n1,2\n", &["c=d"], &[]).unwrap_err();
        assert!(format!("{column:#}").contains("no column \"c\""), "{column:#}");
        assert!(read("time,b\n", &[], &[]).is_err());
    }
}
