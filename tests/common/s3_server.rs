//! An S3 server inside the test process: `s3s-fs` on a port of its own, in a directory that goes
//! away. Checks signatures, payload hashes and preconditions; knows no object lock or tags, and
//! answers 200 for a bucket that is missing.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tokio::runtime::Runtime;

use super::ports::free_port;

/// The access key that the server knows.
pub const ACCESS_KEY: &str = "AKIAIOSFODNN7EXAMPLE";
/// Its secret.
pub const SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
/// The bucket that is there from the start.
pub const BUCKET: &str = "logs";

/// A running server; dropping it ends it.
#[derive(Debug)]
pub struct S3Server {
    address: SocketAddr,
    root: Arc<tempfile::TempDir>,
    connections: Arc<AtomicUsize>,
    // Dropped first of all that matters: it ends the tasks.
    _runtime: Runtime,
}

/// An address and a directory.
#[derive(Debug)]
pub struct Place {
    address: SocketAddr,
    root: Arc<tempfile::TempDir>,
}

impl S3Server {
    /// Listens before it returns.
    pub fn start() -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join(BUCKET)).unwrap();
        Self::serve("127.0.0.1:0", Arc::new(root), None)
    }

    /// The same at a port that nobody is given while the server is away, see [`S3Server::restart`].
    pub fn start_to_return() -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join(BUCKET)).unwrap();
        Self::serve(&format!("127.0.0.1:{}", free_port()), Arc::new(root), None)
    }

    /// Takes `bucket.domain` as a host too.
    pub fn start_virtual(domain: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join(BUCKET)).unwrap();
        Self::serve("127.0.0.1:0", Arc::new(root), Some(domain))
    }

    /// Another server with the same objects, which takes `bucket.domain` as a host.
    pub fn virtual_beside(&self, domain: &str) -> Self {
        Self::serve("127.0.0.1:0", Arc::clone(&self.root), Some(domain))
    }

    /// Where a server that was dropped can come back with all that it had.
    pub fn place(&self) -> Place {
        Place { address: self.address, root: Arc::clone(&self.root) }
    }

    /// The same address and the same objects once more.
    pub fn restart(place: &Place) -> Self {
        Self::serve(&place.address.to_string(), Arc::clone(&place.root), None)
    }

    fn serve(address: &str, root: Arc<tempfile::TempDir>, domain: Option<&str>) -> Self {
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(root.path()).unwrap());
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        if let Some(domain) = domain {
            builder.set_host(s3s::host::SingleDomain::new(domain).unwrap());
        }
        let service = builder.build();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind(address)).unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let service = service.clone();
                let answer = move |request| hyper::service::Service::call(&service, request);
                let io = hyper_util::rt::TokioIo::new(stream);
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(io, hyper::service::service_fn(answer)),
                );
            }
        });
        Self { address, root, connections, _runtime: runtime }
    }

    /// The address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:port`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Connections that were accepted so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Where the server keeps its files, the bucket's directory among them.
    pub fn root(&self) -> &Path {
        self.root.path()
    }
}
