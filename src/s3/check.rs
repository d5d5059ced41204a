//! What an operator wants to know before a reload, step by step, from the client that will do the
//! work: does the name resolve, does somebody listen, is the certificate trusted, do the clocks
//! agree, where do the credentials come from, and may this key write.
//!
//! Needs no more than the right to put one object; leaves that object behind.

use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::client::Client;
use super::encode;
use super::endpoint::Scheme;
use super::http::{Patience, Request};
use super::outcome::{Action, Answer, Outcome};
use super::put::{PutObject, Sums};
use super::{date, options::Proxy};

/// What is looked at, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The host's addresses.
    Resolve,
    /// A TCP connection to one of them.
    Connect,
    /// An HTTP answer; with https, over a trusted connection.
    Tls,
    /// The gateway's clock against ours.
    Clock,
    /// Source, key and expiry; never the secret.
    Credentials,
    /// A tiny object.
    Write,
}

impl Stage {
    /// One word for the report.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Clock => "clock",
            Self::Credentials => "credentials",
            Self::Write => "write",
        }
    }
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What was looked at.
    pub stage: Stage,
    /// Whether it is as it must be.
    pub good: bool,
    /// What was found, and what to do when it is not good.
    pub text: String,
}

/// All that was found out. A stage that could not be reached is missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// In the order of the stages.
    pub steps: Vec<Step>,
}

impl Report {
    /// Whether a block would be stored.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.steps.iter().all(|step| step.good)
            && self.steps.iter().any(|step| step.stage == Stage::Write)
    }

    fn add(&mut self, stage: Stage, result: Result<String, String>) -> bool {
        let good = result.is_ok();
        let text = result.unwrap_or_else(|text| text);
        self.steps.push(Step { stage, good, text });
        good
    }
}

/// Looks at everything, and puts a few bytes at `key`, which should be new: an object that is
/// there already is not overwritten.
#[must_use]
pub fn check(client: &Client, key: &str) -> Report {
    let mut report = Report::default();
    if !reach(client, &mut report) {
        report.add(Stage::Credentials, credentials(client));
        return report;
    }
    let ready = report.add(Stage::Credentials, credentials(client));
    if ready {
        report.add(Stage::Write, write(client, key));
    }
    report
}

/// The stages that need no credentials; `false` when the rest makes no sense.
fn reach(client: &Client, report: &mut Report) -> bool {
    let endpoint = client.bucket().endpoint();
    let authority = client.bucket().authority();
    if client.http().uses_proxy() {
        let how = match client.options().proxy {
            Proxy::Environment => "by the proxy of the environment",
            Proxy::None | Proxy::Url(_) => "by the proxy",
        };
        report.add(Stage::Resolve, Ok(how.to_owned()));
    } else {
        let host = authority.strip_suffix(&format!(":{}", endpoint.port())).unwrap_or(&authority);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let addresses: Vec<_> = match (host, endpoint.port()).to_socket_addrs() {
            Ok(addresses) => addresses.collect(),
            Err(error) => {
                return report.add(Stage::Resolve, Err(format!("{host} has no address: {error}")));
            }
        };
        let list: Vec<String> = addresses.iter().map(|a| a.ip().to_string()).collect();
        report.add(Stage::Resolve, Ok(format!("{host} is {}", list.join(", "))));
        let start = Instant::now();
        let mut failures = Vec::new();
        let timeout = client.options().connect_timeout;
        let connected = addresses.iter().find(|address| {
            TcpStream::connect_timeout(address, timeout)
                .map_err(|error| failures.push(format!("{address}: {error}")))
                .is_ok()
        });
        let result = match connected {
            Some(address) => Ok(format!("{address} in {} ms", start.elapsed().as_millis())),
            None => Err(failures.join("; ")),
        };
        if !report.add(Stage::Connect, result) {
            return false;
        }
    }
    let url = format!("{}/", endpoint);
    let asked = client.http().send(Request {
        method: "HEAD",
        url: &url,
        headers: &[],
        body: None,
        deadline: client.options().timeout,
        ask_first: false,
        patience: Patience::Short,
    });
    let response = match asked {
        Ok(response) => response,
        Err(error) => {
            let text = format!("{}: {}", error.outcome.advice(), error.text);
            return report.add(Stage::Tls, Err(text));
        }
    };
    let text = match endpoint.scheme() {
        Scheme::Https => "the certificate is trusted",
        Scheme::Http => "clear text: whoever is on the way reads the log",
    };
    report.add(Stage::Tls, Ok(text.to_owned()));
    let theirs = response.header("date").and_then(date::http);
    report.add(Stage::Clock, clock(client.unix(), theirs));
    true
}

fn clock(ours: Duration, theirs: Option<Duration>) -> Result<String, String> {
    let Some(theirs) = theirs else { return Ok("the gateway does not tell its time".to_owned()) };
    let (off, way) =
        if theirs > ours { (theirs - ours, "behind") } else { (ours - theirs, "ahead") };
    match off.as_secs() {
        0..=4 => Ok("the clocks agree".to_owned()),
        seconds @ 5..=899 => Ok(format!("this clock is {seconds} s {way}")),
        seconds => Err(format!(
            "this clock is {seconds} s {way}: set it; until then the gateway's is used"
        )),
    }
}

fn credentials(client: &Client) -> Result<String, String> {
    let found = client.credentials().get(client.unix()).map_err(|error| error.to_string())?;
    let mut text = format!("access key {} from {}", found.access_key(), found.source());
    if let Some(at) = found.expires() {
        let at = i64::try_from(at.as_secs()).ok().and_then(|at| Timestamp::from_second(at).ok());
        if let Some(at) = at {
            text.push_str(&format!(", until {at}"));
        }
    }
    Ok(text)
}

fn write(client: &Client, key: &str) -> Result<String, String> {
    const BODY: &[u8] = b"s3log check\n";
    let sha256: [u8; 32] = Sha256::digest(BODY).into();
    let metadata = [("sha256".to_owned(), encode::hex(&sha256))];
    let object = PutObject {
        key,
        len: BODY.len() as u64,
        sha256,
        sums: Sums::default(),
        metadata: &metadata,
        sha256_name: "sha256",
        open: &|| Ok(Box::new(BODY)),
    };
    let mut answer: Answer = client.put(&object);
    if answer.outcome == Outcome::ClockCorrected {
        answer = client.put(&object);
    }
    match answer.action() {
        Action::Done => Ok(format!("{key}: {answer}")),
        Action::Retry { .. }
        | Action::RetryCredentials
        | Action::RetryConfiguration
        | Action::Quarantine => Err(format!("{key}: {answer}")),
    }
}
