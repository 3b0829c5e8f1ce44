//! chartd
fn main() {}
