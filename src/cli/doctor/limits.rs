//! The kernel's limits of the cache process, where the module may hit one.

use super::finding::Finding;
use super::node::Node;

/// Of the descriptors that the cache process may have, the share that is worth a word when in use.
const BUSY: u64 = 80;

pub(super) fn findings(node: &Node<'_>) -> Vec<Finding> {
    let Some(child) = &node.varnishd.child else { return Vec::new() };
    let Ok(limits) = child.file("limits") else {
        let text = format!("the limits of process {} cannot be read", child.pid);
        return vec![Finding::unseen("limits", text, "Run doctor as root.")];
    };
    let open = std::fs::read_dir(format!("/proc/{}/fd", child.pid)).map(|all| all.count() as u64);
    judge(&limits, open.ok())
}

/// What `/proc/PID/limits` says, `open` being how many descriptors are in use if that is known.
fn judge(limits: &str, open: Option<u64>) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some(most) = limit(limits, "Max file size") {
        let text = format!("the cache process may write files of {most} bytes only");
        let action = "Set LimitFSIZE=infinity in varnish.service, because the ring and the blocks \
                      are files.";
        found.push(Finding::fix("limits", text, action));
    }
    if let (Some(most), Some(open)) = (limit(limits, "Max open files"), open)
        && open * 100 >= most * BUSY
    {
        let text = format!("{open} of {most} file descriptors are in use");
        let action = "Raise LimitNOFILE in varnish.service, and restart Varnish.";
        found.push(Finding::fix("limits", text, action));
    }
    if found.is_empty() {
        let text = match (open, limit(limits, "Max open files")) {
            (Some(open), Some(most)) => format!("{open} of {most} file descriptors are in use"),
            _ => "no limit on files is in the way".to_owned(),
        };
        found.push(Finding::ok("limits", text));
    }
    found
}

/// The soft limit of this name; `None` for none.
fn limit(limits: &str, name: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::finding::Mark;
    use super::*;

    const LIMITS: &str = "Limit                     Soft Limit           Hard Limit           Units\n\
        Max file size             unlimited            unlimited            bytes\n\
        Max open files            1000                 20000                files\n";

    #[test]
    fn a_limit_that_is_near_or_in_the_way_is_to_be_raised() {
        let marks = |limits: &str, open| {
            judge(limits, Some(open)).iter().map(|found| found.mark).collect::<Vec<_>>()
        };
        assert_eq!(marks(LIMITS, 799), [Mark::Ok]);
        assert_eq!(marks(LIMITS, 800), [Mark::Fix]);
        let small = LIMITS.replacen("unlimited ", "1048576   ", 1);
        assert_eq!(marks(&small, 10), [Mark::Fix]);
        assert_eq!(marks(&small, 900), [Mark::Fix, Mark::Fix]);
    }
}
