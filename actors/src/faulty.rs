//! Fault points around what other rooms own: their traits wrapped from outside, so that they need not know of faults.

mod disk;
mod link;

pub use disk::FaultyDisk;
pub(crate) use link::FaultyLink;
