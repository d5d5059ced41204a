"""A start in eleven bad situations: the site answers, and the records arrive once they are over.

Eleven streams of one VCL, each with something at its start that cannot be used. A launch of the cache
process serves all the same, and each stream takes up what waited in memory when its trouble is
over. The same streams loaded into the process that runs fail with one error message each. Then the
process is killed while some of the troubles are back. Needs root for mount(8).
"""

import contextlib
import ctypes
import fcntl
import http.client
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time
import urllib.request

from e2e import rig
from e2e.rig import say

# Nobody has its secret key: what is encrypted to it is only counted.
RECIPIENT = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
REQUESTS = 10
# The start is tried again every ten seconds; the rest is for a slow machine.
SECONDS = 300


def run(*command):
    done = subprocess.run(
        [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        raise rig.Skip(f"{' '.join(map(str, command))}: {done.stdout.strip()}")


class Situation:
    """One trouble: how it begins and ends, and what an operator is told."""

    name = expected = ""
    arguments = {}

    def __init__(self, place):
        self.place = place
        self.folder = place.directory / "troubles" / self.name
        self.folder.mkdir(parents=True)
        self.spool = self.folder / "spool"
        self.given = {"spool": f'"{self.spool}"', **self.own()}

    def own(self):
        """Arguments of its own."""
        return {}

    def begin(self):
        raise NotImplementedError

    def end(self):
        raise NotImplementedError

    def disk(self, size, *options):
        """A small disk with the spool on it."""
        self.spool.mkdir(exist_ok=True)
        rig.tmpfs(self.spool, size, *options)
        self.place.stack.callback(subprocess.run, ["umount", "-l", str(self.spool)], stderr=subprocess.DEVNULL)


class FileInTheWay(Situation):
    """A file is where the spool should be."""

    name, expected = "file", "cannot be used: Not a directory"

    def begin(self):
        self.spool.write_text("in the way")

    def end(self):
        self.spool.unlink()


class ReadOnly(Situation):
    """The spool's disk is mounted read-only."""

    name, expected = "read_only", "cannot be used: Read-only file system"

    def begin(self):
        self.disk("8m", "ro")

    def end(self):
        run("mount", "-o", "remount,rw", self.spool)


class DiskFull(Situation):
    """The spool's disk has no room for the ring."""

    name, expected = "disk_full", "no space for the ring"

    def begin(self):
        self.disk("8m")
        rig.fill(self.spool / "filler")
        # For the folders and the lock.
        os.truncate(self.spool / "filler", os.path.getsize(self.spool / "filler") - 65536)

    def end(self):
        (self.spool / "filler").unlink()


class Locked(Situation):
    """Another process has the spool's lock."""

    name, expected = "locked", "is in use by"

    def begin(self):
        folder = self.spool / self.name
        folder.mkdir(parents=True)
        self.lock = open(folder / "lock", "w")
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        self.lock.write("1\n")
        self.lock.flush()

    def end(self):
        self.lock.close()


class Newer(Situation):
    """A later release has used the spool."""

    name, expected = "newer", "has format 99"

    def begin(self):
        folder = self.spool / self.name
        folder.mkdir(parents=True)
        (folder / "format").write_text("s3log spool 99\n")

    def end(self):
        shutil.rmtree(self.spool / self.name)


class NoCredentials(Situation):
    """The file of credentials is not there."""

    name, expected = "no_credentials", "credentials: credentials from file"

    def own(self):
        self.file = self.folder / "credentials"
        return {"credentials": f'"{self.file}"'}

    def begin(self):
        pass

    def end(self):
        shutil.copy(self.place.s3.credentials, self.file)


class CredentialsFifo(NoCredentials):
    """The file of credentials is a FIFO that nobody writes to."""

    name, expected = "fifo", "it is a FIFO"

    def begin(self):
        os.mkfifo(self.file)

    def end(self):
        self.file.unlink()
        super().end()


class HungMount(NoCredentials):
    """The file of credentials is on a file system whose server does not answer."""

    name, expected = "hung", "its file system does not answer"

    def own(self):
        self.mount = self.folder / "mount"
        self.file = self.mount / "credentials"
        return {"credentials": f'"{self.file}"'}

    def begin(self):
        self.mount.mkdir()
        # Nobody reads what the kernel asks of this file system, not even its first question.
        self.server = os.open("/dev/fuse", os.O_RDWR)
        options = f"fd={self.server},rootmode=40000,user_id=0,group_id=0".encode()
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(b"hung", os.fsencode(self.mount), b"fuse", 0, options):
            raise rig.Skip(f"this machine does not mount FUSE: {os.strerror(ctypes.get_errno())}")
        self.place.stack.callback(self.unmount)

    def unmount(self):
        if self.server is not None:
            os.close(self.server)
            self.server = None
            subprocess.run(["umount", "-l", str(self.mount)], stderr=subprocess.DEVNULL)

    def end(self):
        self.unmount()
        super().end()


class EmptyCredentials(NoCredentials):
    """The file of credentials is there and empty, as while it is being written."""

    name, expected = "empty", "has no section [default]"

    def begin(self):
        self.file.write_text("")


class NoAuthorities(Situation):
    """The file of certificate authorities is not there."""

    name, expected = "no_authorities", "ca_file"

    def own(self):
        self.file = self.folder / "ca.pem"
        return {"ca_file": f'"{self.file}"'}

    def begin(self):
        pass

    def end(self):
        shutil.copy(rig.ROOT / "tests/tls/ca.pem", self.file)


class NoKeys(Situation):
    """The file of keys to encrypt to is not there."""

    name, expected = "no_keys", "encrypt_to: "

    def own(self):
        self.file = self.folder / "keys"
        return {"encrypt_to": f'"{self.file}"'}

    def begin(self):
        pass

    def end(self):
        self.file.write_text(RECIPIENT + "\n")


SITUATIONS = (
    FileInTheWay, ReadOnly, DiskFull, Locked, Newer,
    NoCredentials, CredentialsFifo, HungMount, EmptyCredentials, NoAuthorities, NoKeys,
)  # fmt: skip


def vcl(place, name, situations, **more):
    """A VCL in which every request is logged to each stream."""
    given = {
        "endpoint": f'"{place.s3.endpoint}"',
        "bucket": f'"{rig.BUCKET}"',
        "credentials": f'"{place.s3.credentials}"',
        "format": '"%U"',
        "ring": '"1MB"',
        "period": "500ms",
        **more,
    }
    new = lambda one: ", ".join(f"{key} = {value}" for key, value in {**given, **one.given}.items())
    text = "vcl 4.1;\nimport s3log;\nbackend default none;\nsub vcl_init {\n"
    text += "".join(f"    new {one.name} = s3log.stream({new(one)});\n" for one in situations)
    text += "}\nsub vcl_recv { return (synth(200)); }\nsub vcl_synth {\n"
    text += "".join(f"    {one.name}.log();\n" for one in situations)
    text += '    set resp.body = "ok";\n    return (deliver);\n}\n'
    path = place.directory / f"{name}.vcl"
    path.write_text(text)
    return path


def ask(varnish, prefix):
    """Some requests; how many were answered with 200."""
    good = 0
    for number in range(REQUESTS):
        with urllib.request.urlopen(f"http://127.0.0.1:{varnish.port}/{prefix}{number}", timeout=rig.PATIENCE) as answer:
            good += answer.status == 200
    return good


def serves(varnish):
    """Whether a request is answered: the manager keeps the port open without a cache process."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        url = f"http://127.0.0.1:{varnish.port}/probe"
        return urllib.request.urlopen(url, timeout=rig.PATIENCE).status == 200


def relaunched(varnish):
    """Kills the cache process and waits for the next one to serve."""
    before = varnish.child_pid()
    os.kill(before, signal.SIGKILL)
    rig.wait_for("the next process", lambda: varnish.child_pid() not in (None, before))
    rig.wait_for("its answers", lambda: serves(varnish))


def arrived(varnish, situations, count):
    """Waits until each stream has uploaded so many records; the names of those that have not."""
    late = set()

    def all_there():
        now = varnish.counters()
        late.clear()
        late.update(
            one.name for one in situations if now.get(f"{one.name}.uploaded_records", 0) < count
        )
        return not late

    with contextlib.suppress(TimeoutError):
        rig.wait_for("every record in the bucket", all_there, SECONDS, 0.5)
    return sorted(late)


def refusals(place, varnish, situations):
    """Each stream alone, loaded into the process that runs: one error message."""
    failures = []
    for one in situations:
        path = vcl(place, f"alone-{one.name}", [one], on_start_failure='"fail"')
        begin = time.monotonic()
        out = varnish.cli("vcl.load", f"alone_{one.name}", path, check=False)
        took = time.monotonic() - begin
        told = [line for line in out.splitlines() if f"s3log: stream {one.name}: " in line]
        say(f"bad-start: {one.name}: {took:.1f} s: {told[0] if told else out.strip()}")
        if len(told) != 1 or one.expected not in told[0]:
            failures.append(f"{one.name}: vcl.load should fail with {one.expected!r} once: {out}")
    return failures


def killed(place, varnish, situations):
    """The process is killed while two spools cannot be used any more: the manager launches the
    next one, and the site answers."""
    failures = []
    back = [one for one in situations if type(one) in (ReadOnly, NoCredentials)]
    for one in back:
        if isinstance(one, ReadOnly):
            # The ring is mapped from it for writing, so that a remount is refused.
            stream = one.spool / one.name
            run("mount", "--bind", stream, stream)
            run("mount", "-o", "remount,ro,bind", stream)
        else:
            one.file.unlink()
    relaunched(varnish)
    if ask(varnish, "killed") != REQUESTS:
        failures.append("the site does not answer after a kill")
    names = [f"{one.name}.records_unspooled" for one in back]
    counted = lambda: all(varnish.counters().get(name, 0) >= REQUESTS for name in names)
    rig.wait_for("each line to be counted", counted, step=0.2)
    now = varnish.counters()
    say(f"bad-start: after a kill wait in memory: {({name: now[name] for name in names})}")
    for one in back:
        if isinstance(one, ReadOnly):
            run("umount", one.spool / one.name)
        else:
            one.end()
    late = arrived(varnish, situations, REQUESTS)
    if late:
        failures.append(f"after a kill nothing arrived of {late}")
    return failures


def enlarged(place):
    """A ring that was enlarged, and a disk without room for both: the old ring is used on."""

    class Small(Situation):
        name = "enlarged"

        def begin(self):
            # The ring of 1 MiB, a second one half made, and blocks.
            self.disk("2200k")

        def end(self):
            pass

    one = Small(place)
    one.begin()
    first, second = vcl(place, "small", [one]), vcl(place, "large", [one], ring='"2MB"')
    varnish = rig.Varnish(one.folder, place.env, first, place.module_dir).start()
    place.stack.callback(varnish.stop)
    failures = []
    ask(varnish, "small")
    if arrived(varnish, [one], REQUESTS):
        failures.append("enlarged: nothing arrived")
    varnish.cli("vcl.load", "large", second)
    varnish.cli("vcl.use", "large")
    varnish.cli("vcl.discard", "boot")
    relaunched(varnish)
    if ask(varnish, "large") != REQUESTS or arrived(varnish, [one], REQUESTS):
        failures.append("enlarged: the site or the log is down after a kill")
    told = re.findall(r"the ring keeps its size of 1MB for now: .*", varnish.process.log.read_text())
    say(f"bad-start: enlarged: {told[0] if told else 'no message'}")
    if not told:
        failures.append("enlarged: no warning says that the ring keeps its size")
    return failures


def prove(place, options):
    place.s3.start()
    situations = [kind(place) for kind in SITUATIONS]
    for one in situations:
        one.begin()
    varnish = place.start_varnish(vcl(place, "all", situations))
    # What is unmounted in the end must not be in use then.
    place.stack.callback(varnish.stop)
    failures = []
    if ask(varnish, "waited") != REQUESTS:
        failures.append("the site does not answer")
    names = [f"{one.name}.records_unspooled" for one in situations]
    with contextlib.suppress(TimeoutError):
        counted = lambda: all(varnish.counters().get(name) == REQUESTS for name in names)
        rig.wait_for("each line to be counted", counted, step=0.2)
    unspooled = {name: varnish.counters().get(name) for name in names}
    say(f"bad-start: launched, answered {REQUESTS} requests; {unspooled}")
    failures += [f"{name} is {count}" for name, count in unspooled.items() if count != REQUESTS]
    log = pathlib.Path(varnish.process.log).read_text()
    for one in situations:
        told = [line for line in log.splitlines() if f"S3LOG error: stream {one.name}: " in line]
        if len(told) != 1 or one.expected not in told[0]:
            failures.append(f"{one.name}: one error with {one.expected!r} was expected: {told}")
    failures += refusals(place, varnish, situations)
    for one in situations:
        one.end()
    late = arrived(varnish, situations, REQUESTS)
    if late:
        return [*failures, f"nothing arrived of {late}"]
    for one in situations:
        if isinstance(one, NoKeys):
            continue
        lines = sorted(place.patient_cat(one.name))
        if lines != sorted(f"/waited{number}".encode() for number in range(REQUESTS)):
            failures.append(f"{one.name}: the bucket has {lines}")
    say("bad-start: what waited in memory is in the bucket, of each stream once")
    failures += killed(place, varnish, situations)
    failures += enlarged(place)
    return failures
