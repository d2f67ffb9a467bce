//! The distribution protocol: resolve and pull with auth and verification.
