#!/usr/bin/env python3
"""Links of the pages as they are installed, where some files have other places than here, and some are missing.

    packaging/pages.py FOLDER [FROM=TO...]   corrects them in each page below FOLDER
    packaging/pages.py --check FOLDER        says which ones lead nowhere, and fails

FOLDER has README.md and docs/ as this checkout has them. A link to FROM, a file or a folder, becomes one to TO; one to
a file that FOLDER lacks becomes its words, with the file's name. A picture that is missing is an error. Python's
standard library only.
"""

import os
import pathlib
import re
import sys
import urllib.parse

LINK = re.compile(r"(!?)\[((?:[^\[\]]|!\[[^\]]*\]\([^)]*\))*)\]\(([^)\s]+)\)")


def target(link):
    """The path of a link to a file; nothing of one to another site, or within its page."""
    parts = urllib.parse.urlsplit(link)
    return None if parts.scheme or parts.netloc else urllib.parse.unquote(parts.path)


def dead(folder):
    """(page, link) of each that leads nowhere, and how many links there are."""
    found, links = [], 0
    for page in sorted(folder.rglob("*.md")):
        for _, _, link in LINK.findall(page.read_text()):
            path = target(link)
            links += 1
            if path and not (page.parent / path).exists():
                found.append((str(page.relative_to(folder)), link))
    return found, links


def correct(folder, moved):
    for page in sorted(folder.rglob("*.md")):

        def put(found, page=page):
            picture, words, link = found.groups()
            path = target(link)
            if not path or (page.parent / path).exists():
                return found[0]
            here = os.path.normpath(page.parent.relative_to(folder) / path)
            for old, new in moved.items():
                if here == old or here.startswith(f"{old}/"):
                    there = os.path.relpath(folder / f"{new}{here[len(old):]}", page.parent)
                    return f"{picture}[{words}]({there}{link[len(path):]})"
            if picture:
                sys.exit(f"pages: {page} has no {link}")
            return words if pathlib.Path(here).stem in words else f"{words} ({here})"

        text = page.read_text()
        corrected = LINK.sub(put, text)
        if corrected != text:
            page.write_text(corrected)


def main():
    words = sys.argv[1:]
    if words[:1] == ["--check"] and len(words) == 2:
        found, links = dead(pathlib.Path(words[1]))
        for page, link in found:
            print(f"pages: {page} links to {link}, which is not there", file=sys.stderr)
        if not links:
            sys.exit(f"pages: {words[1]} has no links")
        sys.exit(1 if found else 0)
    if not words or not all("=" in word for word in words[1:]):
        sys.exit(__doc__)
    correct(pathlib.Path(words[0]), dict(word.split("=", 1) for word in words[1:]))


if __name__ == "__main__":
    main()
