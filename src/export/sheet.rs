//! A row of a device in each of the forms. The same rows always give the same bytes.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, bail};
use voltree_model::{DeviceId, MetricName, Timestamp, Unit};
use voltree_protocols::influx::{FieldValue, Line, OWN_MEASUREMENT, write_line};
use voltree_storage::{Archive, Sample};

use super::{Format, Selection};

/// The columns of the long form.
pub(crate) const LONG: [&str; 5] = ["time", "device", "metric", "value", "unit"];
/// The first columns of the wide form.
pub(crate) const WIDE: [&str; 2] = ["time", "device"];

/// A form, with its columns where it has any.
#[derive(Debug)]
pub(super) struct Sheet {
    format: Format,
    columns: Vec<(MetricName, Option<Unit>)>,
}

impl Sheet {
    pub(super) fn new(selection: &Selection, archive: &Archive) -> anyhow::Result<Self> {
        let series = selection.devices.iter().flat_map(|device| archive.series(device));
        let wanted = |(name, _): &(MetricName, Option<Unit>)| {
            selection.series.is_empty() || selection.series.contains(name)
        };
        let columns: BTreeSet<_> = series.filter(wanted).collect();
        if selection.format == Format::CsvWide
            && let Some((name, _)) = columns.iter().find(|(name, _)| name.as_str().ends_with(']'))
        {
            bail!("the series {name:?} ends like a unit in a header; export it as line or csv-long");
        }
        Ok(Self { format: selection.format, columns: columns.into_iter().collect() })
    }

    /// What the file begins with.
    pub(super) fn header(&self) -> anyhow::Result<String> {
        let column = |(name, unit): &(MetricName, Option<Unit>)| match unit {
            Some(unit) => format!("{name} [{unit}]"),
            None => name.to_string(),
        };
        match self.format {
            Format::Line | Format::Parquet => Ok(String::new()),
            Format::CsvLong => records([LONG.map(Cow::Borrowed)]),
            Format::CsvWide => {
                let fixed = WIDE.map(Cow::Borrowed).into_iter();
                records([fixed.chain(self.columns.iter().map(|c| Cow::Owned(column(c)))).collect::<Vec<_>>()])
            }
        }
    }

    /// Adds a row; says how many of its values the form can't say.
    pub(super) fn push(
        &self,
        out: &mut String,
        device: &DeviceId,
        at: Timestamp,
        samples: &[&Sample],
    ) -> anyhow::Result<u64> {
        match self.format {
            Format::Line => return push_lines(out, device, at, samples),
            Format::CsvLong => {
                let time = at.to_string();
                let row = |sample: &&Sample| {
                    let unit = sample.unit.as_ref().map_or("", Unit::as_str);
                    let value = Cow::Owned(sample.value.to_string());
                    [
                        time.as_str().into(),
                        device.as_str().into(),
                        sample.name.as_str().into(),
                        value,
                        unit.into(),
                    ]
                    .map(|cell: Cow<'_, str>| cell.into_owned())
                };
                out.push_str(&records(samples.iter().map(row))?);
            }
            Format::CsvWide => out.push_str(&self.wide(device, at, samples)?),
            Format::Parquet => bail!("Parquet is no text"),
        }
        Ok(0)
    }

    fn wide(&self, device: &DeviceId, at: Timestamp, samples: &[&Sample]) -> anyhow::Result<String> {
        let mut cells = vec![String::new(); self.columns.len()];
        for sample in samples {
            let column =
                self.columns.iter().position(|(name, unit)| *name == sample.name && *unit == sample.unit);
            let cell = column.and_then(|column| cells.get_mut(column));
            *cell.with_context(|| {
                format!(
                    "the unit of {} of {device} at {at} is another than later, which has no column of its own; export it \
                     as line or csv-long",
                    sample.name
                )
            })? = sample.value.to_string();
        }
        records([[at.to_string(), device.to_string()].into_iter().chain(cells).collect::<Vec<_>>()])
    }
}

fn records<R: IntoIterator<Item = C>, C: AsRef<str>>(
    rows: impl IntoIterator<Item = R>,
) -> anyhow::Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer.write_record(row.into_iter().map(|cell| cell.as_ref().to_owned()))?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}

/// The texts of a device as one line more of its reading of that time.
pub(super) fn push_texts(
    out: &mut String,
    device: &DeviceId,
    at: Timestamp,
    texts: &BTreeMap<MetricName, String>,
) -> anyhow::Result<()> {
    let text = |(name, text): (&'_ MetricName, &'_ String)| {
        (Cow::Owned(name.to_string()), FieldValue::Text(Cow::Owned(text.clone())))
    };
    let (tags, time) = (vec![("device".into(), device.as_str().into())], Some(nanoseconds(at)?));
    let fields = texts.iter().map(text).collect();
    write_line(out, &Line { measurement: OWN_MEASUREMENT.into(), tags, fields, time });
    Ok(())
}

fn nanoseconds(at: Timestamp) -> anyhow::Result<i64> {
    let time = at.as_millis().checked_mul(1_000_000);
    time.with_context(|| format!("{at} can't be said in nanoseconds; export it as CSV"))
}

/// A line for each unit, as a line's tags are those of all its fields.
fn push_lines(
    out: &mut String,
    device: &DeviceId,
    at: Timestamp,
    samples: &[&Sample],
) -> anyhow::Result<u64> {
    let time = nanoseconds(at)?;
    let mut by_unit: BTreeMap<Option<&str>, Vec<_>> = BTreeMap::new();
    let mut left_out = 0;
    for sample in samples {
        if sample.value.is_finite() {
            let field = (Cow::Borrowed(sample.name.as_str()), FieldValue::Float(sample.value));
            by_unit.entry(sample.unit.as_ref().map(Unit::as_str)).or_default().push(field);
        } else {
            left_out += 1;
        }
    }
    for (unit, fields) in by_unit {
        let mut tags = vec![(Cow::Borrowed("device"), Cow::Borrowed(device.as_str()))];
        tags.extend(unit.map(|unit| (Cow::Borrowed("unit"), Cow::Borrowed(unit))));
        write_line(out, &Line { measurement: OWN_MEASUREMENT.into(), tags, fields, time: Some(time) });
    }
    Ok(left_out)
}
