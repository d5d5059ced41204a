//! `s3log cat`: the lines of a stream.

use std::io::{self, Write};

use super::settings::{Source, client};
use super::{Error, bucket};
use crate::block::Decoder;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    source: Source,
}

/// Writes every line of every block, oldest block first.
///
/// # Errors
/// A setting, an answer of the gateway, a block that cannot be read, or the output.
pub(super) fn run(arguments: &Arguments, output: &mut dyn Write) -> Result<(), Error> {
    let settings = arguments.source.settings()?;
    let client = client(&settings)?;
    let prefix = bucket::prefix(settings.naming.path());
    for block in bucket::blocks(&client, prefix, &settings.stream)? {
        let key = block.key;
        let got = client
            .get(&key)
            .map_err(|answer| Error::Gateway { what: format!("get {key}"), answer })?;
        let broken = |source| Error::Block { key: key.clone(), source };
        let mut lines = Decoder::sniff(got.body).map_err(broken)?;
        copy(&mut lines, output, &key)?;
    }
    output.flush().map_err(Error::Output)
}

/// Copies to the end, and tells an unreadable block from an output that has gone.
fn copy(from: &mut dyn io::Read, to: &mut dyn Write, key: &str) -> Result<(), Error> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => {
                to.write_all(buffer.get(..n).unwrap_or_default()).map_err(Error::Output)?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(Error::Block { key: key.to_owned(), source }),
        }
    }
}
