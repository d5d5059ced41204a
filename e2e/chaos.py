"""Kills, panics, stops and reloads under load: every answered request is in the bucket once.

varnishd is killed, panics, is stopped, reloaded and restarted while the S3 server comes and goes;
then every answered request is counted in the bucket.

The rule: every answered request is in the bucket exactly once, but for the last of a connection that
an end of the cache process has cut: nothing shows that Varnish had finished it. And the counters
balance: what came in is what went out and what is still here.
"""

import random
import threading
import time

from e2e import rig
from e2e.rig import say, several, stream_vcl, traffic

KINDS = {"kill": 60, "panic": 12, "reload": 12, "stop": 8, "restart": 8}


class Chaos:
    def __init__(self, place, seed, long):
        self.place, self.long = place, long
        self.random = random.Random(seed)
        self.deaths = traffic.Deaths()
        self.done = dict.fromkeys(KINDS, 0)
        self.s3_downs = 0
        self.loaded = 0
        self.over = threading.Event()
        members = self.random.choice(['"many"', '"one"'])
        say(f"chaos: begins with members = {members}")
        self.vcl = stream_vcl.write(place, "boot", period="500ms", members=members)
        self.varnish = place.start_varnish(
            self.vcl, parameters=("feature=+no_coredump", "thread_pool_min=20", "syslog_cli_traffic=off")
        )

    # What can happen.

    def watch(self, pid):
        """A thread that notes when the process has ended; join() returns then."""
        seen = []

        def run():
            before = time.monotonic()
            while not rig.gone(pid):
                before = time.monotonic()
                time.sleep(0.002)
            seen.append((before, time.monotonic()))

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread, seen

    def orderly(self, act):
        """An end without violence: dangerous only for what is answered just when it is over."""
        thread, seen = self.watch(self.varnish.child())
        act()
        thread.join(rig.PATIENCE)
        if not seen:
            raise RuntimeError("the cache process does not end")
        self.deaths.add(*seen[0])

    def kill(self):
        self.deaths.add(*self.varnish.end_child())

    def panic(self):
        panic = lambda _: self.varnish.cli("debug.panic.worker", check=False)
        self.deaths.add(*self.varnish.end_child(panic))

    def stop(self):
        self.orderly(lambda: self.varnish.cli("stop"))
        self.varnish.cli("start")

    def restart(self):
        self.orderly(self.varnish.stop)
        self.varnish.start()

    def reload(self):
        self.loaded += 1
        name = f"v{self.loaded}"
        settings = {"period": self.random.choice(["300ms", "1s", "2s"])}
        if self.random.random() < 0.5:
            settings["compression"] = self.random.choice(['"gzip:1"', '"zstd"', '"snappy"', '"none"'])
        if self.random.random() < 0.5:
            settings["members"] = '"one"'
        if self.random.random() < 0.3:
            settings["path"] = f'"{self.random.choice("abc")}/%Y/"'
        vcl = stream_vcl.write(self.place, name, **settings)
        self.varnish.swap(name, vcl)

    # The run.

    def serving(self):
        return traffic.answers(self.varnish.port, "/probe/x", 200)

    def weather(self):
        """The S3 server, up and down."""
        random_ = random.Random(self.random.random())
        while not self.over.wait(random_.uniform(4, 12)):
            self.place.s3.kill()
            self.s3_downs += 1
            self.over.wait(random_.uniform(2, 8))
            self.place.s3.start()

    def run(self, seconds, kills):
        """Faults for this long, and on until there were this many kills."""
        weather = threading.Thread(target=self.weather)
        weather.start()
        try:
            end = time.monotonic() + seconds
            while time.monotonic() < end or self.done["kill"] + self.done["panic"] < kills:
                if time.monotonic() > end + seconds:
                    raise RuntimeError(f"only {self.done} in twice the time")
                (kind,) = self.random.choices(list(KINDS), KINDS.values())
                getattr(self, kind)()
                self.done[kind] += 1
                rig.wait_for("an answer", self.serving, step=0.01)
                time.sleep(self.random.uniform(0.05, 0.8 if self.long else 1.5))
        finally:
            self.over.set()
            weather.join()


def settle(place):
    """Restarts varnishd and waits until nothing is left in ring and spool."""
    place.settle()
    counters = place.varnish.balanced()
    place.varnish.stop()
    left = [path.name for path in place.spool.glob("access*/*.data")]
    if left:
        raise RuntimeError(f"left in the spool: {left}")
    return counters


def arguments(parser):
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--long", action="store_true", help="ten minutes, at least 200 kills")
    parser.add_argument("--seconds", type=float, help="instead of either")
    parser.add_argument("--seed", type=int, default=None)


def prove(place, options):
    seed = random.SystemRandom().randrange(1 << 31) if options.seed is None else options.seed
    seconds = options.seconds or (600 if options.long else 40)
    say(f"chaos: seed {seed}, {seconds:.0f} s")
    place.s3.start()
    start = time.monotonic()
    chaos = Chaos(place, seed, options.long)
    load = traffic.Traffic(place.varnish.port, 4, seed % 1000, pause=0.004).start()
    try:
        chaos.run(seconds, 200 if options.long else 0)
        time.sleep(1)
        # At the end a kill with blocks in the spool, for the equation with `recovered` in it.
        place.s3.kill()
        counter = lambda name: place.varnish.counters()[f"access.{name}"]
        rig.wait_for("a block in the spool", lambda: counter("spooled_records"), step=0.1)

        def recovered():
            """How many records a kill has left. None is no proof: they may have been sent just before it."""
            chaos.kill()
            rig.wait_for("an answer", chaos.serving, step=0.01)
            # The first line is taken when all that was left is.
            rig.wait_for("a line that was taken", lambda: counter("records"), step=0.1)
            return counter("recovered")

        rig.wait_for("a kill that leaves records", recovered)
    finally:
        answered = load.stop()
    drained = lambda: not place.varnish.counters()["access.ring_used"]
    rig.wait_for("an empty ring", drained, step=0.2)
    before = place.varnish.balanced()
    place.s3.start()
    counters = settle(place)
    numbers = {name: before[f"access.{name}"] for name in ("records", "recovered", *rig.GONE_OR_HERE)}
    say(f"chaos: the counters balance, at rest after a kill: {numbers}")
    if not numbers["recovered"] or not numbers["records"]:
        return ["nothing was recovered or taken, so nothing was shown"]
    lines = [line for line in place.patient_cat() if b"/probe/" not in line]
    verdict = traffic.Verdict(answered, traffic.ids_of(lines), chaos.deaths)
    kills = chaos.done["kill"] + chaos.done["panic"]
    say(f"chaos: {chaos.done}, S3 server down {chaos.s3_downs} times, {several(kills, 'kill')}")
    say(f"chaos: {verdict}")
    wrong = [a for a in answered if a.status != 200]
    if wrong:
        say(f"chaos: {len(wrong)} answers were not 200: {wrong[:5]}")
    if verdict.ok() and answered:
        return []
    say(f"last counters: {counters}")
    return [f"seed {seed}\n{verdict.details(start, chaos.deaths)}"]
