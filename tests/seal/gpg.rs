//! Encrypted blocks against the program `gpg`: what we seal to its certificates it opens, and
//! `s3log` reads through it.

use std::fs;
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::common::gate::Gate;
use crate::common::logs::{Logs, Ran, run};
use crate::common::s3_server::S3Server;
use crate::common::stream::{Process, wait_for};
use vmod_s3log::block::{ChunkEncoder, Codec};
use vmod_s3log::priority::Priority;
use vmod_s3log::seal::{Certificate, Sealing};
use vmod_s3log::settings::{Arguments, Settings};
use vmod_s3log::stats::get;

const DAY: u64 = 86_400;

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A directory of keys of its own, with its agent.
struct Gpg {
    home: tempfile::TempDir,
}

impl Drop for Gpg {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf")
            .args(["--kill", "gpg-agent"])
            .env("GNUPGHOME", self.home.path())
            .output();
    }
}

impl Gpg {
    /// `None`, said aloud, where gpg is not installed.
    fn new() -> Option<Self> {
        if Command::new("gpg").arg("--version").output().is_err() {
            eprintln!("left out: gpg is not installed; on Debian: apt install gnupg");
            return None;
        }
        let home = tempfile::Builder::new().prefix("gpg").tempdir().unwrap();
        Some(Self { home })
    }

    fn run(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut child = Command::new("gpg")
            .args(["--batch", "--yes", "--quiet", "--no-tty", "--pinentry-mode", "loopback"])
            .args(["--passphrase", "", "--trust-model", "always"])
            .args(arguments)
            .env("GNUPGHOME", self.home.path())
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let feed = std::thread::spawn(move || stdin.write_all(&input));
        let output = child.wait_with_output().unwrap();
        // A program that fails does not read to the end.
        let _ = feed.join().unwrap();
        output
    }

    fn good(&self, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let output = self.run(arguments, input);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        output.stdout
    }

    /// A key of RSA for signing with a subkey of RSA for encryption, as gpg made them by default for
    /// years.
    fn rsa(&self) -> String {
        let text = "%no-protection\nKey-Type: RSA\nKey-Length: 2048\nKey-Usage: sign\nSubkey-Type: RSA\n\
                    Subkey-Length: 3072\nName-Real: Rsa\nExpire-Date: 2y\n%commit\n";
        self.good(&["--gen-key"], text.as_bytes());
        self.export("Rsa")
    }

    /// Ed25519 and Curve25519, as gpg makes them by default today.
    fn curve(&self) -> String {
        self.good(&["--quick-gen-key", "Curve", "future-default", "default", "1y"], b"");
        self.export("Curve")
    }

    /// A certificate that was valid in 2020 alone.
    fn expired(&self) -> String {
        let then = "--faked-system-time=20200101T000000";
        self.good(&[then, "--quick-gen-key", "Old", "future-default", "default", "1y"], b"");
        self.export("Old")
    }

    fn export(&self, name: &str) -> String {
        String::from_utf8(self.good(&["--armor", "--export", name], b"")).unwrap()
    }

    fn fingerprint(&self, name: &str) -> String {
        let list = self.good(&["--with-colons", "--list-keys", name], b"");
        let list = String::from_utf8(list).unwrap();
        let line = list.lines().find(|line| line.starts_with("fpr:")).unwrap();
        line.split(':').nth(9).unwrap().to_owned()
    }
}

fn problem(text: &str, now: u64) -> String {
    Certificate::read(text, now).unwrap_err().to_string()
}

#[test]
fn gpg_and_zcat_read_what_was_sealed_to_keys_of_rsa_and_of_curve25519() {
    let Some(gpg) = Gpg::new() else { return };
    let lines: String = (0..100_000).map(|n| format!("line {n} {}\n", n * 7_919)).collect();
    let mut block = Vec::new();
    let mut encoder = ChunkEncoder::new(Codec::default()).unwrap();
    for part in [&lines[..lines.len() / 2], &lines[lines.len() / 2..]] {
        let mut member = Vec::new();
        encoder.encode(part.as_bytes(), &mut member).unwrap();
        block.extend_from_slice(&member);
    }
    gpg.good(&["--quick-gen-key", "Alone", "rsa2048", "encr,sign,cert", "1y"], b"");
    for armoured in [gpg.rsa(), gpg.curve(), gpg.export("Alone")] {
        let certificate = Certificate::read(&armoured, now()).unwrap();
        let mut sealed = Vec::new();
        certificate.encrypt(&mut &block[..], &mut sealed).unwrap();
        let clear = gpg.good(&["--decrypt"], &sealed);
        assert!(clear == block, "{certificate:?}");
        let mut zcat =
            Command::new("zcat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdin = zcat.stdin.take().unwrap();
        let feed = std::thread::spawn(move || stdin.write_all(&clear));
        assert!(zcat.wait_with_output().unwrap().stdout == lines.as_bytes());
        feed.join().unwrap().unwrap();
        // Around the length of a packet, and nothing at all.
        for length in [0, 1, 65_535, 65_536, 65_537, 131_072] {
            let clear: Vec<u8> = (0..length).map(|n: u32| (n % 251) as u8).collect();
            let mut sealed = Vec::new();
            certificate.encrypt(&mut &clear[..], &mut sealed).unwrap();
            assert!(gpg.good(&["--decrypt"], &sealed) == clear, "{length}");
        }
        // With a modification code, for gpg fails without one; and not compressed once more.
        let packets = gpg.good(&["--list-packets", "-v"], &sealed);
        let packets = String::from_utf8(packets).unwrap();
        assert!(packets.contains("mdc_method: 2"), "{packets}");
        assert!(!packets.contains("compressed packet"), "{packets}");
    }
}

#[test]
fn a_certificate_may_stand_in_a_file_and_the_key_is_the_newest_that_is_valid() {
    let Some(gpg) = Gpg::new() else { return };
    let first = gpg.curve();
    let file = gpg.home.path().join("cert.asc");
    fs::write(&file, &first).unwrap();
    let one = Certificate::read(file.to_str().unwrap(), now()).unwrap();
    assert_eq!(one, Certificate::read(&first, now()).unwrap());
    // A second subkey, younger by a day for whoever believes in it.
    let fingerprint = gpg.fingerprint("Curve");
    let later = format!("--faked-system-time={}", now() + DAY);
    gpg.good(&[&later, "--quick-add-key", &fingerprint, "cv25519", "encr", "1y"], b"");
    let both = gpg.export("Curve");
    let two = Certificate::read(&both, now() + 2 * DAY).unwrap();
    assert_ne!(one, two, "{two:?}");
}

#[test]
fn a_certificate_that_was_in_use_is_used_on_as_it_was_in_its_last_second() {
    let Some(gpg) = Gpg::new() else { return };
    let first = gpg.curve();
    let read = Certificate::read(&first, now()).unwrap();
    let (same, over) = Certificate::read_again(&first, now(), None).unwrap();
    assert!(same == read && over.is_none(), "{over:?}");
    let (same, over) = Certificate::read_again(&first, now() + 400 * DAY, None).unwrap();
    assert!(same == read, "{same:?}");
    let over = over.unwrap().to_string();
    assert!(over.contains(" has expired on 20"), "{over}");

    // A younger subkey ends before the other: in the last second it is not the one.
    let fingerprint = gpg.fingerprint("Curve");
    let later = format!("--faked-system-time={}", now() + DAY);
    gpg.good(&[&later, "--quick-add-key", &fingerprint, "cv25519", "encr", "30d"], b"");
    let both = gpg.export("Curve");
    assert!(Certificate::read(&both, now() + 2 * DAY).unwrap() != read);
    assert!(Certificate::read(&both, now() + 40 * DAY).unwrap() == read);
    let (last, over) = Certificate::read_again(&both, now() + 400 * DAY, None).unwrap();
    assert!(last == read && over.is_some(), "{last:?}");

    // What was begun with one of the two goes on with it, before its end and after.
    let younger = Certificate::read(&both, now() + 2 * DAY).unwrap();
    let [one, other] = [&read, &younger].map(|one| {
        let text = format!("{one:?}");
        text.split('"').nth(3).unwrap().to_owned()
    });
    for (key, certificate, days) in [
        (&one, &read, 40),
        (&one, &read, 400),
        (&other, &younger, 2),
        (&other, &younger, 40),
        (&other, &younger, 400),
    ] {
        let at = now() + days * DAY;
        let (again, over) = Certificate::read_again(&both, at, Some(key)).unwrap();
        assert!(again == *certificate && over.is_some() == (days == 400), "{days}: {over:?}");
    }
    let unknown = Certificate::read_again(&both, now() + 2 * DAY, Some("0123")).unwrap().0;
    assert!(unknown == younger);

    // What was taken back was not in use.
    let said = Certificate::read_again("no certificate", now(), None).unwrap_err().to_string();
    assert!(said.starts_with("it is not a certificate"), "{said}");
    let revocation = format!("openpgp-revocs.d/{fingerprint}.rev");
    let revocation = fs::read_to_string(gpg.home.path().join(revocation)).unwrap();
    gpg.good(&["--import"], revocation.replace(":-----BEGIN", "-----BEGIN").as_bytes());
    let said = Certificate::read_again(&gpg.export("Curve"), now() + 400 * DAY, None).unwrap_err();
    assert!(said.to_string().contains(" is revoked: "), "{said}");
}

#[test]
fn a_subkey_that_has_expired_alone_is_used_on() {
    let Some(gpg) = Gpg::new() else { return };
    let then = "--faked-system-time=20200101T000000";
    gpg.good(&[then, "--quick-gen-key", "Half", "ed25519", "sign,cert", "0"], b"");
    let fingerprint = gpg.fingerprint("Half");
    gpg.good(&[then, "--quick-add-key", &fingerprint, "cv25519", "encr", "1y"], b"");
    let text = gpg.export("Half");
    let said = problem(&text, now());
    assert!(said.contains("has no key for encryption that can be used: "), "{said}");
    let (certificate, over) = Certificate::read_again(&text, now(), None).unwrap();
    assert_eq!(over.unwrap().to_string(), said);
    let mut sealed = Vec::new();
    certificate.encrypt(&mut &b"line\n"[..], &mut sealed).unwrap();
    assert_eq!(gpg.good(&["--decrypt"], &sealed), b"line\n");
}

/// A cache process starts months after its VCL was loaded. In VCL the certificate is no file that may be
/// another one at the next attempt.
#[test]
fn a_launch_after_a_certificate_has_expired_goes_on_sealing_to_it() {
    let Some(gpg) = Gpg::new() else { return };
    let server = S3Server::start();
    let process = Process::new();
    let certificate = gpg.expired();
    let file = process.directory.path().join("logs.asc");
    fs::write(&file, &certificate).unwrap();
    for given in [&*certificate, file.to_str().unwrap()] {
        let more = [("public_key", given), ("period", "100ms")];
        let arguments = process.arguments(&server.endpoint(), &more);
        let refused = process.registry.load(&arguments, false, &process.environment, |_| ());
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("public_key: certificate ") && refused.contains("expired on 20"));
        let before = process.messages().len();
        let attachment =
            process.registry.load(&arguments, true, &process.environment, |_| ()).unwrap();
        let said = process.messages().split_off(before);
        assert!(said[0].contains("has expired on 2020-12-31: "), "{said:?}");
        assert!(said[0].contains("; the stream starts all the same: "), "{said:?}");
        attachment.push(b"line\n".as_slice().into(), Priority::Normal);
        let stats = Arc::clone(attachment.pipeline().stats());
        wait_for("the upload", || get(&stats.uploaded_records) == 1);
        process.registry.detach(&attachment);
        drop(attachment);
        process.wait_closed();
    }
    let found = fs::read_dir(server.root().join(crate::common::s3_server::BUCKET)).unwrap();
    let sealed: Vec<_> = found
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().ends_with(".log.gz.pgp"))
        .collect();
    assert_eq!(sealed.len(), 2);
    for path in sealed {
        let clear = gpg.good(&["--decrypt"], &fs::read(path).unwrap());
        let mut decoder = vmod_s3log::block::Decoder::sniff(&clear[..]).unwrap();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut decoder, &mut text).unwrap();
        assert_eq!(text, "line\n");
    }
}

#[test]
fn what_waits_for_a_key_that_has_expired_since_is_sent_and_drained() {
    let Some(gpg) = Gpg::new() else { return };
    let certificate = gpg.expired();
    for drained in [false, true] {
        let (server, gate, process) = (S3Server::start(), Gate::shut(), Process::new());
        let old = [("public_key", &*certificate), ("exit_timeout", "100ms")];
        // As a process has left it that started before the end.
        let settings = Settings::read_again(&process.arguments(&gate.endpoint(), &old)).unwrap();
        let holder = process.hold(settings);
        holder.push("old", 0..10);
        drop(holder);
        process.wait_closed();
        gate.open(&server);
        let stored = || {
            let bucket = server.root().join(crate::common::s3_server::BUCKET);
            let names = fs::read_dir(bucket).unwrap().map(|entry| entry.unwrap().file_name());
            names.filter(|name| name.to_str().unwrap().ends_with(".log.gz.pgp")).count()
        };
        if drained {
            let output = Command::new(env!("CARGO_BIN_EXE_s3log"))
                .args(["drain", "access", "--bucket", crate::common::s3_server::BUCKET])
                .args(["--endpoint", &gate.endpoint(), "--set"])
                .arg(format!("spool={}", process.spool().display()))
                .arg("--credentials")
                .arg(process.directory.path().join("credentials"))
                .output()
                .unwrap();
            assert!(output.status.success(), "{output:?}");
        } else {
            // The operator has made a new key, and with it another route.
            let new = process.attach(&gate.endpoint(), &[("period", "100ms")]);
            wait_for("the old key's", || stored() == 1);
            let sent = |text: &String| text.contains("records wait for a route that no VCL has");
            assert!(process.messages().iter().any(sent), "{:?}", process.messages());
            drop(new);
            process.wait_closed();
        }
        assert_eq!(stored(), 1);
    }
}

/// Debian 12's gpg knows neither such keys nor such messages: this one is opened by rPGP.
#[test]
fn a_certificate_that_announces_seipd_version_2_gets_it() {
    use pgp::composed::{
        ArmorOptions, EncryptionCaps, KeyType, Message, SecretKeyParamsBuilder, SignedPublicKey,
        SubkeyParamsBuilder,
    };
    use pgp::types::KeyVersion;
    let mut subkey = SubkeyParamsBuilder::default();
    subkey.version(KeyVersion::V6).key_type(KeyType::X25519).can_encrypt(EncryptionCaps::All);
    let mut key = SecretKeyParamsBuilder::default();
    key.version(KeyVersion::V6)
        .key_type(KeyType::Ed25519)
        .can_certify(true)
        .can_sign(true)
        .feature_seipd_v2(true)
        .primary_user_id("modern".into())
        .subkey(subkey.build().unwrap());
    let secret = key.build().unwrap().generate(rand_core::OsRng).unwrap();
    let public = SignedPublicKey::from(secret.clone());
    let armoured = public.to_armored_string(ArmorOptions::default()).unwrap();
    let certificate = Certificate::read(&armoured, now()).unwrap();
    let clear: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
    let mut sealed = Vec::new();
    certificate.encrypt(&mut &clear[..], &mut sealed).unwrap();
    let message = Message::from_bytes(&sealed[..]).unwrap();
    assert!(format!("{message:?}").contains("V2"), "{message:?}");
    let mut opened = message.decrypt(&"".into(), &secret).unwrap();
    assert!(opened.as_data_vec().unwrap() == clear);
}

#[test]
fn a_certificate_that_cannot_be_used_is_refused_with_a_sentence() {
    let Some(gpg) = Gpg::new() else { return };
    let takes = "expected one armoured OpenPGP certificate, as gpg --armor --export prints it, or \
                 the absolute path of a file with it";
    for text in ["hello", "", "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n-----END"] {
        let said = problem(text, now());
        assert!(
            said.starts_with("it is not a certificate, or it is damaged (")
                && said.ends_with(takes),
            "{said}"
        );
    }
    assert!(problem("/nowhere.asc", now()).starts_with("/nowhere.asc cannot be read: "));

    let curve = gpg.curve();
    let fingerprint = gpg.fingerprint("Curve").to_lowercase();
    let said = problem(&curve, now() + 400 * DAY);
    assert!(said.starts_with(&format!("certificate {fingerprint} has expired on 20")), "{said}");

    let secret = gpg.good(&["--armor", "--export-secret-keys", "Curve"], b"");
    let secret = String::from_utf8(secret).unwrap();
    let said = problem(&secret, now());
    assert!(
        said.starts_with("a secret key was given, which does not belong on this machine"),
        "{said}"
    );
    // Under a false name, too.
    let said = problem(&secret.replace("PRIVATE", "PUBLIC"), now());
    assert!(!said.contains(secret.lines().nth(3).unwrap()), "{said}");

    gpg.good(&["--quick-gen-key", "Sign", "ed25519", "sign,cert", "1y"], b"");
    let said = problem(&gpg.export("Sign"), now());
    assert!(said.ends_with("has no key for encryption that can be used"), "{said}");

    let all = String::from_utf8(gpg.good(&["--armor", "--export"], b"")).unwrap();
    let said = problem(&all, now());
    assert!(said.starts_with("there is more than one certificate; "), "{said}");

    // A subkey that was taken back, then the whole of it.
    gpg.rsa();
    let steps = b"key 1\nrevkey\ny\n0\n\ny\nsave\n";
    gpg.good(&["--command-fd", "0", "--edit-key", "Rsa"], steps);
    let said = problem(&gpg.export("Rsa"), now());
    assert!(
        said.contains("has no key for encryption that can be used: ")
            && said.ends_with(" is revoked"),
        "{said}"
    );
    let revocation =
        gpg.home.path().join(format!("openpgp-revocs.d/{}.rev", fingerprint.to_uppercase()));
    let revocation = fs::read_to_string(revocation).unwrap().replace(":-----BEGIN", "-----BEGIN");
    gpg.good(&["--import"], revocation.as_bytes());
    let said = problem(&gpg.export("Curve"), now());
    assert_eq!(
        said,
        format!("certificate {fingerprint} is revoked: export the key that is used now")
    );

    // A changed byte in a signature: what the certificate says does not hold.
    let mut cut = curve.lines().collect::<Vec<_>>();
    cut.remove(5);
    assert!(!problem(&cut.join("\n"), now()).is_empty());
}

#[test]
fn public_key_and_encrypt_to_together_are_refused() {
    let mut arguments = Arguments::new("access");
    let recipient = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
    for (name, value) in [
        ("endpoint", "https://gateway.example"),
        ("bucket", "logs"),
        ("encrypt_to", recipient),
        ("public_key", "/etc/cert.asc"),
    ] {
        arguments.set(name, Some(value.to_owned()));
    }
    assert_eq!(
        Settings::read(&arguments).unwrap_err().to_string(),
        "s3log: stream access: public_key: encrypt_to is given as well; expected one of the two, not both"
    );
}

/// The command with the keys of `gpg`.
fn s3log(logs: &Logs, gpg: &Gpg, arguments: &[&str]) -> Ran {
    let mut command = logs.command(arguments);
    command.env("GNUPGHOME", gpg.home.path()).env("PATH", std::env::var_os("PATH").unwrap());
    run(&mut command)
}

#[test]
fn cat_tail_and_verify_read_blocks_through_gpg() {
    let Some(gpg) = Gpg::new() else { return };
    let certificate = Certificate::read(&gpg.curve(), now()).unwrap();
    let mut logs = Logs::start();
    logs.sealing = Some(Sealing::OpenPgp(certificate));
    for _ in 0..3 {
        logs.block("access", "edge-1", 1, 50);
    }
    // In clear among the others.
    logs.sealing = None;
    logs.block("access", "edge-1", 2, 50);
    assert!(logs.blocks[0].key.ends_with(".log.gz.pgp"), "{}", logs.blocks[0].key);
    let ran = s3log(&logs, &gpg, &["cat", "access"]);
    assert_eq!((ran.code, &*ran.err), (0, ""), "{ran:?}");
    assert_eq!(ran.out, logs.lines());
    let ran = s3log(&logs, &gpg, &["tail", "access", "-n", "60"]);
    assert_eq!(ran.out.lines().count(), 60);
    let ran = s3log(&logs, &gpg, &["verify", "access", "--deep"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("every line is counted"), "{ran:?}");

    // Somebody without the key.
    let stranger = Gpg::new().unwrap();
    let ran = s3log(&logs, &stranger, &["cat", "access"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("gpg has no key to decrypt the block: "), "{ran:?}");
    let ran = s3log(&logs, &stranger, &["verify", "access", "--deep"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("without a key were not counted"), "{ran:?}");

    // Counts that are not what is in the block; then a byte flipped, with its hash made good.
    let block = logs.blocks[1].clone();
    let (mut bytes, mut metadata) = logs.get(&block.key);
    metadata.iter_mut().find(|(name, _)| name == "records").unwrap().1 = "51".to_owned();
    logs.put(&block.key, &bytes, &metadata);
    let ran = s3log(&logs, &gpg, &["verify", "access", "--deep"]);
    assert!(ran.out.contains("the metadata says 51 records in "), "{ran:?}");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let hash = vmod_s3log::block::Digest::of(&bytes).to_string();
    metadata.iter_mut().find(|(name, _)| name == "sha256").unwrap().1 = hash;
    logs.put(&block.key, &bytes, &metadata);
    let ran = s3log(&logs, &gpg, &["verify", "access", "--deep"]);
    assert_eq!(ran.code, 1);
    assert!(ran.out.contains("edge-1 block 2: the block cannot be decompressed: "), "{ran:?}");
    let ran = s3log(&logs, &gpg, &["cat", "access"]);
    assert_eq!(ran.code, 1, "{ran:?}");
}

#[test]
fn a_stream_with_a_public_key_stores_messages_that_only_its_owner_reads() {
    let Some(gpg) = Gpg::new() else { return };
    let server = S3Server::start();
    let process = Process::new();
    let certificate = gpg.rsa();
    let stream =
        process.attach(&server.endpoint(), &[("public_key", &certificate), ("period", "100ms")]);
    stream.push("line", 0..100);
    stream.wait_stat("uploaded_records", 100);
    drop(stream);
    process.wait_closed();
    let root = server.root().join(crate::common::s3_server::BUCKET);
    let mut lines = Vec::new();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.to_str().unwrap().ends_with(".log.gz.pgp") {
            let clear = gpg.good(&["--decrypt"], &fs::read(path).unwrap());
            let mut text = String::new();
            let mut decoder = vmod_s3log::block::Decoder::sniff(&clear[..]).unwrap();
            std::io::Read::read_to_string(&mut decoder, &mut text).unwrap();
            lines.extend(text.lines().map(str::to_owned));
        }
    }
    lines.sort();
    assert_eq!(lines, crate::common::stream::expected(&[("line", 0..100)]));
}
