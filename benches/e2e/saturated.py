"""What logging takes and what a masked shared-memory log gives back: requests a second when both cores are
saturated, and CPU time a request at a rate.

One varnishd serves hits to wrk. In each round it does so once without logging, with this module, with this module
and the recommended `vsl_mask`, with that mask alone, and beside a varnishncsa that writes into a file; in
another order each time. Figures are ratios to the same round's run without logging. CPU time is that of the
cache process, and of varnishncsa, from /proc, in user space and in the kernel.

    python -m benches.e2e.saturated                requests a second, seven rounds
    python -m benches.e2e.saturated --rate 8000    CPU time a request
"""

import argparse
import csv
import os
import pathlib
import random
import statistics
import sys
import time

from benches.e2e import cost, load
from e2e import rig

# Whether the module logs, whether the mask is set, and whether varnishncsa runs.
MODES = {
    "stock": (False, False, False),
    "module": (True, False, False),
    "module, mask": (True, True, False),
    "mask": (False, True, False),
    "varnishncsa": (False, False, True),
}
TICK = os.sysconf("SC_CLK_TCK")


def ticks(pid):
    """Seconds in user space and in the kernel, of a process and all its threads."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) / TICK, int(fields[12]) / TICK


class Bench:
    def __init__(self, place, options):
        self.place, self.options = place, options
        per_connection = options.rate / options.connections if options.rate else None
        self.script = load.script(place.directory, "hits", rate_per_connection=per_connection)
        self.mask = ",".join(f"-{tag}" for tag in rig.recommended_mask())
        place.s3.start()
        self.varnish = place.start_varnish(load.vcl(place, "boot", []))
        self.varnish.cli("vcl.load", "zstd", load.vcl(place, "zstd", ["zstd"], "zstd", period=1))

    def run(self, mode):
        """Requests a second, and CPU microseconds a request in user space and in the kernel."""
        module, masked, reader = MODES[mode]
        varnish = self.varnish
        varnish.cli("vcl.use", "zstd" if module else "boot")
        varnish.cli("param.set", "vsl_mask", "default")
        if masked:
            varnish.cli("param.set", "vsl_mask", self.mask)
        rival = cost.Rival(self.place, [], "none") if reader else None
        time.sleep(0.5)
        pid, before = varnish.child_pid(), load.Usage(varnish)
        spent = ticks(pid)
        rate = load.wrk(self.place, self.script, self.options.seconds, self.options.connections)

        def settled():
            now = load.Usage(varnish)
            sent = now.requests - before.requests
            return not module or now.uploaded("zstd") - before.uploaded("zstd") + self.dropped(before, now) >= sent

        rig.wait_for("the last block", settled)
        time.sleep(1)
        after = load.Usage(varnish)
        answered = after.requests - before.requests
        user, kernel = (now - then for now, then in zip(ticks(pid), spent))
        if rival:
            more = ticks(next(iter(rival.children.values())).pid)
            user, kernel = user + more[0], kernel + more[1]
            rival.end()
        return {
            "rate": rate,
            "user": user / answered * 1e6,
            "kernel": kernel / answered * 1e6,
            "dropped": self.dropped(before, after) if module else 0,
            "answered": answered,
        }

    @staticmethod
    def dropped(before, after):
        name = "S3LOG.zstd.dropped_ring"
        return after.counters.get(name, 0) - before.counters.get(name, 0)


def show(rounds, rate):
    """The modes' medians, and the lowest and highest of their ratios."""
    what = "CPU a request" if rate else "requests/s"
    figure = (lambda run: run["user"] + run["kernel"]) if rate else (lambda run: run["rate"])
    print(f"\n{what:14} {'median':>10} {'of stock':>9} {'lowest':>8} {'highest':>8}   user and kernel, us")
    for mode in MODES:
        ratios = [figure(one[mode]) / figure(one["stock"]) for one in rounds]
        middle = {key: statistics.median(one[mode][key] for one in rounds) for key in ("user", "kernel")}
        dropped = sum(one[mode]["dropped"] for one in rounds)
        lost = f"; {dropped} records dropped" if dropped else ""
        print(
            f"{mode:14} {statistics.median(figure(one[mode]) for one in rounds):10.2f} "
            f"{statistics.median(ratios):9.3f} {min(ratios):8.3f} {max(ratios):8.3f}   "
            f"{middle['user']:.2f} and {middle['kernel']:.2f}{lost}"
        )


def write(rounds, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(["round", "mode", "requests", "per_second", "user_us", "kernel_us", "dropped"])
        for number, one in enumerate(rounds):
            for mode, run in one.items():
                figures = [f"{run[key]:.3f}" for key in ("user", "kernel")]
                out.writerow([number, mode, run["answered"], round(run["rate"]), *figures, run["dropped"]])


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--profile", default="release", choices=["debug", "release"])
    arguments.add_argument("--rounds", type=int, default=7)
    arguments.add_argument("--seconds", type=float, default=5)
    arguments.add_argument("--connections", type=int, default=32)
    arguments.add_argument("--rate", type=float, help="requests/s; without it, all that can be served")
    arguments.add_argument("--write", type=pathlib.Path, help="a CSV file for the figures of each run")
    options = arguments.parse_args()
    began = time.monotonic()
    with rig.Rig("saturated", profile=options.profile) as place:
        bench = Bench(place, options)
        bench.run("stock")  # warms caches and pools; not counted
        rounds = []
        for number in range(options.rounds):
            # No mode always follows the same one; the same orders in every run.
            order = random.Random(number).sample(list(MODES), len(MODES))
            ran = {mode: bench.run(mode) for mode in order}
            rounds.append({mode: ran[mode] for mode in MODES})
            figures = (f"{mode} {run['rate']:.0f}/s {run['user'] + run['kernel']:.2f} us" for mode, run in rounds[-1].items())
            print(f"round {number + 1} of {options.rounds}: {'; '.join(figures)}", flush=True)
        show(rounds, options.rate)
        if options.write:
            write(rounds, options.write)
    print(f"{time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
