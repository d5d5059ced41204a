//! An address in front of a server: shut, nobody gets through; open, everybody does.
//!
//! A gateway that was down and comes back is the same gateway, at the same address.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use super::s3_server::S3Server;

/// The gate, shut at first.
pub struct Gate {
    address: SocketAddr,
    behind: Arc<Mutex<Option<SocketAddr>>>,
}

impl Gate {
    pub fn shut() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let behind = Arc::new(Mutex::new(None));
        let target = Arc::clone(&behind);
        thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                let Some(target) = *target.lock().unwrap() else { continue };
                if let Ok(server) = TcpStream::connect(target) {
                    join(&client, &server);
                }
            }
        });
        Self { address, behind }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Lets everybody through to `server` from now on.
    pub fn open(&self, server: &S3Server) {
        self.open_to(server.endpoint().strip_prefix("http://").unwrap().parse().unwrap());
    }

    pub fn open_to(&self, address: SocketAddr) {
        *self.behind.lock().unwrap() = Some(address);
    }
}

/// Carries bytes both ways until each side has ended.
fn join(client: &TcpStream, server: &TcpStream) {
    for (from, to) in [(client, server), (server, client)] {
        let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        thread::spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(std::net::Shutdown::Write);
        });
    }
}
