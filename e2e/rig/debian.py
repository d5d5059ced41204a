"""Programs out of Debian's packages, unpacked into .deps/debian and not installed; and where our own package is.

For the few checks that want a program which the rest does not need, and whose package would bring
a service, a Varnish or a user along. Needs apt and no root. Python's standard library only.
"""

import os
import pathlib
import subprocess

from e2e import rig


# The releases that our package is made for.
NUMBERS = {"bookworm": 12, "trixie": 13}


class Missing(RuntimeError):
    """apt does not give the package."""


def run(folder, *words):
    """What a command that failed said; nothing when it went well."""
    done = subprocess.run(words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.stdout.strip() or f"exit code {done.returncode}" if done.returncode else ""


def unpacked(package):
    """The folder with the package's files; downloads it when it is not there."""
    folder = rig.DEPS / "debian" / package
    if (folder / ".complete").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob("*.deb"):
        left.unlink()
    said = run(folder, "apt-get", "download", "-qq", package)
    if said and os.geteuid() == 0:
        # A fresh system has no package lists.
        said = run(folder, "apt-get", "update", "-qq") or run(
            folder, "apt-get", "download", "-qq", package
        )
    if said:
        raise Missing(f"the package {package} is not to be had: {said}")
    (archive,) = folder.glob("*.deb")
    subprocess.run(["dpkg-deb", "--extract", archive, folder], check=True)
    archive.unlink()
    (folder / ".complete").touch()
    return folder


def ours(number):
    """The paths of our package for Debian `number` and this machine in target/deb, where `make deb` puts it."""
    words = ["dpkg", "--print-architecture"]
    here = subprocess.run(words, stdout=subprocess.PIPE, check=True, text=True).stdout.strip()
    return sorted((rig.ROOT / "target/deb").glob(f"vmod-s3log_*+deb{number}_{here}.deb"))


def program(package, name):
    """The path of a program in it."""
    return file(package, f"usr/bin/{name}")


def file(package, pattern):
    """The one file of the package that the pattern names."""
    found = sorted(unpacked(package).glob(pattern))
    if not found:
        raise Missing(f"the package {package} has no {pattern}")
    return pathlib.Path(found[0])
