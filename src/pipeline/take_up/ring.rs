//! A stream's ring: opened, or made anew where the file cannot be used, which is set aside.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::events::Level;
use crate::pipeline::Environment;
use crate::pipeline::error::StartError;
use crate::ring::{Backing, Opened, Ring};
use crate::settings::Settings;

/// What is to be told goes into `notes`.
pub(super) fn open_ring(
    path: Option<&Path>,
    settings: &Settings,
    environment: &Environment,
    notes: &mut Vec<(Level, String)>,
) -> Result<Opened, StartError> {
    let backing = path.map_or(Backing::Memory, Backing::File);
    let capacity = settings.ring;
    let stream = settings.stream.clone();
    match Ring::open(backing, capacity) {
        Err(error) if error.blames_file() && path.is_some() => {
            let path = path.unwrap_or_else(|| Path::new(""));
            let aside = set_aside(path, environment.clock.unix()).map_err(|source| {
                StartError::System { stream: stream.clone(), doing: "set a ring aside", source }
            })?;
            let note = format!("{error}; it is set aside as {}", aside.display());
            notes.push((Level::Error, note));
            Ring::open(backing, capacity).map_err(|source| StartError::Ring { stream, source })
        }
        opened => opened.map_err(|source| StartError::Ring { stream, source }),
    }
}

/// Renames a file that is not ours or is damaged; nothing is deleted.
fn set_aside(path: &Path, now: Duration) -> io::Result<PathBuf> {
    for more in 0..1000 {
        let more = if more == 0 { String::new() } else { format!(".{more}") };
        let aside = path.with_extension(format!("aside-{}{more}", now.as_secs()));
        // Another process has no business here: the spool is locked.
        if aside.symlink_metadata().is_ok() {
            continue;
        }
        std::fs::rename(path, &aside)?;
        return Ok(aside);
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_that_is_set_aside_overwrites_none_that_was_before() {
        let folder = tempfile::tempdir().unwrap();
        let ring = folder.path().join("ring");
        let now = Duration::from_secs(7);
        for (content, name) in
            [("1", "ring.aside-7"), ("2", "ring.aside-7.1"), ("3", "ring.aside-7.2")]
        {
            std::fs::write(&ring, content).unwrap();
            let aside = set_aside(&ring, now).unwrap();
            assert_eq!(aside, folder.path().join(name));
            assert_eq!(std::fs::read_to_string(&aside).unwrap(), content);
        }
        assert_eq!(std::fs::read_to_string(folder.path().join("ring.aside-7")).unwrap(), "1");
    }
}
