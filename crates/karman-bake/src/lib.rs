//! Bake files (HCL and JSON) to resolved targets.
