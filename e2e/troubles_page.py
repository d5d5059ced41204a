"""What docs/troubleshooting.md quotes of each fault, and what of it a command has printed."""

import re

from e2e import rig

PAGE = rig.ROOT / "docs/troubleshooting.md"


def quotes():
    """What the page quotes: {fault: [(command, [lines])]}."""
    found, fault, command = {}, None, None
    for line in PAGE.read_text().splitlines():
        if match := re.match(r"<!-- fault: (\S+) -->", line):
            fault, command = match[1], None
            found.setdefault(fault, [])
        elif line.startswith("#"):
            fault = command = None
        elif fault and (match := re.match(r"    \$ (.*)", line)):
            command = (match[1], [])
            found[fault].append(command)
        elif command and command[1] and line.startswith("      "):
            command[1][-1] += f" {line.strip()}"
        elif command and line.startswith("    "):
            command[1].append(line.strip())
        elif line.strip():
            command = None
    return found


def pattern(line):
    """A quoted line: `...` is anything, any space is some space."""
    parts = (r"\s+".join(map(re.escape, part.split())) for part in line.split("..."))
    return re.compile(r"\s*.*?\s*".join(parts) + r"\s*$")


def missing(lines, output):
    """The first quoted line that is not in the output behind the one before."""
    printed = iter(output.splitlines())
    for line in lines:
        want = pattern(line)
        if line and not any(want.match(there.strip()) for there in printed):
            return line
    return None
