#!/usr/bin/env python3
"""The licences of the crates that are linked into the module and the command, as one text.

A package or an image that gives them to somebody owes these notices. The list is cargo's, for this
platform or the one named; the texts are those that the crates bring. `packaging/licences.py [TRIPLE] >FILE`,
after a build.
"""

import collections
import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
NAMES = re.compile(r"(LICEN[CS]E|UNLICENSE|COPYING|COPYRIGHT|NOTICE)([-._].*)?", re.I)
# Not the texts of what is only tested with, nor source files with such a name.
PASSED_OVER = re.compile(r"/(tests?|benches|examples|fuzz)/|\.(rs|py|json|toml|html?)$", re.I)


def cargo(*words):
    return subprocess.run(
        ["cargo", *words, "--locked"], cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True
    ).stdout


def linked():
    """(name, version) of each crate whose code is in the binaries."""
    edges = ["--edges", "normal,no-proc-macro", "--prefix", "none", "--format", "{p}"]
    target = [word for triple in sys.argv[1:] for word in ("--target", triple)]
    lines = cargo("tree", *edges, *target).splitlines()
    return {tuple(line.split()[:2]) for line in lines if line}


def texts(directory):
    """Each licence text below a crate's directory, those of the C libraries in it included."""
    for path in sorted(directory.rglob("*")):
        below = "/" + str(path.relative_to(directory))
        if path.is_file() and NAMES.fullmatch(path.name) and not PASSED_OVER.search(below):
            yield below[1:], path.read_text(errors="replace").strip()


def main():
    wanted = linked()
    found, bare, count = collections.defaultdict(list), [], 0
    for crate in json.loads(cargo("metadata", "--format-version", "1"))["packages"]:
        name, version = crate["name"], crate["version"]
        # Not by its source, which an edited copy (tools/varnish-rs.sh) has as little as this project.
        if (name, f"v{version}") not in wanted or name == "vmod-s3log":
            continue
        count += 1
        own = list(texts(pathlib.Path(crate["manifest_path"]).parent))
        for path, text in own:
            found[" ".join(text.split())].append((f"{name} {version}: {path}", text))
        if not own:
            authors = ", ".join(crate["authors"]) or "its authors"
            bare.append(f"{name} {version}: {crate['license']}; {authors}; {crate['repository']}")
    print(f"{count} crates are linked into vmod-s3log. Their licence texts, each once:")
    for entries in sorted(found.values(), key=lambda entries: entries[0][0]):
        print("\n" + "-" * 78)
        print("\n".join(where for where, _ in entries) + "\n")
        print(entries[0][1])
    if bare:
        print("\n" + "-" * 78 + "\nThese bring no text of their own:\n\n" + "\n".join(bare))


if __name__ == "__main__":
    main()
