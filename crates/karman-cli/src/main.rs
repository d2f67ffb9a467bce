//! The karman binary: arguments, configuration, environment, exit codes.
fn main() {}
