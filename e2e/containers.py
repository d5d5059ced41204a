"""The container examples: both files against their schemas, then the pod's container as it is described.

examples/containers/kubernetes.yaml must be valid by Kubernetes' own schemas, with unknown fields refused,
and compose.yaml by the Compose specification; both must be refused with a field that is wrong. Then varnishd
runs with the StatefulSet's arguments and edge.vcl, as root with the user, the group and the rights on the
spool that its securityContext and the kubelet give: the probes must be answered on their port and not be
logged, requests must be, and SIGTERM must end it with the lines in the bucket before the grace period is over.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request

from e2e import rig
from e2e.rig import say

FOLDER = rig.ROOT / "examples/containers"
BIN = rig.DEPS / "containers/bin"
READ_YAML = "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(sys.stdin))))"
READ_COMPOSE = """
import compose_spec, json, sys
print(json.dumps(compose_spec.PyCompose.from_yaml(sys.stdin.read()).to_dict()))
"""


def read(script, text):
    """What the script makes of a text, and what is wrong with that."""
    done = subprocess.run([BIN / "python", "-c", script], input=text, capture_output=True, text=True)
    return (json.loads(done.stdout), "") if done.returncode == 0 else (None, done.stderr.strip().splitlines()[-1])


def invalid(text, directory):
    """What Kubernetes' schemas have against a file."""
    path = directory / "kubernetes.yaml"
    path.write_text(text)
    done = subprocess.run(
        [BIN / "kubernetes-validate", "--strict", "--quiet", path],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    return done.stdout.strip() or f"exit code {done.returncode}" if done.returncode else ""


def schemas(place, failures):
    kubernetes, compose = (FOLDER / name for name in ("kubernetes.yaml", "compose.yaml"))
    text = kubernetes.read_text()
    if said := invalid(text, place.directory):
        failures.append(f"{kubernetes.name}: {said}")
    for right, wrong in ("runAsUser:", "runAsUzer:"), ("terminationGracePeriodSeconds: 40", "terminationGracePeriodSeconds: 40s"):
        if not invalid(text.replace(right, wrong, 1), place.directory):
            failures.append(f"{kubernetes.name} is valid with {wrong}")
    objects, _ = read(READ_YAML, text)
    text = compose.read_text()
    services, said = read(READ_COMPOSE, text)
    if said:
        failures.append(f"{compose.name}: {said}")
    for right, wrong in ("stop_grace_period:", "stop_grace:"), ("hostname: edge-1", "hostname: [edge-1]"):
        if not read(READ_COMPOSE, text.replace(right, wrong, 1))[1]:
            failures.append(f"{compose.name} is valid with {wrong}")
    say(f"containers: {len(objects)} objects of Kubernetes and {len(services['services'])} services are valid")
    return {one["kind"]: one for one in objects if one["kind"] != "Service"}, services


def agree(stateful, services, failures):
    """What the two files and the VCL say of one another."""
    vcl = (FOLDER / "edge.vcl").read_text()
    pod = stateful["spec"]["template"]["spec"]
    wait = int(re.search(r"exit_timeout = (\d+)s", vcl)[1])
    before = int(pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    varnish = services["services"]["varnish"]
    grace = int(re.fullmatch(r"(\d+)s", str(varnish["stop_grace_period"]))[1])
    for what, holds in {
        "the pod's grace is above preStop and exit_timeout": pod["terminationGracePeriodSeconds"] > before + wait,
        "compose's grace is above exit_timeout": grace > wait,
        "the image is that of compose": pod["containers"][0]["image"] == varnish["image"],
        "compose's bucket is that of the VCL": "-bucket=edge-logs" in str(services["services"]["s3"]["command"]),
    }.items():
        if not holds:
            failures.append(f"not so: {what}")


class Pod:
    """The pod's container: its arguments and VCL with this rig's addresses and places."""

    def __init__(self, place, stateful):
        spec = stateful["spec"]["template"]["spec"]
        self.place, self.container, self.security = place, spec["containers"][0], spec["securityContext"]
        self.grace = spec["terminationGracePeriodSeconds"]
        names = [port["name"] for port in self.container["ports"]]
        self.ports = dict(zip(names, rig.free_ports(len(names))))
        self.directory = place.directory / "pod"
        self.process = None

    def prepare(self):
        group = self.security["fsGroup"]
        spool, work = self.directory / "spool", self.directory / "work"
        for folder in (self.directory, spool, work):
            folder.mkdir()
        self.place.directory.chmod(0o711)
        # As the kubelet leaves a volume with fsGroup: root's, the group may write, and what is made there is its own.
        os.chown(spool, 0, group)
        spool.chmod(0o2775)
        # emptyDir and the secret.
        work.chmod(0o777)
        secret = self.directory / "credentials"
        shutil.copy(self.place.s3.credentials, secret)
        os.chown(secret, 0, group)
        secret.chmod(0o440)
        vcl = (FOLDER / "edge.vcl").read_text()
        for right, here in {
            "http://s3:8333": self.place.s3.endpoint,
            '"origin"': '"127.0.0.1"',
            '"8080"': f'"{self.place.origin.port}"',
            "/run/secrets/s3log/credentials": str(secret),
            "period = 10s": f'period = 1s, spool = "{spool}"',
        }.items():
            if vcl.count(right) != 1:
                raise ValueError(f"edge.vcl should have {right} once")
            vcl = vcl.replace(right, here)
        (self.directory / "default.vcl").write_text(vcl)

    def start(self):
        places = {"/var/lib/varnish": self.directory / "work", "/etc/varnish-vcl": self.directory}
        words = []
        for word in [*self.container["command"], *self.container["args"]]:
            for there, here in places.items():
                word = word.replace(there, str(here))
            for port in self.container["ports"]:
                word = word.replace(f"=:{port['containerPort']},", f"=127.0.0.1:{self.ports[port['name']]},")
            words.append(word)
        user, group = self.security["runAsUser"], self.security["runAsGroup"]
        modules = f"vmod_path={self.directory}/modules:{rig.Varnish.own_modules(self.place)}"
        module = self.directory / "modules"
        module.mkdir(exist_ok=True)
        shutil.copy(self.place.module_dir / "libvmod_s3log.so", module)
        words = ["setpriv", f"--reuid={user}", f"--regid={group}", f"--groups={self.security['fsGroup']}",
                 "--bounding-set=-all", "--no-new-privs", *words, "-p", modules]  # fmt: skip
        environment = {**self.place.env, "HOME": "/nonexistent"}
        self.process = rig.Process("pod", words, self.directory, environment)

    def ask(self, port, path):
        url = f"http://127.0.0.1:{self.ports[port]}{path}"
        try:
            with urllib.request.urlopen(url, timeout=rig.PATIENCE) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, b""

    def probed(self, name):
        """Whether a probe would succeed."""
        get = self.container[name]["httpGet"]
        if not self.process.alive():
            raise RuntimeError(f"the container ended:\n{self.process.tail()}")
        try:
            status, body = self.ask(get["port"], get["path"])
        except OSError:
            return None
        return json.loads(body) if 200 <= status < 400 else None


def live(place, stateful, failures):
    pod = Pod(place, stateful)
    place.s3.start()
    pod.prepare()
    pod.start()
    place.stack.callback(pod.process.stop, signal.SIGKILL)
    rig.wait_for("the startup probe", lambda: pod.probed("startupProbe"))
    for number in range(40):
        pod.ask("http", f"/page/{number}")
        for name in ("readinessProbe", "livenessProbe"):
            if not pod.probed(name):
                failures.append(f"{name} fails")
    status = rig.wait_for("a block", lambda: (now := pod.probed("livenessProbe"))["counters"]["uploaded_records"] and now)
    if status["state"] != "running":
        failures.append(f"the health page says {status}")
    if b"counters" in pod.ask("http", "/s3log")[1]:
        failures.append("the health page is on the clients' port")
    place.s3.kill()
    for name in ("readinessProbe", "livenessProbe"):
        if not pod.probed(name):
            failures.append(f"{name} fails while the gateway is down")
    place.s3.start()
    pod.ask("http", "/last")
    begin = time.monotonic()
    os.kill(pod.process.pid, signal.SIGTERM)
    rig.wait_for("the end of varnishd", lambda: not pod.process.alive())
    lasted = time.monotonic() - begin
    lines = place.patient_cat()
    wanted = 40 + 2
    if len(lines) != wanted or any(b"health" in line for line in lines):
        failures.append(f"{len(lines)} lines are in the bucket, and not {wanted}")
    if lasted > pod.grace:
        failures.append(f"SIGTERM took {lasted:.0f} s, and the grace is {pod.grace} s")
    say(f"containers: as user {pod.security['runAsUser']}: {len(lines)} lines, no probe among them; SIGTERM took {lasted:.1f} s")


def prove(place, options):
    if not (BIN / "kubernetes-validate").exists():
        raise rig.Skip("needs Kubernetes' schemas: e2e/containers_deps.sh")
    failures = []
    objects, services = schemas(place, failures)
    agree(objects["StatefulSet"], services, failures)
    if os.geteuid() == 0 and not failures:
        live(place, objects["StatefulSet"], failures)
    elif not failures:
        say("containers: the container's life needs root: SKIPPED")
    return failures
