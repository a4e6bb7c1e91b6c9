//! Which node owns a device.
