//! Each source of credentials against a fake of its endpoint, in order, in failure, and silent
//! about its secrets.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::common::fake::{Fake, Play, error, reply};
use vmod_s3log::s3::credentials::{
    Cache, Credentials, CredentialsError, Role, Sources, Variables, chain,
};
use vmod_s3log::s3::{Endpoint, Options};

const NOW: Duration = Duration::from_secs(1_800_000_000);
const SECRET: &str = "SECRET-wJalrXUtnFEMI";
const TOKEN: &str = "TOKEN-FwoGZXIvYXdzE";
/// What a pod or an instance shows to be given credentials.
const PROOF: &str = "PROOF-eyJhbGciOiJSUzI1";

#[derive(Debug)]
struct Fixed(HashMap<String, String>);

impl Variables for Fixed {
    fn get(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }
}

fn cache(sources: &Sources, variables: &[(&str, &str)]) -> Cache {
    let mut all = HashMap::from([("AWS_EC2_METADATA_DISABLED".to_owned(), "true".to_owned())]);
    all.extend(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    let variables: Arc<dyn Variables> = Arc::new(Fixed(all));
    let gateway = Endpoint::parse("https://gateway.example", false).unwrap();
    chain(sources, &variables, &gateway, &Options::default()).unwrap()
}

fn find(variables: &[(&str, &str)]) -> Result<Credentials, CredentialsError> {
    let cache = cache(&Sources::default(), variables);
    let found = cache.get(NOW);
    silent(&format!("{cache:?} {found:?}"));
    if let Err(error) = &found {
        silent(&error.to_string());
    }
    found
}

fn silent(text: &str) {
    for secret in [SECRET, TOKEN, PROOF] {
        assert!(!text.contains(secret), "{text}");
    }
}

fn json() -> Play {
    let body = format!(
        "{{\"Code\":\"Success\",\"AccessKeyId\":\"ASIAJSON\",\"SecretAccessKey\":\"{SECRET}\",\
         \"Token\":\"{TOKEN}\",\"Expiration\":\"2027-01-15T09:00:00Z\"}}"
    );
    Play::Say(reply("200 OK", &[("Content-Type", "application/json")], &body))
}

fn xml(action: &str) -> Play {
    let body = format!(
        "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result>\
         <AssumedRoleUser><AssumedRoleId>AROA:s3log</AssumedRoleId></AssumedRoleUser>\
         <Credentials><AccessKeyId>ASIAXML</AccessKeyId><SecretAccessKey>{SECRET}</SecretAccessKey>\
         <SessionToken>{TOKEN}</SessionToken><Expiration>2027-01-15T09:00:00Z</Expiration>\
         </Credentials></{action}Result></{action}Response>"
    );
    Play::Say(reply("200 OK", &[], &body))
}

fn text(body: &str) -> Play {
    Play::Say(reply("200 OK", &[], body))
}

fn check(found: &Credentials, access: &str, source: &str) {
    assert_eq!(found.access_key(), access);
    assert_eq!(found.source(), source);
    assert!(found.is_temporary());
    assert_eq!(found.expires(), Some(Duration::from_secs(1_800_003_600)));
}

fn proof(dir: &Path) -> String {
    let path = dir.join("token");
    std::fs::write(&path, format!("{PROOF}\n")).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn instance_metadata_is_asked_with_a_session_token_for_the_role_and_its_credentials() {
    let fake = Fake::start(vec![text(PROOF), text("my role\n"), json()]);
    let variables = [
        ("AWS_EC2_METADATA_DISABLED", "false"),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &fake.endpoint()),
    ];
    check(&find(&variables).unwrap(), "ASIAJSON", "instance metadata");
    let asked = fake.requests();
    assert!(asked[0].starts_with("PUT /latest/api/token HTTP/1.1\r\n"), "{}", asked[0]);
    assert!(asked[0].contains("x-aws-ec2-metadata-token-ttl-seconds: 21600"));
    assert!(asked[1].starts_with("GET /latest/meta-data/iam/security-credentials/ "));
    assert!(asked[2].starts_with("GET /latest/meta-data/iam/security-credentials/my%20role "));
    for request in &asked[1..] {
        assert!(request.contains(&format!("x-aws-ec2-metadata-token: {PROOF}")), "{request}");
    }
}

#[test]
fn a_machine_without_instance_metadata_or_without_a_role_has_no_credentials() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let fake = Fake::start(vec![text(PROOF), Play::Say(reply("404 Not Found", &[], ""))]);
    for endpoint in [nobody, fake.endpoint()] {
        let variables = [
            ("AWS_EC2_METADATA_DISABLED", "false"),
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint.as_str()),
        ];
        let error = find(&variables).unwrap_err();
        assert!(matches!(error, CredentialsError::None(_)), "{error:?}");
        assert!(error.to_string().contains("instance metadata"), "{error}");
    }
}

#[test]
fn another_cloud_s_metadata_service_is_no_source_and_one_that_has_answered_is() {
    for status in ["400 Bad Request", "403 Forbidden", "404 Not Found", "405 Method Not Allowed"] {
        let elsewhere = Play::Say(reply(status, &[], "<html>"));
        let fake =
            Fake::start(vec![elsewhere.clone(), text(PROOF), text("role"), json(), elsewhere]);
        let variables = [
            ("AWS_EC2_METADATA_DISABLED", "false"),
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &*fake.endpoint()),
        ];
        let cache = cache(&Sources::default(), &variables);
        let error = cache.get(NOW).unwrap_err();
        assert!(matches!(error, CredentialsError::None(_)), "{status}: {error}");
        assert!(cache.get(NOW + Duration::from_secs(60)).is_ok(), "{status}");
        // An hour later what it has lent is over.
        let error = cache.get(NOW + Duration::from_secs(7200)).unwrap_err();
        assert!(matches!(error, CredentialsError::Broken { .. }), "{status}: {error}");
    }
    let fake = Fake::start(vec![Play::Say(reply("401 Unauthorized", &[], ""))]);
    let variables = [
        ("AWS_EC2_METADATA_DISABLED", "false"),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &*fake.endpoint()),
    ];
    let error = find(&variables).unwrap_err();
    assert!(matches!(error, CredentialsError::Broken { .. }), "{error}");
}

#[test]
fn the_container_endpoint_is_asked_with_the_token_of_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let fake = Fake::start(vec![json()]);
    let variables = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &*format!("{}/v1/x?y=1", fake.endpoint())),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &proof(dir.path())),
    ];
    check(&find(&variables).unwrap(), "ASIAJSON", "container endpoint");
    let asked = fake.requests().remove(0);
    assert!(asked.starts_with("GET /v1/x?y=1 HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains(&format!("authorization: {PROOF}\r\n")), "{asked}");
}

#[test]
fn the_container_endpoint_is_asked_without_a_token_when_there_is_none() {
    let fake = Fake::start(vec![json()]);
    let url = fake.endpoint();
    find(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &url)]).unwrap();
    assert!(!fake.requests().remove(0).contains("authorization"));
}

#[test]
fn a_container_endpoint_in_clear_text_beyond_this_machine_is_refused() {
    for url in ["http://10.0.0.1/x", "http://169.254.170.3/", "ftp://127.0.0.1/", "nonsense"] {
        let error = find(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)]).unwrap_err();
        assert!(matches!(error, CredentialsError::Broken { .. }), "{url}: {error:?}");
    }
}

#[test]
fn a_web_identity_is_traded_at_sts_and_its_token_stands_in_no_url() {
    let dir = tempfile::tempdir().unwrap();
    let fake = Fake::start(vec![xml("AssumeRoleWithWebIdentity")]);
    let variables = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", &*proof(dir.path())),
        ("AWS_ROLE_ARN", "arn:aws:iam::1:role/logs"),
        ("AWS_ENDPOINT_URL_STS", &fake.endpoint()),
    ];
    check(&find(&variables).unwrap(), "ASIAXML", "web identity");
    let asked = fake.requests().remove(0);
    let (head, body) = asked.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST / HTTP/1.1\r\n"), "{head}");
    assert!(!head.contains("authorization") && !head.contains(PROOF), "{head}");
    assert_eq!(
        body,
        format!(
            "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&\
             RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Flogs&RoleSessionName=s3log&\
             WebIdentityToken={PROOF}"
        )
    );
}

#[test]
fn a_role_is_assumed_with_a_signed_request_on_top_of_the_chain() {
    let fake = Fake::start(vec![xml("AssumeRole")]);
    let role = Role {
        arn: "arn:aws:iam::1:role/logs".into(),
        external_id: Some("ext".into()),
        session_name: Some("edge-1".into()),
    };
    let sources = Sources { role: Some(role), ..Sources::default() };
    let variables = [
        ("AWS_ACCESS_KEY_ID", "AKIABASE"),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
        ("AWS_ENDPOINT_URL_STS", &fake.endpoint()),
    ];
    let cache = cache(&sources, &variables);
    let found = cache.get(NOW).unwrap();
    silent(&format!("{cache:?} {found:?}"));
    check(&found, "ASIAXML", "role arn:aws:iam::1:role/logs on top of environment");
    let asked = fake.requests().remove(0);
    assert!(asked.contains("AWS4-HMAC-SHA256 Credential=AKIABASE/"), "{asked}");
    assert!(asked.contains("/us-east-1/sts/aws4_request"), "{asked}");
    assert!(asked.ends_with("RoleSessionName=edge-1&ExternalId=ext"), "{asked}");
}

#[test]
fn a_role_is_assumed_with_the_clock_of_sts_when_ours_is_off() {
    let refusal = error("SignatureDoesNotMatch", "Signature expired");
    let later = [("Date", "Fri, 15 Jan 2027 10:00:00 GMT")];
    let fake =
        Fake::start(vec![Play::Say(reply("403 Forbidden", &later, &refusal)), xml("AssumeRole")]);
    let role = Role { arn: "arn".into(), ..Role::default() };
    let sources = Sources { role: Some(role), ..Sources::default() };
    let variables = [
        ("AWS_ACCESS_KEY_ID", "AKIABASE"),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
        ("AWS_ENDPOINT_URL_STS", &fake.endpoint()),
    ];
    assert_eq!(cache(&sources, &variables).get(NOW).unwrap().access_key(), "ASIAXML");
    let asked = fake.requests();
    assert!(asked[0].contains("x-amz-date: 20270115T080000Z"), "{}", asked[0]);
    assert!(asked[1].contains("x-amz-date: 20270115T100000Z"), "{}", asked[1]);
}

/// The same answer from a server whose clock says [`NOW`], or what `date` says.
fn dated(play: Play, date: &str) -> Play {
    let Play::Say(text) = play else { panic!("{play:?}") };
    let (status, rest) = text.split_once("\r\n").unwrap();
    Play::Say(format!("{status}\r\nDate: Fri, 15 Jan 2027 {date} GMT\r\n{rest}"))
}

#[test]
fn what_is_lent_for_an_hour_is_good_for_an_hour_although_our_clock_is_hours_off() {
    let dir = tempfile::tempdir().unwrap();
    let path = proof(dir.path());
    let (hour, day) = (Duration::from_secs(3600), Duration::from_secs(86_400));
    let role = Some(Role { arn: "arn".into(), ..Role::default() });
    let plain = Sources::default;
    for (answers, sources, name, more) in [
        (vec![json()], plain(), "AWS_CONTAINER_CREDENTIALS_FULL_URI", &[][..]),
        (
            vec![text(PROOF), text("role"), json()],
            plain(),
            "AWS_EC2_METADATA_SERVICE_ENDPOINT",
            &[("AWS_EC2_METADATA_DISABLED", "false")][..],
        ),
        (
            vec![xml("AssumeRoleWithWebIdentity")],
            plain(),
            "AWS_ENDPOINT_URL_STS",
            &[("AWS_WEB_IDENTITY_TOKEN_FILE", path.as_str()), ("AWS_ROLE_ARN", "arn")][..],
        ),
        (
            vec![xml("AssumeRole")],
            Sources { role, ..plain() },
            "AWS_ENDPOINT_URL_STS",
            &[("AWS_ACCESS_KEY_ID", "AKIABASE"), ("AWS_SECRET_ACCESS_KEY", SECRET)][..],
        ),
    ] {
        for (now, date, expires) in [
            (NOW + 2 * hour, "08:00:00", NOW + 3 * hour),
            (NOW + day, "08:00:00", NOW + day + hour),
            (NOW - 2 * hour, "08:00:00", NOW - hour),
            // Within what clocks may differ by, as the document says.
            (NOW + hour / 20, "08:00:00", NOW + hour),
            // A date that is wrong itself ends nothing.
            (NOW, "09:30:00", NOW + hour),
        ] {
            let answers = answers.iter().map(|answer| dated(answer.clone(), date)).collect();
            let fake = Fake::start(answers);
            let endpoint = fake.endpoint();
            let variables = [&[(name, endpoint.as_str())][..], more].concat();
            let found = cache(&sources, &variables).get(now);
            let found = found.unwrap_or_else(|error| panic!("{name} {now:?} {date}: {error}"));
            assert_eq!(found.expires(), Some(expires), "{name} {now:?} {date}");
        }
    }
}

#[test]
fn a_clock_that_is_set_back_ends_the_waits_that_were_counted_by_it() {
    // A machine that starts a day ahead, and whose container's agent is not up yet.
    let down = Play::Say(reply("503 Service Unavailable", &[], ""));
    let (agent, sts) = (Fake::start(vec![down, json()]), Fake::start(vec![xml("AssumeRole")]));
    let sources =
        Sources { role: Some(Role { arn: "arn".into(), ..Role::default() }), ..Sources::default() };
    let variables = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", agent.endpoint()),
        ("AWS_ENDPOINT_URL_STS", sts.endpoint()),
    ];
    let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
    let cache = cache(&sources, &variables);
    let day = Duration::from_secs(86_400);
    assert!(cache.get(NOW + day).is_err());
    // What an uploader does, which has no credentials.
    cache.refused();
    let found = cache.get(NOW).map(|found| found.access_key().to_owned());
    assert_eq!(found, Ok("ASIAXML".to_owned()));
}

#[test]
fn an_error_of_sts_is_told_by_code_and_message_and_without_the_token() {
    let dir = tempfile::tempdir().unwrap();
    let path = proof(dir.path());
    let refusal = error("InvalidIdentityToken", &format!("bad {PROOF}"));
    let fake = Fake::start(vec![Play::Say(reply("400 Bad Request", &[], &refusal))]);
    let variables = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", path.as_str()),
        ("AWS_ROLE_ARN", "arn"),
        ("AWS_ENDPOINT_URL_STS", &fake.endpoint()),
    ];
    let said = find(&variables).unwrap_err().to_string();
    assert!(said.contains("InvalidIdentityToken") && said.contains("[redacted]"), "{said}");
}

#[test]
fn an_sts_that_repeats_what_it_was_sent_gives_away_no_secret_whether_it_refuses_or_is_down() {
    for (status, down) in [("403 Forbidden", false), ("503 Service Unavailable", true)] {
        let said = error("Echo", &format!("you sent {TOKEN} signed with {SECRET}"));
        let fake = Fake::start(vec![Play::Say(reply(status, &[], &said))]);
        let role = Role { arn: "arn".into(), ..Role::default() };
        let sources = Sources { role: Some(role), ..Sources::default() };
        let variables = [
            ("AWS_ACCESS_KEY_ID", "AKIABASE"),
            ("AWS_SECRET_ACCESS_KEY", SECRET),
            ("AWS_SESSION_TOKEN", TOKEN),
            ("AWS_ENDPOINT_URL_STS", &fake.endpoint()),
        ];
        let error = cache(&sources, &variables).get(NOW).unwrap_err();
        assert_eq!(matches!(error, CredentialsError::Down { .. }), down, "{error}");
        silent(&error.to_string());
        assert!(error.to_string().contains("[redacted]"), "{error}");
    }
}

#[test]
fn each_way_to_fail_is_an_error_that_keeps_its_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let path = proof(dir.path());
    let half = format!("{{\"AccessKeyId\":\"A\",\"Token\":\"{TOKEN}\",\"Expiration\":\"x\"}}");
    let undated = format!(
        "{{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"{SECRET}\",\"Expiration\":\"soon\"}}"
    );
    let cut = format!("{{\"SecretAccessKey\":\"{SECRET}\"");
    let plays = [
        (Play::Say(reply("500 Oops", &[], TOKEN)), true),
        (Play::Say(reply("403 Forbidden", &[], PROOF)), false),
        (Play::Say(String::new()), true),
        (Play::Endless("HTTP/1.1 200 OK\r\n\r\n".into()), true),
        (Play::Drip("HTTP/1.1 200 OK\r\nX: and so on until nobody waits any more".into()), true),
        (text(&half), false),
        (text(&undated), false),
        (text(&cut), true),
        (text("<html>"), true),
    ];
    for (play, down) in plays {
        let shown = format!("{play:?}");
        let fake = Fake::start(vec![play]);
        let variables = [
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &*fake.endpoint()),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", path.as_str()),
        ];
        let error = find(&variables).unwrap_err();
        assert_eq!(matches!(error, CredentialsError::Down { .. }), down, "{shown}: {error}");
    }
    let missing = find(&[
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1"),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/nonexistent"),
    ]);
    assert!(missing.unwrap_err().to_string().contains("/nonexistent"));
}

#[test]
fn the_sources_are_asked_in_the_documented_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = proof(dir.path());
    let sts = Fake::start(vec![xml("AssumeRoleWithWebIdentity")]);
    let container = Fake::start(vec![json()]);
    let shared = dir.path().join("credentials");
    std::fs::write(
        &shared,
        format!("[default]\naws_access_key_id=AKIASHARED\naws_secret_access_key={SECRET}\n"),
    )
    .unwrap();
    let (sts_url, container_url) = (sts.endpoint(), container.endpoint());
    let mut variables = vec![
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", container_url.as_str()),
        ("AWS_ENDPOINT_URL_STS", sts_url.as_str()),
        ("AWS_ROLE_ARN", "arn"),
    ];
    let mut found = vec![find(&variables).unwrap().source().to_owned()];
    for more in [
        vec![("AWS_WEB_IDENTITY_TOKEN_FILE", path.as_str())],
        vec![("AWS_SHARED_CREDENTIALS_FILE", shared.to_str().unwrap())],
        vec![("AWS_ACCESS_KEY_ID", "AK"), ("AWS_SECRET_ACCESS_KEY", SECRET)],
    ] {
        variables.extend(more);
        found.push(find(&variables).unwrap().source().to_owned());
    }
    let file = format!("file {} [default]", shared.display());
    assert_eq!(found, ["container endpoint", "web identity", &file, "environment"]);
}

/// AWS's two files with these contents, in a directory of their own.
fn files(config: &str, credentials: &str) -> (tempfile::TempDir, [(&'static str, String); 3]) {
    let dir = tempfile::tempdir().unwrap();
    let aws = dir.path().join(".aws");
    std::fs::create_dir(&aws).unwrap();
    let write = |name: &str, text: &str| {
        let path = aws.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let variables = [
        ("AWS_CONFIG_FILE", write("config", config)),
        ("AWS_SHARED_CREDENTIALS_FILE", write("credentials", credentials)),
        ("HOME", dir.path().to_str().unwrap().to_owned()),
    ];
    (dir, variables)
}

fn find_in(
    files: &[(&'static str, String); 3],
    more: &[(&str, &str)],
) -> Result<Credentials, CredentialsError> {
    let all = files.iter().map(|(name, value)| (*name, value.as_str()));
    find(&all.chain(more.iter().copied()).collect::<Vec<_>>())
}

/// The base key of the chains.
fn base() -> String {
    format!("[base]\naws_access_key_id = AKIABASE\naws_secret_access_key = {SECRET}\n")
}

#[test]
fn a_chain_of_source_profiles_is_walked_and_each_role_is_assumed_with_the_one_before() {
    let config = "[profile outer]\nrole_arn = arn:outer\nsource_profile = inner\n\
                  external_id = ext-1\nrole_session_name = edge-7\n\
                  [profile inner]\nrole_arn = arn:inner\nsource_profile = base\n";
    let (_dir, files) = files(config, &base());
    let sts = Fake::start(vec![xml("AssumeRole"), xml("AssumeRole")]);
    let found =
        find_in(&files, &[("AWS_PROFILE", "outer"), ("AWS_ENDPOINT_URL_STS", &sts.endpoint())]);
    let found = found.unwrap();
    assert_eq!(found.access_key(), "ASIAXML");
    let source = found.source();
    assert!(
        source.starts_with("role arn:outer on top of role arn:inner on top of file"),
        "{source}"
    );
    let asked = sts.requests();
    assert!(asked[0].contains("Credential=AKIABASE/"), "{}", asked[0]);
    assert!(asked[0].ends_with("RoleArn=arn%3Ainner&RoleSessionName=s3log"), "{}", asked[0]);
    assert!(asked[1].contains("Credential=ASIAXML/"), "{}", asked[1]);
    let ends = "RoleArn=arn%3Aouter&RoleSessionName=edge-7&ExternalId=ext-1";
    assert!(asked[1].ends_with(ends), "{}", asked[1]);
}

#[test]
fn a_profile_that_names_itself_has_the_key_in_its_own_section() {
    let both = format!("{}role_arn = arn:self\nsource_profile = base\n", base());
    let (_dir, files) = files("", &both);
    let sts = Fake::start(vec![xml("AssumeRole")]);
    let url = sts.endpoint();
    find_in(&files, &[("AWS_PROFILE", "base"), ("AWS_ENDPOINT_URL_STS", &url)]).unwrap();
    assert!(sts.requests()[0].contains("Credential=AKIABASE/"));
}

#[test]
fn each_wrong_profile_is_answered_with_its_name_and_what_to_do() {
    let config = "[profile a]\nrole_arn = x\nsource_profile = b\n\
                  [profile b]\nrole_arn = x\nsource_profile = a\n\
                  [profile alone]\nrole_arn = x\n\
                  [profile missing]\nrole_arn = x\nsource_profile = nobody\n\
                  [profile odd]\nrole_arn = x\ncredential_source = Mars\n\
                  [profile empty]\nrole_arn = x\ncredential_source = Environment\n\
                  [profile mfa]\nrole_arn = x\nsource_profile = base\nmfa_serial = y\n\
                  [profile program]\ncredential_process = /opt/broker --role logs\n\
                  [profile sso]\nsso_session = corp\nsso_account_id = 1\nsso_role_name = r\n\
                  [profile half]\nsso_start_url = https://x\nsso_region = eu-west-1\n\
                  [profile nothing]\nregion = eu-west-1\n";
    let (_dir, files) = files(config, &base());
    for (profile, said) in [
        ("a", "[a] leads back to itself by source_profile: a, b, a"),
        ("alone", "takes one of source_profile, credential_source and web_identity_token_file"),
        ("missing", "has no section [nobody]"),
        ("odd", "takes Environment, EcsContainer or Ec2InstanceMetadata as credential_source"),
        ("empty", "its source has no credentials"),
        ("mfa", "has mfa_serial, and nobody is here to type the code"),
        ("program", "let s3log credentials --output FILE --exec PROGRAM run it"),
        ("sso", "section [sso-session ...] of its name"),
        ("half", "no sso_account_id"),
        ("nothing", "section [nothing] has no aws_access_key_id"),
        ("unknown", "has no section [unknown]"),
    ] {
        let error = find_in(&files, &[("AWS_PROFILE", profile)]).unwrap_err();
        assert!(matches!(error, CredentialsError::Broken { .. }), "{profile}: {error}");
        assert!(error.to_string().contains(said), "{profile}: {error}");
    }
}

/// What the portal of IAM Identity Center answers.
fn role_credentials() -> Play {
    let body = format!(
        "{{\"roleCredentials\":{{\"accessKeyId\":\"ASIASSO\",\"secretAccessKey\":\"{SECRET}\",\
         \"sessionToken\":\"{TOKEN}\",\"expiration\":1800003600000}}}}"
    );
    Play::Say(reply("200 OK", &[("Content-Type", "application/json")], &body))
}

#[test]
fn the_token_of_aws_sso_login_is_traded_for_the_role_of_the_profile() {
    let config = "[sso-session corp]\nsso_start_url = https://corp.awsapps.com/start\n\
                  sso_region = eu-west-1\n\
                  [profile new]\nsso_session = corp\nsso_account_id = 111122223333\n\
                  sso_role_name = Log Writer\n\
                  [profile old]\nsso_start_url = https://corp.awsapps.com/start\n\
                  sso_region = eu-west-1\nsso_account_id = 111122223333\nsso_role_name = w\n";
    let (dir, files) = files(config, "");
    let cache = dir.path().join(".aws/sso/cache");
    std::fs::create_dir_all(&cache).unwrap();
    // As `printf corp | sha1sum` and the same of the URL have it.
    let of = |text: &str| {
        use std::io::Write as _;
        use std::process::{Command, Stdio};
        let mut sum = Command::new("sha1sum");
        let mut sum = sum.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        sum.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let out = sum.wait_with_output().unwrap().stdout;
        cache.join(format!("{}.json", String::from_utf8(out).unwrap().split(' ').next().unwrap()))
    };
    let token = |end: &str| format!("{{\"accessToken\":\"{PROOF}\",\"expiresAt\":\"{end}\"}}");
    let missing = find_in(&files, &[("AWS_PROFILE", "new")]).unwrap_err().to_string();
    assert!(missing.contains("run aws sso login --profile new"), "{missing}");
    for (profile, named, role) in
        [("new", "corp", "Log%20Writer"), ("old", "https://corp.awsapps.com/start", "w")]
    {
        std::fs::write(of(named), token("2027-01-15T09:00:00Z")).unwrap();
        let portal = Fake::start(vec![role_credentials()]);
        let url = portal.endpoint();
        let found =
            find_in(&files, &[("AWS_PROFILE", profile), ("AWS_ENDPOINT_URL_SSO", &url)]).unwrap();
        check(&found, "ASIASSO", &format!("IAM Identity Center [{profile}]"));
        let ending = found.source_ending().unwrap();
        assert_eq!(ending.at, Duration::from_secs(1_800_003_600));
        let login = format!("run aws sso login --profile {profile} as the user");
        assert!(ending.text.contains(&login), "{}", ending.text);
        let asked = portal.requests().remove(0);
        let line = format!(
            "GET /federation/credentials?role_name={role}&account_id=111122223333 HTTP/1.1\r\n"
        );
        assert!(asked.starts_with(&line), "{asked}");
        assert!(asked.contains(&format!("x-amz-sso_bearer_token: {PROOF}\r\n")), "{asked}");
        std::fs::write(of(named), token("2027-01-15T07:59:59Z")).unwrap();
        let expired = find_in(&files, &[("AWS_PROFILE", profile)]).unwrap_err().to_string();
        assert!(expired.contains("has expired: run aws sso login"), "{expired}");
    }
    // As old releases of aws wrote it, and as none does.
    for (end, good) in [("2027-01-15T09:00:00UTC", true), ("soon", false)] {
        std::fs::write(of("corp"), token(end)).unwrap();
        let portal = Fake::start(if good { vec![role_credentials()] } else { Vec::new() });
        let url = portal.endpoint();
        let found = find_in(&files, &[("AWS_PROFILE", "new"), ("AWS_ENDPOINT_URL_SSO", &url)]);
        assert_eq!(found.is_ok(), good, "{found:?}");
        assert!(good || found.unwrap_err().to_string().contains("has no valid expiresAt"));
    }
}

#[test]
fn a_role_on_top_of_a_login_ends_when_the_login_does() {
    let config = "[profile sso]\nsso_start_url = x\nsso_region = eu-west-1\nsso_account_id = 1\n\
                  sso_role_name = w\n[profile role]\nrole_arn = arn:r\nsource_profile = sso\n";
    let (dir, files) = files(config, "");
    let cache = dir.path().join(".aws/sso/cache");
    std::fs::create_dir_all(&cache).unwrap();
    // `printf x | sha1sum`
    let file = cache.join("11f6ad8ec52a2984abaafd7c3b516503785c2072.json");
    let token = format!("{{\"accessToken\":\"{PROOF}\",\"expiresAt\":\"2027-01-15T08:30:00Z\"}}");
    std::fs::write(file, token).unwrap();
    let (portal, sts) =
        (Fake::start(vec![role_credentials()]), Fake::start(vec![xml("AssumeRole")]));
    let more = [
        ("AWS_PROFILE", "role"),
        ("AWS_ENDPOINT_URL_SSO", &*portal.endpoint()),
        ("AWS_ENDPOINT_URL_STS", &*sts.endpoint()),
    ];
    let found = find_in(&files, &more).unwrap();
    assert_eq!(found.source_ending().unwrap().at, NOW + Duration::from_secs(1800));
}

#[test]
fn a_refusal_of_the_portal_or_of_eks_s_agent_is_told_in_its_own_words_without_the_token() {
    let body = format!(
        "{{\"message\":\"Session token not found: {PROOF}\",\"__type\":\"UnauthorizedException\"}}"
    );
    let dir = tempfile::tempdir().unwrap();
    let agent = Fake::start(vec![Play::Say(reply("401 Unauthorized", &[], &body))]);
    let variables = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &*agent.endpoint()),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &proof(dir.path())),
    ];
    let said = find(&variables).unwrap_err().to_string();
    let expected = "status 401 UnauthorizedException Session token not found: [redacted]";
    assert!(said.contains(expected), "{said}");
}

#[test]
fn the_credentials_file_wins_over_the_config_file_and_may_say_when_its_key_expires() {
    let config = "[default]\naws_access_key_id = AKIACONFIG\naws_secret_access_key = s\n";
    let written = format!(
        "[default]\naws_access_key_id = ASIAFILE\naws_secret_access_key = {SECRET}\n\
         aws_session_token = {TOKEN}\nexpiration = 2027-01-15T09:00:00Z\n"
    );
    let (_dir, both) = files(config, &written);
    let found = find_in(&both, &[]).unwrap();
    assert_eq!(found.access_key(), "ASIAFILE");
    assert_eq!(found.expires(), Some(Duration::from_secs(1_800_003_600)));
    let (_dir, config_only) = files(config, "");
    assert_eq!(find_in(&config_only, &[]).unwrap().access_key(), "AKIACONFIG");
    let (_dir, expired) = files("", &written.replace("2027-01-15T09", "2027-01-15T07"));
    let said = find_in(&expired, &[]).unwrap_err().to_string();
    assert!(said.contains("they have expired; renew them at their source"), "{said}");
    let (_dir, odd) = files("", &written.replace("2027-01-15T09:00:00Z", "tomorrow"));
    assert!(find_in(&odd, &[]).unwrap_err().to_string().contains("has an invalid expiration"));
}

#[test]
fn a_file_that_leads_elsewhere_is_checked_without_asking_anybody() {
    let text = "[role]\nrole_arn = x\nsource_profile = base\n[outer]\nrole_arn = x\n\
                source_profile = role\n[circle]\nrole_arn = x\nsource_profile = other\n\
                [other]\nrole_arn = x\nsource_profile = circle\n\
                [instance]\nrole_arn = x\ncredential_source = Ec2InstanceMetadata\n\
                [token]\nrole_arn = x\nweb_identity_token_file = /nonexistent\n\
                [sso]\nsso_start_url = https://x\nsso_region = r\nsso_account_id = 1\n\
                sso_role_name = w\n[half]\nsso_start_url = https://x\nsso_region = r\n\
                [program]\ncredential_process = x\n";
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys");
    std::fs::write(&path, format!("{}{text}", base())).unwrap();
    let nobody = Fake::start(Vec::new());
    let url = nobody.endpoint();
    let variables =
        [("AWS_ENDPOINT_URL_STS", url.as_str()), ("AWS_ENDPOINT_URL_SSO", url.as_str())];
    for (profile, good) in [
        ("base", true),
        ("role", true),
        ("outer", true),
        ("instance", true),
        ("token", true),
        ("sso", true),
        ("circle", false),
        ("half", false),
        ("program", false),
        ("missing", false),
    ] {
        let (file, profile) = (Some(path.clone()), profile.to_owned());
        let sources = Sources { file, profile: Some(profile.clone()), ..Sources::default() };
        let checked = cache(&sources, &variables).check(NOW);
        assert_eq!(checked.is_ok(), good, "{profile}: {checked:?}");
    }
    assert_eq!(nobody.requests(), Vec::<String>::new());
}
