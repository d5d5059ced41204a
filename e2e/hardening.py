"""The drop-in and the policies for SELinux and AppArmor grant what a run under strace is seen to need.

A real varnishd runs under strace with the capabilities of examples/varnish-hardening.conf and no new
privileges, and with Debian's jail where root runs this: one stream uploads over http, another one tries https,
the cache process is stopped and started. Each system call of all its processes must be in the drop-in's
filter, each file that the module's threads touch one of those that docs/hardening.md lists, each that they
write in the spool. systemd-analyze must take the drop-in over Debian's varnish.service, apparmor_parser the
AppArmor files. The SELinux module is compiled and linked into Debian's policy, which must then grant
varnishd's domain what it did not before. Nothing is loaded into the kernel.
"""

import os
import pathlib
import pwd
import re
import shutil
import signal
import subprocess
import urllib.request

from e2e import rig
from e2e.rig import debian, say, stream_vcl

DROP_IN = rig.ROOT / "examples/varnish-hardening.conf"
SELINUX = rig.ROOT / "packaging/selinux"
APPARMOR = rig.ROOT / "packaging/apparmor"
TOOLS = ["apparmor_parser", "checkmodule", "semodule", "semodule_package", "sesearch", "strace", "systemd-analyze"]
# What the module's threads may touch besides spool and credentials: docs/hardening.md has the same list.
KNOWN = [
    r"/etc/(resolv\.conf|hosts|nsswitch\.conf|host\.conf|gai\.conf|services|ld\.so\.cache)",
    r"/etc/ssl(/.*)?",
    r"/usr/(local/)?share/ca-certificates(/.*)?",
    r"/usr/lib/ssl(/.*)?",
    r"/usr/share/zoneinfo(/.*)?",
    r"/(usr/)?lib(64)?/.*\.so(\.\d+)*",
    r"/proc/(self|\d+)/task(/\d+(/comm)?)?",
    r"/proc/sys/kernel/random/boot_id",
    r"/dev/u?random",
    r"/sys/fs/cgroup(/.*)?|/proc/(self|\d+)/cgroup|/sys/devices/system/cpu(/.*)?",
]
# What varnishd's domain must be granted: type, class, rights. The first ones Debian's policy has already.
GRANTED = [
    ("net_conf_t", "file", "getattr open read"),
    ("http_port_t", "tcp_socket", "name_connect"),
    ("varnishd_etc_t", "file", "getattr open read"),
    ("varnishd_t", "udp_socket", "connect create"),
    ("cert_t", "dir", "open read search"),
    ("cert_t", "file", "getattr open read"),
    ("cert_t", "lnk_file", "read"),
    ("sysctl_kernel_t", "file", "open read"),
    ("fs_t", "filesystem", "getattr"),
    ("vmod_s3log_spool_t", "dir", "add_name create open read remove_name rename rmdir search write"),
    ("vmod_s3log_spool_t", "file", "create getattr link lock map open read rename unlink write"),
]
OURS = {"cert_t file", "sysctl_kernel_t file", "vmod_s3log_spool_t file"}


def run(*words, **more):
    done = subprocess.run(
        [str(word) for word in words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more
    )
    return done.returncode, done.stdout.strip()


def setting(name):
    """The words of a setting of the drop-in."""
    return re.search(rf"^{name}=(.*)$", DROP_IN.read_text(), re.M)[1].split()


def end(strace):
    """Ends varnishd, and with it strace, which would let it go on if it were ended itself."""
    for child in pathlib.Path(f"/proc/{strace.pid}/task/{strace.pid}/children").read_text().split():
        os.kill(int(child), signal.SIGTERM)
    rig.wait_for("the end of varnishd", lambda: not strace.alive())


def traced(place):
    """Runs a node under strace, as the drop-in would; the folder with a file a thread, and the spool."""
    traces = place.directory / "traces"
    traces.mkdir()
    capabilities = ",".join(f"+{name.removeprefix('CAP_').lower()}" for name in setting("CapabilityBoundingSet"))
    wrapper = ["strace", "-ff", "-y", "-o", traces / "of"]
    vcl = stream_vcl.write(place, "hardening", period="200ms")
    tls = (
        f'sub vcl_init {{ new tls = s3log.stream(endpoint = "https://localhost:{place.s3.ports["s3"]}", '
        f'bucket = "{rig.BUCKET}", credentials = "{place.s3.credentials}", spool = "{place.spool}", '
        'format = "%U", period = 200ms); }\nsub vcl_recv { tls.log(); }\n'
    )
    text = vcl.read_text()
    vcl.write_text(text.replace("sub vcl_recv {", tls + "sub vcl_recv {", 1))
    varnish = rig.Varnish(place.directory, place.env, vcl, place.module_dir, wrapper=wrapper)
    place.varnish = varnish
    if os.geteuid() == 0:
        wrapper += ["setpriv", f"--bounding-set=-all,{capabilities}", "--no-new-privs"]
        entry = pwd.getpwnam(varnish.jailed())
        place.directory.chmod(0o755)
        (place.directory / "s3").chmod(0o755)
        for path in (place.spool, place.s3.credentials):
            os.chown(path, entry.pw_uid, entry.pw_gid)
    varnish.start()
    place.stack.callback(lambda: varnish.process.alive() and end(varnish.process))
    for number in range(20):
        urllib.request.urlopen(f"http://127.0.0.1:{varnish.port}/s/{number}", timeout=rig.PATIENCE).read()
    rig.wait_for("uploads", lambda: varnish.counters("access*")["access.uploaded_records"] == 20)
    rig.wait_for("attempts over TLS", lambda: varnish.counters("tls*")["tls.upload_retries"] > 1)
    varnish.cli("stop")
    varnish.cli("start")
    rig.wait_for("varnishd", varnish.answers)
    urllib.request.urlopen(f"http://127.0.0.1:{varnish.port}/s/last", timeout=rig.PATIENCE).read()
    rig.wait_for("an upload", lambda: varnish.counters("access*")["access.uploaded_records"] == 1)
    end(varnish.process)
    return traces


def expanded(name):
    """The system calls of a set of systemd's, such as @system-service."""
    found = set()
    for line in run("systemd-analyze", "syscall-filter", name)[1].splitlines()[1:]:
        word = line.strip()
        if word and not word.startswith("#"):
            found |= expanded(word) if word.startswith("@") else {word}
    return found


def calls(traces, failures):
    allowed = set().union(*map(expanded, setting("SystemCallFilter")))
    made = set()
    for trace in traces.iterdir():
        made |= set(re.findall(r"^(\w+)\(", trace.read_text(errors="replace"), re.M))
    if len(made) < 50:
        failures.append(f"strace has seen only {sorted(made)}")
    if more := made - allowed:
        failures.append(f"the filter {setting('SystemCallFilter')} lacks {sorted(more)}")
    say(f"hardening: {len(made)} system calls of varnishd, its compiler and its cache process, all in the filter")


def files(place, traces, failures):
    """Each file of the module's threads is known, and each that they make or change is in the spool."""
    own = [str(place.spool), str(place.s3.credentials)]
    touched, changed, threads = set(), set(), 0
    for trace in traces.iterdir():
        text = trace.read_text(errors="replace")
        if 'PR_SET_NAME, "s3log-' not in text:
            continue
        threads += 1
        for line in text.splitlines():
            call = line.split("(", 1)[0]
            if call in ("write", "read", "sendto", "recvfrom", "execve"):
                continue
            for path in re.findall(r'"(/[^"]*)"', line):
                touched.add(path)
                if "O_WRONLY" in line or "O_RDWR" in line or "O_CREAT" in line or call.startswith(("rename", "unlink", "mkdir")):
                    changed.add(path)
    for path in sorted(touched):
        if not path.startswith(tuple(own)) and not any(re.fullmatch(known, path) for known in KNOWN):
            failures.append(f"the module touches {path}, of which the policies do not know")
    for path in sorted(changed):
        if not path.startswith(own[0]):
            failures.append(f"the module changes {path}")
    if threads < 4 or len(touched) < 20 or not changed:
        failures.append(f"strace has seen only {threads} threads and {len(touched)} files")
    say(f"hardening: {threads} threads of the module: {len(touched)} files, {len(changed)} of them changed, all in the spool")


def systemd(place, failures):
    units = place.directory / "units"
    (units / "varnish.service.d").mkdir(parents=True)
    text = debian.file("varnish", "*lib/systemd/system/varnish.service").read_text()
    varnishd = shutil.which("varnishd", path=place.env["PATH"])
    unit = units / "varnish.service"
    unit.write_text(re.sub(r"ExecReload=.*\n", "", text).replace("/usr/sbin/varnishd", varnishd))
    before = run("systemd-analyze", "security", "--offline=yes", "--no-pager", unit)[1].splitlines()[-1]
    shutil.copy(rig.ROOT / "packaging/varnish.service.conf", units / "varnish.service.d/vmod-s3log.conf")
    shutil.copy(DROP_IN, units / "varnish.service.d/varnish-hardening.conf")
    code, said = run("systemd-analyze", "verify", "--man=no", unit, env={**os.environ, "SYSTEMD_UNIT_PATH": f"{units}:"})
    mine = [line for line in said.splitlines() if "varnish" in line]
    if mine:
        failures.append(f"systemd-analyze verify: {mine}")
    after = run("systemd-analyze", "security", "--offline=yes", "--no-pager", unit)[1].splitlines()[-1]
    exposure = lambda text: float(re.search(r": ([\d.]+) ", text)[1])
    if exposure(after) >= exposure(before) - 3:
        failures.append(f"the drop-in hardly changes anything: {before} {after}")
    say(f"hardening: exposure of Debian's varnish.service by systemd-analyze: {exposure(before)}, with the drop-in {exposure(after)}")


def apparmor(place, failures):
    probe = place.directory / "probe"
    probe.write_text(
        "abi <abi/3.0>,\ninclude <tunables/global>\nprofile probe /usr/sbin/varnishd {\n"
        f'  include <abstractions/base>\n  include "{APPARMOR / "vmod-s3log"}"\n}}\n'
    )
    for profile in (probe, APPARMOR / "s3log-ship"):
        code, said = run("apparmor_parser", "--skip-kernel-load", "--skip-cache", profile)
        if code:
            failures.append(f"apparmor_parser: {said}")
    say("hardening: apparmor_parser takes both files")


def rights(policy, kind, of):
    """What the policy grants varnishd's domain without a condition."""
    found = set()
    said = run("sesearch", "-A", "-s", "varnishd_t", "-t", kind, "-c", of, policy)[1]
    for line in said.splitlines():
        rule = re.fullmatch(r"allow \S+ \S+:\S+ \{? ?(.*?) ?\}?;", line.strip())
        found |= set(rule[1].split()) if rule else set()
    return found


def selinux(place, failures):
    folder = place.directory / "selinux"
    shutil.copytree(SELINUX, folder)
    for words in (
        ["checkmodule", "-M", "-m", "-o", "vmod_s3log.mod", "vmod_s3log.te"],
        ["semodule_package", "-o", "vmod_s3log.pp", "-m", "vmod_s3log.mod", "-f", "vmod_s3log.fc"],
    ):
        code, said = run(*words, cwd=folder)
        if code:
            failures.append(f"{words[0]}: {said}")
            return
    package = debian.unpacked("selinux-policy-default")
    root = folder / "root"
    shutil.copytree(package / "etc/selinux", root / "etc/selinux")
    (root / "etc/selinux/config").write_text("SELINUX=disabled\nSELINUXTYPE=default\n")
    (root / "etc/selinux/semanage.conf").write_text("module-store = direct\n")
    (root / "var/lib/selinux/default").mkdir(parents=True)
    modules = sorted((package / "usr/share/selinux/default").glob("*.pp.bz2"))
    store = ["semodule", "-p", root, "-s", "default", "-n"]
    ids = []
    for step in ([word for one in modules for word in ("-i", one)], ["-i", folder / "vmod_s3log.pp"]):
        code, said = run(*store, *step)
        if code:
            failures.append(f"semodule: {said[-600:]}")
            return
        (policy,) = (root / "etc/selinux/default/policy").glob("policy.*")
        ids.append(folder / f"policy-{len(ids)}")
        shutil.copy(policy, ids[-1])
    lacking = set()
    for kind, of, wanted in GRANTED:
        if missing := set(wanted.split()) - rights(ids[1], kind, of):
            failures.append(f"the linked policy does not grant varnishd_t {sorted(missing)} on {kind} {of}")
        if not set(wanted.split()) <= rights(ids[0], kind, of):
            lacking.add(f"{kind} {of}")
    if not OURS <= lacking:
        failures.append(f"Debian's own policy already grants what the module adds: it lacks only {lacking}")
    labelled = (root / "etc/selinux/default/contexts/files/file_contexts").read_text()
    if "/var/lib/vmod-s3log(/.*)?" not in labelled:
        failures.append("the spool has no label")
    say(f"hardening: the SELinux module links into Debian's policy, and adds {len(lacking)} rules of {len(GRANTED)}")


def prove(place, options):
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    os.environ["PATH"] = path
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        raise rig.Skip(f"needs {', '.join(missing)}: e2e/hardening_deps.sh")
    failures = []
    apparmor(place, failures)
    systemd(place, failures)
    selinux(place, failures)
    place.s3.start()
    traces = traced(place)
    calls(traces, failures)
    files(place, traces, failures)
    return failures
