//! The shared credentials file's format: AWS's INI.
//!
//! As AWS's tools read it: a section is `[name]` or, in the config file, `[profile name]`; keys are
//! case-insensitive; a value ends at the line's end or before ` #` or ` ;`; an indented line
//! without a key of its own belongs to the setting above and is not looked at; when a key comes
//! twice, the last one counts; an unknown key is ignored.
//! Source: <https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html>.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

/// Why a file is not a credentials file. Names lines and sections, never values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IniError {
    /// The profile is not there.
    #[error("has no section [{0}]: add it, or name another profile")]
    NoProfile(String),
    /// The profile lacks a key.
    #[error("section [{0}] has no {1}")]
    NoKey(String, &'static str),
    /// A line that is neither section, setting nor comment.
    #[error("line {0} is neither a [section], a comment nor name = value")]
    Line(usize),
    /// Not text.
    #[error("is not UTF-8 text")]
    Encoding,
}

/// The settings of one profile, keys in lower case; values zeroized when dropped.
pub type Section = BTreeMap<String, Zeroizing<String>>;

/// A setting that is there and not empty.
pub(super) fn get<'a>(section: &'a Section, key: &str) -> Option<&'a str> {
    section.get(key).map(|value| value.as_str()).filter(|value| !value.is_empty())
}

/// Reads the settings of `profile` out of `bytes`, AWS's INI:
///
/// ```text
/// [default]
/// aws_access_key_id = AKIAIOSFODNN7EXAMPLE
/// aws_secret_access_key = ...
/// aws_session_token = ...          ; optional
/// ```
///
/// # Errors
/// When the text is not INI or has no such profile.
pub fn profile(bytes: &[u8], profile: &str) -> Result<Section, IniError> {
    let text = std::str::from_utf8(bytes).map_err(|_| IniError::Encoding)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut found: Option<Section> = None;
    let mut inside = false;
    let mut any_section = false;
    for (index, line) in text.lines().enumerate() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        if let Some(rest) = trimmed.strip_prefix('[') {
            let name = rest.split_once(']').ok_or(IniError::Line(index + 1))?.0.trim();
            let name = name.strip_prefix("profile").map_or(name, |rest| {
                if rest.starts_with([' ', '\t']) { rest.trim() } else { name }
            });
            any_section = true;
            inside = name == profile;
            if inside {
                found.get_or_insert_default();
            }
            continue;
        }
        if line.starts_with([' ', '\t']) && any_section {
            // A sub-setting such as those below `s3 =`.
            continue;
        }
        let (key, value) = trimmed.split_once('=').ok_or(IniError::Line(index + 1))?;
        if !any_section {
            return Err(IniError::Line(index + 1));
        }
        if let (true, Some(section)) = (inside, found.as_mut()) {
            let value = value.trim();
            let end = value
                .match_indices(['#', ';'])
                .map(|(at, _)| at)
                .find(|at| value.get(..*at).is_some_and(|v| v.ends_with([' ', '\t'])));
            let value = end.and_then(|at| value.get(..at)).unwrap_or(value).trim_end();
            section.insert(key.trim().to_ascii_lowercase(), Zeroizing::new(value.to_owned()));
        }
    }
    found.ok_or_else(|| IniError::NoProfile(profile.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value<'a>(section: &'a Section, key: &str) -> Option<&'a str> {
        section.get(key).map(|v| v.as_str())
    }

    #[test]
    fn a_profile_is_read_as_awss_tools_read_it() {
        let text = b"\xef\xbb\xbf# comment\n[default]\nAWS_Access_Key_Id=AK1\n\
            aws_secret_access_key = a/b+c=d#e  ; note\n\n; another\n[profile second]\r\n\
            aws_access_key_id = AK2\r\ns3 =\n  addressing_style = path\n\
            aws_access_key_id = AK3\n";
        let first = profile(text, "default").unwrap();
        assert_eq!(value(&first, "aws_access_key_id"), Some("AK1"));
        assert_eq!(value(&first, "aws_secret_access_key"), Some("a/b+c=d#e"));
        let second = profile(text, "second").unwrap();
        assert_eq!(value(&second, "aws_access_key_id"), Some("AK3"));
        assert_eq!(value(&second, "addressing_style"), None);
    }

    #[test]
    fn a_file_that_is_not_one_is_answered_with_the_line() {
        assert_eq!(profile(b"[default\n", "default"), Err(IniError::Line(1)));
        assert_eq!(profile(b"[default]\nnonsense\n", "default"), Err(IniError::Line(2)));
        assert_eq!(profile(b"a = b\n", "default"), Err(IniError::Line(1)));
        assert_eq!(profile(b"\xff", "default"), Err(IniError::Encoding));
        assert_eq!(profile(b"", "x"), Err(IniError::NoProfile("x".into())));
    }

    #[test]
    fn no_error_repeats_a_value() {
        let error = profile(b"[default]\nsecret without equals sign\n", "default").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("secret"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = profile(&bytes, "default");
        }

        #[test]
        fn a_written_secret_is_the_one_read(secret in "[A-Za-z0-9/+=]{1,60}") {
            let text = format!("[p]\naws_secret_access_key = {secret}\n");
            let section = profile(text.as_bytes(), "p").unwrap();
            prop_assert_eq!(value(&section, "aws_secret_access_key"), Some(secret.as_str()));
        }
    }
}
