//! Encryption holds no block in memory.

use std::io::{self, Read};

use super::Alone;
use vmod_s3log::seal::{Certificate, Recipients};

const LENGTH: u64 = 64 << 20;

/// A certificate of Curve25519, made by gpg 2.2 for this test.
const CERTIFICATE: &str = include_str!("../data/certificate.asc");

/// When it is valid: a day after it was made.
const NOW: u64 = 1_795_465_000;

#[test]
fn a_block_of_64_mib_is_encrypted_in_less_than_two_mib() {
    let alone = Alone::wait();
    let age = Recipients::read(&age::x25519::Identity::generate().to_public().to_string()).unwrap();
    let pgp = Certificate::read(CERTIFICATE, NOW).unwrap();
    let length = |encrypt: &dyn Fn(&mut dyn Read, &mut dyn io::Write) -> io::Result<()>, of| {
        let mut count = Count(0);
        encrypt(&mut io::repeat(7).take(of), &mut count).unwrap();
        count.0
    };
    let by_age = |source: &mut dyn Read, sink: &mut dyn io::Write| age.encrypt(source, sink);
    let by_pgp = |source: &mut dyn Read, sink: &mut dyn io::Write| pgp.encrypt(source, sink);
    for encrypt in [&by_age as &dyn Fn(&mut dyn Read, &mut dyn io::Write) -> _, &by_pgp] {
        length(encrypt, 1 << 20);
        let grown = alone.growth(|| assert!(length(encrypt, LENGTH) > LENGTH));
        assert!(grown < 2 << 10, "{grown} KiB");
    }
}

struct Count(u64);

impl io::Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
