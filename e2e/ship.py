"""Uploads by another process: varnishd and s3log ship are killed at random, and every record arrives once.

With `upload = "external"` varnishd packs and `s3log ship` uploads, as another user where this runs as
root. Both are killed with SIGKILL, stopped and restarted, VCLs are reloaded, and the S3 server comes and
goes; one stream is encrypted. All that time the cache process has no connection of its own to the S3 server
and no credentials. Then reloads change `upload` to "internal" and back, again and again, with kills in between;
after each, the process that is asked to upload does so. In the end every answered request
is in the bucket exactly once, in both streams, but for the last of a connection that an end of the cache process
has cut, and the shipper never saw an unencrypted line of the encrypted stream.
"""

import json
import os
import pathlib
import pwd
import random
import re
import signal
import subprocess
import threading
import time

from e2e import rig
from e2e.rig import say, traffic

KINDS = {
    "kill_varnish": 30, "kill_ship": 40, "kill_both": 10, "stop_ship": 10, "reload": 8, "restart_varnish": 4
}
# A test's key: anyone may have it.
IDENTITY = "AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33"
RECIPIENT = "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa"

VCL = """vcl 4.1;
import s3log;
backend default {{ .host = "127.0.0.1"; .port = "{origin}"; }}
sub vcl_init {{
    new access = s3log.stream(endpoint = "{endpoint}", bucket = "{bucket}", spool = "{spool}",
        credentials = "{credentials}", upload = "{upload}", format = "%U %>s", period = {period},
        path = "{path}");
    new sealed = s3log.stream(endpoint = "{endpoint}", bucket = "{bucket}", spool = "{spool}",
        credentials = "{credentials}", upload = "{upload}", format = "%U %>s", period = {period}, encrypt_to = "{recipient}");
}}
sub vcl_recv {{ if (req.url ~ "^/s/") {{ return (synth(200)); }} return (hash); }}
sub vcl_hash {{ hash_data(regsub(req.url, "^(/[a-z]+/).*", "\\1")); return (lookup); }}
sub vcl_backend_response {{ set beresp.ttl = 1d; }}
sub vcl_deliver {{ access.log(); sealed.log(); }}
sub vcl_synth {{
    set resp.body = access.status();
    return (deliver);
}}
"""

CONFIG = """[{stream}]
endpoint = "{endpoint}"
bucket = "{bucket}"
credentials = "{credentials}"
spool = "{spool}"
upload_threads = 3
"""


class Shipper:
    """s3log ship, as `nobody` where this runs as root."""

    def __init__(self, place):
        self.place, self.process, self.starts = place, None, 0
        self.as_user = {}
        self.home = place.directory / "ship"
        self.home.mkdir(mode=0o755)
        credentials = self.home / "credentials"
        credentials.write_text(place.s3.credentials.read_text())
        credentials.chmod(0o600)
        # A copy: the build's folder need not be open to another user.
        self.command = self.home / "s3log"
        self.command.write_bytes(place.command.read_bytes())
        self.command.chmod(0o755)
        self.config = self.home / "ship.toml"
        text = "".join(
            CONFIG.format(
                stream=stream, endpoint=place.s3.endpoint, bucket=rig.BUCKET, credentials=credentials,
                spool=place.spool,
            )
            for stream in ("access", "sealed")
        )
        self.config.write_text(text)
        if os.geteuid() == 0:
            user = pwd.getpwnam("nobody")
            self.as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            os.chown(credentials, user.pw_uid, user.pw_gid)
            place.directory.chmod(0o755)
            os.chown(place.spool, 0, user.pw_gid)
            place.spool.chmod(0o2750)

    def start(self):
        command = [self.command, "ship", "--config", self.config]
        # What it may read is what its user may read.
        self.process = rig.Process("ship", command, self.home, {"PATH": "/usr/bin:/bin"}, **self.as_user)
        self.starts += 1

    def listens(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        blocked = int(re.search(r"SigBlk:\s+(\w+)", status)[1], 16)
        return blocked & 1 << (signal.SIGTERM - 1)

    def kill(self):
        if self.process and self.process.alive():
            self.process.stop(signal.SIGKILL)

    def stop(self):
        """An orderly end, which must be one."""
        if self.process and self.process.alive():
            # One that has only just begun has nothing to finish, and SIGTERM simply ends it.
            rig.wait_for("s3log ship to listen", self.listens, step=0.005)
            self.process.stop(signal.SIGTERM)
            if self.process.child.returncode != 0:
                raise RuntimeError(f"s3log ship ended with {self.process.child.returncode}")


class Watch(threading.Thread):
    """Looks again and again for connections of the cache process to the S3 server."""

    def __init__(self, varnish, port):
        super().__init__(daemon=True)
        self.varnish, self.port, self.over = varnish, port, threading.Event()
        self.found, self.looks = [], 0

    def run(self):
        while not self.over.wait(0.05):
            try:
                pid = self.varnish.child_pid()
                if pid:
                    self.look(pid)
            except OSError:
                pass

    def look(self, pid):
        mine = set()
        for path in pathlib.Path(f"/proc/{pid}/fd").iterdir():
            try:
                mine.add(os.readlink(path))
            except OSError:
                pass
        for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]:
            words = line.split()
            if int(words[2].split(":")[1], 16) == self.port and f"socket:[{words[9]}]" in mine:
                self.found.append(line)
        self.looks += 1


class Chaos:
    def __init__(self, place, shipper, seed):
        self.place, self.shipper, self.random = place, shipper, random.Random(seed)
        self.deaths = traffic.Deaths()
        self.done, self.s3_downs, self.loaded, self.turned = dict.fromkeys(KINDS, 0), 0, 0, []
        self.over = threading.Event()
        self.varnish = place.start_varnish(
            self.write("boot"), parameters=("feature=+no_coredump", "syslog_cli_traffic=off")
        )

    def write(self, name, period="500ms", path="", upload="external"):
        nowhere = self.place.directory / "no-such-file"
        text = VCL.format(
            origin=self.place.origin.port, endpoint=self.place.s3.endpoint, bucket=rig.BUCKET,
            spool=self.place.spool, period=period, path=path, recipient=RECIPIENT, upload=upload,
            credentials=nowhere if upload == "external" else self.place.s3.credentials,
        )
        file = self.place.directory / f"{name}.vcl"
        file.write_text(text)
        return file

    def kill_varnish(self):
        self.deaths.add(*self.varnish.end_child())

    def kill_ship(self):
        self.shipper.kill()
        # Down for a moment, or for a while.
        time.sleep(self.random.choice([0, 0, 0.5, 2]))
        self.shipper.start()

    def kill_both(self):
        self.shipper.kill()
        self.kill_varnish()
        self.shipper.start()

    def stop_ship(self):
        self.shipper.stop()
        self.shipper.start()

    def restart_varnish(self):
        begin = time.monotonic()
        self.varnish.stop()
        self.deaths.add(begin, time.monotonic())
        self.varnish.start()

    def reload(self):
        self.loaded += 1
        name = f"v{self.loaded}"
        # Another path is another route, with a folder that the shipper has to find.
        vcl = self.write(name, self.random.choice(["300ms", "1s"]), self.random.choice(["", "a/", "b/"]))
        self.varnish.swap(name, vcl)

    def turn(self, upload):
        """Has the other process upload, and waits until it does."""
        self.loaded += 1
        # One that is started anew goes on with the same.
        self.varnish.vcl = self.write(f"v{self.loaded}", upload=upload)
        self.varnish.swap(f"v{self.loaded}", self.varnish.vcl)
        rig.wait_for(f"{upload} uploads", lambda: self.uploads(upload), step=0.1)
        before = set(self.place.s3.keys())
        new = lambda: any(key.endswith(".age") for key in set(self.place.s3.keys()) - before)
        rig.wait_for(f"a block that {upload} uploads has made", new, step=0.2)

    def uploads(self, upload):
        """Whether the process that is asked to has the right to upload the encrypted stream."""
        command = [self.place.command, "stats", "--json", "--spool", self.place.spool]
        done = subprocess.run(command, env=self.place.env, stdout=subprocess.PIPE, check=True)
        (now,) = [
            folder for folder in map(json.loads, done.stdout.splitlines())
            if folder["spool"].endswith("/sealed")
        ]
        wanted = self.shipper.process.pid if upload == "external" else now["holder"]
        return now["uploader"] == wanted is not None

    def turns(self, count):
        """Changes who uploads, and kills in between whoever does or does not."""
        for _ in range(count):
            for upload in ("internal", "external"):
                self.turn(upload)
                kinds = ["kill_varnish", "kill_ship", "kill_both", "restart_varnish", "twice", "nothing"]
                kind = self.random.choice(kinds)
                # Twice: the folder is its owner's alone before the shipper has looked again.
                for _ in range({"nothing": 0, "twice": 2}.get(kind, 1)):
                    getattr(self, "restart_varnish" if kind == "twice" else kind)()
                self.turned.append(f"{upload} {kind}")
                rig.wait_for("an answer", self.serving, step=0.01)

    def serving(self):
        return traffic.answers(self.varnish.port, "/s/x", 200)

    def weather(self):
        random_ = random.Random(self.random.random())
        while not self.over.wait(random_.uniform(3, 10)):
            self.place.s3.kill()
            self.s3_downs += 1
            self.over.wait(random_.uniform(1, 4))
            self.place.s3.start()

    def run(self, seconds):
        weather = threading.Thread(target=self.weather)
        weather.start()
        try:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                (kind,) = self.random.choices(list(KINDS), KINDS.values())
                getattr(self, kind)()
                self.done[kind] += 1
                rig.wait_for("an answer", self.serving, step=0.01)
                time.sleep(self.random.uniform(0.05, 1.2))
        finally:
            self.over.set()
            weather.join()


def private_files(place):
    """Files of the encrypted stream with unencrypted lines that the shipper's user could open."""
    found = []
    for path in place.spool.glob("sealed*/*"):
        if path.suffix in (".data", ".held") or path.name.startswith("ring"):
            try:
                mode = path.stat().st_mode & 0o777
            except FileNotFoundError:
                continue
            if mode & 0o077:
                found.append(f"{path.name} is {mode:o}")
    return found


def arguments(parser):
    parser.add_argument("--seconds", type=float, default=40)
    parser.add_argument("--long", action="store_true", help="five minutes")
    parser.add_argument("--seed", type=int, default=None)


def prove(place, options):
    seed = random.SystemRandom().randrange(1 << 31) if options.seed is None else options.seed
    seconds = 300 if options.long else options.seconds
    failures = []
    say(f"ship: seed {seed}, {seconds:.0f} s")
    place.s3.start()
    shipper = Shipper(place)
    place.stack.callback(shipper.kill)
    start = time.monotonic()
    chaos = Chaos(place, shipper, seed)
    shipper.start()
    watch = Watch(chaos.varnish, place.s3.ports["s3"])
    watch.start()
    load = traffic.Traffic(place.varnish.port, 3, seed % 1000, pause=0.01).start()
    try:
        chaos.run(seconds)
        watch.over.set()
        watch.join(10)
        chaos.turns(8 if options.long else 2)
    finally:
        answered = load.stop()
    failures += private_files(place)
    # Friendly from here on. Nothing is left for varnishd, and then for the shipper.
    if not shipper.process.alive():
        shipper.start()
    place.varnish.stop()
    place.varnish.start()
    rig.wait_for("empty rings and spools", lambda: not place.left(), 180, 0.5)
    for stream in ("access", "sealed"):
        counters = place.varnish.balanced(stream)
        if dropped := rig.dropped(counters):
            failures.append(f"dropped: {dropped}")
    shipper.stop()
    identity = place.directory / "identity"
    identity.write_text(IDENTITY + "\n")
    for stream, more in (("access", []), ("sealed", ["--identity", str(identity)])):
        lines = place.patient_cat(stream, *more)
        verdict = traffic.Verdict(answered, traffic.ids_of(lines), chaos.deaths)
        say(f"ship: {stream}: {verdict}")
        if not verdict.ok() or not answered:
            failures.append(f"{stream}, seed {seed}\n{verdict.details(start, chaos.deaths)}")
    say(f"ship: upload changed, then: {', '.join(chaos.turned)}")
    say(f"ship: {chaos.done}, S3 server down {chaos.s3_downs} times, {watch.looks} looks for connections")
    if watch.found or not watch.looks:
        failures.append(f"connections of the cache process to the S3 server: {watch.found[:3]}")
    if options.keep:
        say(shipper.process.tail(40))
    return failures
