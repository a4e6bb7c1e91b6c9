//! What Voltree remembers: journal, frames, time buckets, ledger.
