//! The report that an operator reads before a reload.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs, reason = "a test")]

mod common;

use std::time::Duration;

use common::clock::Shifted;
use common::s3_objects::client;
use common::s3_server::{ACCESS_KEY, S3Server, SECRET_KEY};
use vmod_s3log::clock::System;
use vmod_s3log::s3::check::{Stage, check};
use vmod_s3log::s3::{Options, Report};

const KEYS: (&str, &str) = (ACCESS_KEY, SECRET_KEY);

fn text(report: &Report, stage: Stage) -> (bool, &str) {
    let step = report.steps.iter().find(|step| step.stage == stage).unwrap();
    (step.good, &step.text)
}

#[test]
fn a_gateway_that_takes_the_block_is_good_in_every_stage() {
    let server = S3Server::start();
    let client = client(&server.endpoint(), KEYS, Options::default(), System::new());
    let report = check(&client, "check-1");
    assert!(report.is_good(), "{report:?}");
    let stages: Vec<_> = report.steps.iter().map(|step| step.stage.name()).collect();
    assert_eq!(stages, ["resolve", "connect", "tls", "clock", "credentials", "write"]);
    let (_, credentials) = text(&report, Stage::Credentials);
    assert_eq!(credentials, format!("access key {ACCESS_KEY} from test"));
    assert_eq!(client.head("check-1").unwrap().len, Some(12));
}

#[test]
fn a_wrong_secret_fails_at_the_write_and_is_not_shown() {
    let server = S3Server::start();
    let client =
        client(&server.endpoint(), (ACCESS_KEY, "wrong-secret"), Options::default(), System::new());
    let report = check(&client, "check-1");
    let (good, said) = text(&report, Stage::Write);
    assert!(!good && said.contains("SignatureDoesNotMatch"), "{report:?}");
    assert!(!report.is_good() && !format!("{report:?}").contains("wrong-secret"));
}

#[test]
fn a_gateway_that_is_down_fails_at_the_connection_and_the_credentials_are_told_all_the_same() {
    let options = Options { connect_timeout: Duration::from_millis(300), ..Options::default() };
    let client = client("http://127.0.0.1:1", KEYS, options, System::new());
    let report = check(&client, "check-1");
    assert!(!text(&report, Stage::Connect).0, "{report:?}");
    assert!(text(&report, Stage::Credentials).0, "{report:?}");
    assert!(!report.is_good());
}

#[test]
fn a_clock_that_is_off_is_told_in_seconds() {
    let server = S3Server::start();
    let client = client(&server.endpoint(), KEYS, Options::default(), Shifted::by(-7200));
    let report = check(&client, "check-1");
    let (good, said) = text(&report, Stage::Clock);
    // s3s-fs sends its Date like every HTTP server.
    assert!(!good && said.contains("behind"), "{report:?}");
    assert!(text(&report, Stage::Write).0, "{report:?}");
}
