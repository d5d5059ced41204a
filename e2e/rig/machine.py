"""What a proof takes of the machine: processes, ports, disks, and the time until a state is there."""

import collections
import contextlib
import itertools
import os
import pathlib
import signal
import socket
import subprocess
import time


ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
DEPS = ROOT / ".deps"
# Seconds: a guard against a hang, on the slowest of machines, and no measure.
PATIENCE = 120.0


def say(text=""):
    """To standard output at once, also where that is a file."""
    print(text, flush=True)


def several(count, what):
    """`1 kill`, `2 kills`."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


class Skip(Exception):
    """What this machine cannot do, and why."""


def environment():
    """The environment that .deps/env describes: where Varnish and the S3 server are. S3LOG_ENV names
    another such file, for another Varnish."""
    script = 'set -a; . "$1"; env -0'
    file = os.environ.get("S3LOG_ENV", DEPS / "env")
    raw = subprocess.run(
        ["bash", "-c", script, "env", str(file)], check=True, stdout=subprocess.PIPE
    ).stdout
    return dict(item.split("=", 1) for item in raw.decode().split("\0") if "=" in item)


PORTS = itertools.cycle(range(10_000, 30_000))
# Processes begin at different places, and never hand out a port twice in a row.
collections.deque(itertools.islice(PORTS, (os.getpid() * 37) % 15_000), maxlen=0)


def free_ports(count):
    """Ports that nobody listens on, all different, below the kernel's range for clients."""
    ports = []
    while len(ports) < count:
        at = next(PORTS)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", at))
                ports.append(at)
    return ports


def gone(pid):
    """Whether a process has ended, waited for or not."""
    try:
        return "Z" in pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return True


def wait_for(what, check, seconds=PATIENCE, step=0.05):
    """Polls check() until it gives a true value; says what it waited for when it does not."""
    end = time.monotonic() + seconds
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds} s for {what}")
        time.sleep(step)


def tmpfs(path, size, *options):
    """Mounts a disk of this size on a directory; who asks for it unmounts it."""
    given = ",".join((f"size={size}", "mode=700", *options))
    command = ["mount", "-t", "tmpfs", "-o", given, "none", str(path)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise Skip(f"this machine does not let us mount a tmpfs: {done.stdout.strip()}")


def xfs(path, size):
    """Makes an XFS of this size in a file beside a directory and mounts it there; who asks for it unmounts it."""
    image = path.with_suffix(".xfs")
    with open(image, "wb") as file:
        file.truncate(size)
    for command in (["mkfs.xfs", "-q", image], ["mount", "-o", "loop", image, path]):
        done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            raise Skip(f"this machine does not let us mount an XFS: {done.stdout.strip()}")


def fill(path):
    """Appends to a file until nothing fits."""
    with contextlib.suppress(OSError), open(path, "ab", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


class Process:
    """A child process with its output in a file."""

    def __init__(self, name, command, directory, env=None, **popen):
        self.name, self.log = name, directory / f"{name}.log"
        self.output = open(self.log, "ab")
        self.child = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=subprocess.STDOUT,
            env=env,
            **popen,
        )

    @property
    def pid(self):
        return self.child.pid

    def alive(self):
        return self.child.poll() is None

    def stop(self, sig=signal.SIGTERM, seconds=PATIENCE):
        if self.alive():
            self.child.send_signal(sig)
            try:
                self.child.wait(seconds)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        self.output.close()

    def tail(self, lines=30):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
