"""A newcomer's first hour: from the package to a line in the bucket, then five mistakes and out of them.

In a fresh Debian 13 (packaging/chroot.sh, root) with the package of `make deb RELEASE=trixie`: apt-get install,
`s3log init` answered at a terminal, the commands that it says follow, a request, and its line read back.
Each step is timed and nothing else is done. Then five mistakes, each on a node that works: what `s3log doctor`
says is done as it stands, and the next line must arrive.

A tree has no systemd: a stand-in for systemctl starts what varnish.service and its drop-ins say, on free
ports. --release bookworm is Debian 12 with its package, --package FILE takes another package, --show prints what is
said.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request

from e2e import rig
from e2e.rig import debian, say

CHROOT = rig.ROOT / "packaging/chroot.sh"
SETTINGS = "/etc/varnish/s3log.toml"
CREDENTIALS = "/etc/varnish/s3log.credentials"
SYSTEMCTL = r"""#!/bin/bash
# Starts and restarts varnish.service as its unit and drop-ins say; knows nothing else.
set -euo pipefail
setting() {
  cat /lib/systemd/system/varnish.service /usr/lib/systemd/system/varnish.service.d/*.conf \
    /etc/systemd/system/varnish.service.d/*.conf 2>/dev/null | sed -e ':a;/\\$/N;s/\\\n//;ta' | sed -n "s/^$1=//p"
}
case $* in
  daemon-reload) ;;
  'stop varnish' | 'restart varnish' | 'start varnish')
    if [ -e /run/varnish.stand-in ]; then
      pid=$(cat /run/varnish.stand-in)
      rm /run/varnish.stand-in
      kill -TERM "$pid" && while [ -e "/proc/$pid" ] && ! grep -q '^State:.Z' "/proc/$pid/status"; do sleep 0.05; done
    fi
    [ "$1" != stop ] || exit 0
    command=$(setting ExecStart | sed 's/:6081/127.0.0.1:PORT/; s/localhost:6082/localhost:0/')
    setsid $command </dev/null >>/var/log/varnishd.log 2>&1 &
    echo $! >/run/varnish.stand-in
    setting ExecStartPost | while read -r after; do
      if [ "${after#-}" = "$after" ]; then $after; else ${after#-} || :; fi
    done
    ;;
  *) echo "systemctl: $* is not known here" >&2; exit 1 ;;
esac
"""
# As s3log init says it.
INCLUDE = "sed -i '/^vcl 4/a include \"/etc/varnish/s3log.vcl\";' /etc/varnish/default.vcl"
# What a person types into the editor.
EDITOR = """#!/bin/sh
exec sed -i 's/^aws_access_key_id =.*/aws_access_key_id = KEY/; s/^aws_secret_access_key =.*/aws_secret_access_key = SECRET/' "$1"
"""


class Shell:
    """root's terminal in the tree: one shell, whose background processes go on between commands."""

    def __init__(self, place, tree, show):
        self.show = show
        self.process = subprocess.Popen(
            [CHROOT, "run", tree, "-e", "NO_COLOR=1", "-e", "EDITOR=/usr/local/bin/editor",
             "-e", "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "bash"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        place.stack.callback(self.close)

    def close(self):
        self.process.stdin.close()
        self.process.wait(rig.PATIENCE)

    def run(self, command, expected=(0,), quiet=False):
        """What a command prints; its exit code must be one of the expected ones."""
        mark = f"=={time.monotonic_ns()}=="
        self.process.stdin.write(f"{{ {command}\n}} </dev/null 2>&1; code=$?; echo; echo {mark} $code\n")
        self.process.stdin.flush()
        lines = []
        for line in self.process.stdout:
            if line.startswith(mark):
                break
            lines.append(line)
        else:
            raise RuntimeError(f"the shell ended at {command}: {''.join(lines)}")
        said, code = "".join(lines).strip(), int(line.split()[1])
        if self.show and not quiet:
            say(f"    # {command}\n{said}")
        if code not in expected:
            raise AssertionError(f"{command}: exit code {code}: {said}")
        return said


class Newcomer:
    """The tree, its shell, and where time went."""

    def __init__(self, place, options):
        self.place, self.show, self.steps = place, options.show, []
        (self.port,) = rig.free_ports(1)
        base, tree = f"{options.release}.base", f"{options.release}-newcomer"
        chroot("make", base, options.release)
        chroot("copy", base, tree)
        self.tree = pathlib.Path(chroot("path", tree).strip())
        shutil.copy(package(options), self.tree / "tmp/vmod-s3log.deb")
        self.program("usr/local/bin/systemctl", SYSTEMCTL.replace("PORT", str(self.port)))
        key = place.s3.credentials.read_text()
        values = dict(re.findall(r"aws_(\w+) = (.*)", key))
        editor = EDITOR.replace("KEY", values["access_key_id"]).replace("SECRET", values["secret_access_key"])
        self.program("usr/local/bin/editor", editor)
        self.shell = Shell(place, tree, options.show)
        self.asked = 0

    def program(self, name, text):
        path = self.tree / name
        path.write_text(text)
        path.chmod(0o755)

    def step(self, what, action):
        begin = time.monotonic()
        found = action()
        self.steps.append((what, time.monotonic() - begin))
        say(f"newcomer: {self.steps[-1][1]:6.1f} s  {what}")
        return found

    def request(self):
        """One request; Varnish may still be starting."""
        self.asked += 1
        url = f"http://127.0.0.1:{self.port}/page/{self.asked}"

        def answered():
            try:
                return urllib.request.urlopen(url, timeout=rig.PATIENCE).status
            except urllib.error.HTTPError as error:
                return error.code
            except OSError:
                return None

        rig.wait_for("an answer of Varnish", answered)
        return f"/page/{self.asked}"

    def arrived(self, page):
        """Waits until the page's line is in the bucket, read by the command in the tree."""

        def there():
            return page in self.shell.run(f"s3log cat --config {SETTINGS} access", (0, 1), quiet=True)

        rig.wait_for(f"the line of {page} in the bucket", there, step=0.5)

    def doctor(self):
        """(about, text, action) of what is to be fixed."""
        said = self.shell.run(f"s3log doctor --config {SETTINGS} --json", (0, 1, 3), quiet=True)
        findings = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
        return [(one["about"], one.get("found") or one.get("finding") or one.get("what", ""), one["action"]) for one in findings if one["result"] == "fix"]


def package(options):
    if options.package:
        return options.package
    found = debian.ours(debian.NUMBERS[options.release])
    if len(found) != 1:
        raise rig.Skip(f"needs the package: make deb RELEASE={options.release}")
    return found[0]


def chroot(*words):
    done = subprocess.run([CHROOT, *words], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise RuntimeError(f"packaging/chroot.sh {' '.join(words)} failed")
    return done.stdout


def first_line(newcomer):
    """From nothing to a line in the bucket, with nothing done that was not said."""
    shell, place = newcomer.shell, newcomer.place
    begin = time.monotonic()
    install = "apt-get install -y -qq --no-install-recommends /tmp/vmod-s3log.deb"
    newcomer.step("apt-get install of the package", lambda: shell.run(install))
    # The site as it was before: its backend.
    vcl = newcomer.tree / "etc/varnish/default.vcl"
    vcl.write_text(vcl.read_text().replace('"8080"', f'"{place.origin.port}"'))
    # Typed at a terminal: gateway, bucket, prefix, format, no encryption.
    answers = f"{place.s3.endpoint}\\n{rig.BUCKET}\\n\\n\\n\\n"
    told = newcomer.step(
        "s3log init, at a terminal",
        lambda: shell.run(f"printf '{answers}' | script -qec 's3log init' /dev/null"),
    ).replace("\r", "")
    if told.count("Bucket") != 1 or "Next:" not in told:
        raise AssertionError(f"init did not ask, or said nothing of what follows: {told}")
    commands = [line.strip() for line in told.split("Next:")[1].splitlines() if line.startswith("    ")]
    if len(commands) != 3:
        raise AssertionError(f"init says {commands}")
    for command in commands:
        said = newcomer.step(command.split("#")[0].strip(), lambda: shell.run(command, (0, 3)))
        if "FIX" in said:
            raise AssertionError(f"a node that was set up as init says is not well: {said}")
    page = newcomer.request()
    newcomer.step("the first line in the bucket", lambda: newcomer.arrived(page))
    say(f"newcomer: {time.monotonic() - begin:6.1f} s  from the package to the first line, {len(commands) + 2} commands")


def follow(newcomer, action):
    """Does what an action says: the commands that stand in it, else what `edits` has for its words."""
    edit = lambda key, value: f"sed -i \"s|^{key} = .*|{key} = '{value}'|\" {SETTINGS}"
    load = "systemctl restart varnish"
    edits = {
        r"Correct the key where the credentials come from.*": f"$EDITOR {CREDENTIALS}",
        r"Write the key into .*": f"$EDITOR {CREDENTIALS}",
        r"Create the bucket, or correct `bucket`.*": f"{edit('bucket', rig.BUCKET)} && {load}",
        r".*correct `endpoint` or `proxy`\.": f"{edit('endpoint', newcomer.place.s3.endpoint)} && {load}",
        r"Load a VCL that imports s3log.*": f"{INCLUDE} && {load}",
    }
    for pattern, command in edits.items():
        if re.fullmatch(pattern, action):
            return command
    found = re.search(r": ((?:chown|chmod|install|systemctl|sed|varnishadm) .*?)\.?$", action)
    return found[1] if found else None


# What is done, and whether the line of a request meanwhile must still arrive.
MISTAKES = {
    "the key has a typing error": ("sed -i 's/^aws_secret_access_key = .*/&x/' /etc/varnish/s3log.credentials", True),
    "the bucket's name has a typing error": (
        f"sed -i \"s/^bucket = .*/bucket = 'edge-lgos'/\" {SETTINGS} && systemctl restart varnish", True
    ),
    "the credentials belong to root": (f"chown root:root {CREDENTIALS} && systemctl restart varnish", False),
    "the spool belongs to root": (
        "systemctl stop varnish && chown -R root:root /var/lib/vmod-s3log && systemctl start varnish", False
    ),
    "the VCL does not include the stream": (
        "sed -i '/s3log.vcl/d' /etc/varnish/default.vcl && systemctl restart varnish", False
    ),
}  # fmt: skip


def mistake(newcomer, name, command, kept):
    """Makes it, does what doctor says until doctor says nothing, and waits for the next line."""
    newcomer.shell.run(command)
    pages = [newcomer.request()] if kept else []
    newcomer.request()
    rig.wait_for("doctor to see it", newcomer.doctor, step=0.5)
    done = []
    for _ in range(60):
        fixes = newcomer.doctor()
        if newcomer.show:
            say(f"newcomer: doctor: {fixes}")
        todo = [(about, follow(newcomer, action)) for about, _, action in fixes]
        todo = [(about, command) for about, command in todo if command and command not in done]
        if not fixes:
            break
        if not todo:
            time.sleep(1)
            continue
        about, command = todo[0]
        newcomer.shell.run(command, (0, 1, 3))
        done.append(command)
    rig.wait_for("doctor to find nothing to fix", lambda: not newcomer.doctor(), step=0.5)
    for page in [*pages, newcomer.request()]:
        newcomer.arrived(page)
    say(f"newcomer: {name}: led out of by {len(done)}: {'; '.join(done)}")


def arguments(parser):
    parser.add_argument("--release", choices=debian.NUMBERS, default="trixie", help="which Debian")
    parser.add_argument("--package", metavar="FILE", help="another package than target/deb's")
    parser.add_argument("--show", action="store_true", help="print what is typed and said")
    parser.add_argument("--mistakes", nargs="*", metavar="WORD", help="only those with one of these words")


def prove(place, options):
    if os.geteuid() != 0:
        raise rig.Skip("needs root, for a Debian of its own")
    place.s3.start()
    newcomer = Newcomer(place, options)
    failures = []
    try:
        first_line(newcomer)
    except (AssertionError, TimeoutError) as error:
        return [f"the first line: {error}"]
    for name, (command, kept) in MISTAKES.items():
        if options.mistakes and not any(word in name for word in options.mistakes):
            continue
        try:
            mistake(newcomer, name, command, kept)
        except (AssertionError, TimeoutError) as error:
            failures.append(f"{name}: {error}; doctor says {newcomer.doctor()}")
    return failures
