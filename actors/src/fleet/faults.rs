//! Faults on demand: to see that nothing is lost, before something is.

use voltree_runtime::{Fault, FaultPoint};

use super::FleetError;

/// A point where faults can strike.
#[derive(Debug, Clone)]
pub struct FaultPointView {
    /// The point.
    pub point: FaultPoint,
    /// How often a fault struck there since the node started.
    pub trips: u64,
}

/// A fault that strikes now.
#[derive(Debug, Clone)]
pub struct ActiveFault {
    /// Its number.
    pub id: u64,
    /// What it is.
    pub fault: Fault,
}

/// Faults on demand.
pub trait FaultInjection: Send + Sync {
    /// Every point.
    fn points(&self) -> Vec<FaultPointView>;
    /// The faults that are active now.
    fn active_faults(&self) -> Vec<ActiveFault>;
    /// Asks for a fault.
    fn inject(&self, fault: Fault) -> Result<ActiveFault, FleetError>;
    /// Ends all faults and answers how many there were.
    fn clear_faults(&self) -> usize;
}
