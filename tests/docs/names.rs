//! What the documentation tells to type is there: make targets, commands with their flags,
//! endpoints and arguments. Only what stands in code (indented, fenced or between backticks) is looked at.
//!
//! Non-goals: what the commands print (`make e2e T=troubles`, the tests of each), and links
//! (`tools/lint.sh`).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use vmod_s3log::s3::Endpoint;
use vmod_s3log::settings::table::{ARGUMENTS, Accepts, Argument};
use vmod_s3log::settings::{Arguments, Settings};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn pages() -> Vec<PathBuf> {
    let mut pages: Vec<PathBuf> = [
        "README.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "CHANGELOG.md",
        "API.md",
        "benches/HISTORY.md",
        "e2e/README.md",
    ]
    .iter()
    .map(|name| root().join(name))
    .collect();
    let docs = fs::read_dir(root().join("docs")).unwrap();
    pages.extend(docs.map(|entry| entry.unwrap().path()));
    pages.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    assert!(pages.len() > 10);
    pages
}

/// The code of a page, one piece a command line, block or pair of backticks.
fn code(text: &str) -> Vec<String> {
    let (mut pieces, mut prose, mut fenced, mut continued) =
        (Vec::new(), String::new(), false, false);
    for line in text.lines() {
        let trimmed = line.trim_start();
        if trimmed.starts_with("```") {
            fenced = !fenced;
            continued = false;
        } else if fenced || line.starts_with("    ") {
            let piece = trimmed.trim_end_matches('\\');
            if continued {
                let last: &mut String = pieces.last_mut().unwrap();
                last.push_str(piece);
            } else {
                pieces.push(piece.to_owned());
            }
            continued = trimmed.ends_with('\\');
        } else {
            continued = false;
            prose.push_str(line);
            // An unpaired backtick must not turn the rest of the page inside out.
            prose.push(if line.trim().is_empty() { '\n' } else { ' ' });
        }
    }
    for paragraph in prose.lines() {
        pieces.extend(paragraph.split('`').skip(1).step_by(2).map(str::to_owned));
    }
    pieces
}

/// The files that are to be copied, whose comments tell what to type.
fn examples() -> Vec<PathBuf> {
    let files = |folder: &str| {
        let entries = fs::read_dir(root().join(folder)).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect::<Vec<_>>()
    };
    let mut all = [files("examples"), files("examples/containers"), files("vcl")].concat();
    all.extend(["Dockerfile", "packaging/Dockerfile.official"].map(|name| root().join(name)));
    let copied = |path: &PathBuf| {
        let plain = |ending| ["vcl", "yaml", "yml", "conf", "service", "timer"].contains(&ending);
        path.extension().and_then(|ending| ending.to_str()).is_some_and(plain)
            || path.to_string_lossy().contains("Dockerfile")
    };
    all.retain(copied);
    assert!(all.len() > 10, "{all:?}");
    all
}

/// The comments of a file, as a page: what is indented by three is code.
fn comments(text: &str) -> String {
    let comment =
        |line: &str| line.strip_prefix('#').map_or_else(String::new, |text| format!(" {text}"));
    text.lines().map(|line| comment(line) + "\n").collect()
}

/// Every piece of code with the page it is from.
fn all_code() -> Vec<(String, String)> {
    let mut all = Vec::new();
    let (pages, examples) = (pages().into_iter(), examples().into_iter());
    for (page, example) in pages.map(|page| (page, false)).chain(examples.map(|page| (page, true)))
    {
        let name = page.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&page).unwrap();
        let pieces = code(&if example { comments(&text) } else { text });
        all.extend(pieces.into_iter().map(|piece| (name.clone(), piece)));
    }
    all
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
}

/// The words behind each `program` of a line, up to the end of that command.
fn uses<'a>(line: &'a str, program: &str) -> Vec<Vec<&'a str>> {
    let mut found: Vec<Vec<&str>> = Vec::new();
    let mut open = false;
    let mut before = "$";
    for word in line.split_whitespace() {
        let bare = word.trim_start_matches(['(', '<', '$', '"']);
        // At the start of a command, or of one in parentheses.
        let starts = bare != word || matches!(before, "$" | "|" | "&&") || before.contains('=');
        before = word;
        if bare == program && starts {
            found.push(Vec::new());
            open = true;
        } else if word.starts_with(['|', '>', '<', '#', '&']) || word == ";" {
            open = false;
        } else if open {
            found.last_mut().unwrap().push(word.trim_end_matches([')', ';', ',', '"', '.']));
            open = !word.ends_with([')', ';']);
        }
    }
    found
}

#[test]
fn each_make_target_in_the_documentation_is_in_the_makefile() {
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let (mut wrong, mut seen) = (Vec::new(), BTreeSet::new());
    for (page, piece) in all_code() {
        for words in uses(&piece, "make") {
            let Some(target) = words.first().filter(|word| is_name(word)) else { continue };
            seen.insert((*target).to_owned());
            if !makefile.lines().any(|line| line.starts_with(&format!("{target}:"))) {
                wrong.push(format!("{page}: make {target}"));
            }
            let proof = words.iter().find_map(|word| word.strip_prefix("T="));
            if let Some(proof) = proof.filter(|proof| is_name(proof))
                && !root().join(format!("e2e/{}.py", proof.replace('-', "_"))).exists()
            {
                wrong.push(format!("{page}: make e2e T={proof}"));
            }
            let named = words.iter().filter_map(|word| Some(word.split_once('=')?.0));
            for variable in named.filter(|name| name.bytes().all(|b| b.is_ascii_uppercase())) {
                let known = |word: &str| word == variable;
                if !makefile.split(|c: char| !c.is_ascii_uppercase()).any(known) {
                    wrong.push(format!("{page}: make {target} {variable}="));
                }
            }
        }
    }
    assert!(seen.len() > 10, "{seen:?}");
    assert!(wrong.is_empty(), "not in the Makefile: {wrong:#?}");
}

fn help(words: &[&str]) -> Option<String> {
    let output =
        Command::new(env!("CARGO_BIN_EXE_s3log")).args(words).arg("--help").output().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

/// Whether a help text has the flag, as `-f` or `--follow`.
fn has_flag(help: &str, flag: &str) -> bool {
    help.split_whitespace().any(|word| word.trim_end_matches([',', '.', ')', ';']) == flag)
}

#[test]
fn each_command_and_flag_in_the_documentation_is_in_the_help() {
    let commands: Vec<String> = help(&[])
        .unwrap()
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .collect();
    assert!(commands.iter().any(|command| command == "verify"), "{commands:?}");
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for (page, piece) in all_code() {
        let mut found = uses(&piece, "s3log");
        // Between backticks the program's name may be left out: `tail -f`, `verify --deep`.
        let words: Vec<&str> = piece.split_whitespace().collect();
        if let [first, second, ..] = words.as_slice()
            && commands.iter().any(|command| command == first)
            && second.starts_with("--")
        {
            found.push(words);
        }
        for words in found {
            let Some(command) = words.first().filter(|word| is_name(word)) else { continue };
            // A flag in a command's place is the program's own.
            let of = if command.starts_with('-') { None } else { Some(*command) };
            let Some(help) = help(of.as_slice()) else {
                wrong.push(format!("{page}: s3log {command}"));
                continue;
            };
            // What follows is varnishncsa's.
            let own = words.iter().take_while(|word| !word.contains("varnishncsa"));
            for word in own.filter(|word| word.starts_with('-') && word.len() > 1) {
                let flag = word.split('=').next().unwrap_or_default();
                seen += 1;
                if !has_flag(&help, flag) {
                    wrong.push(format!("{page}: s3log {command} {flag}"));
                }
            }
        }
    }
    assert!(seen > 20, "only {seen} flags were found in the documentation");
    assert!(wrong.is_empty(), "not in the help: {wrong:#?}");
}

#[test]
fn each_endpoint_in_the_documentation_is_one_that_its_command_takes() {
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for (page, piece) in all_code() {
        let flag = piece.split("--endpoint ").nth(1);
        let flag = flag.and_then(|rest| rest.split_whitespace().next());
        let setting = piece.split("endpoint = \"").nth(1).and_then(|rest| rest.split('"').next());
        for endpoint in flag.into_iter().chain(setting).filter(|text| text.contains("://")) {
            let allowed = piece.contains("--allow-http") || piece.contains("allow_http = true");
            seen += 1;
            if let Err(error) = Endpoint::parse(endpoint, allowed) {
                wrong.push(format!("{page}: {error}"));
            }
        }
    }
    assert!(seen > 10, "only {seen} endpoints were found in the documentation");
    assert!(wrong.is_empty(), "refused: {wrong:#?}");
}

#[test]
fn each_settings_file_in_the_documentation_has_settings_that_a_load_accepts() {
    let place = tempfile::tempdir().unwrap();
    let mut seen = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        // A table with its lines, as it is typed into a file.
        for (at, _) in text.match_indices("\n    [access]\n") {
            let lines = text[at + 1..].lines();
            let table: Vec<&str> = lines.map_while(|line| line.strip_prefix("    ")).collect();
            let file = place.path().join("s3log.toml");
            fs::write(&file, table.join("\n")).unwrap();
            let mut arguments = Arguments::new("access");
            arguments.fill_from_file(&file).unwrap();
            Settings::read(&arguments)
                .unwrap_or_else(|error| panic!("{}: {error}", page.display()));
            seen += 1;
        }
    }
    assert!(seen > 2, "only {seen} settings files were found in the documentation");
}

/// The arguments of the constructor, from the generated reference.
fn constructor() -> BTreeSet<String> {
    let api = fs::read_to_string(root().join("API.md")).unwrap();
    let line = api.lines().find(|line| line.starts_with("### Constructor `s3log.stream(")).unwrap();
    line.split('[')
        .skip(1)
        .filter_map(|part| part.split(']').next()?.split_whitespace().nth(1).map(str::to_owned))
        .collect()
}

#[test]
fn the_constructor_has_exactly_the_arguments_of_the_table() {
    let mut arguments = constructor();
    assert!(arguments.remove("config"), "the settings file's own name is no setting in it");
    let names: BTreeSet<String> = ARGUMENTS.iter().map(|known| known.name.to_owned()).collect();
    assert_eq!(arguments, names);
}

#[test]
fn what_the_reference_says_of_an_argument_is_what_the_table_has() {
    let api = fs::read_to_string(root().join("API.md")).unwrap();
    let mut wrong = Vec::new();
    for Argument { name, accepts, default, .. } in ARGUMENTS {
        let entry = api.split(&format!("* `[STRING {name}]`:\n")).nth(1).unwrap();
        let entry: Vec<&str> =
            entry.lines().take_while(|line| !line.is_empty() && !line.starts_with('*')).collect();
        let prose = entry.join(" ");
        let mut parts = Vec::new();
        match accepts {
            Accepts::Text | Accepts::Flag => {}
            Accepts::Words(words) => parts.extend(words.iter().map(|word| format!("`{word}`"))),
            Accepts::Duration(least, most) | Accepts::Size(least, most) => {
                parts.push(format!("from {least} to {most}"));
            }
            Accepts::Number(least, most) => parts.push(format!("from {least} to {most}")),
        }
        if let Some(default) = default {
            let quoted = matches!(accepts, Accepts::Text | Accepts::Words(_));
            let mark = if quoted { "`" } else { "" };
            parts.push(format!("Default: {mark}{default}{mark}"));
        }
        wrong.extend(
            parts
                .iter()
                .filter(|part| !prose.contains(part.as_str()))
                .map(|part| format!("{name}: {part:?} is not in {prose:?}")),
        );
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_arguments_that_make_the_route_are_the_ones_that_the_documentation_names() {
    let read = |page: &str| fs::read_to_string(root().join(page)).unwrap();
    let words = |text: &str| text.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    let page = read("docs/operations.md");
    let said =
        page.split_once("\n## Routes\n").unwrap().1.split_once("A record belongs").unwrap().0;
    let named: BTreeSet<String> = words(said);
    let routes = ARGUMENTS.iter().filter(|known| known.route).map(|known| known.name.to_owned());
    assert_eq!(named, routes.collect(), "docs/operations.md");
    // The reference has those that objects are stored with in a word.
    let (first, objects) = said.split_once("and what objects are stored with").unwrap();
    assert!(words(objects).is_subset(&named));
    let api = read("API.md");
    let (_, said) = api.split_once("The route decides where records go").unwrap();
    let said = said.split_once("and the object\noptions").unwrap().0;
    assert_eq!(words(said), words(first), "API.md");
}

#[test]
fn each_setting_that_has_a_flag_is_in_the_table() {
    let help = help(&["check"]).unwrap();
    let variables = help.split("[env: S3LOG_").skip(1);
    let named: Vec<String> = variables
        .filter_map(|text| Some(text.split(['=', ']']).next()?.to_ascii_lowercase()))
        .filter(|name| name != "config")
        .collect();
    assert!(named.len() > 3, "{named:?}");
    for name in named {
        assert!(ARGUMENTS.iter().any(|known| known.name == name), "{name}");
    }
}

#[test]
fn each_argument_in_the_documentation_is_one_of_the_constructor() {
    let arguments = constructor();
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for (page, piece) in all_code() {
        // `name = value` alone, as a line of a settings file or between backticks; or in a call.
        let call = piece.split("s3log.stream(").nth(1);
        let parts: Vec<&str> =
            call.map_or_else(|| vec![piece.as_str()], |call| call.split(',').collect());
        for part in parts {
            let Some((name, value)) = part.split_once(" = ") else { continue };
            let name = name.trim();
            let setting = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            let value = value.trim_start();
            let literal =
                value.starts_with(['"', '{']) || value.starts_with(|c: char| c.is_ascii_digit());
            if !setting || name.starts_with("aws_") || !literal {
                continue;
            }
            seen += 1;
            if !arguments.contains(name) {
                wrong.push(format!("{page}: {part}"));
            }
        }
    }
    assert!(seen > 20, "only {seen} arguments were found in the documentation");
    assert!(wrong.is_empty(), "no arguments of s3log.stream(): {wrong:#?}");
}

#[test]
fn each_file_of_this_project_that_the_documentation_names_is_there() {
    const FOLDERS: [&str; 10] = [
        "src/",
        "tests/",
        "tools/",
        "benches/",
        "packaging/",
        "vcl/",
        "docs/",
        "fuzz/",
        "e2e/",
        "examples/",
    ];
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for (page, piece) in all_code() {
        for word in piece.split(|c: char| c.is_whitespace() || "\"'()|,;:=".contains(c)) {
            let word = word.strip_prefix("./").unwrap_or(word);
            let pattern = word.contains(['*', '<', '$', '%']);
            if pattern || !FOLDERS.iter().any(|folder| word.starts_with(folder)) {
                continue;
            }
            seen += 1;
            if !root().join(word.trim_end_matches('.')).exists() {
                wrong.push(format!("{page}: {word}"));
            }
        }
    }
    assert!(seen > 20, "only {seen} files were found in the documentation");
    assert!(wrong.is_empty(), "no such file: {wrong:#?}");
}

#[test]
fn each_folder_and_file_that_a_figure_names_is_there() {
    for figure in ["path.svg", "files.svg"] {
        let text = fs::read_to_string(root().join("docs/figures").join(figure)).unwrap();
        let named: Vec<&str> = text
            .split("data-path=\"")
            .skip(1)
            .map(|rest| rest.split('"').next().unwrap_or_default())
            .collect();
        for folder in ["vmod", "record", "ring", "block", "spool", "seal", "s3", "pipeline", "cli"]
        {
            let folder = format!("src/{folder}/");
            assert!(named.contains(&folder.as_str()), "{figure} does not show {folder}");
        }
        for path in named {
            assert!(root().join(path).exists(), "{figure} names {path}, which is not there");
        }
    }
}
