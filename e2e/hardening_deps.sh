#!/usr/bin/env bash
# What `make e2e T=hardening` needs, after `make deps`: programs of Debian's that look at policies without
# loading them. Debian's SELinux policy itself is unpacked into .deps/debian and not installed.
set -euo pipefail
cd "$(dirname "$0")/.."

die() { printf 'hardening: %s\n' "$*" >&2; exit 1; }
missing=()
for package in apparmor checkpolicy policycoreutils semodule-utils setools strace systemd; do
  dpkg-query -W -f '${Status}' $package 2>/dev/null | grep -q '^install ok installed$' || missing+=($package)
done
[ ${#missing[@]} -gt 0 ] || exit 0
printf 'hardening: installing from Debian: %s\n' "${missing[*]}"
if [ "$(id -u)" = 0 ]; then root=(); else root=(sudo -n); fi
"${root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >.deps/apt.log 2>&1 ||
  { tail -n 20 .deps/apt.log >&2; die "apt-get install failed; the whole output is in .deps/apt.log"; }
