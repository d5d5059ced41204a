"""varnishd with the module, and what its counters say."""

import contextlib
import os
import pathlib
import pwd
import re
import shutil
import signal
import socket
import subprocess
import time

from e2e.rig import cli
from e2e.rig.machine import PATIENCE, ROOT, Process, free_ports, gone, wait_for


# What becomes of records + recovered.
GONE_OR_HERE = ("uploaded_records", "spooled_records", "quarantined_records", "dropped_spool")


# The first Varnish that knows `vsl_mask=none`.
NONE_SINCE = (7, 5)


def version(env):
    """What varnishd calls its version, such as "7.7.0" or "trunk"."""
    done = subprocess.run(
        ["varnishd", "-V"], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True,
        text=True,
    )  # fmt: skip
    found = re.search(r"\([\w-]*-([\w.]+)", done.stdout)
    return found[1] if found else "unknown"


def numbers(env):
    """Major and minor version of varnishd, such as (7, 7); one that does not say its number is the newest."""
    found = re.match(r"(\d+)\.(\d+)\.", version(env))
    return tuple(map(int, found.groups())) if found else (999,)


def parameters(env):
    """What varnishd tells of its parameters: the name of each in a line of its own, then its description."""
    done = subprocess.run(["varnishd", "-x", "parameter"], env=env, stdout=subprocess.PIPE, check=True, text=True)
    return done.stdout


def has_parameter(env, name):
    """Whether varnishd knows the parameter; it refuses to start with one that it does not know."""
    return name in parameters(env).splitlines()


def has_vcl_req_reset(env):
    """Whether varnishd has that feature: to end a request whose client has reset it."""
    return "vcl_req_reset" in parameters(env)


def recommended_mask():
    """The tags that the drop-in of examples/ hides by vsl_mask."""
    text = (ROOT / "examples/varnish-mask.conf").read_text()
    return re.findall(r"-(\w+)", re.search(r"vsl_mask (-\S+)$", text, re.MULTILINE)[1])


def dropped(counters):
    """The counters of what was dropped that are not 0."""
    return {name: n for name, n in counters.items() if ".dropped" in name and n}


class Varnish:
    """varnishd in the foreground, with its CLI."""

    def __init__(self, directory, env, vcl, module_dir, parameters=(), listen=(), wrapper=()):
        self.directory, self.env, self.vcl = directory / "varnish", env, vcl
        # A program that runs varnishd, such as valgrind with its options.
        self.wrapper = wrapper
        self.directory.mkdir()
        self.module_dir, self.parameters, self.listen = module_dir, parameters, listen
        self.port, self.cli_port = free_ports(2)
        self.workdir = self.directory / "work"
        self.process = None
        # Of varnishd's -j; nothing is varnishd's own choice.
        self.jail = "none" if os.geteuid() == 0 else None

    def start(self):
        command = ["varnishd", "-F", "-n", self.workdir, "-a", f"127.0.0.1:{self.port}"]
        command += ["-T", f"127.0.0.1:{self.cli_port}"]
        for more in self.listen:
            command += ["-a", more]
        command += ["-f", self.vcl, "-s", "default,256m"]
        command += ["-p", f"vmod_path={self.module_dir}:{self.own_modules()}"]
        if self.jail:
            command[1:1] = ["-j", self.jail]
        for parameter in ("feature=+http2", *self.parameters):
            command += ["-p", parameter]
        self.process = Process("varnishd", [*self.wrapper, *command], self.directory, self.env)
        try:
            wait_for("varnishd", self.answers)
        except (TimeoutError, RuntimeError):
            raise RuntimeError(f"varnishd does not start:\n{self.process.tail()}") from None
        return self

    def jailed(self):
        """As with Debian's service: the manager is root, and the cache process another user, whose name this gives. The
        module is copied to where that user can read it, which it cannot in a checkout in root's home."""
        users = [user.pw_name for user in pwd.getpwall()]
        user = "vcache" if "vcache" in users else "nobody"
        modules = self.directory / "modules"
        modules.mkdir()
        shutil.copy(self.module_dir / "libvmod_s3log.so", modules)
        self.jail, self.module_dir = f"unix,user={user}", modules
        return user

    def own_modules(self):
        """Where Varnish has its own modules, std among them."""
        return subprocess.run(
            ["pkg-config", "--variable=vmoddir", "varnishapi"],
            env=self.env,
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        ).stdout.strip()

    def answers(self):
        if not self.process.alive():
            raise RuntimeError("varnishd ended")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def tool(self, *command, check=True):
        command = [str(part) for part in (command[0], "-n", self.workdir, *command[1:])]
        done = subprocess.run(
            command, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        if check and done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: {done.stdout}")
        return done.stdout

    def cli(self, *words, check=True):
        """What varnishd answers to a command of its CLI, once it is done."""
        words = [str(word) for word in words]
        # varnishd makes the secret where it is given none.
        status, text = cli.ask(self.cli_port, self.workdir / "_.secret", words, PATIENCE)
        if check and status not in (cli.OK, cli.TRUNCATED):
            raise RuntimeError(f"{' '.join(words)}: {status} {text}")
        return text

    def child_pid(self):
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        pids = children.read_text().split()
        return int(pids[0]) if pids else None

    def child(self):
        """The cache process, once it serves."""
        return wait_for("the cache process", self.child_pid, step=0.005)

    def end_child(self, how=lambda pid: os.kill(pid, signal.SIGKILL)):
        """Ends the cache process; when that began and when it was over."""
        pid = self.child()
        begin = time.monotonic()
        how(pid)
        wait_for("the end of the cache process", lambda: gone(pid), step=0.001)
        return begin, time.monotonic()

    def swap(self, name, vcl):
        """Loads a VCL, uses it and discards the one that was active."""
        before = self.cli("vcl.list")
        active = re.search(r"^active\s+\S+\s+\S+\s+(?:\S+\s+)?(\S+)$", before, re.M)[1]
        self.cli("vcl.load", name, vcl)
        self.cli("vcl.use", name)
        self.cli("vcl.discard", active)

    def counters(self, stream="*"):
        text = self.tool("varnishstat", "-1", "-f", f"S3LOG.{stream}.*")
        found = {}
        for line in text.splitlines():
            match = re.match(r"(\S+)\s+(\d+)", line)
            if match:
                # A stream's routes are added up: S3LOG.access and S3LOG.access_0123456789abcdef.
                name = re.sub(r"_[0-9a-f]{16}(-\d+)?\.", ".", match[1].split(".", 1)[1])
                found[name] = found.get(name, 0) + int(match[2])
        return found

    def alive(self):
        """How many requests and fetches are alive, those included whose client has left."""
        fields = ("-f", "MEMPOOL.req*.live", "-f", "MEMPOOL.busyobj.live")
        text = self.tool("varnishstat", "-1", *fields)
        return sum(int(line.split()[1]) for line in text.splitlines())

    def idle(self):
        """Whether nothing of the stream `access` waits in ring or spool."""
        now = self.counters("access")
        return now["access.ring_used"] == 0 and now["access.spooled_blocks"] == 0

    def balanced(self, stream="access"):
        """The counters at rest, once what came in is what went out and what is still here."""
        seen = {}

        def holds():
            now = self.counters(f"{stream}*")
            seen.update(now)
            sides = (("records", "recovered"), GONE_OR_HERE)
            came, went = (sum(now[f"{stream}.{name}"] for name in side) for side in sides)
            return came == went

        try:
            wait_for("the counters to balance", holds, step=0.2)
        except TimeoutError:
            raise RuntimeError(
                f"records + recovered is not {' + '.join(GONE_OR_HERE)}: {seen}"
            ) from None
        return seen

    def stop(self, sig=signal.SIGTERM):
        if self.process:
            self.process.stop(sig)
