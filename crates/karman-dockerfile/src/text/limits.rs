//! Limits on the text of a Dockerfile.

/// The longest physical line, without its line feed: the largest token of BuildKit's scanner.
pub const MAX_LINE_BYTES: usize = 65_535;

/// The largest Dockerfile BuildKit reads. Together with [`MAX_LINE_BYTES`] it bounds memory.
pub const MAX_SOURCE_BYTES: usize = 16 << 20;
