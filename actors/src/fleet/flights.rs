//! Flight records and crash reports: to look at, and to take along.

use voltree_model::DeviceId;

use super::Answer;
use crate::crash_reports::CrashSummary;

/// Flight records and crash reports.
pub trait Flights: Send + Sync {
    /// The crash reports there are, the newest first.
    fn crash_reports(&self) -> Vec<CrashSummary>;
    /// The text of a crash report.
    fn crash_report(&self, id: &str) -> Answer<'_, Vec<u8>>;
    /// A report of a device as it is now, as JSON text.
    fn flight_record(&self, device: &DeviceId) -> Answer<'_, Vec<u8>>;
}
