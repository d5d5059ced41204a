#!/usr/bin/env bash
# Runs a command in a copy of this checkout inside a tree of tools/chroot.sh, with this machine's
# Rust: tools/chroot-cargo.sh NAME COMMAND [WORD...]
#
# The copy is /src in the tree, made anew each time of all files that git knows or would add; its
# target directory stays, so that a second build is quick.
set -euo pipefail
cd "$(dirname "$0")/.."
name=$1
shift
tree=$(tools/chroot.sh path "$name")
mkdir -p "$tree/src"
find "$tree/src" -mindepth 1 -maxdepth 1 ! -name target -exec rm -rf {} +
git ls-files -z --cached --others --exclude-standard | tar -c --null -T - --ignore-failed-read 2>/dev/null | tar -x -C "$tree/src"

toolchain=$(rustc --print sysroot)
cargo_home=${CARGO_HOME:-$HOME/.cargo}
mkdir -p "$cargo_home"
with=(-b "$toolchain:/rust/toolchain" -b "$cargo_home:/rust/cargo"
  -e CARGO_HOME=/rust/cargo -e PATH=/rust/toolchain/bin:/usr/sbin:/usr/bin:/sbin:/bin)
# The certificates that this machine trusts, for cargo; the crates may come through a proxy of its own.
if [ -e /etc/ssl/certs/ca-certificates.crt ]; then
  with+=(-b /etc/ssl/certs/ca-certificates.crt:/rust/certificates.crt
    -e SSL_CERT_FILE=/rust/certificates.crt -e CARGO_HTTP_CAINFO=/rust/certificates.crt)
fi
for variable in http_proxy https_proxy no_proxy CARGO_BUILD_JOBS; do
  [ -z "${!variable-}" ] || with+=(-e "$variable=${!variable}")
done
tools/chroot.sh run "$name" "${with[@]}" env -C /src "$@"
