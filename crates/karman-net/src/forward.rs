//! Absolute-form requests to an HTTP proxy (RFC 9112 §3.2.2), which ureq cannot write.
//!
//! `http::Uri` insists that a path starts with `/`, so the target is handed down as
//! `/http://host/path` with the proxy as the peer, and the slash is taken out of the request line
//! just before it goes onto the wire. The traits are ureq's unversioned ones: an update of ureq may
//! ask for changes here, and the test with a proxy tells.

use ureq::Error;
use ureq::http::Uri;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};

use crate::error::Failure;
use crate::proxy::Proxy;
use crate::url::{Url, UrlError};

/// The URI by which a [`ForwardConnector`] asks `proxy` for `url`.
pub(crate) fn forward_uri(url: &Url, proxy: &Proxy) -> Result<Uri, Failure> {
    Uri::builder()
        .scheme(proxy.scheme.as_str())
        .authority(proxy.authority())
        .path_and_query(format!("/{}", url.wire()))
        .build()
        .map_err(|_| Failure::BadUrl { source: UrlError::Host })
}

/// Wraps every connection in a [`ForwardTransport`].
#[derive(Debug)]
pub(crate) struct ForwardConnector;

impl<In: Transport> Connector<In> for ForwardConnector {
    type Out = ForwardTransport<In>;

    fn connect(
        &self,
        _: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        Ok(chained.map(|inner| ForwardTransport { inner, at_start: true }))
    }
}

/// Takes the slash out of `GET /http://…`.
#[derive(Debug)]
pub(crate) struct ForwardTransport<In> {
    inner: In,
    /// The next output begins a request: nothing was sent yet, or an answer was read since.
    at_start: bool,
}

impl<In: Transport> Transport for ForwardTransport<In> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let mut amount = amount;
        if std::mem::take(&mut self.at_start) {
            let output = self.inner.buffers().output();
            if let Some(space) = output[..amount].iter().position(|b| *b == b' ') {
                output.copy_within(space + 2..amount, space + 1);
                amount -= 1;
            }
        }
        self.inner.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.at_start = true;
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}
