//! What the simulator says of itself: what it was asked and answered, what went wrong, and what the packs hold.

use serde_json::{Map, Value, json};
use voltree_protocols::sim::{Fault, SimPack, SimStats};

/// One line for people.
pub(super) fn text(stats: &SimStats, packs: &[&SimPack]) -> String {
    let faults: Vec<String> = Fault::ALL
        .into_iter()
        .filter(|fault| stats.faults(*fault) > 0)
        .map(|fault| format!(", {fault} {}", stats.faults(fault)))
        .collect();
    let packs: Vec<String> = packs.iter().map(|pack| pack_text(pack)).collect();
    format!(
        "asked {}, answered well {}, of these measurements {}{}; {}",
        stats.requests(),
        stats.answers(),
        stats.measurements(),
        faults.concat(),
        packs.join("; ")
    )
}

fn pack_text(pack: &SimPack) -> String {
    let (charge, discharge) = pack.switches_closed();
    let on = |closed: bool| if closed { "on" } else { "off" };
    let warmest = pack.celsius().into_iter().reduce(f64::max).map(|celsius| format!(" {celsius:.1} °C"));
    let tripped = tripped(pack);
    format!(
        "{:.2} V {:+.1} A {:.1} %{}, charge {}, discharge {}{}, {:.1} cycles, health {:.2} %",
        pack.volts(),
        pack.measured_amps(),
        pack.board_soc_percent(),
        warmest.unwrap_or_default(),
        on(charge),
        on(discharge),
        if tripped.is_empty() { String::new() } else { format!(" ({})", tripped.join(", ")) },
        pack.cycles(),
        pack.health_percent(),
    )
}

fn tripped(pack: &SimPack) -> Vec<String> {
    pack.protections().filter(|state| state.2).map(|state| format!("{:?}", state.0)).collect()
}

/// One line for programs, with every cell.
pub(super) fn json(stats: &SimStats, packs: &[&SimPack]) -> String {
    let faults: Map<String, Value> =
        Fault::ALL.into_iter().map(|fault| (fault.to_string(), json!(stats.faults(fault)))).collect();
    json!({
        "requests": stats.requests(),
        "answers": stats.answers(),
        "measurements": stats.measurements(),
        "faults": faults,
        "boards": packs.iter().map(|pack| pack_json(pack)).collect::<Vec<_>>(),
    })
    .to_string()
}

fn pack_json(pack: &SimPack) -> Value {
    let (charge, discharge) = pack.switches_closed();
    json!({
        "volts": pack.volts(),
        "amps": pack.measured_amps(),
        "soc_percent": pack.board_soc_percent(),
        "cell_volts": pack.cell_volts(),
        "cell_soc_percent": pack.cell_soc_percent(),
        "celsius": pack.celsius(),
        "charge_closed": charge,
        "discharge_closed": discharge,
        "tripped": tripped(pack),
        "cycles": pack.cycles(),
        "health_percent": pack.health_percent(),
        "lived_s": pack.lived().as_secs_f64(),
    })
}
