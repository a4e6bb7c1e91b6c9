//! Faults on demand on this node.

use voltree_runtime::Fault;

use super::LocalFleet;
use crate::fleet::{ActiveFault, FaultInjection, FaultPointView, FleetError};

impl FaultInjection for LocalFleet {
    fn points(&self) -> Vec<FaultPointView> {
        let trips = self.faults.trips();
        let struck =
            |name| trips.iter().filter(|((point, _), _)| *point == name).map(|(_, count)| count).sum();
        let points = self.faults.points().iter();
        points.map(|point| FaultPointView { point: *point, trips: struck(point.name) }).collect()
    }

    fn active_faults(&self) -> Vec<ActiveFault> {
        self.faults.active().into_iter().map(|(id, fault)| ActiveFault { id, fault }).collect()
    }

    fn inject(&self, fault: Fault) -> Result<ActiveFault, FleetError> {
        let id = self.faults.inject(fault.clone())?;
        Ok(ActiveFault { id, fault })
    }

    fn clear_faults(&self) -> usize {
        self.faults.clear()
    }
}
