#!/usr/bin/env bash
# The VTC suite against Varnishes that people install: make compat.
#
#   bookworm: Debian 12, Varnish 7.1    the .deb, installed by apt; its own varnishtest and, with the same
#   trixie: Debian 13, Varnish 7.7      build, its own varnishncsa for the lines, a short chaos, memory
#   forky: Debian, Vinyl Cache 9.0      the module built there, `make install`; its own vinyltest
#   VARNISHES=FOLDER          each Varnish installed there with a prefix of its own, such as
#                             FOLDER/7.4.3/sbin/varnishd: the module built against it, its own
#                             varnishtest, and the lines compared with its own varnishncsa
#   VARNISH_SRC=FOLDER        the same for each source of Varnish there, from 6.0.16 on, which packaging/varnishes.sh
#                             builds once
#
# The first three are Debian trees, which need root. The suite runs as an ordinary user inside the
# tree: the test program of tests/vtc.rs is built here and shown there, with its S3 server. Trees
# and builds stay in .deps/chroots, so that a second run is quick. Arguments select: trees, or
# subfolders of VARNISHES or sources of VARNISH_SRC by name; without any, all of the folder if one is
# given, else all trees. Builds for VARNISHES share target/compat: one build more costs the crates that
# know Varnish. SUITE=WORDS goes to the test program (a part of a test's name), ORACLE=no leaves
# out the lines and what is shown with them.
set -euo pipefail
cd "$(dirname "$0")/.."
. ./.deps/env
die() { printf 'compat: %s\n' "$*" >&2; exit 1; }
need_root() { [ "$(id -u)" = 0 ] || die "a chroot needs root: run this as root or with sudo"; }
user=1000
results=$(mktemp)
trap 'rm -f "$results"' EXIT

# The test program that is run in a tree; cargo says where it is.
harness=
build_harness() {
  [ -z "$harness" ] || return 0
  harness=$(cargo test --locked --test vtc --no-run --message-format=json 2>/dev/null |
    python3 -c 'import json, sys
for line in sys.stdin:
    made = json.loads(line)
    if made.get("executable") and made["target"]["name"] == "vtc": print(made["executable"])')
  [ -x "$harness" ] || die "cargo test --test vtc --no-run made no program"
}

# What the suite's output says of it, as "ok, N of M", and how many are not for that Varnish.
verdict() { # LOG
  sed -n 's/^test result: \([a-zA-Z]*\)\. \([0-9]*\) passed; \([0-9]*\) failed; \([0-9]*\) ignored.*/\1 \2 \3 \4/p' "$1" |
    awk '{ printf "%s, %d of %d", $1, $2, $2 + $3; if ($4) printf " (%d not for it)", $4 }'
}

# A row of the matrix: what, the suite, the lines, the log to read when something failed.
row() { # WHAT SUITE LINES LOG
  printf '%s|%s|%s|%s|%s\n' "$1" "${2:-did not run}" "$3" "$(date -u +%F)" "$4" >>"$results"
}

suite() { # TREE WHAT VARNISHTEST MODULE [VERSION [PROOFS]]
  local log=$PWD/target/compat-$1.log line
  build_harness
  # s3log init takes no user without a name.
  in_tree "$1" sh -c "getent passwd $user >/dev/null || useradd -u $user tester"
  packaging/chroot.sh run "$1" -b "$PWD:$PWD" -b "$harness:$harness" -u $user -e HOME=/tmp \
    -e "S3LOG_VARNISHTEST=$3" -e "S3LOG_MODULE=$4" -e S3LOG_COMMAND=/usr/bin/s3log \
    -e "S3LOG_VARNISH_VERSION=${5:-999}" \
    env -C /tmp "$harness" --test-threads 2 ${SUITE-} >"$log" 2>&1 || true
  line=$(verdict "$log")
  [ -n "$line" ] || tail -n 40 "$log"
  grep -E '^test .* FAILED' "$log" || true
  row "$2" "$line" "${6-}" "$log"
}

# The lines, a short chaos and the guard of memory with the build in a tree's /src, as root there; their
# conclusions. What they need is installed in the tree by its own `make deps`.
proofs() { # TREE PROFILE
  local log=$PWD/target/compat-$1 proof name said=()
  [ "${ORACLE-}" != no ] || return 0
  packaging/chroot.sh run "$1" -r env -C /src VARNISH=system tools/deps.sh >"$log-deps.log" 2>&1 ||
    { tail -n 20 "$log-deps.log" >&2; printf 'proofs did not run'; return 0; }
  for proof in "oracle --quick" "chaos --seconds 25" "memory --quick"; do
    name=${proof%% *}
    echo "compat: $1: $name" >&2
    in_tree "$1" -r sh -c "cd /src && . .deps/env && exec .deps/venv/bin/python -m e2e $proof --profile $2" \
      >"$log-$name.log" 2>&1 || { grep -E "^$name: " "$log-$name.log" || tail -n 20 "$log-$name.log"; } >&2
    said+=("$name $(sed -n "s/^$name: \(ok\|FAILED\|SKIPPED\)[,:] .*/\1/p" "$log-$name.log" | tail -n 1)")
  done
  (IFS=,; printf '%s' "${said[*]}" | sed 's/,/, /g; s/^oracle/lines/')
}

in_tree() { packaging/chroot.sh run "$@"; }

# A Debian with a package of ours: that package.
debian() { # RELEASE NUMBER
  need_root
  packaging/deb.sh "$1"
  packaging/chroot.sh make "$1.base" "$1"
  packaging/chroot.sh copy "$1.base" "$1-compat"
  cp target/deb/*+deb"$2"_*.deb "$(packaging/chroot.sh path "$1-compat")/tmp/"
  echo "compat: apt-get install vmod-s3log in a fresh Debian $2"
  in_tree "$1-compat" sh -ec 'apt-get install -y -qq --no-install-recommends /tmp/vmod-s3log_*.deb gnupg minisign python3 >/tmp/apt.log 2>&1 || { tail -20 /tmp/apt.log; exit 1; }'
  local module version
  module=$(in_tree "$1-compat" sh -c 'dpkg -L vmod-s3log | grep "/libvmod_s3log.so$"')
  version=$(in_tree "$1-compat" varnishd -V 2>&1 | sed -n '1s/varnishd (varnish-\(.*\) revision.*/\1/p')
  suite "$1-compat" "Debian $2: varnish-$version, .deb" /usr/bin/varnishtest "$module" "$version" \
    "$(proofs "$1-build" release)"
}

forky() {
  need_root
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

# The environment in which PREFIX is the Varnish that is found, for the build, the suite and e2e.
environment_of() { # PREFIX
  printf 'VARNISH_PREFIX=%q\n' "$1"
  printf 'PKG_CONFIG_PATH=%q\n' "$1/lib/pkgconfig"
  printf 'LD_LIBRARY_PATH=%q\n' "$1/lib"
  printf 'PATH=%q:%q:$PATH\n' "$1/sbin:$1/bin" "$PWD/.deps/venv/bin"
  echo 'export PATH VARNISH_PREFIX PKG_CONFIG_PATH LD_LIBRARY_PATH'
}

prefix() { # NAME
  local prefix log=$PWD/target/compat/$1.log env=$PWD/target/compat/$1.env version cargo=(cargo)
  prefix=$(cd "$VARNISHES/$1" && pwd -P)
  mkdir -p target/compat
  environment_of "$prefix" >"$env"
  version=$(PKG_CONFIG_PATH=$prefix/lib/pkgconfig pkg-config --modversion varnishapi)
  # Headers that varnish-rs does not know.
  if ! printf '7.4\n%s\n' "$version" | sort -V -C; then
    tools/varnish-rs.sh
    cargo+=(--config .deps/varnish-rs.toml)
  fi
  echo "compat: $1: building the module for Varnish $version"
  local what=(--locked --lib --bins --test vtc)
  if ! (. "$env" && CARGO_TARGET_DIR=target/compat "${cargo[@]}" build "${what[@]}") >"$log" 2>&1; then
    tail -n 20 "$log"
    row "Varnish $version, $1" "does not build" "" "$log"
    return
  fi
  echo "compat: $1: the suite"
  (. "$env" && CARGO_TARGET_DIR=target/compat S3LOG_VARNISHTEST=$prefix/bin/varnishtest \
    S3LOG_VARNISH_VERSION=$version \
    "${cargo[@]}" test --locked --test vtc -- --test-threads 2 ${SUITE-}) >"$log" 2>&1 || true
  grep -E '^test .* FAILED' "$log" || true
  local lines=
  if [ "${ORACLE-}" != no ]; then
    echo "compat: $1: the lines"
    CARGO_TARGET_DIR=target/compat S3LOG_ENV=$env .deps/venv/bin/python -m e2e oracle --quick --profile debug \
      >"$log.oracle" 2>&1 || { grep -E '^oracle: ' "$log.oracle" || tail -n 20 "$log.oracle"; }
    lines=$(sed -n 's/^oracle: \(ok\|FAILED\|SKIPPED\)[,:] .*/\1/p' "$log.oracle" | tail -n 1)
    lines="lines ${lines:-not compared}"
  fi
  row "Varnish $version, $1" "$(verdict "$log")" "$lines" "$log"
}

if [ -n "${VARNISH_SRC-}" ]; then
  [ -z "${VARNISHES-}" ] || die "VARNISHES and VARNISH_SRC are both given: one folder at a time"
  names=$(packaging/varnishes.sh "$VARNISH_SRC" "$@") || exit 1
  # Names have no white space.
  set -- $names
  VARNISHES=.deps/compat
fi
if [ $# = 0 ]; then
  if [ -n "${VARNISHES-}" ]; then
    for one in "$VARNISHES"/*/lib/pkgconfig/varnishapi.pc; do
      [ -e "$one" ] || die "VARNISHES=$VARNISHES: no subfolder has lib/pkgconfig/varnishapi.pc: install a Varnish there with --prefix=$VARNISHES/NAME"
      one=${one%/lib/pkgconfig/varnishapi.pc}
      set -- "$@" "${one##*/}"
    done
  else
    set -- trixie forky bookworm
  fi
fi
for one in "$@"; do
  case $one in
    bookworm) debian bookworm 12 ;;
    trixie) debian trixie 13 ;;
    forky) forky ;;
    *)
      [ -e "${VARNISHES-}/$one/lib/pkgconfig/varnishapi.pc" ] ||
        die "$one is neither trixie, forky or bookworm nor a Varnish in VARNISHES=${VARNISHES-}"
      prefix "$one" ;;
  esac
done

echo
echo "compat: the VTC suite, $(ls tests/vtc/*.vtc | wc -l) files"
awk -F'|' '{ printf "  %-48s %-32s %-32s %s\n", $1, $2, $3, $4 } $2 !~ /^ok/ || $3 !~ /^((lines|chaos|memory) (ok|SKIPPED)(, )?)*$/ { bad = 1; printf "    see %s\n", $5 } END { exit bad }' "$results"
