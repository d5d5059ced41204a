//! Which files a node has, and what is in them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::answers::Answers;
use crate::cli::Error;
use crate::record::{Need, Program, Side, TagTable, When};
use crate::settings::{self, Arguments, Settings};

/// The module's examples, from which the formats are taken.
const COMBINED: &str = include_str!("../../../vcl/combined.vcl");
const JSON: &str = include_str!("../../../vcl/json.vcl");
/// What the packages install for varnish.service.
const SERVICE: &str = include_str!("../../../packaging/varnish.service.conf");
/// Its spool directory.
const SERVICE_SPOOL: &str = "/var/lib/vmod-s3log";

/// After how many seconds a block is uploaded.
pub(super) const PERIOD: u32 = 10;

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// A file of the system: root's, for all to read.
    Text(String),
    /// A file for the cache process alone, never replaced once a key is in it.
    Secret(String),
    /// A directory for the cache process alone.
    Directory,
}

/// Something that has to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) path: PathBuf,
    pub(super) content: Content,
}

/// All of it.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) entries: Vec<Entry>,
    pub(super) settings: PathBuf,
    pub(super) vcl: PathBuf,
    pub(super) credentials: PathBuf,
    /// The drop-in that thins out Varnish's log.
    pub(super) mask: Option<PathBuf>,
}

impl Plan {
    /// The files of one stream; `systemd` is the folder of drop-ins, `mask` whether Varnish's log is
    /// thinned out.
    ///
    /// # Errors
    /// An answer that is missing, or a path that cannot stand in a file.
    pub(super) fn new(
        stream: &str,
        answers: &Answers,
        directory: &Path,
        spool: &Path,
        systemd: Option<&Path>,
        mask: bool,
    ) -> Result<Self, Error> {
        if !is_name(stream) {
            let text =
                format!("{stream:?} is no name of a VCL object: a letter, then letters, digits, _");
            return Err(Error::Usage(text));
        }
        let [settings, vcl, credentials] = ["s3log.toml", "s3log.vcl", "s3log.credentials"]
            .map(|name| std::path::absolute(directory).map(|directory| directory.join(name)));
        let failed = |source| Error::File { path: directory.display().to_string(), source };
        let (settings, vcl, credentials) =
            (settings.map_err(failed)?, vcl.map_err(failed)?, credentials.map_err(failed)?);
        let spool = std::path::absolute(spool).map_err(failed)?;
        let arguments = arguments(answers, &credentials, &spool)?;
        let program = checked(stream, &arguments)?;
        let file = |path: &Path, content| Entry { path: path.to_owned(), content };
        let mut entries = vec![
            file(&settings, Content::Text(toml(stream, &arguments))),
            file(&vcl, Content::Text(snippet(stream, &text(&settings)?))),
            file(&credentials, Content::Secret(KEY.to_owned())),
            file(&spool, Content::Directory),
        ];
        let masked = systemd.filter(|_| mask).map(|folder| folder.join("s3log-mask.conf"));
        if let Some(folder) = systemd {
            let service = SERVICE.replace(SERVICE_SPOOL, &text(&spool)?);
            entries.push(file(&folder.join("s3log.conf"), Content::Text(service)));
        }
        if let Some(path) = &masked {
            entries.push(file(path, Content::Text(mask_of(&program))));
        }
        Ok(Self { entries, settings, vcl, credentials, mask: masked })
    }
}

/// What hides from Varnish's log the tags that the module does not need.
const MASK: &str = include_str!("../../../examples/varnish-mask.conf");

/// The command of a line that hides tags, and the tags.
fn tags_of(line: &str) -> Option<(&str, &str)> {
    let (command, tags) = line.rsplit_once(' ')?;
    let hides = command.ends_with("param.set vsl_mask") && line.starts_with("Exec");
    hides.then_some((command, tags))
}

/// The same, less what every line of the format needs.
fn mask_of(program: &Program) -> String {
    let hidden = |name: &str| {
        MASK.lines().filter_map(tags_of).any(|(_, tags)| tags.split(',').any(|tag| tag == name))
    };
    let needs = program.needs(Side::Client);
    let each: Vec<&Need> = needs.iter().filter(|need| need.when == When::Always).collect();
    let needed: BTreeSet<String> = Need::to_show(&each, &|tag| !hidden(&format!("-{}", tag.name)))
        .into_iter()
        .map(|tag| format!("-{}", tag.name))
        .collect();
    let line = |line: &str| match tags_of(line) {
        Some((command, tags)) => {
            let tags: Vec<&str> = tags.split(',').filter(|tag| !needed.contains(*tag)).collect();
            format!("{command} {}\n", tags.join(","))
        }
        _ => format!("{line}\n"),
    };
    MASK.lines().map(line).collect()
}

/// The format, once all of the arguments are read as the module reads them: no file gets a setting that
/// a load would refuse.
fn checked(stream: &str, arguments: &[(&'static str, String)]) -> Result<Program, Error> {
    let mut given = Arguments::new(stream);
    for (name, value) in arguments {
        given.set(name, Some(value.clone()));
    }
    Settings::read(&given)?;
    settings::program(&given, &TagTable::varnish_7())
        .map_err(|error| Error::of_format("--format", error))
}

/// A file of credentials without a key.
const KEY: &str = "[default]\naws_access_key_id =\naws_secret_access_key =\n";

fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// A path as text that can stand in quotes.
fn text(path: &Path) -> Result<String, Error> {
    let text =
        path.to_str().filter(|text| !text.chars().any(|c| c.is_control() || "\"\\".contains(c)));
    text.map(str::to_owned).ok_or_else(|| {
        let text =
            format!("{}: expected a path without quotes and control characters", path.display());
        Error::Usage(text)
    })
}

fn arguments(
    answers: &Answers,
    credentials: &Path,
    spool: &Path,
) -> Result<Vec<(&'static str, String)>, Error> {
    let mut all = vec![
        ("endpoint", answers.endpoint().to_owned()),
        ("bucket", answers.bucket()?.to_owned()),
        ("path", answers.path().to_owned()),
        ("credentials", text(credentials)?),
        ("spool", text(spool)?),
        ("period", format!("{PERIOD}s")),
        ("format", format(answers.format.as_deref().unwrap_or("combined"))),
    ];
    let more = [
        ("region", &answers.region),
        ("encrypt_to", &answers.encrypt_to),
        ("public_key", &answers.public_key),
    ];
    for (name, value) in more {
        if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
            all.push((name, value.clone()));
        }
    }
    Ok(all)
}

/// A format by its name, or the format itself.
fn format(given: &str) -> String {
    let of_example = |text: &str| {
        let (_, rest) = text.split_once("format = ")?;
        let (open, close) =
            if rest.starts_with("\"\"\"") { ("\"\"\"", "\"\"\"") } else { ("{\"", "\"}") };
        Some(rest.strip_prefix(open)?.split_once(close)?.0.to_owned())
    };
    match given {
        "combined" => of_example(COMBINED),
        "json" => of_example(JSON),
        other => Some(other.to_owned()),
    }
    .unwrap_or_default()
}

/// The settings file.
fn toml(stream: &str, arguments: &[(&'static str, String)]) -> String {
    let mut text =
        String::from("# Written by s3log init. One table a stream; API.md has all settings.\n");
    text.push_str(&format!("[{stream}]\n"));
    for (name, value) in arguments {
        text.push_str(&format!("{name} = {}\n", quoted(value)));
    }
    text
}

/// A value of TOML: as it is between apostrophes where that is possible.
fn quoted(value: &str) -> String {
    if value.contains('\n') && !value.contains("'''") {
        return format!("'''\n{value}'''");
    }
    if !value.contains(['\'', '\n']) {
        return format!("'{value}'");
    }
    toml::Value::String(value.to_owned()).to_string()
}

/// What the site's VCL includes.
fn snippet(stream: &str, settings: &str) -> String {
    format!(
        "# Written by s3log init. Include it near the top of the site's VCL, so that .log() comes before\n\
         # any return.\n\
         import s3log;\n\n\
         sub vcl_init {{\n    new {stream} = s3log.stream(config = \"{settings}\");\n}}\n\n\
         sub vcl_recv {{\n    {stream}.log();\n}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(answers: &Answers) -> Plan {
        let (directory, systemd) = (Path::new("/etc/varnish"), Path::new("/etc/systemd"));
        Plan::new("access", answers, directory, Path::new("/srv/spool"), Some(systemd), true)
            .unwrap()
    }

    fn answers(format: &str) -> Answers {
        Answers {
            bucket: Some("logs".to_owned()),
            format: Some(format.to_owned()),
            ..Answers::default()
        }
    }

    #[test]
    fn the_settings_file_is_read_back_with_each_kind_of_format() {
        for given in ["combined", "json", "%h 'a' \"%r\"", "a\\b ''' %h"] {
            let plan = plan(&answers(given));
            let root = tempfile::tempdir().unwrap();
            let path = root.path().join("s3log.toml");
            let [Entry { content: Content::Text(text), .. }, ..] = &*plan.entries else {
                panic!("{plan:?}")
            };
            std::fs::write(&path, text).unwrap();
            let mut read = Arguments::new("access");
            read.fill_from_file(&path).unwrap();
            let spool = Path::new("/srv/spool");
            for (name, value) in arguments(&answers(given), &plan.credentials, spool).unwrap() {
                assert_eq!(read.get(name), Some(&*value), "{given}: {text}");
            }
        }
    }

    #[test]
    fn the_named_formats_are_those_of_the_examples() {
        let default = Arguments::new("access");
        let dialect = settings::line(&default).unwrap().dialect;
        assert_eq!(format("combined"), settings::format(&default, dialect));
        assert!(format("json").starts_with("{\n") && format("json").contains("\"status\":%>s,"));
        assert_eq!(format("%h"), "%h");
    }

    #[test]
    fn the_drop_in_grants_the_spool_that_was_chosen() {
        let plan = plan(&answers("combined"));
        let texts: Vec<&str> = plan
            .entries
            .iter()
            .filter_map(|entry| match &entry.content {
                Content::Text(text) => Some(&**text),
                _ => None,
            })
            .collect();
        assert!(
            texts.iter().any(|text| text.contains("\nReadWritePaths=-/srv/spool\n")),
            "{texts:?}"
        );
        assert!(texts.iter().any(|text| text.contains("vsl_mask -")), "{texts:?}");
        assert!(!texts.iter().any(|text| text.contains(SERVICE_SPOOL)), "{texts:?}");
    }

    #[test]
    fn no_tag_that_every_line_needs_is_hidden() {
        let mask = |format: &str| {
            let plan = plan(&answers(format));
            let mut texts = plan.entries.into_iter().filter_map(|entry| match entry.content {
                Content::Text(text) => Some(text),
                _ => None,
            });
            texts.next_back().unwrap()
        };
        let hidden = "vsl_mask -Begin,-End,";
        assert!(mask("combined").contains(hidden), "{}", mask("combined"));
        let needy = mask("%h %{VCL_Log:key}x");
        assert!(needy.contains("vsl_mask -End,") && needy.contains("-ReqAcct,"), "{needy}");
        // Of two that are enough the one that costs a hit 996 instructions, not the one that costs 14,268.
        assert!(needy.contains(",-Timestamp,"), "{needy}");
    }

    #[test]
    fn names_and_paths_that_would_break_a_file_are_refused() {
        let refused = |stream: &str, directory: &str| {
            let (directory, spool) = (Path::new(directory), Path::new("/srv/spool"));
            Plan::new(stream, &answers("combined"), directory, spool, None, false).is_err()
        };
        assert!(refused("a\"b", "/etc") && refused("1a", "/etc") && refused("", "/etc"));
        assert!(refused("access", "/etc/a\"b") && refused("access", "/etc/a\nb"));
        assert!(!refused("access_2", "/etc/a b"));
    }
}
