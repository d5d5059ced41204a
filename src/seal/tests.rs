use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use age::secrecy::ExposeSecret as _;
use age::x25519::Identity;
use proptest::prelude::*;

use super::recipients::RECIPIENTS_MAX;
use super::{Identities, Recipients};

fn key() -> (Identity, String) {
    let key = Identity::generate();
    let public = key.to_public().to_string();
    (key, public)
}

fn file(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path
}

fn identities(keys: &[&Identity]) -> Identities {
    let folder = tempfile::tempdir().unwrap();
    let lines = keys.iter().map(|key| key.to_string().expose_secret().to_owned());
    let text = format!("# created\n# public key\n{}\n", lines.collect::<Vec<_>>().join("\n"));
    Identities::read(&file(folder.path(), "key", &text)).unwrap()
}

fn sealed(recipients: &Recipients, clear: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    recipients.encrypt(&mut &*clear, &mut out).unwrap();
    out
}

fn opened(keys: &Identities, sealed: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    keys.open(sealed)?.read_to_end(&mut out)?;
    Ok(out)
}

fn problem(text: &str) -> String {
    Recipients::read(text).unwrap_err().to_string()
}

#[test]
fn keys_stand_one_by_one_or_in_a_file_and_count_once() {
    let folder = tempfile::tempdir().unwrap();
    let ((_, a), (_, b)) = (key(), key());
    let both = Recipients::read(&format!("{a},{b}")).unwrap();
    assert_eq!(both.count(), 2);
    assert_eq!(Recipients::read(&format!("  {a} ,\n\t{b}, {a} ")).unwrap(), both);
    let path = file(folder.path(), "keys", &format!("# readers\n\n {a}\r\n{b}\n#{a}\n{b}"));
    assert_eq!(Recipients::read(path.to_str().unwrap()).unwrap(), both);
    assert_ne!(Recipients::read(&a).unwrap(), both);
}

#[test]
fn a_wrong_key_is_named_shortened_and_with_what_is_taken() {
    let (_, good) = key();
    let takes = "expected age recipients, \"age1...\", separated by commas or spaces, or the \
                 absolute path of a file with one a line";
    assert_eq!(
        problem(&format!("{good},alice@example.com")),
        format!(
            "\"alice@example.co...\" is not an age recipient (it does not begin with age1); {takes}"
        )
    );
    let mistyped = format!("{}qq", &good[..good.len() - 2]);
    assert!(problem(&mistyped).contains(" (mistyped, cut, or of another kind than X25519); "));
    assert!(problem(&mistyped).len() < 230, "{}", problem(&mistyped));
    assert!(problem("ssh-ed25519 AAAA").contains("ssh keys are not supported"));
    assert!(problem("keys.txt").contains("absolute path"));
    for nothing in ["", " ", ",", " ,, "] {
        assert!(problem(nothing).contains("names no recipient; expected age"), "{nothing:?}");
    }
    let many: Vec<String> = (0..=RECIPIENTS_MAX).map(|_| key().1).collect();
    assert_eq!(problem(&many.join(" ")), "65 recipients are too many; expected at most 64");
    assert!(Recipients::read(&many[1..].join(" ")).is_ok());
}

#[test]
fn a_file_that_cannot_be_used_is_named_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let (_, good) = key();
    let path = file(folder.path(), "keys", &format!("{good}\n\nnobody\n"));
    let sentence = problem(path.to_str().unwrap());
    assert!(sentence.starts_with("\"nobody\" in line 3 of /"), "{sentence}");
    assert!(problem("/nowhere/keys").starts_with("/nowhere/keys cannot be read: No such file"));
    let path = file(folder.path(), "long", &"#\n".repeat(40_000));
    assert!(
        problem(path.to_str().unwrap())
            .contains("it has 80000 bytes: a regular file of at most 64 KiB")
    );
    let path = file(folder.path(), "empty", "# nobody yet\n");
    assert!(problem(path.to_str().unwrap()).contains("names no recipient"));
}

#[test]
fn a_secret_key_is_refused_and_not_shown() {
    let (secret, _) = key();
    let secret = secret.to_string();
    let secret = secret.expose_secret();
    for text in [secret.to_owned(), secret.to_lowercase()] {
        let sentence = problem(&text);
        assert!(
            sentence.starts_with("a secret key was given, which does not belong"),
            "{sentence}"
        );
        assert!(!sentence.contains(&text[..20]), "{sentence}");
    }
}

/// Points of order 1 and 2: every secret made with them is zero.
#[test]
fn a_key_that_anybody_could_open_is_refused() {
    for low in [
        "age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq5cu47z",
        "age1qyqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqj7vrya",
    ] {
        let sentence = problem(low);
        assert!(sentence.contains("nobody can have its secret key"), "{sentence}");
    }
}

#[test]
fn each_of_several_keys_opens_a_block_and_no_other_does() {
    let ((a, to_a), (b, to_b), (c, _)) = (key(), key(), key());
    let block = sealed(&Recipients::read(&format!("{to_a} {to_b}")).unwrap(), b"a line\n");
    for fits in [&[&a][..], &[&b], &[&c, &b]] {
        assert_eq!(opened(&identities(fits), &block).unwrap(), b"a line\n");
    }
    let error = opened(&identities(&[&c]), &block).unwrap_err().to_string();
    assert_eq!(error, "the block is encrypted to other keys than those in the identity file");
}

#[test]
fn a_block_that_was_cut_or_changed_anywhere_is_an_error_and_never_other_lines() {
    let (a, to_a) = key();
    let keys = identities(&[&a]);
    let clear: Vec<u8> = (0..150_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let block = sealed(&Recipients::read(&to_a).unwrap(), &clear);
    assert_eq!(opened(&keys, &block).unwrap(), clear);
    for place in (0..block.len()).step_by(977).chain([block.len() - 1]) {
        assert!(opened(&keys, &block[..place]).is_err(), "cut at {place}");
        let mut other = block.clone();
        other[place] ^= 1;
        assert!(opened(&keys, &other).is_err(), "changed at {place}");
    }
}

#[test]
fn a_header_without_an_end_is_not_read_to_its_end() {
    let (a, _) = key();
    let start = b"age-encryption.org/v1\n-> X25519 ".chain(io::repeat(b'A').take(1 << 30));
    let mut start = start;
    assert!(identities(&[&a]).open(&mut start).is_err());
    assert!(start.into_inner().1.limit() > (1 << 30) - (1 << 17));
}

#[test]
fn an_identity_file_that_cannot_be_used_is_told_without_what_is_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let (secret, public) = key();
    let secret = secret.to_string();
    let secret = secret.expose_secret();
    let read = |text: &str| {
        let path = file(folder.path(), "key", text);
        let error = Identities::read(&path).unwrap_err().to_string();
        assert!(error.contains(path.to_str().unwrap()), "{error}");
        error.replace(path.to_str().unwrap(), "FILE")
    };
    let cut = &secret[..secret.len() - 3];
    for wrong in [format!("# x\n{cut}\n"), format!("\n{public}\n")] {
        let error = read(&wrong);
        assert_eq!(
            error,
            "line 2 of FILE is not an age secret key; expected a file as age-keygen writes it"
        );
    }
    assert_eq!(read("# x\n"), "FILE has no secret key; expected a file as age-keygen writes it");
    let encrypted = "FILE is itself encrypted; decrypt it on the fly, in bash with \
                     --identity <(age -d FILE)";
    assert_eq!(read("-----BEGIN AGE ENCRYPTED FILE-----\n"), encrypted);
    assert_eq!(read("age-encryption.org/v1\n-> scrypt"), encrypted);
    fs::write(folder.path().join("key"), b"age-encryption.org/v1\n\xff").unwrap();
    let error = Identities::read(&folder.path().join("key")).unwrap_err().to_string();
    assert!(error.contains("is itself encrypted"), "{error}");
    let shown = format!("{:?}", identities(&[&key().0]));
    assert_eq!(shown, "Identities { count: 1, .. }");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_content_comes_back_through_any_of_its_keys(
        content in prop::collection::vec(any::<u8>(), 0..2_000),
        times in prop_oneof![Just(0_usize), Just(1), 30..80_usize],
        count in 1..4_usize,
        which in 0..4_usize,
    ) {
        let clear = content.repeat(times);
        let keys: Vec<_> = (0..count).map(|_| key()).collect();
        let names: Vec<_> = keys.iter().map(|(_, name)| name.as_str()).collect();
        let block = sealed(&Recipients::read(&names.join(",")).unwrap(), &clear);
        prop_assert_eq!(opened(&identities(&[&keys[which % count].0]), &block).unwrap(), clear);
    }
}
