//! OCI names and documents: digests, descriptors, platforms, references, image configs,
//! manifests, indexes. Parses, prints and validates; no I/O.

mod config;
mod descriptor;
mod digest;
mod manifest;
pub mod media_type;
mod platform;
mod reference;
mod time;

pub use config::{ContainerConfig, HealthConfig, History, ImageConfig, RootFs};
pub use descriptor::Descriptor;
pub use digest::{Digest, DigestError, Hasher};
pub use manifest::{Index, Manifest};
pub use platform::{Platform, PlatformError};
pub use reference::{Reference, ReferenceError};
pub use time::rfc3339;
