"""The package as an operator meets it: make package RELEASE=. Needs root, and target/deb from `make deb`.

In a fresh Debian 12 or 13 (packaging/chroot.sh): apt-get install, a VCL, requests, the block in SeaweedFS,
read back; an upgrade, a purge and a new installation with lines that are not uploaded yet.
"""

import contextlib
import gzip
import pathlib
import shutil
import socket
import subprocess
import sys
import urllib.request

from e2e import rig
from e2e.rig import debian, stream_vcl

RELEASE = sys.argv[1] if len(sys.argv) > 1 else "trixie"
TREE = f"{RELEASE}-package"
SPOOL = "var/lib/vmod-s3log"
CREDENTIALS = "/etc/varnish/s3log.credentials"
# varnish.service's command line but for the addresses. It ends when its standard input does.
SERVE = """
varnishd -F -a 127.0.0.1:{port} -T localhost:0 -f /etc/varnish/s3log.vcl -p feature=+http2 -s malloc,64m &
read -r _ || :
kill -TERM $!
wait $!
"""


def main():
    if RELEASE not in debian.NUMBERS:
        sys.exit(f"package: RELEASE={RELEASE}: expected {' or '.join(debian.NUMBERS)}")
    packages = debian.ours(debian.NUMBERS[RELEASE])
    if len(packages) != 1:
        sys.exit(f"package: one package for {RELEASE} in target/deb is wanted: make deb RELEASE={RELEASE}")
    chroot("make", f"{RELEASE}.base", RELEASE)
    chroot("copy", f"{RELEASE}.base", TREE)
    tree = pathlib.Path(chroot("path", TREE).strip())
    shutil.copy(packages[0], tree / "tmp")
    name = f"./tmp/{packages[0].name}"

    with rig.Rig("package") as place:
        place.s3.start()
        say(f"apt-get install {name}, in a fresh Debian {debian.NUMBERS[RELEASE]}")
        inside("apt-get", "install", "-y", "-qq", "--no-install-recommends", name)
        look(tree)
        (tree / CREDENTIALS[1:]).write_text(place.s3.credentials.read_text())
        inside("chown", "vcache:varnish", CREDENTIALS)
        inside("chmod", "600", CREDENTIALS)
        vcl = tree / "etc/varnish/s3log.vcl"

        vcl.write_text(stream_vcl.least(place, place.s3.endpoint, CREDENTIALS, "1s"))
        with varnish() as ask:
            asked = [ask(f"/page/{number}") for number in range(50)]
            rig.wait_for("a block in the bucket", place.s3.keys)
        compare(place, asked, "three lines of VCL and 50 requests")

        # Down at its own address: lines that wait go to the endpoint that they were logged for.
        place.s3.kill()
        with varnish() as ask:
            asked += [ask(f"/unsent/{number}") for number in range(30)]
            rig.wait_for("lines in the spool", lambda: unsent(tree))
        place.s3.start()
        compare(place, asked[:50], "the gateway is down: 30 more requests, which wait in the spool")

        newer = make_newer(tree, name)
        inside("apt-get", "install", "-y", "-qq", newer)
        say(f"upgraded to {inside('dpkg-query', '-W', '-f', '${Version}', 'vmod-s3log')}")
        said = inside("apt-get", "purge", "-y", "-qq", "vmod-s3log")
        expect("/var/lib/vmod-s3log is left" in said, f"purge says what it leaves: {said}")
        expect((tree / SPOOL / "access").is_dir(), "the spool with unsent lines survives a purge")
        say("purged: the spool is left, and the package says so")

        inside("apt-get", "install", "-y", "-qq", newer)
        with varnish() as ask:
            asked.append(ask("/after"))
            rig.wait_for("an empty spool", lambda: not unsent(tree))
        compare(place, asked, "installed again, the gateway up: what waited and what is new")

        done = inside("s3log", "verify", *place.s3.words(credentials=CREDENTIALS), "access")
        say(f"s3log verify: {done.strip().splitlines()[-1]}")

        shutil.rmtree(tree / SPOOL / "access")
        remain(tree)
        inside("apt-get", "purge", "-y", "-qq", "vmod-s3log")
        expect(not (tree / SPOOL).exists(), "an empty spool goes with a purge")
        left = inside("sh", "-c", "find / -xdev -iname '*s3log*' -not -path '/proc/*' -not -path '/tmp/*' -not -path '/etc/varnish/*' -not -path '/var/cache/*' -not -path '/var/log/*' -not -path '/var/lib/varnish/*'")
        expect(not left.strip(), f"nothing is left: {left}")
        say("purged with an empty spool: nothing is left")
    print("package: ok")


def say(text):
    print(f"package: {text}", flush=True)


def expect(holds, what):
    if not holds:
        sys.exit(f"package: not so: {what}")


def chroot(*words):
    done = subprocess.run([rig.ROOT / "packaging/chroot.sh", *words], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"package: packaging/chroot.sh {' '.join(words)} failed")
    return done.stdout


def inside(*command):
    """What the command prints, in the tree."""
    done = subprocess.run(
        [rig.ROOT / "packaging/chroot.sh", "run", TREE, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        sys.exit(f"package: {' '.join(command)} failed:\n{done.stdout}")
    return done.stdout


def look(tree):
    """What the package has put where."""
    expect(
        inside("stat", "-c", "%U:%G %a", f"/{SPOOL}") == "vcache:varnish 700\n",
        "the spool belongs to the cache process's user",
    )
    # What boots, upgrades and installations run, after an operator has chosen another user.
    inside("chown", "www-data:www-data", f"/{SPOOL}")
    inside("chmod", "750", f"/{SPOOL}")
    inside("systemd-tmpfiles", "--create", "vmod-s3log.conf")
    kept = inside("stat", "-c", "%U:%G %a", f"/{SPOOL}")
    expect(kept == "www-data:www-data 750\n", f"a spool keeps the owner and mode that it was given: {kept}")
    inside("chown", "vcache:varnish", f"/{SPOOL}")
    inside("chmod", "700", f"/{SPOOL}")
    files = inside("dpkg", "-L", "vmod-s3log").split()
    for wanted in [
        "/usr/bin/s3log",
        "/usr/lib/systemd/system/s3log-ship.service",
        "/usr/lib/systemd/system/varnish.service.d/vmod-s3log.conf",
        "/usr/lib/sysusers.d/s3log-ship.conf",
        "/usr/lib/tmpfiles.d/vmod-s3log.conf",
        "/usr/share/bash-completion/completions/s3log",
        "/usr/share/doc/vmod-s3log/copyright",
        "/usr/share/doc/vmod-s3log/examples/example.vcl",
        "/usr/share/doc/vmod-s3log/third-party-licences.txt.gz",
        "/usr/share/fish/vendor_completions.d/s3log.fish",
        "/usr/share/man/man1/s3log-cat.1.gz",
        "/usr/share/man/man3/vmod_s3log.3.gz",
        "/usr/share/zsh/vendor-completions/_s3log",
    ]:
        expect(wanted in files and (tree / wanted[1:]).exists(), f"{wanted} is there")
    notices = gzip.decompress(
        (tree / "usr/share/doc/vmod-s3log/third-party-licences.txt.gz").read_bytes()
    ).decode()
    for crate in ["rustls ", "ureq ", "varnish-sys ", "zstd-sys "]:
        expect(f"\n{crate}" in notices, f"the notices name {crate}")
    varnishd = inside("varnishd", "-V").splitlines()[0]
    said = inside("s3log", "--version").splitlines()
    say(", ".join([*said, varnishd]))
    revision = varnishd.split()[-1].rstrip(")")
    expect(said[-1].endswith(f" {revision}"), f"the command says for which Varnish it is: {said}")
    depends = inside("dpkg-query", "-W", "-f", "${Depends}", "vmod-s3log")
    expect(f"varnishabi-strict-{revision}" in depends, f"it depends on the exact ABI: {depends}")
    told = inside("dpkg-query", "-W", "-f", "${Description}", "vmod-s3log")
    expect(said[-1].removeprefix("built for ") in told, f"apt show says for which Varnish it is: {told}")


@contextlib.contextmanager
def varnish():
    """varnishd in the tree, as varnish.service starts it; gives a function that asks for a path."""
    port = rig.free_ports(1)[0]
    log = open(rig.ROOT / "target/package-varnishd.log", "wb")
    served = subprocess.Popen(
        [rig.ROOT / "packaging/chroot.sh", "run", TREE, "sh", "-c", SERVE.format(port=port)],
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=subprocess.STDOUT,
    )

    def ask(path):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=rig.PATIENCE) as answer:
            answer.read()
            return f"GET {path} {answer.status}".encode()

    def up():
        expect(served.poll() is None, f"varnishd runs; see {log.name}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True

    try:
        rig.wait_for("varnishd", up)
        yield ask
    finally:
        served.stdin.close()
        served.wait(60)
        log.close()


def unsent(tree):
    """The blocks that wait in the spool."""
    return sorted((tree / SPOOL / "access").glob("*.data"))


def compare(place, asked, what):
    """The bucket's lines, read by the package's command in the tree, are the requests."""
    out = inside("s3log", "cat", *place.s3.words(credentials=CREDENTIALS), "access")
    found = sorted(line.encode() for line in out.splitlines())
    expect(found == sorted(asked), f"{len(asked)} lines are in the bucket, found {len(found)}")
    say(f"{what}: {len(found)} lines in the bucket, each once")


def remain(tree):
    """What a purge runs, with spools that cannot be removed: it says so and does not fail."""
    purge = "/var/lib/dpkg/info/vmod-s3log.postrm purge"
    elsewhere = "/srv/spool"
    for place, before, after in [
        ("a mount point", f"mount -t tmpfs none /{SPOOL}", f"umount /{SPOOL}"),
        ("a link", f"mv /{SPOOL} {elsewhere}; ln -s {elsewhere} /{SPOOL}", f"rm /{SPOOL}; mv {elsewhere} /{SPOOL}"),
    ]:
        said = inside("sh", "-ec", f"{before}; {purge}; touch /{SPOOL}/0000000001.data; {purge}; rm /{SPOOL}/*; {after}")
        empty, full = (line for line in said.splitlines() if f"/{SPOOL} is left" in line)
        expect(" is left though it is empty: " in empty, f"an empty spool that is {place}: {said}")
        expect(" is left: it may hold log lines" in full, f"a full spool that is {place}: {said}")
        expect((tree / SPOOL).is_dir(), f"the spool is what it was before it was {place}")
    say("an empty spool that is a mount point or a link is left, and does not make a purge fail")


def make_newer(tree, name):
    """The same package with the next revision, as an upgrade."""
    work = tree / "tmp/newer"
    subprocess.run(["dpkg-deb", "-R", tree / name, work], check=True)
    control = work / "DEBIAN/control"
    text = control.read_text()
    version = next(line.split()[1] for line in text.splitlines() if line.startswith("Version:"))
    control.write_text(text.replace(f"Version: {version}\n", f"Version: {version}.1\n"))
    newer = f"./tmp/newer_{version}.1.deb"
    subprocess.run(["dpkg-deb", "-b", work, tree / newer], check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(work)
    return newer


if __name__ == "__main__":
    main()
