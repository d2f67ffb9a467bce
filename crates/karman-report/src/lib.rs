//! Events and findings as terminal, plain and JSON output.
