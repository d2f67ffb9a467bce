//! Plans against a backend that answers from maps.

mod bake;
mod borrow;
mod call;
mod catalogue;
mod contexts;
mod dockerfiles;
mod named;
mod support;
mod targets;
mod tools;
