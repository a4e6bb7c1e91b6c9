//! A simulated week of a fleet: what stays in memory must not grow from day to day.
//!
//! Memory is read at the end of each day with the generator in it. A day is taken in as fast as it goes.

use voltree_model::Timestamp;

use super::Sizes;
use super::measure::{Figure, HOUR_MS, Place, STEP_S, figure, memory};
use super::mini_node::MiniNode;
use super::workload::{BEGIN_MS, Battery};

const DAYS: u32 = 7;
const STEPS_A_DAY: u32 = 86_400 / STEP_S;

pub(super) fn measure(place: &Place, sizes: Sizes) -> anyhow::Result<Vec<Figure>> {
    let mut node = MiniNode::open(&place.fresh("week")?)?;
    let mut batteries: Vec<_> = (0..sizes.devices).map(Battery::new).collect();
    let mut resident = Vec::new();
    for day in 1..=DAYS {
        for step in (day - 1) * STEPS_A_DAY..day * STEPS_A_DAY {
            let batch = |battery: &mut Battery| (0..STEP_S).map(|_| battery.entry()).collect();
            node.take_in(batteries.iter_mut().map(batch).collect())?;
            let now = Timestamp::from_millis(BEGIN_MS + i64::from((step + 1) * STEP_S) * 1_000);
            node.seal(now, false)?;
            node.store.maintain(now, 64)?;
        }
        let mib = memory("VmRSS")?;
        tracing::info!(day, days = DAYS, mib, "taken in");
        resident.push(figure(format!("resident memory after day {day}"), mib, "MiB", Some(200.0)));
    }
    let end = Timestamp::from_millis(BEGIN_MS + i64::from(DAYS) * 24 * HOUR_MS + 2 * HOUR_MS);
    node.seal(end, true)?;
    Ok(resident)
}
