"""A thousand reloads under load lose nothing, repeat nothing and leave nothing behind.

Each is vcl.load, vcl.use and vcl.discard of the one before. Before and after, the cache process's
threads, descriptors and mappings are compared.
"""

import collections
import os
import pathlib
import re
import time

from e2e import rig
from e2e.rig import say, stream_vcl, traffic


class Holdings:
    """What a process holds, from /proc."""

    def __init__(self, pid):
        proc = pathlib.Path(f"/proc/{pid}")
        self.threads = collections.Counter(
            (task / "comm").read_text().strip() for task in (proc / "task").iterdir()
        )
        self.descriptors = collections.Counter()
        for descriptor in (proc / "fd").iterdir():
            try:
                target = os.readlink(descriptor)
            except OSError:
                continue
            self.descriptors[target.split(":")[0] if ":[" in target else target] += 1
        # Allocators and thread stacks come and go without a name; files do not.
        self.mappings = collections.Counter()
        self.anonymous = 0
        for line in (proc / "maps").read_text().splitlines():
            parts = line.split(maxsplit=5)
            if len(parts) == 6 and parts[5].startswith("/"):
                self.mappings[parts[5]] += 1
            else:
                self.anonymous += 1
        status = (proc / "status").read_text()
        # Without pages of files: the ring's are touched one by one until it has gone round.
        self.resident = int(status.split("RssAnon:")[1].split()[0]) / 1024

    def ours(self):
        return {name: n for name, n in self.threads.items() if name.startswith("s3log-")}

    def __str__(self):
        return (
            f"{sum(self.threads.values())} threads ({self.ours()}), "
            f"{sum(self.descriptors.values())} descriptors, {sum(self.mappings.values())} mapped "
            f"files' pieces, {self.anonymous} nameless mappings, {self.resident:.1f} MiB of its own resident"
        )


def differences(before, after, name_of=lambda name: name):
    """What there is more or less of."""

    def named(counter):
        found = collections.Counter()
        for name, n in counter.items():
            found[name_of(name)] += n
        return found

    a, b = named(before), named(after)
    return {name: b[name] - a[name] for name in a | b if a[name] != b[name]}


def compiled(name):
    """Files of Varnish's own that have another name each time."""
    if "/vcl_" in name:
        return "a compiled VCL"
    return "counters" if "/_.VSC_cluster." in name else name


def at_rest(varnish, pid):
    """What the process holds when no request and no upload is under way."""

    def idle():
        now = varnish.counters()
        return not now or now["access.ring_used"] + now["access.spooled_blocks"] == 0

    rig.wait_for("the uploads", idle)
    time.sleep(3)
    return Holdings(pid)


def arguments(parser):
    parser.add_argument("--reloads", type=int, default=1000)
    parser.add_argument(
        "--control", action="store_true", help="a VCL without the stream: what Varnish alone does"
    )


def prove(place, options):
    place.s3.start()
    parameters = [f"thread_pool_{name}" for name in ("min=60", "max=60", "timeout=3000")]
    parameters += ["thread_pools=2", "vcl_cooldown=1s", "syslog_cli_traffic=off"]
    # Compiling is most of a reload, and what it makes is not measured here.
    parameters += ["cc_command=exec gcc -O0 -fpic -shared -Wl,-x -o %o %s"]
    text = stream_vcl.write(place, "v0", period="1s")
    if options.control:
        text.write_text(re.sub(r"(?s)sub vcl_init .*?\n}\n|import s3log;|access.log\(\);", "", text.read_text()))
    varnish = place.start_varnish(text, parameters=parameters)
    pid = varnish.child_pid()

    def reload(number):
        varnish.cli("vcl.load", f"v{number}", text)
        varnish.cli("vcl.use", f"v{number}")
        varnish.cli("vcl.discard", "boot" if number == 1 else f"v{number - 1}")

    def only_one():
        return len(varnish.cli("vcl.list").strip().splitlines()) == 1

    load = traffic.Traffic(varnish.port, 3, 1, pause=0.01).start()
    for number in range(1, 11):
        reload(number)
    answered = load.stop()
    rig.wait_for("the first VCLs to go", only_one)
    before = at_rest(varnish, pid)
    say(f"reload: before: {before}")
    load = traffic.Traffic(varnish.port, 3, 2, pause=0.01).start()
    begin = time.monotonic()
    for number in range(11, options.reloads + 11):
        reload(number)
        if number % 100 == 10:
            say(f"reload: {number - 10} after {time.monotonic() - begin:.0f} s")
    answered += load.stop()
    rig.wait_for("the last VCLs to go", only_one)
    after = at_rest(varnish, pid)
    say(f"reload: after:  {after}")
    if varnish.child_pid() != pid:
        return ["the cache process has died"]
    before_exit = varnish.counters() if options.control else varnish.balanced()
    varnish.stop()
    if options.control:
        say(f"reload: control: its own resident memory moved by {after.resident - before.resident:+.1f} MiB")
        return []
    verdict = traffic.Verdict(answered, traffic.ids_of(place.patient_cat()), traffic.Deaths())
    say(f"reload: {options.reloads} reloads: {verdict}")
    failures = []
    if not verdict.ok():
        failures.append(verdict.details(0, traffic.Deaths()))
    for what, a, b in (
        ("threads", before.threads, after.threads),
        ("descriptors", before.descriptors, after.descriptors),
        ("mappings", before.mappings, after.mappings),
    ):
        moved = differences(a, b, compiled)
        # The clients' own connections are open or not.
        moved.pop("socket", None)
        if moved:
            failures.append(f"{what} moved: {moved}")
    if before.ours() != after.ours() or not after.ours():
        failures.append(f"our threads moved: {before.ours()} to {after.ours()}")
    say(f"reload: its own resident memory moved by {after.resident - before.resident:+.1f} MiB")
    if dropped := rig.dropped(before_exit):
        failures.append(f"dropped: {dropped}")
    return failures
