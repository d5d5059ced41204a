//! Completion scripts and manual pages, from the same definitions as `--help`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use super::Error;

/// For which shell.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: s3log completions bash > /usr/share/bash-completion/completions/s3log"
)]
pub(super) struct CompletionsArgs {
    /// Shell name.
    shell: clap_complete::Shell,
}

/// Where to.
#[derive(Debug, clap::Args)]
#[command(after_help = "Writes s3log.1, s3log-ls.1 and so on.")]
pub(super) struct ManArgs {
    /// Directory to write to. Without it, only the page of s3log itself is written, to standard output.
    #[arg(value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
}

/// Prints a completion script of the command.
///
/// # Errors
/// The output's.
pub(super) fn completions(
    arguments: &CompletionsArgs,
    mut command: clap::Command,
    out: &mut dyn Write,
) -> Result<ExitCode, Error> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "s3log", &mut script);
    out.write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes the manual pages of the command.
///
/// # Errors
/// The output's, or the directory's.
pub(super) fn man(
    arguments: &ManArgs,
    command: clap::Command,
    out: &mut dyn Write,
) -> Result<ExitCode, Error> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let Some(directory) = &arguments.directory else {
        clap_mangen::Man::new(command).render(out)?;
        return Ok(ExitCode::SUCCESS);
    };
    let failed = |path: &std::path::Path| {
        let path = path.display().to_string();
        move |source| Error::File { path, source }
    };
    std::fs::create_dir_all(directory).map_err(failed(directory))?;
    // Built commands call themselves s3log-ls and so on.
    for page in std::iter::once(&command).chain(command.get_subcommands()) {
        let name = page.get_display_name().unwrap_or_else(|| page.get_name()).to_owned();
        let path = directory.join(format!("{name}.1"));
        let mut text = Vec::new();
        clap_mangen::Man::new(page.clone()).render(&mut text)?;
        std::fs::write(&path, text).map_err(failed(&path))?;
        writeln!(out, "{}", path.display())?;
    }
    Ok(ExitCode::SUCCESS)
}
