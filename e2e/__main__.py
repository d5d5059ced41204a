"""Runs one proof: `python -m e2e NAME [--profile debug] [--keep] ...`; without a name, lists them.

A proof is a file of this folder with `prove(place, options)`, which gives what failed. It may have
`arguments(parser)` for options of its own. The runner owns the build that is tested, the rig and
the verdict: 0 when nothing failed or the machine cannot run the proof, which is then said; else 1.
"""

import argparse
import ast
import importlib
import pathlib
import sys
import time

from e2e import rig


def proofs():
    """Each proof's name and the first sentence of what it says of itself."""
    found = {}
    for path in sorted(pathlib.Path(__file__).parent.glob("*.py")):
        tree = ast.parse(path.read_text())
        if any(isinstance(node, ast.FunctionDef) and node.name == "prove" for node in tree.body):
            found[path.stem.replace("_", "-")] = ast.get_docstring(tree).split("\n\n")[0]
    return found


def listing():
    for name, text in proofs().items():
        rig.say(f"  {name:<12} {' '.join(text.split())}")
    return 0


def main():
    if len(sys.argv) < 2:
        return listing()
    name = sys.argv[1]
    if name not in proofs():
        sys.exit(f"e2e: no proof is called {name!r}: {', '.join(proofs())}")
    proof = importlib.import_module(f"e2e.{name.replace('-', '_')}")
    parser = argparse.ArgumentParser(
        prog=f"e2e {name}",
        description=proof.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--profile", default="release", choices=["debug", "release"])
    parser.add_argument("--keep", action="store_true", help="leave the directory and its logs")
    if hasattr(proof, "arguments"):
        proof.arguments(parser)
    options = parser.parse_args(sys.argv[2:])
    begin = time.monotonic()
    try:
        with rig.Rig(name, profile=options.profile, keep=options.keep) as place:
            failures = proof.prove(place, options)
    except rig.Skip as why:
        rig.say(f"{name}: SKIPPED: {why}")
        return 0
    for failure in failures:
        rig.say(f"{name}: FAILED: {failure}")
    if options.keep:
        rig.say(f"{name}: its files are in {place.directory}")
    rig.say(f"{name}: {'FAILED' if failures else 'ok'}, {time.monotonic() - begin:.0f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
