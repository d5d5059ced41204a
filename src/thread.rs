//! Starts the module's threads inside varnishd.

use std::io;
use std::thread::{Builder, JoinHandle};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};

/// Signals that a thread raises by a fault of its own. Varnish's handler for them writes the panic
/// that `panic.show` prints (`child_sigsegv_handler` in `cache_main.c`); blocked, they would end the
/// process without it.
const OWN_FAULTS: [Signal; 5] =
    [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGFPE, Signal::SIGILL, Signal::SIGABRT];

/// Starts a thread that only its own faults are delivered to as signals: all others are varnishd's.
/// A name has 15 bytes at most.
///
/// # Errors
/// The system's.
pub(crate) fn spawn(
    name: &str,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let mut blocked = SigSet::all();
    for signal in OWN_FAULTS {
        blocked.remove(signal);
    }
    let mut before = SigSet::empty();
    // A new thread inherits the mask; blocking them in the thread itself would leave a gap.
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&blocked), Some(&mut before))?;
    let spawned = Builder::new().name(name.to_owned()).spawn(body);
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
    spawned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_has_its_name_and_receives_its_own_faults_and_no_other_signal() {
        let (send, receive) = std::sync::mpsc::channel();
        let body = move || {
            let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            send.send(status).unwrap();
        };
        spawn("s3log-pack", body).unwrap().join().unwrap();
        let status = receive.recv().unwrap();
        assert!(status.starts_with("Name:\ts3log-pack\n"), "{status}");
        let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:\t")).unwrap();
        let mask = u64::from_str_radix(mask, 16).unwrap();
        let is_blocked = |signal: Signal| mask & (1 << (signal as i32 - 1)) != 0;
        for signal in OWN_FAULTS {
            assert!(!is_blocked(signal), "{signal}");
        }
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR1] {
            assert!(is_blocked(signal), "{signal}");
        }
    }
}
