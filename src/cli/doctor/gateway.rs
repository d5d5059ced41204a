//! The steps of `check`, for the streams that are named or for each folder of the spool, and whether the
//! cache process can read the file of credentials.

use std::fs;
use std::path::Path;

use super::finding::Finding;
use super::node::Node;
use super::rights::{READ, barred, may, user};
use crate::cli::Error;
use crate::cli::check::{self, Mark, Step};
use crate::settings::Upload;

/// The findings of all gateways.
///
/// # Errors
/// None that is the gateway's.
pub(super) fn findings(node: &Node<'_>) -> Result<Vec<Finding>, Error> {
    let mut found = Vec::new();
    let connection = node.connection;
    for (stream, settings) in &node.streams {
        let settings = match settings {
            Ok(settings) => settings,
            Err(error) => {
                let text = super::super::error::bare(&error.to_string()).to_owned();
                let action = "Correct that setting, and load the VCL again.";
                found.push(Finding::fix("settings", text, action).of(stream));
                continue;
            }
        };
        let file = settings.arguments.get("credentials");
        if settings.upload == Upload::Internal {
            found.extend(file.and_then(|file| key(node, stream, Path::new(file))));
        }
        if !node.offline {
            let mut own = Vec::new();
            let named = [stream.clone()];
            let code = check::streams(connection, &named, &mut |step| keep(&mut own, step))?;
            found.extend(own.into_iter().map(|one| one.finding(code)));
        }
    }
    if !node.streams.is_empty() {
        return Ok(found);
    }
    for spool in &node.spools {
        let folder = &spool.folder;
        let Some(saved) = &folder.saved else {
            if spool.folder.path.join("route").exists() {
                let text = "its file route cannot be read, so its gateway is not known";
                let action = "Run doctor as root or as the spool's owner, or give --config.";
                found.push(Finding::unseen("settings", text, action).of(&spool.name));
            }
            continue;
        };
        let stream = saved.stream();
        let kept = saved.arguments(folder.path.parent().unwrap_or(&folder.path));
        if !saved.is_external() {
            let file = kept.get("credentials");
            found.extend(file.and_then(|file| key(node, stream, Path::new(file))));
        }
        if node.offline {
            continue;
        }
        let mut own = Vec::new();
        let given = connection.arguments(stream)?;
        let code = check::route(folder, &given, &mut |step| keep(&mut own, step))?;
        found.extend(own.into_iter().map(|one| one.finding(code)));
    }
    Ok(found)
}

/// A step of `check`, until the exit code is known.
struct Kept {
    stream: String,
    name: String,
    mark: Mark,
    text: String,
}

fn keep(kept: &mut Vec<Kept>, step: &Step<'_>) -> Result<(), Error> {
    kept.push(Kept {
        stream: step.stream.split('@').next().unwrap_or(step.stream).to_owned(),
        name: step.name.to_owned(),
        mark: step.mark,
        text: step.text.to_owned(),
    });
    Ok(())
}

impl Kept {
    /// `code` is the exit code that all steps of the stream gave.
    fn finding(self, code: u8) -> Finding {
        let text = format!("{}: {}", self.name, self.text);
        let found = match self.mark {
            Mark::Ok => Finding::ok("gateway", text),
            Mark::Note => Finding::note("gateway", text, self.action(code)),
            Mark::Failed => Finding::fix("gateway", text, self.action(code)),
        };
        found.of(&self.stream)
    }

    fn action(&self, code: u8) -> &'static str {
        match (&*self.name, code) {
            ("settings", _) => "Correct that setting, and load the VCL again.",
            ("spool", _) => "Run doctor as root or as the spool's owner.",
            ("name", _) => "Correct `endpoint`, or this machine's DNS.",
            ("connection", _) | ("write", 3) => {
                "Open the way to that address and port in the firewall, or correct `endpoint` or `proxy`."
            }
            ("tls", 4) => {
                "Give the authority that signed the gateway's certificate in `ca_file`, or correct \
                 `endpoint`."
            }
            ("tls", _) => "Use https:// in `endpoint` unless the way there is trusted.",
            ("clock", _) => {
                "Set this machine's clock: systemctl enable --now systemd-timesyncd or chrony."
            }
            ("credentials", _) | ("write", 5) => {
                "Correct the key where the credentials come from, or its policy; a file is read again \
                 when it changes, so no reload is needed."
            }
            ("write", 6) => "Create the bucket, or correct `bucket`, `region` or `endpoint`.",
            ("write", 7) => {
                "Correct the setting that the gateway's answer names, and load the VCL again."
            }
            ("read", 7) => "Check which server answers at `endpoint`.",
            _ => {
                "Run doctor again in a minute, and ask the gateway's operator if it says the same."
            }
        }
    }
}

/// Whether the cache process can read the file of the key.
fn key(node: &Node<'_>, stream: &str, file: &Path) -> Option<Finding> {
    let child = node.varnishd.child.as_ref()?;
    let (name, runs_as) = (file.display(), user(child.uid));
    let Ok(meta) = fs::metadata(file) else {
        let text =
            format!("the file of credentials {name} is not there, or this user may not see it");
        let action = format!(
            "Make it: install -m 600 -o {runs_as} /dev/null {name}, and write the key into it."
        );
        return Some(Finding::fix("credentials", text, action).of(stream));
    };
    if let Some(folder) = barred(child, file) {
        let text = format!(
            "{runs_as}, whom the cache process runs as, may not enter {}",
            folder.display()
        );
        let action = format!("Let it pass: chmod o+x {}.", folder.display());
        return Some(Finding::fix("credentials", text, action).of(stream));
    }
    if !may(child, &meta, READ) {
        let text = format!("{runs_as}, whom the cache process runs as, may not read {name}");
        let action = format!("Give it to that user: chown {runs_as} {name} && chmod 600 {name}.");
        return Some(Finding::fix("credentials", text, action).of(stream));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_of_check_that_can_fail_has_its_own_action() {
        let action = |name: &str, code| {
            let text = String::new();
            Kept { stream: text.clone(), name: name.to_owned(), mark: Mark::Failed, text }
                .action(code)
        };
        let all = [
            ("settings", 2),
            ("name", 3),
            ("connection", 3),
            ("tls", 4),
            ("credentials", 5),
            ("write", 6),
            ("write", 7),
            ("write", 1),
            ("read", 7),
        ];
        let actions: std::collections::BTreeSet<_> =
            all.iter().map(|(name, code)| action(name, *code)).collect();
        assert_eq!(actions.len(), all.len());
        assert_eq!(action("write", 5), action("credentials", 5));
    }
}
