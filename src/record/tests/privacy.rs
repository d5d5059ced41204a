//! Pseudonyms, against the RFC's own numbers.

use crate::record::privacy::{hash, truncate_ip};

#[test]
fn hash_is_hmac_sha_256_of_rfc_4231() {
    assert_eq!(
        hash(&[0x0b; 20], b"Hi There"),
        "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
    );
    assert_eq!(
        hash(b"Jefe", b"what do ya want for nothing?"),
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    );
    assert_eq!(
        hash(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First"),
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
    );
}

#[test]
fn an_address_keeps_its_first_bits() {
    let cut = |text: &str, v4, v6| truncate_ip(text.parse().expect(text), v4, v6).to_string();
    assert_eq!(cut("203.0.113.255", 24, 48), "203.0.113.0");
    assert_eq!(cut("203.0.113.255", 0, 48), "0.0.0.0");
    assert_eq!(cut("203.0.113.255", 32, 48), "203.0.113.255");
    assert_eq!(cut("203.0.113.255", 255, 48), "203.0.113.255");
    assert_eq!(cut("203.0.113.255", 25, 48), "203.0.113.128");
    assert_eq!(cut("2001:db8:ffff:ffff::1", 24, 48), "2001:db8:ffff::");
    assert_eq!(cut("2001:db8::1", 24, 0), "::");
    assert_eq!(cut("2001:db8::1", 24, 128), "2001:db8::1");
    assert_eq!(cut("::ffff:203.0.113.9", 24, 48), "203.0.113.0");
}
