//! The tables of the equivalent circuit: open-circuit voltage, R0, R1 and C1 of a cell of 79 Ah with an NMC cell's
//! voltages, from PyBaMM (BSD 3-clause, see `protocols/data`).
//!
//! Linear between the points. The open-circuit voltage goes on as a straight line past its ends, so that a cell driven
//! too far shows it; the elements stay what they are at the edge. Must never be handed out for editing: one copy serves all cells.

use std::sync::LazyLock;

/// The capacity of the cell that the tables describe.
pub(super) const TABLE_CAPACITY_AH: f64 = 79.0;
/// R0 and R1 grow, and C1 shrinks, by the factor `1 + |I| / AMPS_TO_DOUBLE`: so it is in all of the original rows.
const AMPS_TO_DOUBLE: f64 = 9_900.0;

static TABLES: LazyLock<Tables> = LazyLock::new(|| {
    let read = Tables::read(
        include_str!("../../../data/pybamm_ecm_ocv.csv"),
        include_str!("../../../data/pybamm_ecm_elements.csv"),
    );
    read.expect("the tables are part of this crate, and a test reads them")
});

/// The elements of the circuit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Elements {
    pub(super) r0_ohm: f64,
    pub(super) r1_ohm: f64,
    pub(super) c1_farad: f64,
}

impl Elements {
    fn between(self, other: Self, share: f64) -> Self {
        let mix = |a: f64, b: f64| a + (b - a) * share;
        Self {
            r0_ohm: mix(self.r0_ohm, other.r0_ohm),
            r1_ohm: mix(self.r1_ohm, other.r1_ohm),
            c1_farad: mix(self.c1_farad, other.c1_farad),
        }
    }
}

/// All tables, states of charge from 0 to 1.
#[derive(Debug)]
pub(super) struct Tables {
    ocv_socs: Vec<f64>,
    ocv_volts: Vec<f64>,
    celsius: Vec<f64>,
    socs: Vec<f64>,
    /// At 0 A; by temperature, then by state of charge.
    elements: Vec<Elements>,
}

impl Tables {
    pub(super) fn shared() -> &'static Self {
        &TABLES
    }

    fn read(ocv: &str, elements: &str) -> Option<Self> {
        let (ocv_socs, ocv_volts) = rows(ocv).map(|row| Some((row[0]?, row[1]?))).collect::<Option<_>>()?;
        let mut tables =
            Self { ocv_socs, ocv_volts, celsius: Vec::new(), socs: Vec::new(), elements: Vec::new() };
        for row in rows(elements) {
            let [celsius, soc, r0_ohm, r1_ohm, c1_farad] = [row[0]?, row[1]?, row[2]?, row[3]?, row[4]?];
            if tables.celsius.last() != Some(&celsius) {
                tables.celsius.push(celsius);
            }
            if tables.celsius.len() == 1 {
                tables.socs.push(soc);
            }
            tables.elements.push(Elements { r0_ohm, r1_ohm, c1_farad });
        }
        let whole = tables.elements.len() == tables.celsius.len() * tables.socs.len();
        (whole && tables.ocv_socs.len() > 1 && tables.socs.len() > 1 && tables.celsius.len() > 1)
            .then_some(tables)
    }

    pub(super) fn ocv_volts(&self, soc: f64) -> f64 {
        let (low, share) = place(&self.ocv_socs, soc);
        self.ocv_volts[low] + (self.ocv_volts[low + 1] - self.ocv_volts[low]) * share
    }

    /// The elements of the table's own cell.
    pub(super) fn elements(&self, celsius: f64, soc: f64, amps: f64) -> Elements {
        let (row, down) = place(&self.celsius, celsius);
        let (column, right) = place(&self.socs, soc);
        let (down, right) = (down.clamp(0.0, 1.0), right.clamp(0.0, 1.0));
        let at = |row: usize| {
            let first = row * self.socs.len() + column;
            self.elements[first].between(self.elements[first + 1], right)
        };
        let factor = 1.0 + amps.abs() / AMPS_TO_DOUBLE;
        let still = at(row).between(at(row + 1), down);
        Elements {
            r0_ohm: still.r0_ohm * factor,
            r1_ohm: still.r1_ohm * factor,
            c1_farad: still.c1_farad / factor,
        }
    }
}

/// The five first numbers of every line but the first.
fn rows(text: &str) -> impl Iterator<Item = [Option<f64>; 5]> {
    text.lines().skip(1).map(|line| {
        let mut numbers = line.split(',').map(|field| field.parse().ok());
        std::array::from_fn(|_| numbers.next().flatten())
    })
}

/// The interval of `points` that `value` lies in, and how far along it; below 0 or above 1 past the ends.
fn place(points: &[f64], value: f64) -> (usize, f64) {
    let low = points.partition_point(|point| *point <= value).clamp(1, points.len() - 1) - 1;
    (low, (value - points[low]) / (points[low + 1] - points[low]))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_tables_are_whole_and_the_voltage_rises_with_the_charge() {
        let tables = Tables::shared();
        assert_eq!((tables.celsius.len(), tables.socs.len(), tables.ocv_socs.len()), (8, 21, 110));
        assert!(tables.ocv_volts.windows(2).all(|pair| pair[0] < pair[1]));
        assert!((tables.ocv_volts(0.0) - 3.2).abs() < 1e-9);
        assert!((tables.ocv_volts(0.505) - 3.69948).abs() < 1e-3);
    }

    #[test]
    fn past_the_ends_the_voltage_goes_on_and_the_elements_stay() {
        let tables = Tables::shared();
        assert!(tables.ocv_volts(-0.1) < 2.0 && tables.ocv_volts(1.1) > 4.35);
        assert_eq!(tables.elements(90.0, 1.5, 0.0), tables.elements(50.0, 1.0, 0.0));
        assert_eq!(tables.elements(-90.0, -1.0, 0.0), tables.elements(-20.0, 0.0, 0.0));
    }

    #[test]
    fn a_cut_off_table_is_refused() {
        let elements = "t,s,r0,r1,c1\n0,0,1,1,1\n0,1,1,1,1\n10,0,1,1,1\n";
        assert!(Tables::read("soc,ocv\n0,3\n1,4\n", elements).is_none());
        let whole = format!("{elements}10,1,1,1,1\n");
        assert!(Tables::read("soc,ocv\n0,3\n1,4\n", &whole).is_some());
        assert!(Tables::read("soc,ocv\n0,3\n1,four\n", &whole).is_none());
    }

    /// The originals lie beside the repository on some machines; ours are a part of them.
    #[test]
    fn every_row_of_the_original_tables_comes_out_of_ours() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/datasets");
        let read =
            |name: &str| std::fs::read_to_string(folder.join(format!("pybamm_ecm_example_{name}.csv")));
        let Ok(ocv) = read("ocv") else {
            println!("skipped: the original tables are not beside this repository");
            return;
        };
        let tables = Tables::shared();
        let close = |ours: f64, theirs: f64| assert!((ours / theirs - 1.0).abs() < 1e-12, "{ours} {theirs}");
        for row in rows(&ocv) {
            close(tables.ocv_volts(row[0].unwrap()), row[1].unwrap());
        }
        type Pick = fn(Elements) -> f64;
        let columns: [(&str, Pick); 3] = [("r0", |e| e.r0_ohm), ("r1", |e| e.r1_ohm), ("c1", |e| e.c1_farad)];
        for (name, pick) in columns {
            let text = read(name).unwrap();
            assert_eq!(rows(&text).count(), 3864);
            for row in rows(&text) {
                let [celsius, amps, soc, value] = [0, 1, 2, 3].map(|column| row[column].unwrap());
                close(pick(tables.elements(celsius, soc, amps)), value);
            }
        }
    }
}
