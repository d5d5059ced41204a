"""A disk that the stream's own blocks fill is emptied by uploading them, and nobody frees anything by hand.

What is open on it is sealed when no further chunk fits: that takes a page. So does `s3log drain`, which finds a
ring and an open block on a disk with a few pages left. Needs root for mount(8).
"""

import base64
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess

from e2e import rig
from e2e.troubles_faults import Node

KEY = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
LINES = 50
BYTES = 60_000
PAGE = 4096


class SmallDisk(Node):
    """A stream with its spool on a disk of `size`, and VCL whose requests log LINES lines that no codec makes much
    smaller."""

    def __init__(self, place, name, size, mount=rig.tmpfs, **settings):
        self.disk = place.directory / f"{name}-disk"
        self.disk.mkdir()
        mount(self.disk, size)
        place.stack.callback(subprocess.run, ["umount", "-l", self.disk], check=False)
        super().__init__(place, name, spool=self.disk, ring="1MB", max_line="65000", **settings)
        place.stack.callback(self.stop)
        chance, self.calls = random.Random(1), ""
        for number in range(LINES):
            text = self.directory / f"line-{number}"
            text.write_bytes(base64.b64encode(chance.randbytes(BYTES * 3 // 4)))
            self.calls += f'if (std.integer(regsub(req.url, "^/", ""), 0) > {number}) {{ access.log_line(std.fileread("{text}")); }}\n'

    def lines(self, count):
        """One request, and its client is gone."""
        self.request(f"/{count}")

    def counters(self):
        return {name.split(".", 1)[1]: value for name, value in self.varnish.counters("access*").items()}


def burst(place, name="burst", **more):
    """More comes in one go than the disk takes, before the first block is due."""
    node = SmallDisk(place, name, "3m", period="2s", on_full="wait", max_wait="10s", **more)
    node.start().load(recv=node.calls)
    node.lines(LINES)
    # What has just come is in no counter yet.
    gone = lambda: (now := node.counters())["uploaded_records"] + now["dropped_ring"] > LINES
    with contextlib.suppress(TimeoutError):
        rig.wait_for("all lines in the bucket", gone, seconds=60, step=0.2)
    now = node.counters()
    names = ("uploaded_records", "spooled_records", "ring_used", "dropped_ring", "blocks_sealed", "spool_errors")
    shown = ", ".join(f"{name} {now[name]}" for name in names)
    rig.say(f"small-disk: {name}: {LINES} lines of {BYTES} bytes on a disk of 3 MiB: {shown}")
    if now["spooled_records"] or now["ring_used"]:
        yield f"{name}: the spool is not empty"
    if now["uploaded_records"] != LINES + 1:
        yield f"{name}: not all lines are in the bucket"
    if now["blocks_sealed"] < 3 and not now["spool_errors"]:
        yield f"{name}: the disk was never full"


def encrypted(place):
    """The same where the seal of a block takes room for a copy of it."""
    return burst(place, "encrypted", encrypt_to=KEY, path="encrypted/")


def drain(place, name="drain", size="3m", pages=4, **more):
    """The cache process is killed while ring and open block wait on a disk that somebody has filled up; some pages
    are free when s3log drain comes."""
    node = SmallDisk(place, name, size, period="1h", path=f"{name}/", **more)
    node.start().load(recv=node.calls)
    node.lines(12)
    node.until("an open block", lambda: node.counters()["spooled_records"])
    filler = node.disk / "filler"
    rig.fill(filler)
    node.lines(8)
    node.until("a failed write", lambda: node.counters()["spool_errors"])
    before, child = node.counters(), node.varnish.child()
    node.varnish.stop(signal.SIGKILL)
    # It ends when it finds its manager gone, and has the spool until then.
    rig.wait_for("the end of the cache process", lambda: rig.gone(child))
    os.truncate(filler, filler.stat().st_size - pages * PAGE)
    code, text = node.command("drain", "--timeout", "60s", "--config", node.settings)
    rig.say(f"small-disk: {name}: {before['ring_used']} bytes in the ring, exit code {code}: {' '.join(text.split())}")
    if code:
        yield f"{name}: it did not come to its end"
    if not before["ring_used"]:
        yield f"{name}: nothing was in the ring"


def xfs(place):
    """The same on an XFS with less free than the ring is long, which refuses to allocate what is there."""
    if shutil.which("mkfs.xfs") is None:
        rig.say("small-disk: xfs: left out, for there is no mkfs.xfs here")
        return
    try:
        yield from drain(place, "xfs", 300 << 20, pages=64, mount=rig.xfs)
    except rig.Skip as reason:
        rig.say(f"small-disk: xfs: left out: {reason}")


def requeue(place):
    """Blocks of a route that is gone, and its ring, on a disk with room for some of them only: they are moved, and the
    ring when there is room."""
    node = SmallDisk(place, "requeue", "4m", period="200ms", bucket="edge-lgos", path="gone/")
    node.start().load("gone", recv=node.calls)
    for number in range(3):
        node.request()
        node.until("a block", lambda: node.counters()["blocks_sealed"] > number)
    node.values |= {"bucket": rig.BUCKET, "path": "here/"}
    node.write()
    node.load("here", recv=node.calls).request()
    node.until("an upload", lambda: node.counters()["uploaded_records"])
    node.varnish.cli("vcl.use", "gone")
    filler = node.disk / "filler"
    rig.fill(filler)
    node.lines(8)
    node.until("a failed write", lambda: node.counters()["spool_errors"])
    node.stop()
    os.truncate(filler, filler.stat().st_size - 24 * PAGE)
    routes = json.loads((node.disk / "access/route").read_text())["route"]
    again = lambda: node.command("requeue", "--from", routes, "--spool", node.disk, "access")
    first, text = again()
    rig.say(f"small-disk: requeue: exit code {first}: {' '.join(text.split())}")
    if first != 1 or "3 blocks with 3 records" not in text or "records stay in the ring" not in text:
        yield "requeue: the blocks were not moved, or the ring was not named"
    filler.unlink()
    second, text = again()
    rig.say(f"small-disk: requeue: exit code {second}: {' '.join(text.split())}")
    if second:
        yield "requeue: with room all is to be moved"
    code, text = node.command("drain", "--timeout", "60s", "--config", node.settings)
    found = len(place.patient_cat("access", "--path", "here/"))
    rig.say(f"small-disk: requeue: {found} lines in the bucket of 13")
    if code or found != 13:
        yield "requeue: not all lines are in the bucket"


def prove(place, options):
    place.s3.start()
    return [problem for phase in (burst, encrypted, drain, xfs, requeue) for problem in phase(place)]
