//! The embedded Backend: binds ops to sandbox, snapshots, content, registry and exporter.
