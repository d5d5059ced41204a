"""What logging costs a real Varnish: this module beside varnishncsa with a compressor and an uploader.

One varnishd serves hits to wrk; the VCL is switched between no logging, this module with gzip and
with zstd, and no logging with varnishncsa beside it. The rounds are interleaved, so that what else
the machine does falls on all alike; every figure is a ratio of two things of the same round. CPU
time is the processes' own, from /proc and wait4. S3 server, wrk and origin are not counted.

Cost is measured at a rate that Varnish can easily serve: at the most it can, requests wait for
each other, one poll finds many, and a request gets the cheaper the more else there is to do. What
logging takes from the most that can be served is measured for itself.
"""

import argparse
import collections
import csv
import json
import os
import pathlib
import platform
import random
import signal
import statistics
import subprocess
import sys
import time

from benches.e2e import load
from e2e import rig

# varnishncsa knows no `%>s`.
CSA_FORMAT = rig.COMBINED.replace("%>s", "%s")
COMMITTED = rig.ROOT / "benches/e2e/results/e2e.json"

# name: codec of this module, rival's file name, rival's command after varnishncsa
MODES = {
    "none": (None, None),
    "s3log gzip": ("gzip", None),
    "s3log zstd": ("zstd", None),
    "ncsa file": (None, []),
    "ncsa gzip": (None, ["gzip", f"-{load.LEVEL}", "-c"]),
    "ncsa zstd": (None, ["zstd", "-q", f"-{load.LEVEL}", "-c"]),
}
QUICK = ["none", "s3log gzip", "s3log zstd", "ncsa gzip", "ncsa zstd"]

# What is compared with what, and the goal: (name, above, below, at most).
RATIOS = [
    ("zstd: s3log / varnishncsa, zstd, rclone", "s3log zstd", "ncsa zstd", 1 / 8),
    ("gzip: s3log / varnishncsa, gzip, rclone", "s3log gzip", "ncsa gzip", 1 / 5),
    ("zstd: s3log / the codec alone", "s3log zstd", "codec zstd", 1.4),
    ("gzip: s3log / the codec alone", "s3log gzip", "codec gzip", 1.4),
]


class Bench:
    """One varnishd with a VCL a mode, and what each run of wrk against it has cost."""

    def __init__(self, place, seconds, connections, rate):
        self.place, self.seconds, self.connections = place, seconds, connections
        self.paced = load.script(place.directory, "paced", rate_per_connection=rate / connections)
        self.most = load.script(place.directory, "most")
        self.rounds = []
        self.objects = 0
        place.s3.start()
        place.start_varnish(self.vcl("none"))
        for mode, (codec, _) in MODES.items():
            if codec:
                place.varnish.cli("vcl.load", self.name(mode), self.vcl(mode), "auto")

    @staticmethod
    def name(mode):
        return mode.replace("s3log ", "") if MODES[mode][0] else "boot"

    def vcl(self, mode):
        codec, name = MODES[mode][0], self.name(mode)
        return load.vcl(self.place, name, [name] if codec else [], codec)

    def run(self, mode, script=None):
        """One run: what was answered, what has arrived, and CPU seconds by who spent them."""
        codec, rival = MODES[mode]
        varnish = self.place.varnish
        varnish.cli("vcl.state", self.name(mode), "auto")
        varnish.cli("vcl.use", self.name(mode))
        for other in {self.name(mode) for mode in MODES} - {self.name(mode)}:
            # Its threads end.
            varnish.cli("vcl.state", other, "cold")
        time.sleep(0.3)
        before = load.Usage(varnish)
        chain = Rival(self.place, rival, f"rival/{self.objects}") if rival is not None else None
        self.objects += 1
        wrk = load.wrk(self.place, script or self.paced, self.seconds, self.connections)
        if codec:
            due = before.uploaded(self.name(mode))
            rig.wait_for(
                "the last block",
                lambda: load.Usage(varnish).uploaded(self.name(mode)) - due
                >= load.Usage(varnish).requests - before.requests,
                60,
            )
        else:
            # As long as a stream's last block takes.
            time.sleep(3.2)
        spent = chain.end() if chain else {}
        after = load.Usage(varnish)
        answered = after.requests - before.requests
        spent["varnishd"], ours = after.since(before)
        if codec:
            arrived = after.uploaded(self.name(mode)) - before.uploaded(self.name(mode))
            # Part of varnishd's, shown for itself.
            threads = {f"thread {name}": seconds for name, seconds in ours.items()}
        else:
            arrived, threads = chain.lines() if chain else 0, {}
        return {
            "mode": mode,
            "answered": answered,
            "arrived": arrived,
            "rate": wrk,
            "cpu": sum(spent.values()) / answered * 1e6,
            "parts": {k: v / answered * 1e6 for k, v in {**spent, **threads}.items()},
            "resident": after.resident + (chain.resident if chain else 0),
        }


class Rival:
    """varnishncsa, into a file or through a compressor into rclone."""

    def __init__(self, place, compressor, key):
        self.place, self.key = place, key
        env = dict(place.env)
        env |= {
            "RCLONE_CONFIG": str(place.directory / "rclone.conf"),
            "RCLONE_CONFIG_EDGE_TYPE": "s3",
            "RCLONE_CONFIG_EDGE_PROVIDER": "Other",
            "RCLONE_CONFIG_EDGE_ENDPOINT": place.s3.endpoint,
            "RCLONE_CONFIG_EDGE_ACCESS_KEY_ID": rig.ACCESS_KEY,
            "RCLONE_CONFIG_EDGE_SECRET_ACCESS_KEY": rig.SECRET_KEY,
        }
        ncsa = ["varnishncsa", "-n", str(place.varnish.workdir), "-F", CSA_FORMAT]
        self.file = place.directory / "access.log"
        self.compressor = compressor
        self.children = collections.OrderedDict()
        if compressor:
            upload = [str(rig.DEPS / "bench/bin/rclone"), "rcat", "--s3-no-check-bucket"]
            upload += [f"edge:{rig.BUCKET}/{key}"]
            first = subprocess.Popen(ncsa, env=env, stdout=subprocess.PIPE)
            second = subprocess.Popen(
                compressor, env=env, stdin=first.stdout, stdout=subprocess.PIPE
            )
            third = subprocess.Popen(upload, env=env, stdin=second.stdout)
            first.stdout.close()
            second.stdout.close()
            self.children |= {"varnishncsa": first, compressor[0]: second, "rclone": third}
        else:
            self.file.unlink(missing_ok=True)
            self.children["varnishncsa"] = subprocess.Popen(
                [*ncsa, "-w", str(self.file)], env=env, stdout=subprocess.DEVNULL
            )
        self.resident = 0
        time.sleep(0.5)

    def end(self):
        """Ends it, the first by a signal and the others by its end; CPU seconds of each."""
        self.resident = sum(load.resident(child.pid) for child in self.children.values())
        spent = {}
        next(iter(self.children.values())).send_signal(signal.SIGTERM)
        for name, child in self.children.items():
            spent[name] = load.ended(child, name)
        return spent

    def lines(self):
        """How many lines have come through."""
        if not self.compressor:
            with self.file.open("rb") as lines:
                return sum(1 for _ in lines)
        body = self.place.s3.client().get_object(Bucket=rig.BUCKET, Key=self.key)["Body"]
        unpack = subprocess.Popen(
            [self.compressor[0], "-dc"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        count = subprocess.Popen(["wc", "-l"], stdin=unpack.stdout, stdout=subprocess.PIPE)
        for piece in body.iter_chunks(1 << 20):
            unpack.stdin.write(piece)
        unpack.stdin.close()
        return int(count.communicate()[0])


def codec_alone(place, lines):
    """CPU microseconds a line of the compressors themselves, on the lines that were logged."""
    raw = place.directory / "lines"
    raw.write_bytes(b"\n".join(lines) + b"\n")
    own = [place.module_dir / "s3log-codec", str(raw)]
    found = {}
    for name, command in {
        "codec gzip": [*own, f"gzip:{load.LEVEL}"],
        "codec zstd": [*own, f"zstd:{load.LEVEL}"],
        "program gzip": ["gzip", f"-{load.LEVEL}", "-c", str(raw)],
        "program zstd": ["zstd", "-q", "--single-thread", f"-{load.LEVEL}", "-c", str(raw)],
    }.items():
        child = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL)
        found[name] = load.ended(child, command[0]) / len(lines) * 1e6
    return found


def spread(values):
    return {
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
    }


def summary(rounds):
    """Every figure as median, min and max over the rounds."""
    added = collections.defaultdict(list)
    ratios = {name: [] for name, *_ in RATIOS}
    speed = collections.defaultdict(list)
    for one in rounds:
        none = one["none"]
        cost = {m: run["cpu"] - none["cpu"] for m, run in one.items() if "answered" in run}
        cost |= {m: run["cpu"] for m, run in one.items() if "answered" not in run}
        for mode, value in cost.items():
            added[mode].append(value)
        for mode, run in one.items():
            if "most" in run:
                speed[mode].append(run["most"] / none["most"])
        for name, above, below, _ in RATIOS:
            ratios[name].append(cost[above] / cost[below])
    return {
        "added": {mode: spread(values) for mode, values in added.items() if mode != "none"},
        "ratios": {name: spread(values) for name, values in ratios.items()},
        "speed": {mode: spread(values) for mode, values in speed.items() if mode != "none"},
    }


def show(rounds, found):
    none = spread([one["none"]["cpu"] for one in rounds])
    print(f"\nvarnishd without logging: {none['median']:.2f} CPU us a request "
          f"({none['min']:.2f} to {none['max']:.2f}), {len(rounds)} rounds")
    print(f"\n{'CPU microseconds a request':44} {'median':>8} {'min':>8} {'max':>8}")
    for mode, value in found["added"].items():
        what = f"{mode}, a line" if mode.startswith(("codec", "program")) else f"added by {mode}"
        print(f"{what:44} {value['median']:8.2f} {value['min']:8.2f} {value['max']:8.2f}")
    print(f"\n{'ratio':44} {'median':>8} {'min':>8} {'max':>8} {'goal':>8}")
    for name, _, _, goal in RATIOS:
        value = found["ratios"][name]
        print(f"{name:44} {value['median']:8.3f} {value['min']:8.3f} {value['max']:8.3f} {goal:8.3f}")
    for mode, value in found["speed"].items():
        what = f"requests/s: {mode} / none"
        print(f"{what:44} {value['median']:8.3f} {value['min']:8.3f} {value['max']:8.3f}"
              + (f" {0.97:8.3f}" if mode.startswith("s3log") else ""))
    print("\nwhere it goes, CPU us a request (medians); records; resident")
    for mode in MODES:
        runs = [one[mode] for one in rounds if mode in one]
        if not runs:
            continue
        parts = {p: statistics.median(run["parts"][p] for run in runs) for p in runs[0]["parts"]}
        text = ", ".join(f"{part} {value:.2f}" for part, value in parts.items())
        answered, arrived = sum(r["answered"] for r in runs), sum(r["arrived"] for r in runs)
        records = "" if mode == "none" else f"; {arrived} of {answered} records"
        print(f"  {mode:12} {text}{records}; {max(r['resident'] for r in runs) >> 20} MiB")


def worse(found):
    """What is worse than the committed figures by more than their noise: ranges that do not meet."""
    if not COMMITTED.exists():
        return []
    before = json.loads(COMMITTED.read_text())["ratios"]
    return [
        f"{name}: {value['min']:.3f} to {value['max']:.3f}, committed "
        f"{before[name]['min']:.3f} to {before[name]['max']:.3f}"
        for name, value in found["ratios"].items()
        if name in before and value["min"] > before[name]["max"]
    ]


def machine(place):
    model = next(
        line.split(":", 1)[1].strip()
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    )
    say = lambda *command: subprocess.run(  # noqa: E731
        command, env=place.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ).stdout.splitlines()[0]
    return {
        "cpu": f"{model}, {os.cpu_count()} cores",
        "kernel": platform.release(),
        "varnish": say("varnishd", "-V"),
        "gzip": say("gzip", "--version"),
        "zstd": say("zstd", "--version").strip("* "),
        "rclone": say(str(rig.DEPS / "bench/bin/rclone"), "version"),
    }


def write(rounds, found, directory, place):
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "e2e.json").write_text(
        json.dumps({"machine": machine(place), "rounds": len(rounds), **found}, indent=1) + "\n"
    )
    with (directory / "e2e.csv").open("w", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(["round", "mode", "requests", "records", "most_per_second", "cpu_us"])
        for number, one in enumerate(rounds):
            for mode, run in one.items():
                row = [run.get("answered", ""), run.get("arrived", ""), round(run.get("most", 0)) or ""]
                out.writerow([number, mode, *row, f"{run['cpu']:.3f}"])


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--profile", default="release", choices=["debug", "release"])
    arguments.add_argument("--quick", action="store_true")
    arguments.add_argument("--rounds", type=int)
    arguments.add_argument("--seconds", type=float)
    arguments.add_argument("--connections", type=int, default=32)
    arguments.add_argument("--rate", type=float, default=8_000, help="requests/s, for the cost")
    arguments.add_argument("--write", type=pathlib.Path, help="where the figures are kept")
    options = arguments.parse_args()
    rounds = options.rounds or (4 if options.quick else 7)
    seconds = options.seconds or (3 if options.quick else 6)
    modes = QUICK if options.quick else list(MODES)

    lost = False
    with rig.Rig("bench", profile=options.profile) as place:
        bench = Bench(place, seconds, options.connections, options.rate)
        bench.run("none")  # warms caches and pools; not counted
        done = []
        for number in range(rounds):
            # No mode always follows the same one; the same orders in every run.
            order = random.Random(number).sample(modes, len(modes))
            ran = {mode: bench.run(mode) for mode in order}
            one = {mode: ran[mode] for mode in modes}
            if not options.quick:
                for mode in ("none", "s3log gzip", "s3log zstd"):
                    one[mode]["most"] = bench.run(mode, bench.most)["rate"]
            if number == 0:
                lines = place.cat("zstd")[:500_000]
            one |= {name: {"cpu": us} for name, us in codec_alone(place, lines).items()}
            done.append(one)
            for mode in modes:
                lost |= mode.startswith("s3log") and one[mode]["arrived"] != one[mode]["answered"]
            print(f"round {number + 1} of {rounds}: " + ", ".join(
                f"{mode} {one[mode]['cpu']:.2f}" for mode in modes), flush=True)
        found = summary(done)
        show(done, found)
        if options.write:
            write(done, found, options.write, place)
    for line in (regressions := worse(found)):
        print(f"WORSE than committed by more than the noise: {line}")
    if lost:
        print("FAILED: records are missing")
    return 1 if regressions or lost else 0


if __name__ == "__main__":
    sys.exit(main())
