//! voltree
fn main() {}
