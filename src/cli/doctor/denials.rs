//! What SELinux and AppArmor have denied the cache process, from the kernel's messages.
//!
//! Limits: the newest 4 MiB of the files that the audit daemon and syslog write; the kernel's own
//! buffer, which needs root, is asked for by `journalctl`.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::finding::Finding;
use super::node::Node;
use crate::cli::program;

/// Where denials are written, the first that can be read.
const FILES: [&str; 3] = ["/var/log/audit/audit.log", "/var/log/kern.log", "/var/log/syslog"];

/// Most that is read of one.
const MOST: u64 = 4 << 20;

/// What the cache process and its threads are called.
const NAMES: [&str; 5] = ["cache-", "varnishd", "vinyld", "s3log-", "s3log\""];

pub(super) fn findings(node: &Node<'_>) -> Vec<Finding> {
    let selinux = std::fs::read_to_string("/sys/fs/selinux/enforce")
        .is_ok_and(|enforces| enforces.trim() == "1");
    let confined = node.varnishd.child.as_ref().and_then(|child| child.file("attr/current").ok());
    let confined = confined.filter(|profile| profile.contains("(enforce)"));
    if !selinux && confined.is_none() {
        return vec![Finding::ok("security", "neither SELinux nor AppArmor confines Varnish")];
    }
    let Some(log) = FILES.iter().find_map(|file| end(Path::new(file)).ok()).or_else(journal) else {
        let text = "SELinux or AppArmor confines Varnish, and no log of denials can be read";
        return vec![Finding::unseen("security", text, "Run doctor as root.")];
    };
    judge(&log)
}

/// The end of a log.
fn end(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MOST)))?;
    let mut bytes = Vec::new();
    file.take(MOST).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn journal() -> Option<String> {
    let mut command = Command::new("journalctl");
    command.args(["-k", "-o", "cat", "--no-pager", "-n", "5000"]).stderr(Stdio::null());
    let bytes = program::output(command, Duration::from_secs(5), MOST).ok()?;
    (!bytes.is_empty()).then(|| String::from_utf8_lossy(&bytes).into_owned())
}

fn judge(log: &str) -> Vec<Finding> {
    let denied = |line: &&str| {
        let of_selinux = line.contains("avc:") && line.contains("denied");
        let of_apparmor = line.contains("apparmor=\"DENIED\"");
        (of_selinux || of_apparmor)
            && NAMES.iter().any(|name| line.contains(&format!("comm=\"{name}")))
    };
    let lines: Vec<&str> = log.lines().filter(denied).collect();
    let Some(last) = lines.last() else {
        return vec![Finding::ok("security", "SELinux and AppArmor have denied Varnish nothing")];
    };
    let text = format!("denied {} times, at last: {last}", lines.len());
    let action = if last.contains("avc:") {
        "Allow what the message names: label the spool with semanage fcontext -a -t varnishd_var_lib_t \
         'DIRECTORY(/.*)?' and restorecon -R DIRECTORY, and for the network run setsebool -P \
         varnishd_connect_any 1."
    } else {
        "Allow what the message names in /etc/apparmor.d/local/ for the profile that it names, and run \
         apparmor_parser -r on that profile."
    };
    vec![Finding::fix("security", text, action)]
}

#[cfg(test)]
mod tests {
    use super::super::finding::Mark;
    use super::*;

    #[test]
    fn the_last_denial_of_varnish_is_found_and_others_are_not() {
        let other = "type=AVC msg=audit(1.2:3): avc:  denied  { read } for  pid=1 comm=\"nginx\" x";
        let selinux = "type=AVC msg=audit(1795686321.492:71): avc:  denied  { write } for  pid=20815 \
                       comm=\"s3log-pack\" name=\"access\" dev=\"vda1\" \
                       scontext=system_u:system_r:varnishd_t:s0 tcontext=unconfined_u:object_r:var_t:s0 \
                       tclass=dir permissive=0";
        let apparmor = "audit: type=1400 audit(1795686321.1:9): apparmor=\"DENIED\" operation=\"open\" \
                        class=\"file\" profile=\"varnishd\" name=\"/srv/spool/access/lock\" pid=7 \
                        comm=\"cache-main\" requested_mask=\"rw\" denied_mask=\"rw\" fsuid=105";
        assert_eq!(judge(other).first().unwrap().mark, Mark::Ok);
        for (line, action) in [(selinux, "semanage"), (apparmor, "apparmor_parser")] {
            let found = judge(&format!("{line}\n{line}\n{other}\n"));
            let [found] = found.as_slice() else { panic!("{found:?}") };
            assert_eq!(found.mark, Mark::Fix);
            assert!(found.text.starts_with("denied 2 times, at last: "), "{}", found.text);
            assert!(found.action.as_ref().unwrap().contains(action), "{found:?}");
        }
    }
}
