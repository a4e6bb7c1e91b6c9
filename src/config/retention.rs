//! The section `[retention]`: how long what is kept, in whole days, for all devices and for some.

use voltree_model::DeviceId;
use voltree_storage::{KeepDays, Retention};

use super::reader::{Mistake, Section};

/// A hundred years.
const LONGEST_DAYS: u64 = 36_525;
const MIB: u64 = 1024 * 1024;

/// What holds if nothing is said.
pub(super) fn default() -> Retention {
    Retention { default: KeepDays::default(), ..Retention::default() }
}

/// Reads the section; a device has what all have where it says nothing of its own.
pub(super) fn read(section: &mut Section, retention: &mut Retention, mistakes: &mut Vec<Mistake>) {
    read_days(section, &mut retention.default, mistakes);
    retention.max_bytes = section.whole("max_mib", 64..=1 << 40, mistakes).map(|mib| mib * MIB);
    for mut device in section.sections("devices", mistakes) {
        device.required(&["id"], mistakes);
        let id =
            device.checked("id", |text| DeviceId::new(text).map_err(|error| error.to_string()), mistakes);
        let mut keep = retention.default;
        read_days(&mut device, &mut keep, mistakes);
        retention.devices.extend(id.map(|id| (id, keep)));
        device.finish(mistakes);
    }
}

fn read_days(section: &mut Section, keep: &mut KeepDays, mistakes: &mut Vec<Mistake>) {
    let mut days = |key, days: &mut u32| {
        let given = section.whole(key, 1..=LONGEST_DAYS, mistakes);
        *days = given.and_then(|given| u32::try_from(given).ok()).unwrap_or(*days);
    };
    days("raw_days", &mut keep.raw);
    days("rollup_1m_days", &mut keep.minutes);
    days("rollup_1h_days", &mut keep.hours);
    days("rollup_1d_days", &mut keep.days);
}
