//! The ledgers of a data directory, folded from checkpoint and journal without changing either.
//!
//! For inspection from outside, also while a node runs. What a node has not committed is not seen.

use std::collections::BTreeMap;

use voltree_model::{DeviceId, Ledger};

use crate::checkpoint::Checkpoints;
use crate::{DataDir, Error, Head, Lsn, RealDisk, read_journal};

/// What became of the readings of every device, and, as `None`, of what named no device.
pub fn read_ledgers(data: &DataDir) -> Result<BTreeMap<Option<DeviceId>, Ledger>, Error> {
    let head = read_head(data)?;
    let devices = head.ledgers().into_iter().map(|(device, ledger)| (Some(device), ledger));
    Ok(devices.chain([(None, head.node_ledger())]).collect())
}

/// The head as it would be if a node started on this directory now, for all devices.
pub fn read_head(data: &DataDir) -> Result<Head, Error> {
    let checkpoint = Checkpoints::load(&RealDisk, &data.checkpoint())?.current.unwrap_or_default();
    let mut head = Head::new(checkpoint.devices, Some(checkpoint.node));
    read_journal(&RealDisk, &data.journal(), Lsn(0), |lsn, entry| head.apply(lsn, &entry))?;
    Ok(head)
}
