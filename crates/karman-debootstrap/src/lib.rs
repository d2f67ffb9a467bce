//! A Debian or Ubuntu root filesystem from a signed archive, without apt on the host.
