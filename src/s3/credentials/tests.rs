//! What the chain finds, what the cache keeps, and that no secret gets out.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::super::endpoint::Endpoint;
use super::super::options::Options;
use super::*;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const NOW: Duration = Duration::from_secs(1_800_000_000);

#[derive(Debug, Default)]
pub(super) struct FakeEnvironment(HashMap<String, String>);

impl FakeEnvironment {
    pub(super) fn of(pairs: &[(&str, &str)]) -> Arc<dyn Variables> {
        Arc::new(Self(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()))
    }
}

impl Variables for FakeEnvironment {
    fn get(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }
}

fn gateway() -> Endpoint {
    Endpoint::parse("https://gateway.example", false).unwrap()
}

fn write(path: &Path, access: &str) {
    let text =
        format!("[default]\naws_access_key_id = {access}\naws_secret_access_key = {SECRET}\n");
    std::fs::write(path, text).unwrap();
}

fn find(sources: &Sources, variables: &[(&str, &str)]) -> Result<Credentials, CredentialsError> {
    let mut all = vec![("AWS_EC2_METADATA_DISABLED", "true")];
    all.extend(variables);
    chain(sources, &FakeEnvironment::of(&all), &gateway(), &Options::default()).unwrap().get(NOW)
}

/// The cache over one file, which was named.
fn explicit(path: &Path, profile: &str) -> Cache {
    let sources = Sources {
        file: Some(path.to_owned()),
        profile: Some(profile.to_owned()),
        ..Sources::default()
    };
    chain(&sources, &FakeEnvironment::of(&[]), &gateway(), &Options::default()).unwrap()
}

#[test]
fn the_named_file_comes_before_the_environment_and_the_environment_before_the_shared_file() {
    let dir = tempfile::tempdir().unwrap();
    let (named, shared) = (dir.path().join("named"), dir.path().join("shared"));
    write(&named, "AK-NAMED");
    write(&shared, "AK-SHARED");
    let shared_at = ("AWS_SHARED_CREDENTIALS_FILE", shared.to_str().unwrap());
    let keys = [("AWS_ACCESS_KEY_ID", "AK-ENV"), ("AWS_SECRET_ACCESS_KEY", "s"), shared_at];
    let with_file = Sources { file: Some(named), ..Sources::default() };
    let none = Sources::default();
    assert_eq!(find(&with_file, &keys).unwrap().access_key(), "AK-NAMED");
    assert_eq!(find(&none, &keys).unwrap().access_key(), "AK-ENV");
    assert_eq!(find(&none, &[shared_at]).unwrap().access_key(), "AK-SHARED");
}

#[test]
fn a_named_file_that_is_missing_is_an_error_although_the_environment_has_keys() {
    let sources = Sources { file: Some("/nonexistent/creds".into()), ..Sources::default() };
    let keys = [("AWS_ACCESS_KEY_ID", "AK"), ("AWS_SECRET_ACCESS_KEY", "s")];
    let error = find(&sources, &keys).unwrap_err();
    assert!(matches!(error, CredentialsError::Broken { .. }), "{error}");
    assert!(error.to_string().contains("/nonexistent/creds"), "{error}");
}

#[test]
fn half_a_key_pair_is_an_error_that_names_the_missing_half() {
    let error = find(&Sources::default(), &[("AWS_ACCESS_KEY_ID", "AK")]).unwrap_err();
    assert!(error.to_string().contains("AWS_SECRET_ACCESS_KEY"), "{error}");
}

#[test]
fn without_any_source_the_error_says_what_to_set() {
    let error = find(&Sources::default(), &[]).unwrap_err();
    assert!(matches!(error, CredentialsError::None(_)));
    assert!(error.to_string().contains("AWS_ACCESS_KEY_ID"), "{error}");
    let looked_at = "environment, files in ~/.aws (HOME is not set) [default], web identity";
    assert!(error.to_string().contains(looked_at), "{error}");
}

#[test]
fn a_profile_that_was_named_must_be_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("credentials");
    write(&path, "AK");
    let at = ("AWS_SHARED_CREDENTIALS_FILE", path.to_str().unwrap());
    let error = find(&Sources::default(), &[at, ("AWS_PROFILE", "other")]).unwrap_err();
    assert!(error.to_string().contains("[other]"), "{error}");
}

#[test]
fn a_home_that_cannot_be_looked_at_is_no_source_and_a_named_file_that_cannot_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let home = file.to_str().unwrap();
    let nowhere = find(&Sources::default(), &[("HOME", home)]).unwrap_err();
    assert!(matches!(nowhere, CredentialsError::None(_)), "{nowhere}");
    let named = format!("{home}/below");
    let error = find(&Sources::default(), &[("AWS_SHARED_CREDENTIALS_FILE", &named)]).unwrap_err();
    assert!(matches!(error, CredentialsError::Broken { .. }), "{error}");
}

#[test]
fn a_file_that_changes_is_read_again_within_a_second() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("credentials");
    write(&path, "AK-OLD");
    let cache = explicit(&path, "default");
    assert_eq!(cache.get(NOW).unwrap().access_key(), "AK-OLD");
    write(&path, "AK-NEWER");
    assert_eq!(cache.get(NOW + Duration::from_secs(2)).unwrap().access_key(), "AK-NEWER");
    std::fs::remove_file(&path).unwrap();
    assert!(cache.get(NOW + Duration::from_secs(4)).is_err());
    write(&path, "AK-BACK");
    assert_eq!(cache.get(NOW + Duration::from_secs(6)).unwrap().access_key(), "AK-BACK");
}

/// Answers from a script; counts how often it was asked.
#[derive(Debug)]
struct Scripted {
    answers: Mutex<Vec<Result<Credentials, CredentialsError>>>,
    asked: Arc<AtomicUsize>,
}

fn scripted(mut answers: Vec<Result<Credentials, CredentialsError>>) -> (Cache, Arc<AtomicUsize>) {
    answers.reverse();
    let asked = Arc::new(AtomicUsize::new(0));
    let provider = Scripted { answers: Mutex::new(answers), asked: Arc::clone(&asked) };
    (Cache::new(vec![Box::new(provider)]), asked)
}

impl Provider for Scripted {
    fn name(&self) -> String {
        "script".to_owned()
    }

    fn load(&self, _now: Duration) -> Result<Option<Credentials>, CredentialsError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.answers.lock().unwrap().pop().expect("asked more often than scripted").map(Some)
    }
}

fn until(access: &str, seconds: u64) -> Result<Credentials, CredentialsError> {
    let expires = NOW + Duration::from_secs(seconds);
    Ok(Credentials::new(access, SECRET, Some("token"), Some(expires), "script"))
}

fn down() -> Result<Credentials, CredentialsError> {
    Err(CredentialsError::Down { place: "script".into(), reason: "refused".into() })
}

#[test]
fn temporary_credentials_are_replaced_five_minutes_ahead_of_their_end() {
    let (cache, asked) = scripted(vec![until("AK1", 3600), until("AK2", 7200)]);
    let at = |s| cache.get(NOW + Duration::from_secs(s)).unwrap().access_key().to_owned();
    assert_eq!(at(0), "AK1");
    assert_eq!(at(3299), "AK1");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert_eq!(at(3300), "AK2");
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[test]
fn while_the_source_is_down_the_old_ones_are_used_to_their_end_and_it_is_asked_ever_less() {
    let mut answers = vec![until("AK1", 600)];
    answers.extend(std::iter::repeat_with(down).take(20));
    answers.push(until("AK2", 9000));
    let (cache, asked) = scripted(answers);
    let mut last_good = 0;
    let mut first_bad = u64::MAX;
    for second in 0..=900 {
        match cache.get(NOW + Duration::from_secs(second)) {
            Ok(found) if found.access_key() == "AK1" => last_good = second,
            Ok(_) => break,
            Err(_) => first_bad = first_bad.min(second),
        }
    }
    assert_eq!((last_good, first_bad), (599, 600));
    // 1 + 2 + 4 + ... + 32 + 60 + 60 ... seconds apart from second 300 on.
    let asked = asked.load(Ordering::SeqCst);
    assert!((14..=18).contains(&asked), "{asked}");
}

#[test]
fn a_refusal_reads_again_but_not_more_than_once_a_second() {
    let (cache, asked) = scripted((0..4).map(|_| until("AK", 9999)).collect());
    cache.get(NOW).unwrap();
    for tenth in 0..30 {
        cache.refused();
        cache.get(NOW + Duration::from_millis(tenth * 100)).unwrap();
    }
    assert!(asked.load(Ordering::SeqCst) <= 4, "{asked:?}");
}

/// Takes its time, so that threads meet.
#[derive(Debug)]
struct Slow(Arc<AtomicUsize>);

impl Provider for Slow {
    fn name(&self) -> String {
        "slow".to_owned()
    }

    fn load(&self, _now: Duration) -> Result<Option<Credentials>, CredentialsError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(50));
        until("AK", 9999).map(Some)
    }
}

#[test]
fn eight_threads_that_find_nothing_ask_once() {
    let asked = Arc::new(AtomicUsize::new(0));
    let cache = Cache::new(vec![Box::new(Slow(Arc::clone(&asked)))]);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| cache.get(NOW).unwrap());
        }
    });
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[test]
fn nothing_that_prints_credentials_prints_the_secret_or_the_token() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("credentials");
    let token = "FwoGZXIvYXdzEXAMPLETOKEN";
    let text = format!(
        "[default]\naws_access_key_id = AK\naws_secret_access_key = {SECRET}\n\
         aws_session_token = {token}\n[half]\naws_secret_access_key = {SECRET}\n[bad]\n"
    );
    std::fs::write(&path, &text).unwrap();
    let mut printed = String::new();
    let mut print = |text: String| printed.push_str(&text);
    for profile in ["default", "half", "bad", "none"] {
        print(format!("{:?}", ini::profile(text.as_bytes(), "none")));
        let cache = explicit(&path, profile);
        let found = cache.get(NOW);
        print(format!("{cache:?} {found:?} {:?}", cache.names()));
        if let Err(error) = found {
            print(error.to_string());
        }
    }
    let found = explicit(&path, "default").get(NOW).unwrap();
    print(found.redact(&format!("echo {SECRET} and {token}")));
    assert!(printed.contains("[redacted]"));
    assert!(!printed.contains(SECRET), "{printed}");
    assert!(!printed.contains(token), "{printed}");
}

#[test]
fn a_secret_is_taken_out_of_a_text_that_was_cut_in_the_middle_of_it() {
    let token = "FwoGZXIvYXdzE".repeat(80);
    let found = Credentials::new("AK", SECRET, Some(&token), None, "test");
    for length in [token.len(), 512, 20, 8] {
        let text = format!("you sent {}", &token[..length]);
        assert_eq!(found.redact(&text), "you sent [redacted]", "{length}");
    }
    assert_eq!(found.redact("the word Fwo"), "the word Fwo");
    assert_eq!(found.redact(&format!("é{}", &SECRET[..9])), "é[redacted]");
}

#[test]
fn the_end_of_a_source_is_told_half_an_hour_before_and_once() {
    let at = |seconds| Duration::from_secs(seconds);
    let end = NOW + at(3600);
    let ends = |at| Ending { at, text: "renew it".to_owned() };
    let key = |access: &str, end| until(access, 100_000).unwrap().ending(Some(ends(end)));
    let (first, second) = (|| Ok(key("AK1", end)), || Ok(key("AK2", end + at(3600))));
    let (cache, _) = scripted(vec![first(), first(), second(), second()]);
    assert_eq!(cache.notice(NOW), None);
    cache.get(NOW).unwrap();
    let told: Vec<_> = (0..60).filter(|m| cache.notice(NOW + at(m * 60)).is_some()).collect();
    assert_eq!(told, [30]);
    // Somebody has renewed it.
    cache.refused();
    cache.get(NOW + at(3600)).unwrap();
    let told: Vec<_> = (60..120).filter(|m| cache.notice(NOW + at(m * 60)).is_some()).collect();
    assert_eq!(told, [90]);
}

#[test]
fn the_end_of_a_source_that_was_put_off_meanwhile_is_not_told() {
    let at = |seconds| Duration::from_secs(seconds);
    let ends = |at| Ending { at, text: "renew it".to_owned() };
    let key = |end| Ok(until("AK1", 100_000).unwrap().ending(Some(ends(NOW + at(end)))));
    // Nothing tells the cache that a person has renewed it.
    let (cache, _) = scripted(vec![key(3600), key(7200), key(7200)]);
    cache.get(NOW).unwrap();
    let told: Vec<_> = (0..120).filter(|m| cache.notice(NOW + at(m * 60)).is_some()).collect();
    assert_eq!(told, [90]);
}
