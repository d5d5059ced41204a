//! TLS against `openssl s_server`: who is trusted, and what we show of ourselves.
//!
//! The authorities and certificates are made by `openssl` for each run.

use std::cell::Cell;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use crate::common::moods::tag;
use crate::common::ports::free_port;
use crate::common::s3_objects::{self, put};
use crate::common::stream::wait_for;
use vmod_s3log::clock::{Clock as _, System};
use vmod_s3log::s3::credentials::{Cache, Credentials, Sources, Variables, chain};
use vmod_s3log::s3::{
    Action, Addressing, Answer, Bucket, Client, Endpoint, Options, Outcome, Proxy,
};

const CURVE: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

fn openssl(directory: &Path, arguments: &[&str]) {
    let done = Command::new("openssl").current_dir(directory).args(arguments).output().unwrap();
    assert!(done.status.success(), "openssl {arguments:?}: {done:?}");
}

/// `{name}.pem` with `{name}.key`, which signs others.
fn authority(directory: &Path, name: &str) {
    let (key, pem) = (format!("{name}.key"), format!("{name}.pem"));
    let subject = format!("/CN={name}");
    let usage = "keyUsage=critical,keyCertSign,cRLSign";
    let more = ["-days", "2", "-subj", &subject, "-addext", usage, "-keyout", &key, "-out", &pem];
    openssl(directory, &[&["req", "-x509"][..], &CURVE, &more].concat());
}

/// `{name}.pem` with `{name}.key`, signed by the authority `ca`.
fn certificate(directory: &Path, name: &str, days: &str, extensions: &str) {
    let (key, pem, csr) = (format!("{name}.key"), format!("{name}.pem"), format!("{name}.csr"));
    let subject = format!("/CN={name}");
    let more = ["-subj", &subject, "-keyout", &key, "-out", &csr];
    openssl(directory, &[&["req"][..], &CURVE, &more].concat());
    let file = format!("{name}.ext");
    let text = format!("basicConstraints = CA:FALSE\nauthorityKeyIdentifier = keyid\n{extensions}");
    std::fs::write(directory.join(&file), text).unwrap();
    openssl(
        directory,
        &[
            "x509",
            "-req",
            "-in",
            &csr,
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            days,
            "-extfile",
            &file,
            "-out",
            &pem,
        ],
    );
}

fn certificates() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    authority(at, "ca");
    authority(at, "other");
    let server = "extendedKeyUsage = serverAuth\nsubjectAltName = ";
    certificate(at, "server", "2", &format!("{server}IP:127.0.0.1\n"));
    certificate(at, "elsewhere", "2", &format!("{server}DNS:elsewhere.example\n"));
    certificate(at, "client", "2", "extendedKeyUsage = clientAuth\n");
    directory
}

/// `openssl s_server` with a certificate of `directory`, for one connection.
fn s_server(port: u16, directory: &Path, certificate: &str, more: &[&str]) -> Child {
    Command::new("openssl")
        .current_dir(directory)
        .args(["s_server", "-quiet", "-naccept", "1", "-accept", &format!("127.0.0.1:{port}")])
        .args(["-cert", &format!("{certificate}.pem"), "-key", &format!("{certificate}.key")])
        .args(more)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// `openssl s_server` for one connection. It answers 200 once it has a request's headers.
struct Server {
    port: u16,
    child: Child,
    /// What it was sent, when it is over.
    request: std::thread::JoinHandle<String>,
}

impl Server {
    fn start(directory: &Path, certificate: &str, more: &[&str]) -> Self {
        Self::start_at(free_port(), directory, certificate, more)
    }

    fn start_at(port: u16, directory: &Path, certificate: &str, more: &[&str]) -> Self {
        let mut child = s_server(port, directory, certificate, more);
        let (mut answer, sent) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let request = std::thread::spawn(move || {
            let mut sent = BufReader::new(sent);
            let mut text = String::new();
            while !text.ends_with("\r\n\r\n") {
                if sent.read_line(&mut text).unwrap_or(0) == 0 {
                    return text;
                }
            }
            let mut lengths = text.lines().filter_map(|line| line.split_once(": "));
            let length = lengths.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
            let mut body = vec![0; length.map_or(0, |(_, length)| length.parse().unwrap())];
            let _ = sent.read_exact(&mut body);
            let said =
                format!("HTTP/1.1 200 OK\r\nETag: {}\r\nContent-Length: 0\r\n\r\n", tag(&body));
            let _ = answer.write_all(said.as_bytes());
            text
        });
        Self { port, child, request }
    }

    /// Stores a block of five bytes; the answer, and what the server was sent.
    fn put(self, options: Options) -> (Answer, String) {
        let client = connect(self.port, options);
        self.put_by(&client)
    }

    /// The same by a client that may have put others.
    fn put_by(self, client: &Client) -> (Answer, String) {
        // Its one connection must not be taken by a look whether it is there.
        let answer = Cell::new(None);
        wait_for("openssl to listen", || {
            let tried = put(client, "k", b"block");
            let there = tried.outcome != Outcome::Unreachable;
            answer.set(Some(tried));
            there
        });
        (answer.into_inner().unwrap(), self.stop())
    }

    /// What it was sent.
    fn stop(mut self) -> String {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.request.join().unwrap()
    }
}

/// A client of the server at this port.
fn connect(port: u16, options: Options) -> Client {
    let endpoint = Endpoint::parse(&format!("https://127.0.0.1:{port}"), false).unwrap();
    let bucket = Bucket::new(endpoint, "logs", Addressing::Path).unwrap();
    let key = s3_objects::Fixed(Credentials::new("AK", "SK", None, None, "test"));
    let cache = Arc::new(Cache::new(vec![Box::new(key)]));
    let options = Options { proxy: Proxy::None, ..options };
    Client::new(bucket, options, cache, Arc::new(System::new())).unwrap()
}

fn trusting(directory: &Path, name: &str) -> Options {
    Options { ca_file: Some(directory.join(format!("{name}.pem"))), ..Options::default() }
}

fn with_client(directory: &Path) -> Options {
    let file = |name: &str| -> PathBuf { directory.join(name) };
    let client_certificate = Some((file("client.pem"), file("client.key")));
    Options { client_certificate, ..trusting(directory, "ca") }
}

#[test]
fn ca_file_is_the_only_authority_that_is_trusted() {
    let directory = certificates();
    let at = directory.path();
    let (stored, request) = Server::start(at, "server", &[]).put(trusting(at, "ca"));
    assert_eq!(stored.outcome, Outcome::Stored, "{stored}");
    assert!(request.starts_with("PUT /logs/k HTTP/1.1\r\n"), "{request}");
    for options in [trusting(at, "other"), Options::default()] {
        let (refused, request) = Server::start(at, "server", &[]).put(options);
        assert_eq!(refused.outcome, Outcome::Tls, "{refused}");
        assert_eq!(refused.action(), Action::Retry { after: None });
        assert_eq!(request, "", "nothing is sent to a stranger");
    }
}

/// What comes of asking `server` as STS, with `AWS_CA_BUNDLE` and the options of a stream whose gateway
/// is at `gateway`.
fn ask_sts(
    server: Server,
    directory: &Path,
    bundle: Option<&Path>,
    gateway: Option<&str>,
    options: &Options,
) -> String {
    let token = directory.join("token");
    std::fs::write(&token, "proof").unwrap();
    let sts = format!("https://127.0.0.1:{}", server.port);
    let mut variables = HashMap::from([
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.display().to_string()),
        ("AWS_ROLE_ARN", "arn".to_owned()),
        ("AWS_ENDPOINT_URL_STS", sts.clone()),
    ]);
    variables.extend(bundle.map(|path| ("AWS_CA_BUNDLE", path.display().to_string())));
    let variables: Arc<dyn Variables> = Arc::new(Fixed(variables));
    let gateway = Endpoint::parse(gateway.unwrap_or(&sts), false).unwrap();
    // Its one connection must not be taken by a look whether it is there.
    let mut tries = (0..1200).map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        let cache = chain(&Sources::default(), &variables, &gateway, options).unwrap();
        cache.get(System::new().unix()).unwrap_err().to_string()
    });
    let said = tries.find(|said| !said.contains("Connection refused")).unwrap();
    server.stop();
    said
}

/// Variables of a test.
struct Fixed(HashMap<&'static str, String>);

impl Variables for Fixed {
    fn get(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }
}

#[test]
fn sts_is_trusted_by_the_system_or_aws_ca_bundle_and_by_ca_file_only_at_the_gateway_itself() {
    let directory = certificates();
    let at = directory.path();
    let elsewhere = Some("https://gateway.example");
    // The server answers as no STS does, so who has trusted it says that.
    let trusted = "its document has no AccessKeyId";
    for (bundle, gateway, says) in [
        (None, elsewhere, "certificate"),
        (Some("ca.pem"), elsewhere, trusted),
        (Some("other.pem"), elsewhere, "certificate"),
        (Some("missing.pem"), elsewhere, "AWS_CA_BUNDLE"),
        (None, None, trusted),
        (Some("other.pem"), None, trusted),
    ] {
        let bundle = bundle.map(|name| at.join(name));
        let server = Server::start(at, "server", &[]);
        let said = ask_sts(server, at, bundle.as_deref(), gateway, &trusting(at, "ca"));
        assert!(said.contains(says), "{bundle:?} {gateway:?}: {said}");
    }
    // The gateway's client certificate is not for others.
    let more = ["-Verify", "2", "-verify_return_error", "-CAfile", "ca.pem"];
    for (gateway, shown) in [(elsewhere, false), (None, true)] {
        let server = Server::start(at, "server", &more);
        let bundle = at.join("ca.pem");
        let said = ask_sts(server, at, Some(&bundle), gateway, &with_client(at));
        assert_eq!(said.contains(trusted), shown, "{gateway:?}: {said}");
    }
}

#[test]
fn a_bundle_that_cannot_be_read_does_no_harm_where_no_service_is_asked() {
    let variables = HashMap::from([
        ("AWS_CA_BUNDLE", "/nonexistent".to_owned()),
        ("AWS_ACCESS_KEY_ID", "AK".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "SK".to_owned()),
    ]);
    let variables: Arc<dyn Variables> = Arc::new(Fixed(variables));
    let gateway = Endpoint::parse("https://gateway.example", false).unwrap();
    let cache = chain(&Sources::default(), &variables, &gateway, &Options::default()).unwrap();
    assert_eq!(cache.get(System::new().unix()).unwrap().access_key(), "AK");
}

#[test]
fn a_certificate_for_another_name_is_not_trusted() {
    let directory = certificates();
    let at = directory.path();
    let (refused, request) = Server::start(at, "elsewhere", &[]).put(trusting(at, "ca"));
    assert_eq!((refused.outcome, request.as_str()), (Outcome::Tls, ""), "{refused}");
    assert!(refused.to_string().contains("certificate"), "{refused}");
}

#[test]
fn a_gateway_that_asks_for_a_client_certificate_gets_it_in_both_versions_of_tls() {
    let directory = certificates();
    let at = directory.path();
    for version in ["-tls1_2", "-tls1_3"] {
        // Verify with a capital letter demands a certificate.
        let more = [version, "-Verify", "2", "-verify_return_error", "-CAfile", "ca.pem"];
        let (stored, request) = Server::start(at, "server", &more).put(with_client(at));
        assert_eq!(stored.outcome, Outcome::Stored, "{version}: {stored}");
        assert!(request.starts_with("PUT /logs/k HTTP/1.1\r\n"), "{request}");
        let (refused, request) = Server::start(at, "server", &more).put(trusting(at, "ca"));
        assert_eq!(refused.outcome, Outcome::Tls, "{version}: {refused}");
        assert_eq!(refused.action(), Action::Retry { after: None });
        assert_eq!(request, "", "{version}");
    }
}

/// A certificate that signs itself, as `openssl req -x509` makes it: with CA:TRUE.
fn own(at: &Path, name: &str, names: &str, more: &[&str]) {
    let (key, pem) = (format!("{name}.key"), format!("{name}.pem"));
    let words = ["-days", "2", "-subj", "/CN=127.0.0.1"];
    let named = ["-addext", names];
    let named = if names.is_empty() { &[][..] } else { &named[..] };
    let files = ["-keyout", &key, "-out", &pem];
    openssl(at, &[&["req", "-x509"][..], &CURVE, &words, named, more, &files].concat());
}

const HERE: &str = "subjectAltName=IP:127.0.0.1";

#[test]
fn a_server_s_own_certificate_is_trusted_by_ca_file_whether_it_says_ca_true_or_false() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    own(at, "true", HERE, &[]);
    own(at, "false", HERE, &["-addext", "basicConstraints=critical,CA:FALSE"]);
    for name in ["true", "false"] {
        for version in ["-tls1_2", "-tls1_3"] {
            let (stored, request) = Server::start(at, name, &[version]).put(trusting(at, name));
            assert_eq!(stored.outcome, Outcome::Stored, "{name} {version}: {stored}");
            assert!(request.starts_with("PUT /logs/k HTTP/1.1\r\n"), "{request}");
        }
    }
}

#[test]
fn another_certificate_than_the_one_in_ca_file_is_not_trusted_and_neither_is_another_name() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    own(at, "here", HERE, &[]);
    own(at, "again", HERE, &[]);
    own(at, "elsewhere", "subjectAltName=DNS:elsewhere.example", &[]);
    own(at, "nameless", "", &[]);
    for (server, trusted, said) in [
        ("again", Some("here"), "put it there, or make it again with openssl req -x509"),
        ("here", None, "put it there, or make it again with openssl req -x509"),
        ("elsewhere", Some("elsewhere"), "certificate"),
        ("nameless", Some("nameless"), "make it again with -addext subjectAltName=DNS:<host>"),
    ] {
        let options = trusted.map_or_else(Options::default, |name| trusting(at, name));
        let (refused, request) = Server::start(at, server, &[]).put(options);
        assert_eq!((refused.outcome, request.as_str()), (Outcome::Tls, ""), "{server}: {refused}");
        assert!(refused.to_string().contains(said), "{server}: {refused}");
    }
}

#[test]
fn a_certificate_of_an_authority_that_is_not_there_is_trusted_when_it_is_in_ca_file() {
    let directory = certificates();
    let at = directory.path();
    let (stored, _) = Server::start(at, "server", &[]).put(trusting(at, "server"));
    assert_eq!(stored.outcome, Outcome::Stored, "{stored}");
}

#[test]
fn certificates_that_are_replaced_are_used_for_the_next_block_and_what_cannot_be_used_is_not() {
    let (old, new, live) = (certificates(), certificates(), tempfile::tempdir().unwrap());
    let live = live.path();
    // As who renews certificates does it: another file takes the name. It is looked at once a second.
    let take = |from: &Path, name: &str| {
        std::thread::sleep(std::time::Duration::from_millis(1100));
        std::fs::copy(from.join(name), live.join("next")).unwrap();
        std::fs::rename(live.join("next"), live.join(name)).unwrap();
    };
    let all = ["ca.pem", "client.pem", "client.key"];
    all.iter().for_each(|name| take(old.path(), name));
    let port = free_port();
    let client = connect(port, with_client(live));
    let put_at = |directory: &Path| {
        let more = ["-Verify", "2", "-verify_return_error", "-CAfile", "ca.pem"];
        let (answer, request) = Server::start_at(port, directory, "server", &more).put_by(&client);
        assert_eq!(answer.outcome == Outcome::Stored, !request.is_empty(), "{answer}");
        answer
    };
    let stored = |answer: Answer| assert_eq!(answer.outcome, Outcome::Stored, "{answer}");
    stored(put_at(old.path()));
    assert_eq!(put_at(new.path()).outcome, Outcome::Tls);
    // The certificate is there and its key is not yet: the old pair goes on.
    take(new.path(), "client.pem");
    stored(put_at(old.path()));
    std::fs::remove_file(live.join("ca.pem")).unwrap();
    stored(put_at(old.path()));
    take(new.path(), "client.key");
    take(new.path(), "ca.pem");
    stored(put_at(new.path()));
    assert_eq!(put_at(old.path()).outcome, Outcome::Tls);
}

/// `openssl s_server` as a proxy for one tunnel, to the server at `to`. The port, and what it was asked.
fn tls_proxy(directory: &Path, more: &[&str], to: u16) -> (u16, std::thread::JoinHandle<String>) {
    let port = free_port();
    let mut child = s_server(port, directory, "server", more);
    let (mut down, mut up) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let asked = std::thread::spawn(move || {
        let (mut head, mut byte) = (Vec::new(), [0; 1]);
        while !head.ends_with(b"\r\n\r\n") {
            if up.read(&mut byte).unwrap_or(0) == 0 {
                let _ = child.wait();
                return String::new();
            }
            head.push(byte[0]);
        }
        let gateway = Cell::new(None);
        wait_for("the gateway to listen", || {
            let stream = std::net::TcpStream::connect(("127.0.0.1", to)).ok();
            let there = stream.is_some();
            gateway.set(stream);
            there
        });
        let mut gateway = gateway.take().unwrap();
        let mut back = gateway.try_clone().unwrap();
        down.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        std::thread::spawn(move || std::io::copy(&mut up, &mut gateway));
        let mut piece = [0; 65536];
        while let Ok(read) = back.read(&mut piece) {
            if read == 0 || down.write_all(&piece[..read]).and_then(|()| down.flush()).is_err() {
                break;
            }
        }
        // It hands on what it was given, and ends with its one connection.
        drop(down);
        let _ = child.wait();
        String::from_utf8_lossy(&head).into_owned()
    });
    (port, asked)
}

#[test]
fn a_proxy_that_is_spoken_to_by_tls_is_judged_by_the_system_and_is_shown_no_client_certificate() {
    let (of_gateway, of_proxy) = (certificates(), certificates());
    let (gateway, proxy) = (of_gateway.path(), of_proxy.path());
    // `0.0.0.0` is this machine by a name that is not loopback, which no proxy is asked for.
    let names = "extendedKeyUsage = serverAuth\nsubjectAltName = IP:0.0.0.0\n";
    certificate(gateway, "anywhere", "2", names);
    let wants = ["-Verify", "2", "-verify_return_error", "-CAfile", "ca.pem"];
    let check = |more: &[&str], system: &Path| {
        let server = Server::start(gateway, "anywhere", &wants);
        let (port, asked) = tls_proxy(proxy, more, server.port);
        let endpoint = format!("https://0.0.0.0:{}", server.port);
        let set = |name: &str, value: &str| format!("{name}={}", gateway.join(value).display());
        let said = Cell::new(String::new());
        wait_for("the proxy to listen", || {
            let ran = Command::new(env!("CARGO_BIN_EXE_s3log"))
                .args(["check", "--endpoint", &endpoint, "--bucket", "logs"])
                .args(["--set", &set("ca_file", "ca.pem")])
                .args(["--set", &set("client_certificate", "client.pem")])
                .args(["--set", &set("client_key", "client.key")])
                .args(["--set", &format!("proxy=https://127.0.0.1:{port}"), "access"])
                .env_clear()
                .env("SSL_CERT_FILE", system)
                .env("AWS_ACCESS_KEY_ID", "AK")
                .env("AWS_SECRET_ACCESS_KEY", "SK")
                .output()
                .unwrap();
            let text = String::from_utf8([ran.stdout, ran.stderr].concat()).unwrap();
            // The proxy takes one connection, and refuses those after it as those before it listens.
            let over = text.contains("ok      write") || asked.is_finished();
            let there = over || !text.contains("Connection refused");
            said.set(text);
            there
        });
        let request = server.stop();
        // Ends it where nobody was let in.
        let _ = std::net::TcpStream::connect(("127.0.0.1", port));
        (said.into_inner(), request, asked.join().unwrap())
    };
    let (said, request, asked) = check(&[], &proxy.join("ca.pem"));
    assert!(said.contains("ok      write"), "{said}");
    assert!(request.starts_with("PUT /logs/"), "{request}");
    assert!(asked.starts_with("CONNECT 0.0.0.0:"), "{asked}");
    // The gateway's authorities are not the proxy's, and its client certificate is not for others.
    for (more, system) in [(&[][..], "other.pem"), (&wants[..], "ca.pem")] {
        let (said, request, asked) = check(more, &proxy.join(system));
        assert!(!said.contains("ok      write"), "{more:?}: {said}");
        assert_eq!((request.as_str(), asked.as_str()), ("", ""), "{more:?}: {said}");
    }
}
