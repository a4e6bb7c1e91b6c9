//! Flight records and crash reports of this node.

use std::sync::Arc;

use voltree_model::DeviceId;
use voltree_runtime::Failure;

use super::LocalFleet;
use crate::crash_reports::CrashSummary;
use crate::fleet::{Answer, FleetError, Flights};

impl Flights for LocalFleet {
    fn crash_reports(&self) -> Vec<CrashSummary> {
        self.crashes.list()
    }

    fn crash_report(&self, id: &str) -> Answer<'_, Vec<u8>> {
        let (crashes, id) = (Arc::clone(&self.crashes), id.to_owned());
        Box::pin(async move {
            let wanted = id.clone();
            let text = blocking(move || crashes.read(&wanted)).await?;
            text.map_err(|error| FleetError::Store(Failure::new(&error).to_string()))?
                .ok_or(FleetError::UnknownReport(id))
        })
    }

    fn flight_record(&self, device: &DeviceId) -> Answer<'_, Vec<u8>> {
        let (crashes, device) = (Arc::clone(&self.crashes), device.clone());
        Box::pin(async move {
            // Writing out some hundred kilobytes takes longer than an async thread should be held.
            let text = blocking(move || match crashes.report_now(&device) {
                Some(report) => serde_json::to_vec_pretty(&report)
                    .map_err(|error| FleetError::Store(Failure::new(&error).to_string())),
                None => Err(FleetError::UnknownDevice(device)),
            });
            text.await?
        })
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, FleetError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| FleetError::Store(error.to_string()))
}
