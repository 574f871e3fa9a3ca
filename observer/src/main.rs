//! The command line of the observer agent.
//! Parses, loads, serves; everything else lives in the library.

fn main() {}
