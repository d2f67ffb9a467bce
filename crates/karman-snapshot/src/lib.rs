//! Snapshots for overlayfs: prepare, commit, merged views, copies, tree digests.
