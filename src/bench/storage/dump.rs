//! Prints the workload for other programs, so that they are measured on the same samples.

use std::io::{self, BufWriter, Write};

use clap::ValueEnum;

use super::workload::{Battery, METRICS, Sampled};

/// In which form.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Form {
    /// InfluxDB line protocol: measurement `bms`, tag `dev`, a field a metric, time in nanoseconds.
    Line,
    /// CSV, a row a reading: number of the device, time in milliseconds, the values.
    Wide,
    /// CSV, a row a sample: number of the series, time in milliseconds, the value.
    Csv,
}

/// Prints them all, second by second.
pub(super) fn run(form: Form, devices: u32, seconds: u32) -> anyhow::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, io::stdout().lock());
    let mut batteries: Vec<_> = (0..devices).map(Battery::new).collect();
    for _ in 0..seconds {
        for (number, battery) in batteries.iter_mut().enumerate() {
            print(&mut out, form, number, battery)?;
        }
    }
    out.flush()?;
    Ok(())
}

fn print(out: &mut impl Write, form: Form, number: usize, battery: &mut Battery) -> io::Result<()> {
    let sampled = battery.sample();
    match form {
        Form::Line => line(out, battery, &sampled),
        Form::Wide => {
            write!(out, "{number},{}", sampled.at)?;
            sampled.values.iter().try_for_each(|value| write!(out, ",{value}"))?;
            writeln!(out)
        }
        Form::Csv => {
            let mut values = sampled.values.iter().enumerate();
            values.try_for_each(|(index, value)| {
                writeln!(out, "{},{},{value}", number * METRICS + index, sampled.at)
            })
        }
    }
}

/// Writes a reading as a line of line protocol.
pub(super) fn line(out: &mut impl Write, battery: &Battery, sampled: &Sampled) -> io::Result<()> {
    write!(out, "bms,dev={} ", battery.id())?;
    for (index, (name, value)) in battery.columns().zip(sampled.values).enumerate() {
        write!(out, "{}{name}={value}", if index == 0 { "" } else { "," })?;
    }
    writeln!(out, " {}000000", sampled.at)
}
