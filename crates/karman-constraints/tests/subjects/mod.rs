//! What the cases are about.

pub(crate) mod check;
pub(crate) mod lock;
