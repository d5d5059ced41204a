//! The client behind tinyproxy, a proxy of others: what goes which way, and what is said when it is
//! the proxy that fails. (TLS through it: `make e2e T=gateways`.)
//!
//! `0.0.0.0` is this machine by a name that is not loopback, which no proxy is asked for. Like other
//! proxies this one allows tunnels to port 443 only.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::common::ports::free_port;
use crate::common::s3_objects::{Fixed, put};
use crate::common::s3_server::{ACCESS_KEY, BUCKET, S3Server, SECRET_KEY};
use vmod_s3log::clock::System;
use vmod_s3log::s3::credentials::{Cache, Credentials};
use vmod_s3log::s3::{
    Action, Addressing, Bucket, Client, Endpoint, Options, Outcome, Proxy, SetupError,
};

const PASSWORD: &str = "pr0xy-s3cret";
/// The password in a URL, and the pair as it is sent.
const FORMS: [&str; 3] = [PASSWORD, "pr0xy%2Ds3cret", "ZWRnZTpwcjB4eS1zM2NyZXQ"];

struct Tinyproxy {
    port: u16,
    child: Child,
    directory: tempfile::TempDir,
}

impl Tinyproxy {
    /// `None`, said aloud, where it is not installed.
    fn start() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let port = free_port();
        let log = directory.path().join("log");
        let settings = format!(
            "Port {port}\nListen 127.0.0.1\nTimeout 20\nMaxClients 20\nAllow 127.0.0.1\n\
             LogLevel Info\nLogFile \"{}\"\nConnectPort 443\nBasicAuth edge {PASSWORD}\n",
            log.display()
        );
        let file = directory.path().join("conf");
        std::fs::write(&file, settings).unwrap();
        let child = Command::new("tinyproxy")
            .arg("-d")
            .arg("-c")
            .arg(file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(child) = child else {
            eprintln!("left out: tinyproxy is not installed; on Debian: apt install tinyproxy");
            return None;
        };
        let start = Instant::now();
        // It listens before it makes its log.
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() || !log.exists() {
            assert!(start.elapsed() < Duration::from_secs(120), "tinyproxy does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(Self { port, child, directory })
    }

    fn url(&self) -> String {
        format!("http://edge:pr0xy%2Ds3cret@127.0.0.1:{}", self.port)
    }

    /// What it was asked for: `PUT http://...`, `CONNECT host:port`.
    fn asked(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.directory.path().join("log")).unwrap();
        let asked = log.lines().filter_map(|line| {
            let request = line.split_once("Request (file descriptor")?.1.split_once("): ")?.1;
            Some(request.trim_end_matches(" HTTP/1.1").to_owned())
        });
        asked.collect()
    }
}

impl Drop for Tinyproxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn connect(scheme: &str, port: u16, proxy: &str) -> Result<Client, SetupError> {
    let endpoint = Endpoint::parse(&format!("{scheme}://0.0.0.0:{port}"), true).unwrap();
    let bucket = Bucket::new(endpoint, BUCKET, Addressing::Path).unwrap();
    let key = Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "test");
    let cache = Cache::new(vec![Box::new(Fixed(key))]);
    let options = Options { proxy: Proxy::Url(proxy.to_owned()), ..Options::default() };
    Client::new(bucket, options, Arc::new(cache), Arc::new(System::new()))
}

#[test]
fn plain_http_is_handed_to_the_proxy_with_its_whole_url() {
    let server = S3Server::start();
    let Some(proxy) = Tinyproxy::start() else { return };
    let port = server.address().port();
    let client = connect("http", port, &proxy.url()).unwrap();
    // A body of many reads, and one that looks like a request.
    let body = [b"GET /x HTTP/1.1\r\n".to_vec(), vec![b'x'; 3 << 20]].concat();
    let stored = put(&client, "large", &body);
    assert_eq!(stored.outcome, Outcome::Stored, "{stored}");
    let mut read = Vec::new();
    client.get("large").unwrap().body.read_to_end(&mut read).unwrap();
    assert!(read == body, "the object came back changed");
    let before = proxy.asked().len();
    assert_eq!(put(&client, "a b/ü?#&", b"x").outcome, Outcome::Stored);
    // The server answers before it has read the body, and its closing may overtake the answer.
    let mut tries = (0..5).map(|_| put(&client, "a b/ü?#&", b"x"));
    let again = tries.find(|again| again.outcome != Outcome::Broken).unwrap();
    assert_eq!(again.outcome, Outcome::AlreadyStored, "{again}");
    assert_eq!(client.list("a b/", None).unwrap().entries.len(), 1);
    let key = format!("http://0.0.0.0:{port}/logs/a%20b/%C3%BC%3F%23%26");
    let asked = proxy.asked().split_off(before);
    let list = format!("GET http://0.0.0.0:{port}/logs?list-type=2&prefix=a%20b%2F");
    for method in ["PUT", "HEAD"] {
        assert!(asked.contains(&format!("{method} {key}")), "{method} {key}: {asked:?}");
    }
    assert!(asked.last().unwrap().replace("logs/?", "logs?").starts_with(&list), "{asked:?}");
    assert!(!format!("{client:?}").contains(PASSWORD));
}

#[test]
fn the_environment_says_which_scheme_goes_through_a_proxy_and_which_hosts_do_not() {
    let server = S3Server::start();
    let Some(proxy) = Tinyproxy::start() else { return };
    let port = server.address().port();
    let url = proxy.url();
    let whole = format!("http://0.0.0.0:{port}/logs/");
    for (variables, through) in [
        (&[("http_proxy", url.as_str())][..], true),
        (&[("HTTP_PROXY", url.as_str())], true),
        (&[("ALL_PROXY", url.as_str())], true),
        (&[("HTTPS_PROXY", url.as_str())], false),
        (&[("HTTP_PROXY", url.as_str()), ("NO_PROXY", "example.com,0.0.0.0")], false),
        (&[("HTTP_PROXY", url.as_str()), ("no_proxy", "0.0.0.0/8")], false),
        (&[("HTTP_PROXY", url.as_str()), ("NO_PROXY", "*")], false),
        (&[], false),
    ] {
        let before = proxy.asked().len();
        let ran = Command::new(env!("CARGO_BIN_EXE_s3log"))
            .args(["check", "--endpoint", &format!("http://0.0.0.0:{port}"), "--bucket", BUCKET])
            .args(["--set", "allow_http=true", "access"])
            .env_clear()
            .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        let said = String::from_utf8([ran.stdout, ran.stderr].concat()).unwrap();
        assert_eq!(ran.status.code(), Some(0), "{variables:?}: {said}");
        let asked = proxy.asked();
        let new = asked.get(before..).unwrap();
        assert_eq!(!new.is_empty(), through, "{variables:?}: {new:?}");
        assert!(new.iter().all(|request| request.contains(&whole)), "{new:?}");
        assert_eq!(said.contains(&format!("through the proxy 127.0.0.1:{}", proxy.port)), through);
        assert!(FORMS.iter().all(|form| !said.contains(form)), "{said}");
    }
}

#[test]
fn https_asks_the_proxy_for_a_tunnel_and_a_refused_one_waits_for_the_operator() {
    let Some(proxy) = Tinyproxy::start() else { return };
    let port = free_port();
    let refused = put(&connect("https", port, &proxy.url()).unwrap(), "k", b"x");
    assert_eq!(refused.outcome, Outcome::ProxyRefused, "{refused}");
    assert_eq!(refused.action(), Action::RetryConfiguration);
    assert_eq!(proxy.asked(), [format!("CONNECT 0.0.0.0:{port}")]);
    let said = refused.to_string();
    assert!(said.contains(&format!("proxy 127.0.0.1:{}", proxy.port)), "{said}");
}

#[test]
fn a_proxy_that_is_down_is_retried_with_a_sentence_that_says_so() {
    let port = free_port();
    for scheme in ["http", "https"] {
        let url = format!("http://edge:{PASSWORD}@127.0.0.1:{port}");
        let answer = put(&connect(scheme, 1, &url).unwrap(), "k", b"x");
        assert_eq!(answer.outcome, Outcome::Proxy, "{answer}");
        assert_eq!(answer.action(), Action::Retry { after: None });
        let said = answer.to_string();
        assert!(said.starts_with("the proxy cannot be reached"), "{said}");
        assert!(said.contains(&format!("proxy 127.0.0.1:{port}: ")), "{said}");
        assert!(FORMS.iter().all(|form| !said.contains(form)), "{said}");
    }
    let url = "http://nobody-has-this-name.localhost:1";
    let answer = put(&connect("http", 1, url).unwrap(), "k", b"x");
    assert_eq!(answer.outcome, Outcome::Proxy, "{answer}");
}

#[test]
fn a_gateway_that_is_down_behind_its_proxy_is_retried() {
    let Some(proxy) = Tinyproxy::start() else { return };
    let answer = put(&connect("http", free_port(), &proxy.url()).unwrap(), "k", b"x");
    assert_eq!(answer.action(), Action::Retry { after: None }, "{answer}");
    let said = answer.to_string();
    assert!(said.contains(&format!("through the proxy 127.0.0.1:{}", proxy.port)), "{said}");
}

#[test]
fn a_wrong_password_keeps_the_block_and_is_never_shown() {
    let server = S3Server::start();
    let Some(proxy) = Tinyproxy::start() else { return };
    for (scheme, user) in
        [("http", "edge:an0ther-one@"), ("http", ""), ("https", "edge:an0ther-one@")]
    {
        let url = format!("http://{user}127.0.0.1:{}", proxy.port);
        let answer = put(&connect(scheme, server.address().port(), &url).unwrap(), "k", b"x");
        assert!(
            matches!(answer.action(), Action::RetryConfiguration | Action::RetryCredentials),
            "{answer}"
        );
        let said = format!("{answer} {answer:?}");
        assert!(said.contains(&format!("proxy 127.0.0.1:{}", proxy.port)), "{said}");
        assert!(!said.contains("an0ther-one"), "{said}");
    }
    let log = std::fs::read_to_string(proxy.directory.path().join("log")).unwrap();
    assert!(!log.contains("Established connection"), "{log}");
}
