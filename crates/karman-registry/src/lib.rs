//! The distribution protocol (OCI distribution-spec v1.1, Docker registry API v2): resolve, pull, push.
//!
//! - Bytes are believed only after their digest was computed here. `Docker-Content-Digest` and
//!   announced sizes serve for nothing but earlier errors.
//! - A manifest is kept as the bytes that came and never serialised again.
//! - Credentials go to the registry they belong to, and to the token server it names, over https
//!   (plain http only for loopback and for hosts configured so). On redirects to blob storage they
//!   are dropped by `karman-net`.
//! - Mirrors are tried in their order; whatever goes wrong with one, the next is asked, and at last
//!   the registry itself, whose error is the one reported.
//!
//! - Uploads go to the registry itself, or where a rule says on purpose; what is there is not sent, what another
//!   repository of the registry has is mounted, and an upload that breaks goes on where it stopped.

mod access;
mod auth;
mod challenge;
mod credentials;
mod docker_config;
mod endpoint;
mod error;
mod login;
mod pull;
mod push;
mod referrers;
mod resolved;
mod rules;
mod select;
mod upload;

pub use credentials::{Anonymous, Credential, CredentialError, CredentialSource};
pub use docker_config::{DockerConfig, HelperOutput, HelperRunner};
pub use endpoint::Config;
pub use error::RegistryError;
pub use login::{HelperAction, LoginFile};
pub use pull::{MAX_MANIFEST, Registry};
pub use push::{Pushed, UploadLog};
pub use referrers::EMPTY_CONFIG;
pub use resolved::Resolved;
pub use rules::{RuleFiles, Rules, RulesError};
pub use select::select_platform;
