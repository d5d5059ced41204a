//! What is asked for: where blocks go, what a line has, who can read it.

use std::io::{BufRead, Write};

use crate::cli::Error;

/// The gateway that is offered.
const ENDPOINT: &str = "https://gateway.storjshare.io";
/// The path that is offered.
const PATH: &str = "varnish/%Y/%m/%d/";

/// Flags; what is left out is asked for, or has the default that is offered.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct Answers {
    /// Gateway URL: https://host[:port]. Default: https://gateway.storjshare.io
    #[arg(long, value_name = "URL")]
    pub(super) endpoint: Option<String>,
    /// Bucket name.
    #[arg(long, value_name = "NAME")]
    pub(super) bucket: Option<String>,
    /// Prefix of every object key, with strftime conversions. Default: varnish/%Y/%m/%d/
    #[arg(long, value_name = "STRFTIME")]
    pub(super) path: Option<String>,
    /// Region of the bucket. Default: that of the endpoint.
    #[arg(long, value_name = "NAME")]
    pub(super) region: Option<String>,
    /// Line format: combined, json, or a format as in VCL. Default: combined
    #[arg(long, value_name = "FORMAT")]
    pub(super) format: Option<String>,
    /// age recipients that blocks are encrypted to, or a file of them.
    #[arg(long, value_name = "RECIPIENTS")]
    pub(super) encrypt_to: Option<String>,
    /// OpenPGP certificate that blocks are encrypted to: its file.
    #[arg(long, value_name = "FILE", conflicts_with = "encrypt_to")]
    pub(super) public_key: Option<String>,
}

impl Answers {
    /// Asks for what was not given, one line each; an empty one takes what is offered.
    ///
    /// # Errors
    /// The terminal's, or its end.
    pub(super) fn ask(&self, from: &mut dyn BufRead, to: &mut dyn Write) -> Result<Self, Error> {
        let mut all = self.clone();
        let mut ask = |given: &mut Option<String>, question: &str, offer: &str| {
            if given.is_none() {
                *given = line(from, to, question, offer)?;
            }
            Ok::<(), Error>(())
        };
        ask(&mut all.endpoint, "Gateway URL", ENDPOINT)?;
        ask(&mut all.bucket, "Bucket", "")?;
        ask(&mut all.path, "Prefix of object keys", PATH)?;
        ask(&mut all.format, "Line format: combined, json, or a format", "combined")?;
        if all.public_key.is_none() {
            ask(&mut all.encrypt_to, "Encrypt blocks to these age recipients (empty: do not)", "")?;
        }
        Ok(all)
    }

    /// The gateway's URL.
    pub(super) fn endpoint(&self) -> &str {
        self.endpoint.as_deref().unwrap_or(ENDPOINT)
    }

    /// Prefix of keys.
    pub(super) fn path(&self) -> &str {
        self.path.as_deref().unwrap_or(PATH)
    }

    /// The bucket.
    ///
    /// # Errors
    /// It was not given.
    pub(super) fn bucket(&self) -> Result<&str, Error> {
        self.bucket.as_deref().ok_or_else(|| {
            Error::Usage("--bucket is missing, and there is no terminal to ask at".to_owned())
        })
    }
}

fn line(
    from: &mut dyn BufRead,
    to: &mut dyn Write,
    question: &str,
    offer: &str,
) -> Result<Option<String>, Error> {
    let shown = if offer.is_empty() { String::new() } else { format!(" [{offer}]") };
    write!(to, "{question}{shown}: ")?;
    to.flush()?;
    let mut text = String::new();
    if from.read_line(&mut text)? == 0 {
        return Err(Error::Usage("the answers ended before all was asked".to_owned()));
    }
    let text = text.trim();
    let answer = if text.is_empty() { offer } else { text };
    Ok((!answer.is_empty()).then(|| answer.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn only_what_was_not_given_is_asked_for_and_an_empty_line_takes_the_offer() {
        let given = Answers { format: Some("json".to_owned()), ..Answers::default() };
        let mut out = Vec::new();
        let mut typed = Cursor::new("\nlogs\n edge/ \n\n");
        let all = given.ask(&mut typed, &mut out).unwrap();
        assert_eq!(
            (all.endpoint(), all.bucket().unwrap(), all.path()),
            (ENDPOINT, "logs", "edge/")
        );
        assert_eq!((all.format.as_deref(), all.encrypt_to), (Some("json"), None));
        let out = String::from_utf8(out).unwrap();
        assert!(!out.contains("Line format") && out.contains("Gateway URL ["), "{out}");
        assert!(given.ask(&mut Cursor::new("\nlogs\n"), &mut Vec::new()).is_err(), "it ends early");
        assert!(Answers::default().bucket().unwrap_err().to_string().contains("--bucket"));
    }
}
