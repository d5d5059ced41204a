"""An orderly end brings the last second's records into the bucket at once.

The period is an hour; only the end itself can have uploaded them.
"""

import os
import signal
import time

from e2e import rig
from e2e.rig import say, stream_vcl, traffic

# Guards against a hang, and no measure: what an end must not wait for is longer.
LIMIT = rig.PATIENCE
PATIENT, SHORT = "10m", "5s"


class Flush:
    def __init__(self, place):
        self.place, self.round, self.answered, self.failures = place, 0, [], []

    def load(self):
        """Some requests; each of them has finished then."""
        self.round += 1
        load = traffic.Traffic(self.place.varnish.port, 2, self.round, pause=0.01).start()
        rig.wait_for("requests", lambda: len(load.answered()) > 100)
        self.answered += load.stop()

    def missing(self):
        found = traffic.ids_of(self.place.patient_cat())
        if len(set(found)) != len(found):
            self.failures.append("records arrived twice")
        return len({answer.id for answer in self.answered} - set(found))

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
    hour = stream_vcl.write(place, "hour", period="1h", exit_timeout=PATIENT)
    short = stream_vcl.write(place, "short", period="1h", exit_timeout=SHORT)
    plain = place.directory / "plain.vcl"
    plain.write_text("vcl 4.1; backend b none; sub vcl_recv { return (synth(200)); }")
    few = ("thread_pools=1", "thread_pool_min=10", "thread_pool_max=10")
    varnish = place.start_varnish(hour, parameters=few)
    flush = Flush(place)

    flush.load()
    flush.check("nothing before the period is over", 0, 1, flush.missing(), expected=1)
    took = timed(lambda: varnish.cli("stop"))
    flush.check("varnishadm stop", took, LIMIT, flush.missing())
    varnish.cli("start")
    rig.wait_for("varnishd", varnish.answers)

    flush.load()
    took = timed(varnish.stop)
    flush.check("SIGTERM of the manager", took, LIMIT, flush.missing())
    varnish.start()

    flush.load()
    varnish.cli("vcl.load", "plain", plain)
    varnish.cli("vcl.use", "plain")
    took = timed(lambda: varnish.cli("vcl.discard", "boot"))
    flush.check("vcl.discard returns", took, LIMIT, 0)
    # An idle worker of Varnish's holds on to the VCL of its last request for up to a minute;
    # another request makes it let go.
    def uploaded():
        others = traffic.Traffic(varnish.port, 16, 999, batch=1).start()
        time.sleep(0.3)
        others.stop()
        return flush.missing() == 0

    took = timed(lambda: rig.wait_for("the upload", uploaded, LIMIT))
    flush.check("and the discarded stream uploads", took, LIMIT, flush.missing())
    varnish.cli("vcl.load", "again", short)
    varnish.cli("vcl.use", "again")

    flush.load()
    place.s3.kill()
    took = timed(lambda: varnish.cli("stop"))
    place.s3.start()
    flush.check("varnishadm stop, gateway down", took, LIMIT, flush.missing(), expected=1)
    varnish.cli("start")
    took = timed(lambda: rig.wait_for("the upload", lambda: flush.missing() == 0, LIMIT, 0.2))
    flush.check("the next start uploads", took, LIMIT, flush.missing())

    # A gateway that takes connections and says nothing.
    flush.load()
    os.kill(place.s3.process.pid, signal.SIGSTOP)
    took = timed(lambda: varnish.cli("stop"))
    os.kill(place.s3.process.pid, signal.SIGCONT)
    # What it was sent meanwhile it may read now.
    flush.check("varnishadm stop, gateway mute", took, LIMIT, 0)
    varnish.cli("start")
    took = timed(lambda: rig.wait_for("the upload", lambda: flush.missing() == 0, LIMIT, 0.2))
    flush.check("the next start uploads", took, LIMIT, flush.missing())
    varnish.stop()
    return flush.failures
