"""Programs out of Debian's packages, unpacked into .deps/debian and not installed.

For the few checks that want a program which the rest does not need, and whose package would bring
a service, a Varnish or a user along. Needs apt and no root. Python's standard library only.
"""

import pathlib
import subprocess

import rig


def unpacked(package):
    """The folder with the package's files; downloads it when it is not there."""
    folder = rig.DEPS / "debian" / package
    if (folder / ".complete").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    for words in (["apt-get", "download", "-qq", package],):
        done = subprocess.run(
            words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(words)}: {done.stdout.strip()}")
    (archive,) = folder.glob("*.deb")
    subprocess.run(["dpkg-deb", "--extract", archive, folder], check=True)
    archive.unlink()
    (folder / ".complete").touch()
    return folder


def program(package, name):
    """The path of a program in it."""
    return file(package, f"usr/bin/{name}")


def file(package, pattern):
    """The one file of the package that the pattern names."""
    found = sorted(unpacked(package).glob(pattern))
    if not found:
        raise RuntimeError(f"the package {package} has no {pattern}")
    return pathlib.Path(found[0])
