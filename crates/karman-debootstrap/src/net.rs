//! [`Fetch`] over Karman's HTTP client.

use std::fs::File;

use karman_net::{Checksum, Client, Expect, Failure, NetError};

use crate::fetch::{Fetch, FetchError, Want};

impl Fetch for Client {
    fn get(&self, url: &str, limit: u64) -> Result<Vec<u8>, FetchError> {
        let mut body = Vec::new();
        self.download(url, &mut body, &Expect::at_most(limit))
            .map_err(|error| convert(url, error))?;
        Ok(body)
    }

    fn download(&self, url: &str, file: &mut File, want: &Want<'_>) -> Result<(), FetchError> {
        let digest = Checksum::Sha256(want.digest());
        Client::download(self, url, file, &Expect::exactly(want.size, digest))
            .map_err(|error| convert(url, error))?;
        Ok(())
    }
}

fn convert(url: &str, error: NetError) -> FetchError {
    match *error.failure {
        Failure::NotFound { .. } => FetchError::NotFound { url: url.to_owned() },
        _ => FetchError::Transport { url: url.to_owned(), source: Box::new(error) },
    }
}
