#!/usr/bin/env python3
"""Imports point down the path: no room imports one above it, and no files import each other in a circle.

ORDER is the path of docs/design.md, from the top down; what stands in one line is side by side, and
neither imports the other. Files are the nodes of the second rule. What `pub use` passes on belongs to
the file that defines it. Tests are left out: they may look at anything.

    tools/rooms.py            checks, and says what is wrong
    tools/rooms.py --edges    every import from file to file, with the names
"""

import pathlib
import re
import sys

SRC = pathlib.Path(__file__).resolve().parent.parent / "src"

ORDER = [
    ["bin"],
    ["vmod", "cli"],
    ["pipeline"],
    ["settings"],
    ["s3", "spool"],
    ["seal"],
    ["block", "ring", "record"],
    ["built_for"],
    ["clock", "events", "printable", "regular_file", "stats", "units", "zone"],
    ["priority", "thread"],
]

# Circles that are still there, with what is to be moved. A new one fails; one that is gone is said.
CIRCLES = {
    "vmod/carry.rs vmod/task.rs": "one idea in two files",
}

# Imports that run back up, the same.
UPWARD = {}

DEFINES = r"\b(?:fn|struct|enum|trait|type|const|static|union|macro_rules!|mod)\s+{}\b"


def without_comments(text):
    """The code alone, with no string or character literal in it and no test module."""
    text = re.sub(
        r"//[^\n]*|/\*.*?\*/|r#*\".*?\"#*|\"(?:\\.|[^\"\\])*\"|b?'(?:\\.|[^\\'])'",
        lambda found: '""' if found[0][-1] in "\"#" else " ",
        text,
        flags=re.S,
    )
    while found := re.search(r"#\[cfg\((?:test|all\(test[^\]]*)\)\]\s*(?:pub(?:\([^)]*\))?\s+)?mod\s+\w+\s*\{", text):
        depth, at = 1, found.end()
        while depth and at < len(text):
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            at += 1
        text = text[: found.start()] + text[at:]
    return text


def tree_paths(text):
    """The paths of a use tree: `a::{b, c as d}` is a::b and a::c, as (path, name here)."""
    text = text.strip()
    if (at := text.find("{")) >= 0:
        head = [part for part in text[:at].strip().split("::") if part]
        depth, piece = 0, ""
        for letter in text[at + 1 : text.rindex("}")] + ",":
            depth += {"{": 1, "}": -1}.get(letter, 0)
            if letter == "," and not depth:
                if piece.strip():
                    yield from ((head + path, name) for path, name in tree_paths(piece))
                piece = ""
            else:
                piece += letter
        return
    path, _, name = text.partition(" as ")
    parts = [part.strip() for part in path.strip().split("::") if part.strip()]
    yield parts, name.strip() or (parts[-1] if parts else "")


class File:
    def __init__(self, path):
        self.path = path
        relative = path.relative_to(SRC).with_suffix("")
        parts = list(relative.parts)
        if parts[-1] in ("mod", "lib"):
            parts.pop()
        self.module = tuple(parts)
        self.text = without_comments(path.read_text())
        # Names that are here by `use`, with where from; and what is passed on with *.
        self.names, self.globs, self.passed = {}, [], set()
        uses = r"(pub(?:\s*\([^)]*\))?\s+)?\buse\s+([^;]+);"
        for public, tree in re.findall(uses, self.text):
            for parts, name in tree_paths(tree):
                if parts and parts[-1] == "*":
                    self.globs.append(parts[:-1])
                else:
                    if parts and parts[-1] == "self":
                        parts, name = parts[:-1], name if name != "self" else parts[-2]
                    self.names[name] = parts
                    if public:
                        self.passed.add(name)
        self.rest = re.sub(uses, "", self.text)
        self.rest = re.sub(r"\bpub\s*\(\s*in\s[^)]*\)", "pub", self.rest)

    def __str__(self):
        return str(self.path.relative_to(SRC))


def left_out(files):
    """Modules that are there for tests or for loom."""
    out = set()
    for file in files.values():
        for name in re.findall(r"#\[cfg\([^\]]*\b(?:test|s3log_loom)\b[^\]]*\]\s*(?:pub(?:\([^)]*\))?\s+)?mod\s+(\w+)\s*;", file.text):
            out.add((*file.module, name))
    return out


def read():
    files = {}
    for path in sorted(SRC.rglob("*.rs")):
        file = File(path)
        files[file.module] = file
    out = left_out(files)
    return {m: f for m, f in files.items() if not any(m[: len(o)] == o for o in out) and "tests" not in m}


def resolve(files, module, parts, seen=()):
    """The module that defines what a path names, seen from a module; None for other crates."""
    parts = list(parts)
    if not parts or (module, tuple(parts)) in seen:
        return None
    seen = (*seen, (module, tuple(parts)))
    if parts[0] == "crate":
        here, parts = (), parts[1:]
    elif parts[0] in ("self", "super"):
        here = module
        while parts and parts[0] in ("self", "super"):
            here = here[:-1] if parts[0] == "super" else here
            parts = parts[1:]
    elif (*module, parts[0]) in files:
        here = module
    elif parts[0] in files[module].names and files[module].names[parts[0]][:1] != [parts[0]]:
        return resolve(files, module, files[module].names[parts[0]] + parts[1:], seen)
    else:
        return None
    while parts and (*here, parts[0]) in files:
        here, parts = (*here, parts[0]), parts[1:]
    if not parts or here not in files:
        return here if here in files else None
    file, name = files[here], parts[0]
    if re.search(DEFINES.format(re.escape(name)), file.rest):
        return here
    if name in file.names:
        return resolve(files, here, file.names[name] + parts[1:], seen) or here
    for glob in file.globs:
        target = resolve(files, here, glob, seen)
        if target and target != here and re.search(DEFINES.format(re.escape(name)), files[target].rest):
            return target
    return here


def edges(files):
    """{(from, to): names} between files."""
    found = {}

    def add(module, parts):
        target = resolve(files, module, parts)
        if target is not None and target != module and target in files:
            found.setdefault((module, target), set()).add("::".join(parts))

    for module, file in files.items():
        for name, parts in file.names.items():
            target = resolve(files, module, parts)
            below = target is not None and target[: len(module)] == module
            if not (name in file.passed and below):
                add(module, parts)
        for parts in file.globs:
            add(module, parts)
        for path in re.findall(r"(?<![\w:])(?:crate|super|self)(?:\s*::\s*\w+)+", file.rest):
            add(module, [part.strip() for part in path.split("::")])
        for path in re.findall(r"(?<![\w:.])([a-z]\w*(?:::\w+)+)", file.rest):
            parts = path.split("::")
            if (*module, parts[0]) in files:
                add(module, parts)
    return found


def circles(nodes, pairs):
    """Sets of nodes that reach each other (Tarjan)."""
    after = {node: set() for node in nodes}
    for start, end in pairs:
        after[start].add(end)
    index, low, stack, found = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for follower in after[node]:
            if follower not in index:
                visit(follower)
                low[node] = min(low[node], low[follower])
            elif follower in stack:
                low[node] = min(low[node], index[follower])
        if low[node] == index[node]:
            at = stack.index(node)
            group = stack[at:]
            del stack[at:]
            if len(group) > 1:
                found.append(frozenset(group))

    for node in sorted(nodes):
        if node not in index:
            visit(node)
    return found


def main():
    sys.setrecursionlimit(10_000)
    files = read()
    # The crate's own list of rooms.
    files.pop((), None)
    found = edges(files)
    if "--edges" in sys.argv:
        for (start, end), names in sorted(found.items()):
            print(f"{files[start]} -> {files[end]}: {', '.join(sorted(names))}")
        return 0
    wrong = []
    level = {room: number for number, line in enumerate(ORDER) for room in line}
    for room in sorted({module[0] for module in files} - level.keys()):
        wrong.append(f"src/{room} has no place in the order of tools/rooms.py")
    upward = {}
    for (start, end), names in sorted(found.items()):
        above, below = level.get(start[0]), level.get(end[0])
        if start[0] != end[0] and None not in (above, below) and above >= below:
            upward[f"{files[start]} -> {files[end]}"] = names
    for edge, names in upward.items():
        if edge not in UPWARD:
            wrong.append(f"an import runs back up or sideways: {edge}: {', '.join(sorted(names))}")
    groups = circles(files, found)
    seen = {" ".join(sorted(str(files[module]) for module in group)) for group in groups}
    for circle in sorted(seen - CIRCLES.keys()):
        members = set(circle.split())
        wrong.append(f"a circle: {circle}")
        for (start, end), names in sorted(found.items()):
            if {str(files[start]), str(files[end])} <= members:
                wrong.append(f"    {files[start]} -> {files[end]}: {', '.join(sorted(names))}")
    for gone in [*(CIRCLES.keys() - seen), *(UPWARD.keys() - upward.keys())]:
        print(f"rooms: not there any more, take it off the list: {gone}")
    for line in wrong:
        print(f"rooms: {line}")
    print(f"rooms: {len(files)} files, {len(found)} imports between them, {len(seen)} circles, {len(upward)} upward")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
