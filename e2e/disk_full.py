"""The spool's disk runs full, and turns read-only, under load; then it is repaired.

The cache answers every request with 200, the counters say what is wrong, and when there is room
again everything arrives that was not counted as dropped. What a running stream cannot write damages
no block: `damaged_blocks` counts what a start finds damaged on a full disk, from then on to the start
that has room for it, which sends it. Needs root for mount(8).
"""

import contextlib
import subprocess
import threading
import time

from e2e import rig
from e2e.rig import say, stream_vcl, traffic


def run(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.returncode == 0, done.stdout.strip()


class Disk:
    """A tmpfs of 24 MiB with the spool on it."""

    def __init__(self, path):
        self.path, self.filler, self.over = path, path / "filler", False
        path.mkdir()
        rig.tmpfs(path, "24m")

    def fill(self):
        """Writes until nothing fits, and again what was freed since."""
        rig.fill(self.filler)

    def free(self):
        self.filler.unlink()

    def freeze(self):
        """Turns the stream's directory read-only, as the kernel does after an error. A file that
        is mapped for writing makes an orderly remount impossible; a read-only mount over the
        directory gives the same EROFS to every later open."""
        stream = self.path / "access"
        fine, why = run("mount", "-o", "remount,ro", self.path)
        if fine:
            return "remounted read-only"
        for command in (("mount", "--bind", stream, stream), ("mount", "-o", "remount,ro,bind", stream)):
            fine, why = run(*command)
            if not fine:
                raise RuntimeError(f"{command}: {why}")
        self.over = True
        return "covered by a read-only mount, since the ring is mapped from it"

    def thaw(self):
        if self.over:
            run("umount", self.path / "access")
            self.over = False
        else:
            run("mount", "-o", "remount,rw", self.path)

    def remove(self):
        with contextlib.suppress(Exception):
            self.thaw()
        run("umount", "-l", self.path)


def damaged(place, disk, varnish):
    """A power cut takes a block's description, and the start after it finds the disk full; what is wrong then."""
    descriptions = lambda: list((disk.path / "access").glob("*.json"))

    def count(what, **expected):
        """Waits for counters."""
        expected = {f"access.{name}": value for name, value in expected.items()}
        rig.wait_for(what, lambda: expected.items() <= varnish.counters("access").items(), step=0.1)

    place.s3.kill()
    traffic.each(varnish.port, ["/s/damaged"])
    rig.wait_for("a sealed block", descriptions, step=0.1)
    varnish.stop()
    for path in descriptions():
        path.unlink()
    disk.fill()
    varnish.start()
    count("a damaged block", damaged_blocks=1, spooled_blocks=1)
    # With room and a gateway all else is sent.
    disk.free()
    place.s3.start()
    traffic.each(varnish.port, ["/s/whole"])
    count("an upload", uploaded_records=1, damaged_blocks=1, spooled_blocks=1)
    varnish.stop()
    varnish.start()
    count("the block that is mended", uploaded_records=1, damaged_blocks=0, spooled_blocks=0)
    found = sorted({"damaged", "whole"} & set(traffic.ids_of(place.patient_cat())))
    say(
        "disk-full: damaged_blocks is 1 after a start on the full disk, 1 with room, 0 after the next start; in the "
        f"bucket then: {', '.join(found)}"
    )
    if found != ["damaged", "whole"]:
        yield "a block that was mended, or one beside it, is not in the bucket"


def prove(place, options):
    failures = []
    disk = Disk(place.directory / "disk")
    place.stack.callback(disk.remove)
    place.s3.start()
    vcl = stream_vcl.write(place, "full", disk.path, period="500ms", ring='"1MB"')
    # What `disk.remove` unmounts must not be in use then.
    varnish = place.start_varnish(vcl)
    place.stack.callback(varnish.stop)
    total = {"pushed": 0}

    def phase(name, hurt, mend):
        before = varnish.counters("access")
        load = traffic.Traffic(varnish.port, 3, len(name) + total["pushed"], pause=0.002)
        load.start()
        time.sleep(1)
        note = hurt() or ""
        stop = threading.Event()
        if hurt == disk.fill:
            # Uploads free space; it is taken at once.
            def again():
                while not stop.wait(0.02):
                    disk.fill()

            filler = threading.Thread(target=again)
            filler.start()
        during = {}

        def full():
            during.update(varnish.counters("access"))
            moved = lambda name: during[f"access.{name}"] > before[f"access.{name}"]
            return moved("dropped_ring") and moved("spool_errors")

        # The ring holds what comes until then; a slow machine takes longer to fill it.
        rig.wait_for("a full ring and a counted error", full, step=0.2)
        answered_before_mending = len(load.answered())
        stop.set()
        if hurt == disk.fill:
            filler.join()
        mend()
        time.sleep(2)
        answered = load.stop()
        total["pushed"] += len(answered)
        bad = [answer for answer in answered if answer.status != 200]
        failed = sum(client.failures for client in load.clients)
        errors = during["access.spool_errors"] - before["access.spool_errors"]
        say(
            f"disk-full: {name}: {note} {len(answered)} requests answered "
            f"({answered_before_mending} before it was mended), {len(bad)} not with 200, "
            f"{failed} connections failed; spool_errors +{errors}, ring {during['access.ring_used']} "
            f"of {during['access.ring_size']} bytes, dropped_ring "
            f"+{during['access.dropped_ring'] - before['access.dropped_ring']}"
        )
        if bad or failed:
            failures.append(f"{name}: the cache did not serve on")
        if blocks := during["access.damaged_blocks"]:
            failures.append(f"{name}: {blocks} blocks of the running stream count as damaged")
        return answered

    answered = phase("full disk", disk.fill, disk.free)
    answered += phase("read-only disk", disk.freeze, disk.thaw)

    rig.wait_for("an empty spool", varnish.idle)
    now = varnish.balanced()
    found = traffic.ids_of(place.patient_cat())
    dropped = now["access.dropped_ring"] + now["access.dropped_spool"]
    ids = {answer.id for answer in answered}
    say(
        f"disk-full: pushed {total['pushed']}, found {len(found)}, dropped and counted {dropped}, "
        f"counters: records {now['access.records']}, uploaded {now['access.uploaded_records']}"
    )
    if total["pushed"] != len(found) + dropped:
        failures.append("pushed = found + dropped does not hold")
    if len(set(found)) != len(found):
        failures.append("records arrived twice")
    if set(found) - ids:
        failures.append("records arrived that nobody sent")
    client = place.s3.client()
    heads = [client.head_object(Bucket=rig.BUCKET, Key=key) for key in place.s3.keys()]
    told = sum(sum(map(int, head["Metadata"]["dropped"].split(","))) for head in heads)
    say(f"disk-full: the blocks' metadata tell of {told} dropped records")
    if told != dropped:
        failures.append("the metadata tell another number of dropped records")
    text = varnish.process.log.read_text(errors="replace")
    for line in [line for line in text.splitlines() if "S3LOG" in line][:6]:
        say(f"disk-full: varnishd said: {line}")
    if "S3LOG" not in text:
        failures.append("varnishd's standard error says nothing")
    return failures + list(damaged(place, disk, varnish))
