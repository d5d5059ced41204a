"""Each fault of docs/troubleshooting.md, made for real: the page quotes what an operator sees.

A section of the page names its fault in a comment, `<!-- fault: wrong-secret -->`, and quotes
commands with what they print:

    $ varnishadm vcl.load new /etc/varnish/new.vcl
    ... what it printed

Here the fault is made with a real varnishd and a real S3 server, the commands are run, and each
quoted line must be a line of what they printed, in the page's order; `...` stands for anything, and
a line that is indented further continues the one before.
A fault without a section, a section without a fault and a quoted command that was not run fail.

--show prints all that was seen. A fault that this machine cannot make is SKIPPED, and says so.
"""

import time

from e2e import rig
from e2e.troubles_faults import FAULTS, QUICK
from e2e.troubles_page import missing, quotes


def compare(fault, quoted, seen):
    """What the page has wrong about a fault."""
    if not quoted:
        yield f"{fault}: the page has no section that quotes it"
    for command, lines in quoted or []:
        if command not in seen:
            yield f"{fault}: the page quotes `{command}`, and this tool has not run it"
        elif not any(lines):
            yield f"{fault}: the page quotes `{command}` and nothing of what it prints"
        elif line := missing(lines, seen[command]):
            yield f"{fault}: `{command}` does not print\n    {line}\n  but\n{seen[command]}"


def arguments(parser):
    parser.add_argument("--show", action="store_true", help="print what was seen")
    parser.add_argument("--quick", action="store_true", help=f"only {', '.join(QUICK)}")
    parser.add_argument("fault", nargs="*", help=f"of {', '.join(FAULTS)}; default all")


def prove(place, options):
    quoted = quotes()
    wrong = [
        f"{name}: the page has a fault that this tool does not make" for name in quoted.keys() - FAULTS
    ]
    names = options.fault or (QUICK if options.quick else FAULTS)
    if unknown := set(names) - FAULTS.keys():
        return [f"no such fault: {', '.join(unknown)}; there are {', '.join(FAULTS)}"]
    begin = time.monotonic()
    skipped = 0
    place.s3.start()
    for name in names:
        try:
            seen = FAULTS[name](place)
        except rig.Skip as why:
            skipped += 1
            print(f"troubles: {name}: SKIPPED: {why}", flush=True)
            continue
        if options.show:
            for command, text in seen.items():
                print(f"--- {name}\n$ {command}\n{text}", flush=True)
        problems = list(compare(name, quoted.get(name), seen))
        wrong += problems
        count = sum(len(lines) for _, lines in quoted.get(name, []))
        print(
            f"troubles: {name}: {'WRONG' if problems else f'{count} quoted lines seen'}", flush=True
        )
    print(f"troubles: {len(names)} faults, {skipped} skipped, {time.monotonic() - begin:.0f} s")
    return wrong
