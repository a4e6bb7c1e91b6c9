//! Who is responsible for what: device, broker, aggregator, recorder and alert actors, the registry of devices,
//! and the `Fleet` doors that others use. This room knows no HTTP and no gRPC.

pub mod fleet;
