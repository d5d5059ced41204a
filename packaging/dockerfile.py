"""Runs the Dockerfiles without an engine, in Debian trees (packaging/chroot.sh): make dockerfile. Root.

    packaging/dockerfile.py [FILE...]       Dockerfile and packaging/Dockerfile.official, or one of them

Each stage begins as a fresh Debian 13, a `FROM rust` stage with this machine's Rust; RUN, COPY, ENV and
WORKDIR are done as they stand. Then what CMD says runs as a container would, with the Docker
page's VCL, and is stopped as `docker stop` does. Knows no other instruction, and says so.

The official image is not fetched. In its place is a Debian 13 with Debian's Varnish, that image's owners of
directories, user and command, and a package varnish-dev that stands for Debian's libvarnishapi-dev.
"""

import contextlib
import json
import pathlib
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

from e2e import rig
from e2e.rig import stream_vcl

CHROOT = rig.ROOT / "packaging/chroot.sh"
FILES = ["Dockerfile", "packaging/Dockerfile.official"]
# What the official image runs if nothing is said, with its one port for HTTP.
OFFICIAL = ["varnishd", "-F", "-f", "/etc/varnish/default.vcl", "-a", ":80", "-p", "feature=+http2", "-s", "malloc,100M"]
# After SIGTERM `docker stop` waits this long.
DOCKER_STOP_SECONDS = 10


class Stage:
    """A stage's tree, and what its instructions have set so far."""

    def __init__(self, name, base, rust):
        self.tree, self.rust = name, ["-r"] if rust else []
        self.at, self.environment, self.user, self.command = "/", [], [], None
        chroot("copy", base, name)

    def run(self, text):
        inside(self.tree, *self.rust, *self.environment, *self.user, "env", "-C", self.at, "sh", "-c", text)


def main():
    chroot("make", "trixie.base", "trixie")
    for file in sys.argv[1:] or FILES:
        expect(file in FILES, f"{file} is one of {', '.join(FILES)}")
        if file == FILES[1]:
            official_base()
        live(build(file))
        print(f"dockerfile: {file}: ok", flush=True)


def live(stage):
    """Three containers' lives with one volume."""
    with rig.Rig("docker") as place:
        place.s3.start()
        lines = serve(stage, place, range(20))
        expect(sorted(cat(stage, place)) == lines, "20 requests are in the bucket after a stop")
        say("stopped with the gateway up: 20 requests, 20 lines in the bucket")
        # Down at its own address: lines that wait go to the endpoint that they were logged for.
        place.s3.kill()
        waiting = serve(stage, place, range(20, 40))
        place.s3.start()
        expect(sorted(cat(stage, place)) == lines, "nothing came into the bucket")
        say("stopped with the gateway down: the volume keeps them")
        lines += waiting + serve(stage, place, range(40, 41))
        expect(sorted(cat(stage, place)) == sorted(lines), "what the volume kept is in the bucket")
        say(f"a new container with that volume: {len(lines)} lines in the bucket, each once")


def official_base():
    """Makes the tree docker-official.base, which stands for the official image."""
    base = "docker-official.base"
    chroot("copy", "trixie.base", base)
    packages = root(base) / "packages"
    (packages / "made/DEBIAN").mkdir(parents=True)
    inside(base, "apt-get", "install", "-y", "-qq", "--no-install-recommends", "varnish")
    inside(base, "sh", "-ec", r"""
        cd /packages
        version=$(dpkg-query -W -f '${Version}' varnish)
        printf '%s\n' 'Package: varnish-dev' "Version: $version" 'Architecture: all' 'Maintainer: nobody <nobody@localhost>' \
            "Depends: libvarnishapi-dev (= $version)" 'Description: the headers of Varnish' >made/DEBIAN/control
        dpkg-deb -b made varnish-dev.deb
        { cat made/DEBIAN/control; echo "Filename: varnish-dev.deb"; echo "Size: $(stat -c %s varnish-dev.deb)"
          echo "SHA256: $(sha256sum varnish-dev.deb | cut -c 1-64)"; } >Packages
        echo 'deb [trusted=yes] file:/packages ./' >/etc/apt/sources.list.d/varnish.list
        chown varnish /var/lib/varnish
        mkdir -p -m 1777 /var/lib/varnish/varnishd""")


def instructions(file):
    """The Dockerfile's instructions, continuation lines joined, comments dropped."""
    text = (rig.ROOT / file).read_text()
    text = re.sub(r"^#.*\n", "", text, flags=re.M).replace("\\\n", " ")
    for line in text.splitlines():
        if line.strip():
            name, rest = line.split(None, 1)
            yield name, rest.strip()


def build(file):
    """Runs every stage; gives the last one."""
    stages, stage = {}, None
    for name, rest in instructions(file):
        say(f"{name} {rest[:100]}")
        if name == "FROM":
            image, _, called = rest.partition(" AS ")
            stage = stages[called] = begin(image, called or "final")
        elif name == "RUN":
            stage.run(rest)
        elif name == "WORKDIR":
            stage.at = rest
            (root(stage.tree) / rest[1:]).mkdir(parents=True, exist_ok=True)
        elif name == "COPY":
            copy(stages, stage, rest.split())
        elif name == "ENV":
            stage.environment += [word for pair in shlex.split(rest) for word in ("-e", pair)]
        elif name == "USER":
            stage.user = [] if rest == "root" else ["-u", rest]
        elif name == "CMD":
            stage.command = json.loads(rest)
        elif name not in {"ARG", "VOLUME", "EXPOSE", "STOPSIGNAL"}:
            sys.exit(f"dockerfile: {name} is not known here: teach packaging/dockerfile.py")
    return stage


def begin(image, called):
    """A stage with its first tree."""
    rust, official = image.startswith("rust:"), image == "${VARNISH}"
    name = f"docker-official-{called}" if official else f"docker-{called}"
    kept = keep_target(name)
    stage = Stage(name, "docker-official.base" if official else "trixie.base", rust)
    if official:
        stage.user, stage.command = ["-u", "varnish"], OFFICIAL
    if rust:
        # What the image has besides Rust.
        stage.run("apt-get install -y -qq --no-install-recommends build-essential")
    if kept:
        (root(name) / "src").mkdir()
        kept.rename(root(name) / "src/target")
    return stage


def keep_target(tree):
    """The crates that were compiled by the last run, or by `make deb`: a cold build takes minutes."""
    kept = root(tree).parent / f"{tree}.target"
    shutil.rmtree(kept, ignore_errors=True)
    if not tree.endswith("-build"):
        return None
    if (root(tree) / "src/target").is_dir():
        (root(tree) / "src/target").rename(kept)
    elif (root("trixie-build") / "src/target").is_dir():
        subprocess.run(["cp", "-a", "--reflink=auto", root("trixie-build") / "src/target", kept], check=True)
    else:
        return None
    shutil.rmtree(kept / "deb", ignore_errors=True)
    return kept


def copy(stages, stage, words):
    """COPY [--from=STAGE] WHAT TO; the context is what git knows or would add."""
    if words[0].startswith("--from="):
        other = stages[words[0].removeprefix("--from=")]
        to = root(stage.tree) / words[2].lstrip("/")
        if words[1] in {"/usr/local/rustup", "/usr/local/cargo/bin"}:
            # This machine's Rust, which -r shows.
            stage.rust = other.rust
            to.parent.mkdir(parents=True, exist_ok=True)
            to.symlink_to("/rust/toolchain" if words[1].endswith("rustup") else "/rust/toolchain/bin")
            return
        shutil.copytree(root(other.tree) / words[1].lstrip("/"), to, symlinks=True, dirs_exist_ok=True)
        return
    expect(words == [".", "."], f"COPY {' '.join(words)} is known here")
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=rig.ROOT, stdout=subprocess.PIPE, check=True).stdout
    ignored = (rig.ROOT / ".dockerignore").read_text().split()
    for name in names.decode().split("\0"):
        path = rig.ROOT / name
        if name and path.is_file() and not any(name == i or name.startswith(i + "/") for i in ignored):
            target = root(stage.tree) / stage.at.lstrip("/") / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)


def serve(stage, place, numbers):
    """A container's life: start, requests, docker stop. Gives the lines to be expected."""
    port = rig.free_ports(1)[0]
    vcl, secret = place.directory / "default.vcl", place.directory / "secret"
    vcl.write_text(stream_vcl.least(place, place.s3.endpoint, "/run/secrets/s3log", "1h"))
    # As Docker mounts a secret: everybody in the container may read it.
    secret.write_text(place.s3.credentials.read_text())
    secret.chmod(0o444)
    mounts = ["-b", f"{vcl}:/etc/varnish/default.vcl", "-b", f"{secret}:/run/secrets/s3log"]
    words = [word if word != ":80" else f"127.0.0.1:{port}" for word in stage.command]
    log = open(rig.ROOT / "target/dockerfile-varnishd.log", "ab")
    script = f'set -- {shlex.join(words)}; "$@" & read -r _ || :; kill -TERM $!; wait $!'
    served = subprocess.Popen(
        [CHROOT, "run", stage.tree, *mounts, *stage.user, "sh", "-c", script],
        stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        rig.wait_for("varnishd", lambda: answers(served, port, log))
        lines = []
        for number in numbers:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/{number}", timeout=rig.PATIENCE) as answer:
                answer.read()
                lines.append(f"GET /{number} {answer.status}".encode())
        began = time.monotonic()
        served.stdin.close()
        served.wait(DOCKER_STOP_SECONDS)
        say(f"it ended {time.monotonic() - began:.1f} s after SIGTERM")
        return sorted(lines)
    except subprocess.TimeoutExpired:
        sys.exit(f"dockerfile: docker stop would have killed it after {DOCKER_STOP_SECONDS} s")
    finally:
        served.kill()
        served.wait()
        log.close()


def cat(stage, place):
    """The bucket's lines, read by the command in the image."""
    mount = ["-b", f"{place.s3.credentials}:/run/secrets/reader"]
    done = subprocess.run(
        [CHROOT, "run", stage.tree, *mount, "s3log", "cat"]
        + [*place.s3.words(credentials="/run/secrets/reader"), "access"],
        stdout=subprocess.PIPE,
        check=True,
    )
    return done.stdout.splitlines()


def answers(served, port, log):
    if served.poll() is not None:
        sys.exit(f"dockerfile: the container ended; see {log.name}")
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True


def root(tree):
    return pathlib.Path(chroot("path", tree).strip())


def chroot(*words):
    return subprocess.run([CHROOT, *words], stdout=subprocess.PIPE, text=True, check=True).stdout


def inside(tree, *words):
    log = rig.ROOT / f"target/{tree}.log"
    with open(log, "ab") as out:
        done = subprocess.run([CHROOT, "run", tree, *words], stdout=out, stderr=subprocess.STDOUT)
    if done.returncode:
        sys.exit(f"dockerfile: {words[-1]} failed; see {log}")


def say(text):
    print(f"dockerfile: {text}", flush=True)


def expect(holds, what):
    if not holds:
        sys.exit(f"dockerfile: not so: {what}")


if __name__ == "__main__":
    main()
