"""Instructions a line of the threads behind the ring, by callgrind, at a steady rate of lines.

`make e2e T=instructions` counts them too, of requests that come as fast as a client gets them from a
varnishd under valgrind; there much of what these threads do is done by the clock and not for a line. Here
`benches/pack.rs` pushes lines with the variety of a site at a rate of its own. Each row is run for one time
and for twice that time: the difference is one time without start and end.

The codec stands for itself, and so do SHA-256 and MD5: valgrind has no SHA extensions, so that SHA-256 is
done by ordinary instructions here, 51 a byte. A processor that has them needs 3 (`sha2`'s loop has 171 for
64 bytes).
"""

import argparse
import pathlib
import re
import shutil
import subprocess
import sys

from e2e import rig
from e2e.rig import callgrind

# Name, codec, period, lines a second.
ROWS = [
    ("zstd, 4,000 a second", "zstd", "10s", 4_000),
    ("gzip, 4,000 a second", "gzip", "10s", 4_000),
    ("zstd, 100 a second", "zstd", "10s", 100),
    ("zstd, no line", "zstd", "10s", 0),
]


def binary(env):
    command = ["cargo", "bench", "--locked", "--bench", "pack", "--no-run"]
    done = subprocess.run(
        command, cwd=rig.ROOT, env=env, stderr=subprocess.PIPE, check=True, text=True
    )
    return rig.ROOT / re.search(r"Executable.*\((\S+)\)", done.stderr)[1]


def run(program, place, keep, codec, period, rate, seconds):
    """Instructions of one run by thread and part."""
    directory = place.directory / "callgrind"
    directory.mkdir()
    command = ["valgrind", "--tool=callgrind", "--separate-threads=yes"]
    command += [f"--callgrind-out-file={directory}/out", program, codec, period, str(rate), str(seconds)]
    command += [place.s3.endpoint, rig.BUCKET, str(place.s3.credentials)]
    env = {**place.env, **callgrind.ENV}
    subprocess.run(command, env=env, stderr=subprocess.PIPE, check=True)
    found = {thread: {} for thread in callgrind.THREADS}
    for path in directory.iterdir():
        text = path.read_text(errors="replace")
        if thread := callgrind.thread(text):
            for part, cost in callgrind.parts(text).items():
                found[thread][part] = found[thread].get(part, 0) + cost
    if keep:
        shutil.copytree(directory, keep, dirs_exist_ok=True)
    shutil.rmtree(directory)
    return found


def row(program, place, keep, name, codec, period, rate, seconds):
    less, more = (run(program, place, keep, codec, period, rate, n * seconds) for n in (1, 2))
    count, unit = (rate * seconds, "line") if rate else (seconds, "second")
    for thread in callgrind.THREADS:
        share = {part: (more[thread][part] - less[thread][part]) / count for part in more[thread]}
        told = ", ".join(f"{part} {cost:,.0f}" for part, cost in share.items())
        rig.say(f"{name:22} s3log-{thread:4} {sum(share.values()):9,.0f} a {unit}: {told}")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=10, help="the shorter of a row's two runs")
    parser.add_argument("--row", default="", help="only rows that begin so")
    parser.add_argument("--keep", type=pathlib.Path, help="a folder for the longer run's files")
    parser.add_argument("--program", help="the benchmark `pack`, where it is built already")
    options = parser.parse_args()
    with rig.Rig("threads") as place:
        program = options.program or binary(place.env)
        place.s3.start()
        for name, *what in ROWS:
            if name.startswith(options.row):
                row(program, place, options.keep, name, *what, options.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
