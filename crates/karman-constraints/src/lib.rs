//! Requirement and constraint lines: parse, merge, override, explain.
