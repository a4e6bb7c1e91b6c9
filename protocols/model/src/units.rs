//! Quantities as they cross functions. Current is positive while charging, everywhere.

use serde::{Deserialize, Serialize};

macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
        pub struct $name(pub $inner);
    };
}

quantity!(
    /// Volts of a pack.
    Volts(f64)
);
quantity!(
    /// Amperes; positive charges the battery.
    Amps(f64)
);
quantity!(
    /// Degrees Celsius.
    Celsius(f64)
);
quantity!(
    /// Percent, 0 to 100.
    Percent(f64)
);
quantity!(
    /// Ampere-hours.
    AmpHours(f64)
);
quantity!(
    /// Millivolts of one cell.
    Millivolts(u16)
);
