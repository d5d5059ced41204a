//! Encrypted blocks against the program `age`: what we seal it opens, what it seals we open.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use vmod_s3log::block::{ChunkEncoder, Codec};
use vmod_s3log::seal::{Identities, Recipients};

/// `None`, said aloud, where age is not installed.
fn keygen(folder: &Path, name: &str) -> Option<String> {
    let path = folder.join(name);
    match Command::new("age-keygen").arg("-o").arg(&path).output() {
        Ok(made) => assert!(made.status.success(), "{made:?}"),
        Err(_) => {
            eprintln!("left out: age is not installed; on Debian: apt install age");
            return None;
        }
    }
    let text = fs::read_to_string(path).unwrap();
    Some(text.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap().to_owned())
}

fn pipe(program: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feed = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    feed.join().unwrap().unwrap();
    assert!(output.status.success(), "{program}");
    output.stdout
}

/// A block of two members.
fn block(codec: Codec, lines: &str) -> Vec<u8> {
    let mut encoder = ChunkEncoder::new(codec).unwrap();
    let (mut block, mut member) = (Vec::new(), Vec::new());
    for part in [&lines[..lines.len() / 2], &lines[lines.len() / 2..]] {
        member.clear();
        encoder.encode(part.as_bytes(), &mut member).unwrap();
        block.extend_from_slice(&member);
    }
    block
}

#[test]
fn age_and_zcat_read_what_was_sealed_for_each_of_two_keys() {
    let folder = tempfile::tempdir().unwrap();
    let Some(one) = keygen(folder.path(), "one") else { return };
    let Some(two) = keygen(folder.path(), "two") else { return };
    let list = folder.path().join("recipients");
    fs::write(&list, format!("# readers\n{one}\n{two}\n")).unwrap();
    let lines: String = (0..200_000).map(|n| format!("line {n} {}\n", n * 7_919)).collect();
    for given in [format!("{one}, {two}"), list.display().to_string()] {
        let recipients = Recipients::read(&given).unwrap();
        for (codec, cat) in [(Codec::default(), "zcat"), (Codec::None, "cat")] {
            let mut sealed = Vec::new();
            recipients.encrypt(&mut &block(codec, &lines)[..], &mut sealed).unwrap();
            for name in ["one", "two"] {
                let key = folder.path().join(name);
                let clear = pipe("age", &["-d", "-i", key.to_str().unwrap()], &sealed);
                assert_eq!(pipe(cat, &[], &clear), lines.as_bytes(), "{codec} {name}");
            }
        }
    }
}

#[test]
fn an_empty_file_is_sealed_as_age_takes_it() {
    let folder = tempfile::tempdir().unwrap();
    let Some(one) = keygen(folder.path(), "one") else { return };
    let mut sealed = Vec::new();
    Recipients::read(&one).unwrap().encrypt(&mut &b""[..], &mut sealed).unwrap();
    let key = folder.path().join("one");
    assert_eq!(pipe("age", &["-d", "-i", key.to_str().unwrap()], &sealed), b"");
}

#[test]
fn what_age_seals_is_opened_with_the_file_that_age_keygen_writes() {
    let folder = tempfile::tempdir().unwrap();
    let Some(one) = keygen(folder.path(), "one") else { return };
    let keys = Identities::read(&folder.path().join("one")).unwrap();
    let clear: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    for length in [0, 1, 65_535, 65_536, 65_537, clear.len()] {
        let sealed = pipe("age", &["-r", &one], &clear[..length]);
        let mut opened = Vec::new();
        keys.open(&sealed[..]).unwrap().read_to_end(&mut opened).unwrap();
        assert!(opened == clear[..length], "{length} bytes");
    }
}
