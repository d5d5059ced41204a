//! The process, the module that it has loaded, and its parameters.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::finding::Finding;
use super::node::Node;
use crate::built_for::{self, BuiltForError};
use crate::cli::varnishd::Varnishd;

/// The module's file.
const MODULE: &str = "libvmod_s3log.so";

/// The name that varnishd gives its copy of it.
const COPY: &str = "_vmod_s3log.";

pub(super) fn findings(node: &Node<'_>) -> Vec<Finding> {
    let varnishd = &node.varnishd;
    let Some(manager) = &varnishd.manager else {
        let text = format!("no varnishd{} runs in this machine's processes", varnishd.option());
        let action = "Start Varnish (systemctl start varnish), or name it with -n.";
        return vec![Finding::fix("varnish", text, action)];
    };
    let mut found = Vec::new();
    let abi = varnishd.abi();
    match &abi {
        Ok(abi) => found.push(Finding::ok("varnish", format!("{abi}, process {}", manager.pid))),
        Err(error) => {
            let text = format!("process {}, whose version is not known: {error}", manager.pid);
            found.push(Finding::unseen("varnish", text, "Run doctor as root."));
        }
    }
    if varnishd.child.is_none() {
        let text = "it has no cache process, so nothing is served";
        let option = varnishd.option();
        let action = format!(
            "Read varnishadm{option} panic.show, and start it with varnishadm{option} start."
        );
        found.push(Finding::fix("varnish", text, action));
    }
    found.extend(module(node, abi.as_deref().ok()));
    found.extend(parameters(node));
    match &node.counters {
        None => {
            let action = "Run doctor as root or as a user of the group varnish, with Varnish's tools \
                          in PATH.";
            found.push(Finding::unseen("counters", "varnishstat shows none", action));
        }
        Some(counters) if counters.streams.is_empty() => {
            let text = "no VCL that is loaded has a stream of s3log";
            let action = format!(
                "Load a VCL that imports s3log and makes a stream: varnishadm{} vcl.load, which says \
                 why if it cannot.",
                varnishd.option()
            );
            found.push(Finding::fix("counters", text, action));
        }
        Some(counters) => {
            let names: Vec<&str> = counters.streams.iter().map(|one| &*one.name).collect();
            found.push(Finding::ok("counters", format!("of {}", names.join(", "))));
        }
    }
    found.extend(message(node));
    found
}

/// Whether the module's file is for this Varnish, and is the one that is loaded.
fn module(node: &Node<'_>, abi: Option<&str>) -> Option<Finding> {
    let path = match node.module {
        Some(path) => path.to_owned(),
        None => match node.parameters.as_ref().and_then(|all| in_path(all.get("vmod_path")?)) {
            Some(path) => path,
            None if node.parameters.is_some() => {
                let text = format!("{MODULE} is in no folder of vmod_path");
                let action = "Install the module for this Varnish: the package, or make install.";
                return Some(Finding::fix("module", text, action));
            }
            None => {
                let text =
                    "where varnishd looks for modules is not known: varnishadm does not answer";
                let action = "Run doctor as root, or name the file with --module.";
                return Some(Finding::unseen("module", text, action));
            }
        },
    };
    let name = path.display();
    let wanted = match built_for::of(&path) {
        Ok(wanted) => wanted,
        Err(BuiltForError::Read(error)) => {
            let action = "Make the file readable, or name another one with --module.";
            return Some(Finding::unseen("module", format!("{name}: {error}"), action));
        }
        Err(error) => {
            let action = "Install the module for this Varnish: the package, or make install.";
            return Some(Finding::fix("module", format!("{name}: {error}"), action));
        }
    };
    let wanted = wanted.abi();
    let successor = node.varnishd.successor_loads(wanted);
    match abi {
        _ if successor == Some(false) => {
            let text =
                format!("{name} was built for {wanted}, and another Varnish is installed now");
            let action = "Install the module for the Varnish that is installed: upgrade its package, or run \
                          make build && make install, then restart Varnish: systemctl restart varnish.";
            Some(Finding::fix("module", text, action))
        }
        Some(abi) if abi != wanted && successor == Some(true) => {
            let text = format!(
                "{name} was built for {wanted}, which is installed, and {abi} still runs: it cannot be \
                 loaded"
            );
            let action =
                "Restart Varnish, so that the installed one runs: systemctl restart varnish.";
            Some(Finding::fix("module", text, action))
        }
        Some(abi) if abi != wanted => {
            let text =
                format!("{name} was built for {wanted}, and this is {abi}: it cannot be loaded");
            let action = format!(
                "Install the module that was built for {abi}: upgrade its package, or run make build \
                 && make install against this Varnish, then load the VCL again."
            );
            Some(Finding::fix("module", text, action))
        }
        _ if is_loaded(&node.varnishd, &path) == Some(false) => {
            let text = format!("{name} is not the one that Varnish has loaded");
            let action = "Restart Varnish, so that it loads the installed module: systemctl restart \
                          varnish.";
            Some(Finding::fix("module", text, action))
        }
        Some(_) => Some(Finding::ok("module", format!("{name} was built for this Varnish"))),
        None => Some(Finding::ok("module", format!("{name} was built for {wanted}"))),
    }
}

/// The module's file in the folders of `vmod_path`.
fn in_path(folders: &str) -> Option<PathBuf> {
    folders.split(':').map(|folder| Path::new(folder).join(MODULE)).find(|path| path.exists())
}

/// Whether the module that the cache process uses is the one in this file; `None` where it uses none, or
/// where this user may not look.
fn is_loaded(varnishd: &Varnishd, file: &Path) -> Option<bool> {
    let maps = varnishd.child.as_ref()?.file("maps").ok()?;
    let copies: BTreeSet<&str> = maps
        .lines()
        .filter_map(|line| line.get(line.find('/')?..))
        .filter(|path| path.rsplit('/').next().is_some_and(|name| name.starts_with(COPY)))
        .collect();
    let module = fs::read(file).ok()?;
    // Of two that are loaded, one may be that of a VCL that is not discarded yet.
    let same = copies.iter().filter_map(|copy| Some(fs::read(copy).ok()? == module));
    same.reduce(|one, another| one || another)
}

/// The parameters that matter to the module.
fn parameters(node: &Node<'_>) -> Vec<Finding> {
    let Some(parameters) = &node.parameters else {
        let action = "Run doctor as root, or as a user who may read the secret of varnishadm.";
        return vec![Finding::unseen("parameters", "varnishadm does not answer", action)];
    };
    let workspace = parameters.number("workspace_client").unwrap_or_default();
    let mut found = workspaces(node, workspace);
    if found.is_empty() {
        let text = format!(
            "workspace_client = {workspace}, of which the module takes nothing; vsl_buffer = {}, \
             vsl_reclen = {}",
            parameters.get("vsl_buffer").unwrap_or("?"),
            parameters.get("vsl_reclen").unwrap_or("?"),
        );
        found.push(Finding::ok("parameters", text));
    }
    found
}

fn workspaces(node: &Node<'_>, workspace: u64) -> Vec<Finding> {
    let counters = node.counters.as_ref();
    let overflows = counters.and_then(|all| all.main("ws_client_overflow")).unwrap_or_default();
    if overflows == 0 {
        return Vec::new();
    }
    let text = format!(
        "{overflows} requests had no room in workspace_client = {workspace}, of which the module takes \
         nothing"
    );
    let action = format!(
        "Raise it: varnishadm{} param.set workspace_client {}.",
        node.varnishd.option(),
        workspace.saturating_mul(2)
    );
    vec![Finding::note("parameters", text, action)]
}

/// The newest message of the module that something is wrong, or was.
fn message(node: &Node<'_>) -> Option<Finding> {
    let messages = node.varnishd.messages().ok()?;
    let text = messages.last()?;
    let action =
        "Read the whole message, and whether it has come again since, in journalctl -u varnish.";
    Some(Finding::note("message", text, action))
}
