"""Where varnishd's CPU time goes under hits with logging: shares by thread, and a flame graph.

`perf record` of the cache process while wrk asks at the rate of cost.py. Needs Debian's
linux-perf, and inferno (crates.io) for the graph. Samples, not time: one percent is a tenth off or
more. Stacks are unwound from DWARF, as Varnish and the module are built without frame pointers.
"""

import argparse
import collections
import pathlib
import re
import signal
import subprocess
import sys
import time

from benches.e2e import cost
from e2e import rig
from e2e.rig import say


def record(place, mode, seconds, rate, out):
    bench = cost.Bench(place, seconds, 32, rate)
    bench.run(mode)  # warms it
    command = ["perf", "record", "-q", "-F", "1999", "-e", "cpu-clock", "--call-graph", "dwarf,8192"]
    perf = subprocess.Popen(
        [*command, "-o", str(out), "-p", str(place.varnish.child_pid())], stderr=subprocess.DEVNULL
    )
    time.sleep(0.5)
    bench.run(mode)
    perf.send_signal(signal.SIGINT)
    perf.wait(60)


def folded(program, out):
    """Stacks as `thread;frame;frame COUNT` lines."""
    script = subprocess.run(
        ["perf", "script", "--no-inline", "-i", str(out)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True,
    ).stdout  # fmt: skip
    text = subprocess.run(
        [program / "inferno-collapse-perf"], input=script, stdout=subprocess.PIPE, check=True
    ).stdout.decode()
    # The hashes of Rust's names differ from build to build.
    return re.sub(r"::h[0-9a-f]{16}", "", text)


def shares(stacks):
    """Nanoseconds of each kind of thread, and how many of varnishd's own are in the module."""
    found, ours = collections.Counter(), 0
    for line in stacks.splitlines():
        stack, count = line.rsplit(" ", 1)
        thread, *frames = stack.split(";")
        kind = thread if thread.startswith("s3log") else "varnishd's own"
        found[kind] += int(count)
        if kind == "varnishd's own" and any("s3log" in frame for frame in frames):
            ours += int(count)
    return found, ours


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--mode", default="s3log zstd", choices=["s3log gzip", "s3log zstd"])
    arguments.add_argument("--seconds", type=float, default=10)
    arguments.add_argument("--rate", type=float, default=8_000, help="requests/s")
    arguments.add_argument("--inferno", type=pathlib.Path, required=True, help="its programs")
    arguments.add_argument("--write", type=pathlib.Path, help="where flame.svg is kept")
    options = arguments.parse_args()
    with rig.Rig("profile") as place:
        data = place.directory / "perf.data"
        record(place, options.mode, options.seconds, options.rate, data)
        stacks = folded(options.inferno, data)
    found, ours = shares(stacks)
    for kind, count in found.most_common():
        say(f"{kind:24} {count / 1e6:9.1f} ms, {count / found.total():6.1%}")
    share = ours / found["varnishd's own"]
    say(f"of varnishd's own, {share:.1%} are in the module")
    if options.write:
        graph = subprocess.run(
            [
                options.inferno / "inferno-flamegraph", "--title", f"varnishd, hits, {options.mode}",
                "--minwidth", "0.3", "--hash", "--countname", "ns",
            ],
            input=stacks.encode(), stdout=subprocess.PIPE, check=True,
        ).stdout  # fmt: skip
        (options.write / "flame.svg").write_bytes(graph)
    return 0


if __name__ == "__main__":
    sys.exit(main())
