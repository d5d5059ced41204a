#!/usr/bin/env bash
# Runs a command in a copy of this checkout inside a tree of packaging/chroot.sh, with this machine's
# Rust: packaging/chroot-cargo.sh NAME COMMAND [WORD...]
#
# The copy is /src in the tree, made anew each time of all files that git knows or would add; its
# target and .deps directories stay, so that a second build is quick.
set -euo pipefail
cd "$(dirname "$0")/.."
name=$1
shift
tree=$(packaging/chroot.sh path "$name")
mkdir -p "$tree/src"
find "$tree/src" -mindepth 1 -maxdepth 1 ! -name target ! -name .deps -exec rm -rf {} +
git ls-files -z --cached --others --exclude-standard | tar -c --null -T - --ignore-failed-read 2>/dev/null | tar -x -C "$tree/src"

packaging/chroot.sh run "$name" -r env -C /src "$@"
