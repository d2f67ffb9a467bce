//! Whether a registry knows an account.

use karman_control::SolveError;
use karman_registry::Credential;

use crate::engine::Engine;
use crate::sources::registry_error;

impl Engine {
    /// Asks the registry `host` whether it lets an account in.
    ///
    /// # Errors
    /// When it does not, or cannot be reached.
    pub fn check_login(&self, host: &str, credential: Credential) -> Result<(), SolveError> {
        self.registry().check_login(host, credential).map_err(|e| registry_error(&e))
    }
}
