"""Mistakes that people make, each led out of by `s3log doctor` alone.

For each a real varnishd and a real S3 server with one mistake: doctor must name it as the thing to fix,
with one sentence that says what to do. That is then done as the sentence says, and doctor must find
nothing to fix. A node without a mistake comes first: there doctor finds nothing.

--show prints what doctor said.
"""

import json
import os
import re
import shlex
import shutil
import subprocess

from e2e import rig
from e2e.rig import hold
from e2e.troubles_faults import Node

ORDER = ["nothing", "wrong-key", "wrong-bucket", "spool-owner", "other-varnish", "small-ring", "masked-tag"]


class Patient:
    """A node, and what doctor says of it."""

    def __init__(self, node, show):
        self.node, self.show = node, show

    def doctor(self):
        node = self.node
        code, text = node.command(
            "doctor", "-n", node.varnish.workdir, "--config", node.settings, "--json"
        )
        if code not in (0, 1, 3):
            raise RuntimeError(f"doctor ended with {code}: {text}")
        findings = [json.loads(line) for line in text.splitlines()]
        if self.show:
            _, text = node.command("doctor", "-n", node.varnish.workdir, "--config", node.settings)
            rig.say(f"--- {node.name}\n{text}")
        return code, findings

    def fixes(self):
        _, findings = self.doctor()
        return [one for one in findings if one["result"] == "fix"]

    def action(self, about, pattern):
        """What doctor says to do about it; the groups of the pattern."""
        fixes = self.fixes()
        for one in fixes:
            found = re.fullmatch(pattern, one["action"]) if one["about"] == about else None
            if found:
                return found
        raise AssertionError(f"doctor does not say {pattern!r} of {about}, but {fixes}")

    def healthy(self):
        rig.wait_for("doctor to find nothing to fix", lambda: not self.fixes(), step=0.5)


def run(action):
    """Runs what stands behind a colon in an action, up to its end."""
    command = action.split(": ", 1)[1].rstrip(".")
    for part in command.split(" && "):
        subprocess.run(shlex.split(part), check=True)


def nothing(patient):
    node = patient.node.start().load()
    node.request()
    node.until("an upload", lambda: node.counter("uploaded_records"))
    code, findings = patient.doctor()
    odd = [one for one in findings if one["result"] == "fix"]
    if odd or code not in (0, 3):
        raise AssertionError(f"exit code {code}: {odd}")


def wrong_key(patient):
    node = patient.node
    file = node.directory / "credentials"
    right = node.place.s3.credentials.read_text()
    file.write_text(right.replace(rig.SECRET_KEY, "not-it"))
    file.chmod(0o600)
    node.values["credentials"] = file
    node.write()
    node.start().load().request()
    node.until("a message", lambda: node.counter("upload_retries"))
    patient.action("blocks", "Do what the gateway's finding says.*")
    patient.action("gateway", "Correct the key where the credentials come from.*no reload is needed.")
    file.write_text(right)
    node.until("an upload", lambda: node.counter("uploaded_records"))


def wrong_bucket(patient):
    """What was logged before the name was corrected belongs to the wrong bucket, and is moved."""
    node = patient.node
    before = len(node.place.patient_cat())
    node.values["bucket"] = "edge-lgos"
    node.write()
    node.start().load().request()
    node.until("a message", lambda: node.counter("upload_retries"))
    patient.action("gateway", "Create the bucket, or correct `bucket`, .*")
    node.values["bucket"] = rig.BUCKET
    node.write()
    node.load("right")
    node.varnish.cli("vcl.discard", "new")
    node.request()
    found = patient.action(
        "blocks", r"Make them deliverable there, or move .*: systemctl stop varnish && runuser -u \S+ -- "
        r"s3log (.*); systemctl start varnish\.",
    )  # fmt: skip
    node.varnish.stop()
    code, said = node.command(*shlex.split(found[1]))
    if code:
        raise AssertionError(f"s3log {found[1]}: {said}")
    node.start().load("again")
    node.until("both lines in the bucket", lambda: len(node.place.patient_cat()) == before + 2)


def spool_owner(patient):
    """As with Debian's service: the manager is root and the cache process another user."""
    node = patient.node
    if os.geteuid() != 0:
        raise rig.Skip("needs root, to give the spool to somebody")
    node.varnish.jailed()
    node.place.directory.chmod(0o711)
    credentials = node.directory / "credentials"
    shutil.copy(node.place.s3.credentials, credentials)
    credentials.chmod(0o600)
    node.values["credentials"] = credentials
    node.write()
    try:
        node.start().load()
    except RuntimeError as error:
        raise rig.Skip(f"varnishd does not start with -j {node.varnish.jail}: {error}") from None
    # Two mistakes that come together: both files were made by root.
    run(patient.action("spool", "Give it to that user: chown -R .* && chmod 700 .*")[0])
    run(patient.action("credentials", "Give it to that user: chown .* && chmod 600 .*")[0])
    patient.action("counters", "Load a VCL that imports s3log .*: varnishadm -n .* vcl.load, .*")
    node.load("again").request()
    node.until("an upload", lambda: node.counter("uploaded_records"))


def other_varnish(patient):
    node = patient.node
    modules = node.directory / "modules"
    modules.mkdir()
    module = (node.place.module_dir / "libvmod_s3log.so").read_bytes()
    own = re.search(rb"Varnish (\d+\.\d+\.\d+) \w+", module)
    if not own:
        raise RuntimeError("the module has no ABI string")
    there = modules / "libvmod_s3log.so"
    there.write_bytes(module.replace(own[0], own[0].replace(own[1], b"7.4.9")))
    node.varnish.module_dir = modules
    node.start().load()
    wanted = patient.action("module", "Install the module that was built for (.*): upgrade its package, .*")
    if wanted[1] != own[0].decode():
        raise AssertionError(f"doctor asks for {wanted[1]}, and this is {own[0]}")
    shutil.copy(node.place.module_dir / "libvmod_s3log.so", there)
    node.load("again").request()
    node.until("an upload", lambda: node.counter("uploaded_records"))


def small_ring(patient):
    node = patient.node
    node.values |= {"ring": "1MB", "max_line": "65000"}
    node.write()
    text = node.directory / "line"
    text.write_text("x" * 60_000)
    node.start().load(recv='access.log_line(std.fileread("%s"));\n' % text * 100)
    # A packer that is slower than the traffic: it stands still.
    with hold.held(node.varnish.child_pid(), "s3log-pack"):
        node.request()
    node.until("drops", lambda: node.counter("dropped_ring"))
    found = patient.action("drops", r"Set `ring = (\w+)` in the stream's settings, load the VCL and restart.*")
    # As it says: the setting, the VCL, the cache process.
    node.values["ring"] = found[1]
    node.write()
    node.load("larger")
    node.varnish.cli("vcl.discard", "new")
    node.varnish.cli("stop")
    node.varnish.cli("start")
    node.request()
    node.until("an upload", lambda: node.counter("uploaded_records"))


def masked_tag(patient):
    node = patient.node
    node.values["format"] = "%h %{VCL_Log:key}x"
    node.write()
    node.varnish.parameters = ("vsl_mask=-VCL_Log",)
    node.start().load(recv='std.log("key:value");').request()
    node.until("an upload", lambda: node.counter("uploaded_records"))
    if not node.counter("incomplete"):
        raise AssertionError("the line is not counted as incomplete")
    found = patient.action("vsl_mask", r"Show them: varnishadm -n \S+ param.set (vsl_mask \S+), and .*")
    node.varnish.cli("param.set", *found[1].split())


MISTAKES = dict(zip(ORDER, [nothing, wrong_key, wrong_bucket, spool_owner, other_varnish, small_ring, masked_tag]))


def arguments(parser):
    parser.add_argument("--show", action="store_true", help="print what doctor said")
    parser.add_argument("mistake", nargs="*", help=f"of {', '.join(ORDER)}; default all")


def prove(place, options):
    place.s3.start()
    wrong = []
    for name in options.mistake or ORDER:
        node = Node(place, name)
        patient = Patient(node, options.show)
        try:
            MISTAKES[name](patient)
            patient.healthy()
            rig.say(f"doctor: {name}: {'found nothing' if name == 'nothing' else 'led out of'}")
        except rig.Skip as why:
            rig.say(f"doctor: {name}: SKIPPED: {why}")
        except (AssertionError, TimeoutError) as error:
            wrong.append(f"{name}: {error}")
        finally:
            place.directory.chmod(0o700)
            node.stop()
    return wrong
