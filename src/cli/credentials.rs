//! `s3log credentials`: what a program hands out becomes a file that the stream reads.
//!
//! AWS's `credential_process` is a program that prints a key as JSON. The module runs none: it is part
//! of varnishd. This command runs it beside, without a shell, and replaces the file as a whole, so that
//! a reader never sees half of it.
//!
//! Limits: 64 KiB of output; `--timeout` for the program.
//! Source: <https://docs.aws.amazon.com/sdkref/latest/guide/feature-process-credentials.html>.

use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::program::failed;
use super::{Error, program};
use crate::clock::{Clock, System};
use crate::s3::wire::date;
use crate::units;

/// Most bytes that a program may print.
const MOST: u64 = 64 * 1024;
/// A key is replaced so long before it expires; the module replaces its own five minutes before.
const AHEAD: Duration = Duration::from_secs(600);
/// Between two attempts of a program that fails, at first and at most.
const BACKOFF: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(300)];
/// Between two looks at the clock, which may be set while a key lasts, or stand still with the machine.
const LOOK: Duration = Duration::from_secs(30);

/// Which program, and where to.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The program prints what AWS's credential_process does: a JSON object with Version 1, \
AccessKeyId, SecretAccessKey and, for a temporary key, SessionToken and Expiration. It is run directly, \
without a shell. The file is written with mode 0600, or keeps the mode that it has; run the command as \
the user that varnishd's cache process runs as, which must be able to read it.

  s3log credentials --output /run/s3log/credentials --follow --exec /opt/broker --role logs

Name the file in credentials = of the stream, which reads it again when it changes.

Exit codes: 0 the file is written, 1 the program failed or the file cannot be written, 2 invalid arguments."
)]
pub(super) struct CredentialsArgs {
    /// The file to replace.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Section of the file.
    #[arg(long, value_name = "NAME", default_value = "default")]
    profile: String,
    /// Go on: run the program again ten minutes before the key expires.
    #[arg(long)]
    follow: bool,
    /// How long the program may take.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    timeout: Duration,
    /// The program and its arguments; all that follows belongs to it.
    #[arg(
        long,
        value_name = "PROGRAM",
        num_args = 1..,
        required = true,
        allow_hyphen_values = true
    )]
    exec: Vec<String>,
}

fn duration(text: &str) -> Result<Duration, String> {
    units::duration(text).ok_or_else(|| "expected a duration such as 30s or 2m".to_owned())
}

/// What the program prints.
#[derive(Zeroize, ZeroizeOnDrop, serde::Deserialize)]
struct Printed {
    #[serde(rename = "Version")]
    version: u32,
    #[serde(rename = "AccessKeyId")]
    access: String,
    #[serde(rename = "SecretAccessKey")]
    secret: String,
    #[serde(rename = "SessionToken", default)]
    token: String,
    #[serde(rename = "Expiration", default)]
    expiration: String,
}

/// Writes the file, and with `--follow` again and again.
///
/// # Errors
/// The program or the file; with `--follow` only at the first time.
pub(super) fn run(arguments: &CredentialsArgs, out: &mut dyn Write) -> Result<ExitCode, Error> {
    let clock = System::new();
    let mut expires = once(arguments)?;
    let [mut backoff, most] = BACKOFF;
    if !arguments.follow {
        return Ok(ExitCode::SUCCESS);
    }
    loop {
        let Some(end) = expires else {
            writeln!(out, "the key does not expire: there is nothing to follow")?;
            return Ok(ExitCode::SUCCESS);
        };
        // A program that hands out short ones is not run in a loop.
        wait(&clock, end, backoff);
        match once(arguments) {
            Ok(next) => {
                expires = next;
                [backoff, _] = BACKOFF;
            }
            // The old key is good for a while yet.
            Err(error) => {
                writeln!(io::stderr(), "s3log: {error}")?;
                backoff = (backoff * 2).min(most);
            }
        }
    }
}

/// Waits until a key that expires at `end`, Unix time, is to be replaced, and at least for `least`.
fn wait(clock: &dyn Clock, end: Duration, least: Duration) {
    clock.sleep(least);
    loop {
        let left = end.saturating_sub(clock.unix()).saturating_sub(AHEAD);
        if left.is_zero() {
            return;
        }
        clock.sleep(left.min(LOOK));
    }
}

/// Runs the program and writes the file; when the key expires.
fn once(arguments: &CredentialsArgs) -> Result<Option<Duration>, Error> {
    let (program, rest) = arguments.exec.split_first().ok_or_else(|| failed("", "is missing"))?;
    let mut command = Command::new(program);
    command.args(rest);
    let bytes = program::output(command, arguments.timeout, MOST)?;
    let printed = read(program, &bytes)?;
    let expires = match printed.expiration.as_str() {
        "" => None,
        text => Some(date::rfc3339(text).ok_or_else(|| {
            failed(program, "printed an Expiration that is not a date such as 2030-01-01T00:00:00Z")
        })?),
    };
    let mut text = Zeroizing::new(format!(
        "# Written by s3log credentials; changes are lost.\n[{}]\naws_access_key_id = {}\n\
         aws_secret_access_key = {}\n",
        arguments.profile, printed.access, printed.secret
    ));
    for (name, value) in
        [("aws_session_token", &printed.token), ("expiration", &printed.expiration)]
    {
        if !value.is_empty() {
            text.push_str(&format!("{name} = {value}\n"));
        }
    }
    let path = &arguments.output;
    replace(path, text.as_bytes())
        .map_err(|source| Error::File { path: path.display().to_string(), source })?;
    Ok(expires)
}

/// The key in what was printed. No error repeats any of it.
fn read(program: &str, bytes: &[u8]) -> Result<Printed, Error> {
    let printed: Printed = serde_json::from_slice(bytes).map_err(|_| {
        failed(program, "printed no JSON object with Version, AccessKeyId and SecretAccessKey")
    })?;
    if printed.version != 1 {
        return Err(failed(program, format!("printed Version {}: 1 is known", printed.version)));
    }
    let texts = [&printed.access, &printed.secret, &printed.token, &printed.expiration];
    let clean = |text: &&String| text.bytes().all(|byte| (b'!'..=b'~').contains(&byte));
    if printed.access.is_empty() || printed.secret.is_empty() || !texts.iter().all(clean) {
        return Err(failed(program, "printed a key that is empty or has spaces or line breaks"));
    }
    Ok(printed)
}

/// Puts `bytes` in the place of the file at `path`, all or nothing.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    let new = path.with_file_name(format!(".{name}.{}.new", std::process::id()));
    let mode = std::fs::metadata(path).map_or(0o600, |found| found.permissions().mode() & 0o777);
    let written = (|| {
        // Nobody else's file, and never through a link.
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(bytes)?;
        file.set_permissions(std::fs::Permissions::from_mode(mode))?;
        file.sync_all()?;
        std::fs::rename(&new, path)
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    const NOW: Duration = Duration::from_secs(1_800_000_000);

    /// It is 1970 until the clock is set, after a minute. Only sleeping moves it.
    #[derive(Default)]
    struct Unset(Mutex<Duration>);

    impl Clock for Unset {
        fn unix(&self) -> Duration {
            let up = self.monotonic();
            if up < Duration::from_secs(60) { up } else { NOW + up }
        }
        fn monotonic(&self) -> Duration {
            *self.0.lock().unwrap()
        }
        fn sleep(&self, duration: Duration) {
            *self.0.lock().unwrap() += duration;
        }
    }

    #[test]
    fn a_key_is_replaced_in_time_although_the_clock_was_not_set_when_it_came() {
        let clock = Unset::default();
        let hour = Duration::from_secs(3600);
        wait(&clock, NOW + hour, BACKOFF[0]);
        assert_eq!(clock.monotonic(), hour - AHEAD);
        // One that is due already is waited for all the same.
        wait(&clock, NOW, BACKOFF[0]);
        assert_eq!(clock.monotonic(), hour - AHEAD + BACKOFF[0]);
    }
}
