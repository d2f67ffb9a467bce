//! Content-addressed blobs and the index: store, leases, GC, crash safety, verification.
