"""An orderly end brings the last second's records into the bucket at once.

The period is an hour; only the end itself can have uploaded them.
"""

import re
import socket
import time

from e2e import rig
from e2e.rig import say, stream_vcl, traffic

# What an end may take beyond what the stream may ask for: varnishd's own work.
SLACK = 3.0


class Flush:
    def __init__(self, place):
        self.place, self.round, self.answered, self.failures = place, 0, [], []

    def load(self, seconds=1.0):
        """A second of requests, and the pause after which every one of them has finished."""
        self.round += 1
        load = traffic.Traffic(self.place.varnish.port, 2, self.round, pause=0.01).start()
        time.sleep(seconds)
        self.answered += load.stop()
        time.sleep(traffic.GRACE)

    def missing(self):
        found = traffic.ids_of(self.place.patient_cat())
        if len(set(found)) != len(found):
            self.failures.append("records arrived twice")
        return len({answer[0] for answer in self.answered} - set(found))

    def check(self, name, took, limit, missing, expected=0):
        say(f"flush: {name}: {took:.2f} s, {missing} of {len(self.answered)} not in the bucket")
        if took > limit:
            self.failures.append(f"{name}: took {took:.2f} s")
        if (missing > 0) != (expected > 0):
            self.failures.append(f"{name}: {missing} records are missing")


def timed(act):
    begin = time.monotonic()
    act()
    return time.monotonic() - begin


def prove(place, options):
    place.s3.start()
    hour = stream_vcl.write(place, "hour", period="1h")
    plain = place.directory / "plain.vcl"
    plain.write_text("vcl 4.1; backend b none; sub vcl_recv { return (synth(200)); }")
    few = ("thread_pools=1", "thread_pool_min=10", "thread_pool_max=10")
    varnish = place.start_varnish(hour, parameters=few)
    flush = Flush(place)

    flush.load()
    flush.check("nothing before the period is over", 0, 1, flush.missing(), expected=1)
    took = timed(lambda: varnish.cli("stop"))
    flush.check("varnishadm stop", took, SLACK, flush.missing())
    varnish.cli("start")
    rig.wait_for("varnishd", varnish.answers)

    flush.load()
    took = timed(varnish.stop)
    flush.check("SIGTERM of the manager", took, SLACK, flush.missing())
    varnish.start()

    flush.load()
    varnish.cli("vcl.load", "plain", plain)
    varnish.cli("vcl.use", "plain")
    took = timed(lambda: varnish.cli("vcl.discard", "boot"))
    flush.check("vcl.discard returns", took, 1, 0)
    # An idle worker of Varnish's holds on to the VCL of its last request for up to a minute;
    # another request makes it let go.
    others = traffic.Traffic(varnish.port, 16, 999, batch=1).start()
    time.sleep(0.5)
    others.stop()
    took = timed(lambda: rig.wait_for("the upload", lambda: flush.missing() == 0, 20, 0.1))
    flush.check("and the discarded stream uploads", took, SLACK + 5, flush.missing())
    varnish.cli("vcl.load", "again", hour)
    varnish.cli("vcl.use", "again")

    # exit_timeout is 5 s.
    flush.load()
    place.s3.kill()
    took = timed(lambda: varnish.cli("stop"))
    place.s3.start()
    flush.check("varnishadm stop, gateway down", took, 5 + SLACK, flush.missing(), expected=1)
    varnish.cli("start")
    took = timed(lambda: rig.wait_for("the upload", lambda: flush.missing() == 0, 30, 0.2))
    flush.check("the next start uploads", took, 30, flush.missing())

    # A gateway that takes connections and says nothing.
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f'"http://127.0.0.1:{mute.getsockname()[1]}"'
        text = hour.read_text()
        silent = place.directory / "silent.vcl"
        silent.write_text(re.sub(r'endpoint = "[^"]*"', f"endpoint = {address}", text))
        varnish.cli("vcl.load", "silent", silent)
        varnish.cli("vcl.use", "silent")
        varnish.cli("vcl.discard", "again")
        flush.load()
        took = timed(lambda: varnish.cli("stop"))
        flush.check("varnishadm stop, gateway mute", took, 5 + SLACK, flush.missing(), expected=1)
    varnish.stop()
    varnish.start()
    took = timed(lambda: rig.wait_for("the upload", lambda: flush.missing() == 0, 30, 0.2))
    flush.check("the next start uploads", took, 30, flush.missing())
    varnish.stop()
    return flush.failures
