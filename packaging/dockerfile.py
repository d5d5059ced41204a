"""Runs the Dockerfile without an engine, in Debian trees (packaging/chroot.sh): make dockerfile. Root.

Each stage begins as a fresh Debian 13, a `FROM rust` stage with this machine's Rust; RUN, COPY and
WORKDIR are done as they stand. Then what CMD says runs as a container would, with the Docker
page's VCL, and is stopped as `docker stop` does. Knows no other instruction, and says so.
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
# After SIGTERM `docker stop` waits this long.
DOCKER_STOP_SECONDS = 10


def main():
    tree, command = build()
    with rig.Rig("docker") as place:
        place.s3.start()
        lines = serve(tree, command, place, range(20))
        expect(sorted(cat(tree, place)) == lines, "20 requests are in the bucket after a stop")
        say("stopped with the gateway up: 20 requests, 20 lines in the bucket")
        # Down at its own address: lines that wait go to the endpoint that they were logged for.
        place.s3.kill()
        waiting = serve(tree, command, place, range(20, 40))
        place.s3.start()
        expect(sorted(cat(tree, place)) == lines, "nothing came into the bucket")
        say("stopped with the gateway down: the volume keeps them")
        lines += waiting + serve(tree, command, place, range(40, 41))
        expect(sorted(cat(tree, place)) == sorted(lines), "what the volume kept is in the bucket")
        say(f"a new container with that volume: {len(lines)} lines in the bucket, each once")
    print("dockerfile: ok")


def instructions():
    """The Dockerfile's instructions, continuation lines joined, comments dropped."""
    text = (rig.ROOT / "Dockerfile").read_text()
    text = re.sub(r"^#.*\n", "", text, flags=re.M).replace("\\\n", " ")
    for line in text.splitlines():
        if line.strip():
            name, rest = line.split(None, 1)
            yield name, rest.strip()


def build():
    """Runs every stage; gives the last one's tree and the words of CMD."""
    chroot("make", "trixie.base", "trixie")
    stages, tree, rust, at, command = {}, None, [], "/", None
    for name, rest in instructions():
        say(f"{name} {rest[:100]}")
        if name == "FROM":
            image, _, stage = rest.partition(" AS ")
            stage = stage or "final"
            tree, at, rust = f"docker-{stage}", "/", ["-r"] if image.startswith("rust:") else []
            kept = keep_target(tree)
            chroot("copy", "trixie.base", tree)
            stages[stage] = root(tree)
            if rust:
                # What the image has besides Rust.
                inside(tree, "apt-get", "install", "-y", "-qq", "--no-install-recommends", "build-essential")
                if kept:
                    (root(tree) / "src").mkdir()
                    kept.rename(root(tree) / "src/target")
        elif name == "RUN":
            inside(tree, *rust, "env", "-C", at, "sh", "-c", rest)
        elif name == "WORKDIR":
            at = rest
            (root(tree) / at[1:]).mkdir(parents=True, exist_ok=True)
        elif name == "COPY":
            copy(stages, root(tree), at, rest.split())
        elif name == "CMD":
            command = json.loads(rest)
        elif name not in {"VOLUME", "EXPOSE", "STOPSIGNAL"}:
            sys.exit(f"dockerfile: {name} is not known here: teach packaging/dockerfile.py")
    return tree, command


def keep_target(tree):
    """The crates that were compiled by the last run, or by `make deb`: a cold build takes minutes."""
    kept = root(tree).parent / f"{tree}.target"
    shutil.rmtree(kept, ignore_errors=True)
    if tree != "docker-build":
        return None
    if (root(tree) / "src/target").is_dir():
        (root(tree) / "src/target").rename(kept)
    elif (root("trixie-build") / "src/target").is_dir():
        subprocess.run(["cp", "-a", "--reflink=auto", root("trixie-build") / "src/target", kept], check=True)
    else:
        return None
    shutil.rmtree(kept / "deb", ignore_errors=True)
    return kept


def copy(stages, to_root, at, words):
    """COPY [--from=STAGE] WHAT TO; the context is what git knows or would add."""
    if words[0].startswith("--from="):
        what = stages[words[0].removeprefix("--from=")] / words[1].lstrip("/")
        shutil.copytree(what, to_root / words[2].lstrip("/"), dirs_exist_ok=True)
        return
    expect(words == [".", "."], f"COPY {' '.join(words)} is known here")
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=rig.ROOT, stdout=subprocess.PIPE, check=True).stdout
    ignored = (rig.ROOT / ".dockerignore").read_text().split()
    for name in names.decode().split("\0"):
        path = rig.ROOT / name
        if name and path.is_file() and not any(name == i or name.startswith(i + "/") for i in ignored):
            target = to_root / at.lstrip("/") / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)


def serve(tree, command, place, numbers):
    """A container's life: start, requests, docker stop. Gives the lines to be expected."""
    port = rig.free_ports(1)[0]
    vcl, secret = place.directory / "default.vcl", place.directory / "secret"
    vcl.write_text(stream_vcl.least(place, place.s3.endpoint, "/run/secrets/s3log", "1h"))
    # As Docker mounts a secret: everybody in the container may read it.
    secret.write_text(place.s3.credentials.read_text())
    secret.chmod(0o444)
    mounts = ["-b", f"{vcl}:/etc/varnish/default.vcl", "-b", f"{secret}:/run/secrets/s3log"]
    words = [word if word != ":80" else f"127.0.0.1:{port}" for word in command]
    log = open(rig.ROOT / "target/dockerfile-varnishd.log", "ab")
    script = f'set -- {shlex.join(words)}; "$@" & read -r _ || :; kill -TERM $!; wait $!'
    served = subprocess.Popen(
        [CHROOT, "run", tree, *mounts, "sh", "-c", script],
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


def cat(tree, place):
    """The bucket's lines, read by the command in the image."""
    mount = ["-b", f"{place.s3.credentials}:/run/secrets/reader"]
    done = subprocess.run(
        [CHROOT, "run", tree, *mount, "s3log", "cat"]
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
