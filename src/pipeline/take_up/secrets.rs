//! What was logged to be encrypted, and there is no key any more.
//!
//! It must not go out unencrypted: without a key the open block and the records that the ring held are
//! set aside, until there is one. What comes meanwhile is of a VCL without a key.

use crate::pipeline::ledger::Ledger;
use crate::pipeline::packing::Packing;
use crate::spool::SpoolError;

/// Sets it aside, if there is any; afterwards `waiting` records of the ring, 0 unless it fails, are
/// left to be. A chunk has some `bytes`; `unix` is the time, ns since 1970.
///
/// # Errors
/// As those of [`Ledger::append`] and [`Ledger::hold`]. Call it again.
pub(in crate::pipeline) fn set_aside(
    ledger: &mut Ledger,
    packing: &mut Packing,
    waiting: &mut u64,
    bytes: usize,
    unix: u64,
) -> Result<(), SpoolError> {
    if !ledger.spool().lacks_key() {
        return Ok(());
    }
    // What was begun under another codec is not appended to.
    let packed = ledger.hold().and_then(|()| packing.pack(ledger, bytes, unix, waiting));
    let done = packed.and_then(|()| {
        // What is left was damaged since it was counted.
        *waiting = 0;
        ledger.hold()
    });
    if done.is_ok() {
        ledger.end_secrecy();
    }
    // What the disk has lost is in the ring again, and as secret as it was.
    *waiting += ledger.take_repeated().map_or(0, |repeated| repeated.records);
    done
}
