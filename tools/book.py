#!/usr/bin/env python3
"""The documentation as a site, by mdBook: make book, into target/book.

    tools/book.py MDBOOK     stages the pages, builds with that mdbook, checks every link

The pages are README.md and docs/ as they are: they are staged under the paths that they have here, with each
file that a page links to, so that no link is changed. CHAPTERS is the order; a page of docs/ that it lacks is an
error. The check reads what was built: each link inside the book must lead to a file, and its #anchor to an
element. Links to other sites are not followed. Python's standard library only.
"""

import html.parser
import os
import pathlib
import re
import shutil
import subprocess
import sys
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "target/book"
CHAPTERS = {
    "Set up": ["docs/install.md", "docs/containers.md", "docs/storj.md", "docs/gateways.md", "docs/versions.md"],
    "Log": ["API.md", "docs/formats.md", "docs/from-fastly.md", "docs/from-varnishncsa.md"],
    "Read": ["docs/reading.md", "docs/compaction.md", "docs/querying.md"],
    "Operate": ["docs/operations.md", "docs/troubleshooting.md", "docs/hardening.md"],
    "Prove": ["docs/guarantees.md", "docs/encryption.md", "docs/chain.md"],
    "Measure": ["docs/performance.md", "benches/HISTORY.md"],
    "Change": ["docs/design.md", "CONTRIBUTING.md", "e2e/README.md", "SECURITY.md", "CHANGELOG.md"],
}
BOOK = """[book]
title = "vmod-s3log"
language = "en"
src = "src"

[build]
build-dir = "html"
# No {{#include}} in our pages, and README.md keeps its name, as links have it.
use-default-preprocessors = false

[output.html]
default-theme = "light"
preferred-dark-theme = "navy"
no-section-label = true
# "--from" in a heading stays two dashes.
smart-punctuation = false

[output.html.search]
limit-results = 20
"""
LINK = re.compile(r"\]\(([^)#:\s]+)[^)\s]*\)")


def main():
    if len(sys.argv) != 2:
        sys.exit("book: which mdbook? make book says it; --check only looks whether each page has a chapter")
    pages = ["README.md", *(page for chapter in CHAPTERS.values() for page in chapter)]
    left = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md"))
    left = [page for page in left if page not in pages]
    if left:
        sys.exit(f"book: not in a chapter: {', '.join(left)}")
    if sys.argv[1] == "--check":
        return
    shutil.rmtree(OUT, ignore_errors=True)
    stage(pages)
    subprocess.run([sys.argv[1], "build", OUT], check=True, stdout=subprocess.DEVNULL)
    wrong = check(OUT / "html")
    for one in wrong:
        print(f"book: {one}", file=sys.stderr)
    if wrong:
        sys.exit(1)
    print(f"book: {len(pages)} pages: {OUT / 'html/index.html'}")


def stage(pages):
    """The pages, what they link to, and the table of contents."""
    (OUT / "src").mkdir(parents=True)
    (OUT / "book.toml").write_text(BOOK)
    summary = ["# Contents", "", "[vmod-s3log](README.md)", ""]
    for chapter, members in CHAPTERS.items():
        summary += [f"# {chapter}", "", *(f"- [{title(page)}]({page})" for page in members), ""]
    (OUT / "src/SUMMARY.md").write_text("\n".join(summary))
    for page in pages:
        text = (ROOT / page).read_text()
        put(page)
        for link in LINK.findall(text):
            linked = os.path.normpath(pathlib.Path(page).parent / link)
            if linked not in pages and (ROOT / linked).is_file():
                put(linked)


def put(name):
    (OUT / "src" / name).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / name, OUT / "src" / name)


def title(page):
    """The page's first heading."""
    return re.search(r"^# (.+)$", (ROOT / page).read_text(), re.M)[1].replace("`", "")


class Page(html.parser.HTMLParser):
    """Where a page leads, and what can be led to in it."""

    def __init__(self, path):
        super().__init__()
        self.links, self.anchors = set(), {""}
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.anchors |= {given[name] for name in ("id", "name") if given.get(name)}
        if tag != "base":
            self.links |= {given[name] for name in ("href", "src") if given.get(name)}


def check(folder):
    """Links inside the book that lead nowhere."""
    read = {path: Page(path) for path in folder.rglob("*.html")}
    wrong, seen = [], 0
    for path, page in sorted(read.items()):
        # They lead where their frame is; the whole book on a page is not looked at twice.
        if path.name in ("toc.html", "404.html", "print.html"):
            continue
        for link in sorted(page.links):
            parts = urllib.parse.urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            seen += 1
            to = (path.parent / urllib.parse.unquote(parts.path)).resolve() if parts.path else path
            anchor = urllib.parse.unquote(parts.fragment)
            if not to.is_file():
                wrong.append(f"{path.relative_to(folder)} links to {link}, which is not in the book")
            elif to in read and anchor not in read[to].anchors:
                wrong.append(f"{path.relative_to(folder)} links to {link}, and there is no such heading")
    if seen < 200:
        wrong.append(f"only {seen} links were found")
    return wrong


if __name__ == "__main__":
    main()
