//! One command each.

pub(crate) mod audit;
pub(crate) mod bake;
pub(crate) mod build;
pub(crate) mod cache;
pub(crate) mod completions;
pub(crate) mod constraints;
pub(crate) mod doctor;
pub(crate) mod image;
pub(crate) mod inventory;
pub(crate) mod login;
pub(crate) mod mounts;
pub(crate) mod referrers;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod sbom;
pub(crate) mod sign;
pub(crate) mod transfer;
pub(crate) mod verify;
pub(crate) mod why;
