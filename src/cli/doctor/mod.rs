//! `s3log doctor`: what is wrong on this node, and what to do about each of it.
//!
//! It looks at Varnish, the spool, the counters and the system, and tries the gateway as `check` does.
//! Every finding that needs somebody has one imperative sentence. It changes nothing on the node; the
//! gateway gets one small object, as from `check`.
//!
//! What a user may not see is said, with who may: nothing is taken for right because it is hidden.
//!
//! Non-goals: repairing; watching over time (`top`, the alerts); nodes other than this one.
//!
//! | file | what |
//! |---|---|
//! | `node` | what all of them look at |
//! | `finding` | one finding, and how it is shown |
//! | `instance` | the process, the module's ABI, parameters |
//! | `mask` | which tags that a format needs are hidden |
//! | `limits` | the kernel's limits of the cache process |
//! | `denials` | what SELinux and AppArmor have denied |
//! | `rights` | what the cache process may do with a file |
//! | `place` | the spool directory: owner, mount, file system, space |
//! | `blocks` | what waits in a folder and why, quarantine |
//! | `drops` | what the counters say, and the likely cause |
//! | `gateway` | the steps of `check`, and who can read the key |

mod blocks;
mod denials;
mod drops;
mod finding;
mod gateway;
mod instance;
mod limits;
mod mask;
mod node;
mod place;
mod rights;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use self::finding::{Finding, Mark};
use self::node::Node;
use super::Error;
use super::spools::Spools;
use super::terminal::output::{Paint, counted};

/// Which node and which streams.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Run it as root: other users do not see all of it, and are told what they do not see. \
Without a settings file it takes the streams and their settings from the spool directory. It changes \
nothing on this node; like s3log check it writes one small object into each bucket, unless --offline is \
given.

Each line says ok, note (worth knowing), FIX (with what to do) or unseen (with what would show it).

Exit codes:
  0  nothing to fix
  1  something to fix
  2  invalid arguments or settings
  3  nothing to fix was found, but something could not be seen"
)]
pub(super) struct DoctorArgs {
    /// The varnishd to look at, by its -n: a name or a working directory. Default: the only one that
    /// runs.
    #[arg(short = 'n', long = "varnish", value_name = "NAME")]
    varnish: Option<PathBuf>,
    /// The module's file. Default: libvmod_s3log.so in varnishd's vmod_path.
    #[arg(long, value_name = "FILE")]
    module: Option<PathBuf>,
    /// Do not connect to the gateways.
    #[arg(long)]
    offline: bool,
    /// Print one JSON object per finding.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    spools: Spools,
}

/// Looks at the node, and prints what it finds as it finds it.
///
/// # Errors
/// An argument, or the output. What is found is no error but an exit code.
pub(super) fn run(arguments: &DoctorArgs, out: &mut dyn Write) -> Result<ExitCode, Error> {
    let DoctorArgs { varnish, module, offline, spools, .. } = arguments;
    let node = Node::look(varnish.as_deref(), module.as_deref(), *offline, spools)?;
    let paint = Paint::stdout();
    let (mut fixes, mut unseen) = (0, 0);
    let mut tell = |found: Vec<Finding>| -> Result<(), Error> {
        for finding in found {
            fixes += u64::from(finding.mark == Mark::Fix);
            unseen += u64::from(finding.mark == Mark::Unseen);
            finding.print(out, paint, arguments.json)?;
        }
        Ok(out.flush()?)
    };
    tell(instance::findings(&node))?;
    tell(mask::findings(&node))?;
    tell(limits::findings(&node))?;
    tell(denials::findings(&node))?;
    tell(place::findings(&node))?;
    let gateway = gateway::findings(&node)?;
    tell(blocks::findings(&node, &gateway)?)?;
    tell(drops::findings(&node))?;
    tell(gateway)?;
    if !arguments.json {
        let text = match (fixes, unseen) {
            (0, 0) => paint.good("nothing to fix"),
            (0, unseen) => format!("nothing to fix was found; {unseen} could not be seen"),
            (fixes, 0) => paint.bad(&format!("{} to fix", counted(fixes, "thing"))),
            (fixes, unseen) => {
                let fixes = paint.bad(&format!("{} to fix", counted(fixes, "thing")));
                format!("{fixes}; {unseen} could not be seen")
            }
        };
        writeln!(out, "{text}")?;
    }
    Ok(ExitCode::from(match (fixes, unseen) {
        (0, 0) => 0,
        (0, _) => 3,
        _ => 1,
    }))
}
