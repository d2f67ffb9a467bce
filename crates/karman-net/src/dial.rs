//! Opening connections: a name is resolved only where no pooled connection serves the request.
//!
//! ureq resolves before it looks into its pool. So its resolver is [`Later`], which answers with a
//! placeholder, and the [`Dialler`] at the head of the connector chain, which runs for new
//! connections only, puts the addresses in. It also drops a name whose addresses did not lead to a
//! connection. The traits are ureq's unversioned ones: an update of ureq may ask for changes here.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{ConnectionDetails, Connector, NextTimeout};
use ureq::{Error, Timeout};

use crate::resolve::Names;

/// Stands for "not resolved yet"; port 0 cannot be dialled.
const PLACEHOLDER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// The resolver that leaves the work to the [`Dialler`].
#[derive(Debug)]
pub(crate) struct Later;

impl Resolver for Later {
    fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let mut addrs = self.empty();
        addrs.push(PLACEHOLDER);
        Ok(addrs)
    }
}

/// Resolves, then lets `inner` connect.
#[derive(Debug)]
pub(crate) struct Dialler<C> {
    inner: C,
    names: Names,
}

impl<C> Dialler<C> {
    pub(crate) fn new(inner: C, names: &Names) -> Self {
        Self { inner, names: names.clone() }
    }

    /// What ureq left open is looked up; a name that a proxy resolves comes without any address and
    /// stays so.
    fn addresses(&self, details: &ConnectionDetails<'_>) -> Result<ResolvedSocketAddrs, Error> {
        if details.addrs[..] != [PLACEHOLDER] {
            return Ok(details.addrs.clone());
        }
        let after = details.config.timeouts().resolve.map(Into::into);
        let timeout = match after {
            Some(after) => NextTimeout { after, reason: Timeout::Resolve, ..details.timeout },
            None => details.timeout,
        };
        self.names.resolve(details.uri, details.config, timeout)
    }
}

impl<C: Connector> Connector for Dialler<C> {
    type Out = C::Out;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<()>,
    ) -> Result<Option<Self::Out>, Error> {
        let resolved = ConnectionDetails {
            uri: details.uri,
            addrs: self.addresses(details)?,
            config: details.config,
            request_level: details.request_level,
            // The connectors to proxies resolve the proxy by this.
            resolver: &self.names,
            // The time to connect begins when the addresses are known.
            now: (details.current_time)(),
            timeout: details.timeout,
            current_time: details.current_time.clone(),
            run_connector: details.run_connector.clone(),
            register_shutdown: details.register_shutdown.clone(),
        };
        self.inner.connect(&resolved, chained).inspect_err(|_| {
            self.names.forget(details.uri);
            if let Some(proxy) = details.config.proxy() {
                self.names.forget(proxy.uri());
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use ureq::Agent;
    use ureq::unversioned::transport::DefaultConnector;

    use super::*;

    /// A server with persistent connections, and how many it has accepted.
    fn serve() -> (SocketAddr, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let counter = accepted.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                counter.fetch_add(1, Ordering::SeqCst);
                thread::spawn(move || answer(&stream));
            }
        });
        (addr, accepted)
    }

    fn answer(mut stream: &TcpStream) {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if line.is_empty() {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
            }
        }
    }

    /// An agent for which every name has the address `addr(lookups before)`, and the count of lookups.
    fn agent(
        addr: impl Fn(usize) -> SocketAddr + Send + Sync + 'static,
    ) -> (Agent, Names, Arc<AtomicUsize>) {
        let count = Arc::new(AtomicUsize::new(0));
        let counter = count.clone();
        let names = Names::with(move |_| Ok(vec![addr(counter.fetch_add(1, Ordering::SeqCst))]));
        let dialler = Dialler::new(DefaultConnector::new(), &names);
        let config = Agent::config_builder().proxy(None).build();
        (Agent::with_parts(config, dialler, Later), names, count)
    }

    #[test]
    fn many_requests_need_one_lookup_and_pooled_ones_none() {
        let (addr, accepted) = serve();
        let (agent, names, lookups) = agent(move |_| addr);
        thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| agent.get("http://a.example/").call().unwrap());
            }
        });
        assert_eq!(lookups.load(Ordering::SeqCst), 1);
        let before = accepted.load(Ordering::SeqCst);
        names.forget(&Uri::from_static("http://a.example/"));
        for _ in 0..6 {
            agent.get("http://a.example/").call().unwrap();
        }
        assert_eq!(lookups.load(Ordering::SeqCst), 1, "the pool was used");
        assert_eq!(accepted.load(Ordering::SeqCst), before);
    }

    #[test]
    fn an_address_that_refuses_is_not_kept() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (open, _) = serve();
        let (agent, _, lookups) = agent(move |before| if before == 0 { closed } else { open });
        agent.get("http://a.example/").call().unwrap_err();
        assert_eq!(agent.get("http://a.example/").call().unwrap().status(), 200);
        assert_eq!(lookups.load(Ordering::SeqCst), 2);
    }
}
