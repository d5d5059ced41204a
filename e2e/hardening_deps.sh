#!/usr/bin/env bash
# What `make e2e T=hardening` needs, after `make deps`: programs of Debian's that look at policies without
# loading them. Debian's SELinux policy itself is unpacked into .deps/debian and not installed.
set -euo pipefail
. "$(dirname "$0")/deps.sh"

missing=()
for package in apparmor checkpolicy policycoreutils semodule-utils setools strace systemd; do
  dpkg-query -W -f '${Status}' $package 2>/dev/null | grep -q '^install ok installed$' || missing+=($package)
done
[ ${#missing[@]} -eq 0 ] || debian "${missing[@]}"
