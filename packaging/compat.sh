#!/usr/bin/env bash
# The VTC suite, the lines, a short chaos and the guard of memory on Varnishes that people install: make compat.
#
#   packaging/compat.sh [--write] [--arch ARCH] [NAME...]
#
#   bookworm: Debian 12, Varnish 7.1    the .deb, installed by apt, and Debian's varnishtest; with the same
#   trixie: Debian 13, Varnish 7.7      build, Debian's varnishncsa for the lines, chaos, memory
#   forky: Debian, Vinyl Cache 9.0      the module built there, `make install`; its own vinyltest and vinylncsa
#   VARNISHES=FOLDER          each Varnish installed there with a prefix of its own, such as
#                             FOLDER/7.4.3/sbin/varnishd: the module built against it, its own
#                             varnishtest and varnishncsa
#   VARNISH_SRC=FOLDER        the same for each source of Varnish there, from 6.0.16 on, which packaging/varnishes.sh
#                             builds once
#
# --arch arm64 is bookworm and trixie on that machine, under qemu-user: the cross-built .deb and its Varnish by apt, in a
# tree of which the rest is this machine's. VCL is compiled by the cross compiler of the package's build, because an
# emulated one takes half a minute for each VCL. A test may take an hour, or S3LOG_VTC_SECONDS. No proofs.
#
# The first three are Debian trees, which need root. The suite runs as an ordinary user inside the
# tree: the test program of tests/vtc.rs is built here and shown there, with its S3 server. Trees
# and builds stay in .deps/chroots, so that a second run is quick. Arguments select: trees, or
# subfolders of VARNISHES or sources of VARNISH_SRC by name; without any, all of the folder if one is
# given, else all trees. Builds for VARNISHES share target/compat: one build more costs the crates that
# know Varnish. SUITE=WORDS goes to the test program (a part of a test's name), ORACLE=no leaves
# out the lines, chaos and memory.
#
# What each says is in target/compat/cells/NAME. packaging/matrix.py makes a row of it for each and prints them; with
# --write it puts them into the table of docs/versions.md, too. Exits with 1 if anything failed. If a cell ends the
# command, the rows so far are printed, and not written.
set -euo pipefail
cd "$(dirname "$0")/.."
. ./.deps/env
die() { printf 'compat: %s\n' "$*" >&2; exit 1; }
need_root() { [ "$(id -u)" = 0 ] || die "a chroot needs root: run this as root or with sudo"; }
user=1000
here=$(dpkg --print-architecture 2>/dev/null) || here=this
architecture=$here
cells=$PWD/target/compat/cells
write=()
done=()

# A cell of the matrix begins: its folder is empty but for `what`, of which packaging/matrix.py tells.
begin() { # NAME VARNISH FROM HOW
  rm -rf "${cells:?}/$1"
  mkdir -p "$cells/$1"
  printf '%s\n' "$2" "$3" "$4" >"$cells/$1/what"
  done+=("$cells/$1")
}

# The rows so far, also where a cell has ended this command; only a command that comes to its end writes them.
report() {
  local status=$? words=("${write[@]}")
  trap - EXIT
  [ "${#done[@]}" != 0 ] || exit "$status"
  echo
  if [ "$status" != 0 ]; then
    words=()
    [ "${#write[@]}" = 0 ] || echo "compat: ended early, and docs/versions.md is as it was; packaging/matrix.py --write ${cells#"$PWD/"}/NAME... writes rows"
  fi
  packaging/matrix.py "${words[@]}" "${done[@]}" || [ "$status" != 0 ] || status=1
  exit "$status"
}
trap report EXIT
# Bash hands the status of the last command that ended to that trap where a signal ends it.
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# The test program that is run in a tree.
harness=

suite() { # NAME TREE VARNISHTEST MODULE [VERSION]
  local log=$cells/$1/suite.log
  [ -n "$harness" ] || harness=$(packaging/vtc.sh)
  echo "compat: $1: the suite"
  # s3log init takes no user without a name.
  in_tree "$2" sh -c "getent passwd $user >/dev/null || useradd -u $user tester"
  in_tree "$2" -b "$PWD:$PWD" -b "$harness:$harness" "${compiler[@]}" -u $user -e HOME=/tmp \
    -e "S3LOG_VARNISHTEST=$3" -e "S3LOG_MODULE=$4" -e S3LOG_COMMAND=/usr/bin/s3log \
    -e "S3LOG_VARNISH_VERSION=${5:-999}" \
    env -C /tmp "$harness" --test-threads 2 ${SUITE-} >"$log" 2>&1 || true
  grep -q '^test result: ' "$log" || tail -n 40 "$log"
  grep -E '^test .* FAILED' "$log" || true
}

# The lines, a short chaos and the guard of memory.
proofs() { # NAME COMMAND...    the command runs the proof whose words follow it
  local cell=$1 proof name log
  shift
  for proof in "oracle --quick" "chaos --seconds 25" "memory --quick"; do
    name=${proof%% *} log=$cells/$cell/${proof%% *}.log
    echo "compat: $cell: $name"
    # Words of their own.
    "$@" $proof >"$log" 2>&1 || { grep -E "^$name: FAILED" "$log" || tail -n 20 "$log"; }
  done
}

# The proofs with the build in a tree's /src, as root there. What they need is installed in the tree by its own
# `make deps`.
proofs_in() { # NAME TREE
  local log=$cells/$1/oracle.log
  [ "${ORACLE-}" != no ] || return 0
  echo "compat: $1: what the proofs need"
  if in_src "$2" 'VARNISH=system tools/deps.sh' >"$log" 2>&1; then
    proofs "$1" in_src "$2" '. .deps/env; exec .deps/venv/bin/python -m e2e "$@" --profile release' proof
  else
    tail -n 20 "$log"
  fi
}

in_src() { # TREE SCRIPT [WORD...]
  local tree=$1 script=$2
  shift 2
  in_tree "$tree" -r sh -ec "cd /src; if [ -e target/vinyl ]; then . packaging/vinyl.sh; fi; $script" "$@"
}

# The proofs with the build in target/compat.
proof_of_prefix() { # ENVIRONMENT WORD...
  local env=$1
  shift
  CARGO_TARGET_DIR=target/compat S3LOG_ENV=$env .deps/venv/bin/python -m e2e "$@" --profile debug
}

in_tree() { packaging/chroot.sh run "$@"; }

# Words for chroot.sh by which an emulated Varnish has time, and a compiler that is not emulated: the one of the
# package's build, at /cross.
compiler=()
cross_compiler() { # RELEASE TREE
  local tree=$2 build=$1-build-$architecture from other own name
  from=$(packaging/chroot.sh path "$build")
  other=$(in_tree "$build" dpkg-architecture -f -a"$architecture" -qDEB_HOST_GNU_TYPE)
  own=$(in_tree "$build" dpkg-architecture -qDEB_BUILD_MULTIARCH)
  for name in gcc "$other-gcc"; do
    in_tree "$tree" sh -ec 'cat >"$1" && chmod 755 "$1"' sh "/usr/local/bin/$name" <<EOF
#!/bin/sh
LD_LIBRARY_PATH=/cross/usr/lib/$own exec /cross/usr/bin/$other-gcc "\$@"
EOF
  done
  compiler=(-b "$from:/cross" -b "$from/usr/$other:/usr/$other" -e PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    -e "S3LOG_VTC_SECONDS=${S3LOG_VTC_SECONDS:-3600}")
}

# A Debian with a package of ours: that package.
debian() { # RELEASE NUMBER
  need_root
  local cell=$1 tree=$1-compat place="Debian $2" how="the .deb by apt" module version
  packaging/deb.sh "$1" "$architecture"
  packaging/chroot.sh make "$1.base" "$1"
  if [ "$architecture" != "$here" ]; then
    cell=$1-$architecture tree=$1-compat-$architecture place="Debian $2 for $architecture" how="$how, under qemu-user"
  fi
  packaging/chroot.sh copy "$1.base" "$tree"
  cp target/deb/*+deb"$2"_"$architecture".deb "$(packaging/chroot.sh path "$tree")/tmp/"
  if [ "$architecture" != "$here" ]; then
    in_tree "$tree" sh -ec 'dpkg --add-architecture "$1" && apt-get update -qq' sh "$architecture"
    cross_compiler "$1" "$tree"
  fi
  echo "compat: apt-get install vmod-s3log in a fresh $place"
  in_tree "$tree" sh -ec 'apt-get install -y -qq --no-install-recommends /tmp/vmod-s3log_*.deb gnupg minisign python3 >/tmp/apt.log 2>&1 || { tail -20 /tmp/apt.log; exit 1; }'
  module=$(in_tree "$tree" dpkg -L "vmod-s3log:$architecture" | grep '/libvmod_s3log.so$')
  version=$(in_tree "$tree" varnishd -V 2>&1 | sed -n '1s/varnishd (varnish-\(.*\) revision.*/\1/p')
  begin "$cell" "$version" "$place, $(in_tree "$tree" dpkg-query -W -f '${Version}' "varnish:$architecture")" "$how"
  suite "$cell" "$tree" /usr/bin/varnishtest "$module" "$version"
  [ "$architecture" != "$here" ] || proofs_in "$1" "$1-build"
}

forky() {
  need_root
  [ "$architecture" = "$here" ] || die "forky is not built for $architecture"
  packaging/chroot.sh make forky-build forky build-essential ca-certificates gnupg libclang-dev \
    libvinylapi-dev minisign pkgconf python3 vinyl-cache
  # The tests call Varnish's programs by Varnish's names.
  in_tree forky-build sh -ec 'for program in /usr/bin/vinyl* /usr/sbin/vinyl*; do
    [ ! -e "$program" ] || ln -sfn "${program##*/}" "${program%/*}/varnish${program##*/vinyl}"
  done'
  echo "compat: building the module in forky"
  packaging/chroot-cargo.sh forky-build sh -ec '
    . packaging/vinyl.sh
    packaging/build.sh
    packaging/install.sh PREFIX=/usr VMODDIR="$(pkg-config --variable=vmoddir vinylapi)"'
  begin forky "Vinyl Cache $(in_tree forky-build vinyld -V 2>&1 | sed -n '1s/vinyld (vinyl-cache-\(.*\) revision.*/\1/p')" \
    "Debian forky, $(in_tree forky-build dpkg-query -W -f '${Version}' vinyl-cache)" "built there, \`make install\`"
  suite forky forky-build /usr/bin/vinyltest \
    "$(in_tree forky-build pkg-config --variable=vmoddir vinylapi)/libvmod_s3log.so"
  proofs_in forky forky-build
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
  local prefix cell=$cells/$1 env=$PWD/target/compat/$1.env version revision cargo=(cargo)
  prefix=$(cd "$VARNISHES/$1" && pwd -P)
  mkdir -p target/compat
  environment_of "$prefix" >"$env"
  version=$(PKG_CONFIG_PATH=$prefix/lib/pkgconfig pkg-config --modversion varnishapi)
  revision=$(. "$env" && varnishd -V 2>&1 | sed -n '1s/.* revision \([0-9a-f]\{9\}\).*/, \1/p')
  begin "$1" "$version" "$from$revision" "built beside it"
  # Headers that varnish-rs does not know.
  if ! printf '7.4\n%s\n' "$version" | sort -V -C; then
    tools/varnish-rs.sh
    cargo+=(--config .deps/varnish-rs.toml)
  fi
  echo "compat: $1: building the module for Varnish $version"
  local what=(--locked --lib --bins --test vtc)
  if ! (. "$env" && CARGO_TARGET_DIR=target/compat "${cargo[@]}" build "${what[@]}") >"$cell/build.log" 2>&1; then
    tail -n 20 "$cell/build.log"
    echo "does not build" >"$cell/stopped"
    return
  fi
  echo "compat: $1: the suite"
  (. "$env" && CARGO_TARGET_DIR=target/compat S3LOG_VARNISHTEST=$prefix/bin/varnishtest \
    S3LOG_VARNISH_VERSION=$version \
    "${cargo[@]}" test --locked --test vtc -- --test-threads 2 ${SUITE-}) >"$cell/suite.log" 2>&1 || true
  grep -E '^test .* FAILED' "$cell/suite.log" || true
  if [ "${ORACLE-}" != no ]; then proofs "$1" proof_of_prefix "$env"; fi
}

while [ $# != 0 ]; do
  case $1 in
    --write)
      [ -z "${SUITE-}${ORACLE-}" ] || die "--write is for whole cells: without SUITE= and ORACLE="
      write=(--write)
      shift ;;
    --arch)
      architecture=${2:?}
      shift 2 ;;
    *) break ;;
  esac
done
[ "$architecture" = "$here" ] || [ -z "${VARNISHES-}${VARNISH_SRC-}" ] ||
  die "ARCH=$architecture is for Debian's packages: without VARNISHES= and VARNISH_SRC="
# Where the Varnishes of VARNISHES are from, for the table.
from="a prefix of its own"
if [ -n "${VARNISH_SRC-}" ]; then
  [ -z "${VARNISHES-}" ] || die "VARNISHES and VARNISH_SRC are both given: one folder at a time"
  names=$(packaging/varnishes.sh "$VARNISH_SRC" "$@") || exit 1
  # Names have no white space.
  set -- $names
  VARNISHES=.deps/compat
  from=source
fi
if [ $# = 0 ]; then
  if [ -n "${VARNISHES-}" ]; then
    for one in "$VARNISHES"/*/lib/pkgconfig/varnishapi.pc; do
      [ -e "$one" ] || die "VARNISHES=$VARNISHES: no subfolder has lib/pkgconfig/varnishapi.pc: install a Varnish there with --prefix=$VARNISHES/NAME"
      one=${one%/lib/pkgconfig/varnishapi.pc}
      set -- "$@" "${one##*/}"
    done
  elif [ "$architecture" != "$here" ]; then
    set -- trixie bookworm
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
