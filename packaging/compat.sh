#!/usr/bin/env bash
# The VTC suite against Varnishes that people install, in Debian trees: make compat. Needs root.
#
#   Debian 13, Varnish 7.7    the .deb, installed by apt; its own varnishtest
#   forky, Vinyl Cache 9.0    the module built there, `make install`; its own vinyltest
#
# The suite runs as an ordinary user inside the tree: the test program of tests/vtc.rs is built
# here and shown there, with its S3 server. Trees and builds stay in .deps/chroots, so that a second
# run is quick. `packaging/compat.sh trixie` or `forky` runs one of them.
set -euo pipefail
cd "$(dirname "$0")/.."
. ./.deps/env
die() { printf 'compat: %s\n' "$*" >&2; exit 1; }
[ "$(id -u)" = 0 ] || die "a chroot needs root: run this as root or with sudo"
user=1000
results=$(mktemp)
trap 'rm -f "$results"' EXIT

# The test program; cargo says where it is.
harness=$(cargo test --locked --test vtc --no-run --message-format=json 2>/dev/null |
  python3 -c 'import json, sys
for line in sys.stdin:
    made = json.loads(line)
    if made.get("executable") and made["target"]["name"] == "vtc": print(made["executable"])')
[ -x "$harness" ] || die "cargo test --test vtc --no-run made no program"

suite() { # TREE WHAT VARNISHTEST MODULE
  local log=$PWD/target/compat-$1.log line
  packaging/chroot.sh run "$1" -b "$PWD:$PWD" -b "$harness:$harness" -u $user -e HOME=/tmp \
    -e "S3LOG_VARNISHTEST=$3" -e "S3LOG_MODULE=$4" -e S3LOG_COMMAND=/usr/bin/s3log \
    env -C /tmp "$harness" --test-threads 2 >"$log" 2>&1 || true
  line=$(sed -n 's/^test result: \([a-zA-Z]*\)\. \([0-9]* passed\); \([0-9]* failed\).*/\1, \2, \3/p' "$log")
  [ -n "$line" ] || { tail -n 40 "$log"; line="did not run"; }
  grep -E '^test .* FAILED' "$log" || true
  printf '%s|%s|%s\n' "$2" "$line" "$log" >>"$results"
}

# The module's directory in a tree, and what its Varnish calls itself.
in_tree() { packaging/chroot.sh run "$@"; }

trixie() {
  packaging/deb.sh --chroot
  packaging/chroot.sh make trixie.base trixie
  packaging/chroot.sh copy trixie.base trixie-compat
  cp target/deb/*.deb "$(packaging/chroot.sh path trixie-compat)/tmp/"
  echo "compat: apt-get install vmod-s3log in a fresh Debian 13"
  in_tree trixie-compat sh -ec 'apt-get install -y -qq --no-install-recommends /tmp/vmod-s3log_*.deb gnupg minisign python3 >/tmp/apt.log 2>&1 || { tail -20 /tmp/apt.log; exit 1; }'
  local module
  module=$(in_tree trixie-compat sh -c 'dpkg -L vmod-s3log | grep "/libvmod_s3log.so$"')
  suite trixie-compat "Debian 13: $(in_tree trixie-compat varnishd -V 2>&1 | sed -n '1s/varnishd (\(.*\) revision.*/\1/p'), .deb" \
    /usr/bin/varnishtest "$module"
}

forky() {
  packaging/chroot.sh make forky-build forky build-essential ca-certificates gnupg libclang-dev \
    libvinylapi-dev minisign pkgconf python3 vinyl-cache
  echo "compat: building the module in forky"
  packaging/chroot-cargo.sh forky-build sh -ec '
    . packaging/vinyl.sh
    cargo build --release --locked
    packaging/install.sh PREFIX=/usr VMODDIR="$(pkg-config --variable=vmoddir vinylapi)"'
  local module
  module=$(in_tree forky-build sh -c 'pkg-config --variable=vmoddir vinylapi')/libvmod_s3log.so
  suite forky-build "Debian forky: $(in_tree forky-build vinyld -V 2>&1 | sed -n '1s/vinyld (\(.*\) revision.*/\1/p'), make install" \
    /usr/bin/vinyltest "$module"
}

for which in "${@:-trixie forky}"; do
  for one in $which; do "$one"; done
done

echo
echo "compat: the VTC suite, $(ls tests/vtc/*.vtc | wc -l) files"
awk -F'|' '{ printf "  %-52s %s\n", $1, $2 } $2 !~ /^ok/ { bad = 1; printf "    see %s\n", $3 } END { exit bad }' "$results"
