#!/usr/bin/env bash
# Debian in a directory: makes a tree once with debootstrap, keeps it, and runs commands in it.
#
#   packaging/chroot.sh make NAME SUITE [PACKAGE...]  a tree with these packages; one that is there stays
#   packaging/chroot.sh copy NAME NEW                 NEW becomes a copy of the tree NAME
#   packaging/chroot.sh run NAME [-r] [-b FROM:TO]... [-e NAME=VALUE]... [-u USER] COMMAND [WORD...]
#                                                 -b shows a file or directory of this machine, -r
#                                                 its Rust, with the crates it has fetched
#   packaging/chroot.sh path NAME                     where the tree is
#
# PACKAGE:arm64 adds that architecture to the tree. Its programs then run beside this machine's, under qemu-user, which
# is installed and registered with this machine's kernel until the next boot.
#
# Trees are kept in .deps/chroots, or where S3LOG_CHROOTS says; deleting them there is all there is
# to cleaning up. Needs root, and debootstrap, which it installs.
#
# Each run has its own mount and process namespaces: what it mounts and what it starts is gone when
# its command ends, however it ends. Seen from outside, a tree never has anything mounted in it.
# The network is this machine's. Not for anything that needs a running systemd.
set -euo pipefail
cd "$(dirname "$0")/.."
trees=${S3LOG_CHROOTS:-$PWD/.deps/chroots}

say() { printf 'chroot: %s\n' "$*" >&2; }
die() { printf 'chroot: %s\n' "$*" >&2; exit 1; }
[ "$(id -u)" = 0 ] || die "making and entering a chroot needs root: run this as root or with sudo"

# The mirror that this machine's apt uses, and what it was told about proxies and dates.
mirror() {
  apt-get indextargets --format '$(REPO_URI)' 'Origin: Debian' |
    grep -vE 'security|updates|backports' | sort -u | head -n 1
}
apt_settings() {
  apt-config dump | grep -E '^Acquire::(https?|Retries|Check-Date|Check-Valid-Until)\b' || true
}

make_tree() {
  local name=$1 suite=$2 tree=$trees/$1 base=$trees/$2.base from
  shift 2
  printf '%s\n' "$@" >"$trees/.wanted"
  if [ -e "$tree/.complete" ] && cmp -s "$trees/.wanted" "$tree/.complete"; then return; fi
  command -v debootstrap >/dev/null || apt-get install -y -qq debootstrap >/dev/null
  if [ ! -e "$base/.complete" ]; then
    from=$(mirror)
    [ -n "$from" ] || die "apt knows no Debian mirror: run 'apt-get update' and try again"
    say "debootstrap $suite"
    rm -rf "$base"
    # A suite that this machine's debootstrap does not know yet is made as its elder was.
    local script=
    [ -e "/usr/share/debootstrap/scripts/$suite" ] || script=/usr/share/debootstrap/scripts/sid
    debootstrap --variant=minbase --include=ca-certificates "$suite" "$base" "$from" $script \
      >"$trees/$suite.log" 2>&1 || { tail -n 20 "$trees/$suite.log" >&2; die "debootstrap failed; the whole output is in $trees/$suite.log"; }
    apt_settings >"$base/etc/apt/apt.conf.d/99host"
    # Nothing is started by its installation.
    printf '#!/bin/sh\nexit 101\n' >"$base/usr/sbin/policy-rc.d"
    chmod 755 "$base/usr/sbin/policy-rc.d"
    run "$suite.base" apt-get update -qq
    touch "$base/.complete"
  fi
  if [ "$name" = "$suite.base" ]; then return; fi
  # Other packages than before: what was built in the tree stays.
  if [ ! -e "$tree/.complete" ]; then copy_tree "$suite.base" "$name"; fi
  rm -f "$tree/.complete"
  say "$name: installing $*"
  local architecture
  for architecture in $(printf '%s\n' "$@" | sed -n 's/.*://p' | grep -vxE 'any|native' | sort -u); do
    run "$name" sh -ec 'dpkg --add-architecture "$1" && apt-get update -qq' sh "$architecture" >"$trees/$name.log" 2>&1 ||
      { tail -n 20 "$trees/$name.log" >&2; die "$architecture was not added; the whole output is in $trees/$name.log"; }
  done
  run "$name" apt-get install -y -qq --no-install-recommends "$@" >"$trees/$name.log" 2>&1 ||
    { tail -n 20 "$trees/$name.log" >&2; die "apt-get install failed; the whole output is in $trees/$name.log"; }
  printf '%s\n' "$@" >"$tree/.complete"
}

# Registers qemu-user for a tree with another machine's programs. F: the kernel keeps the emulator open, so that the tree
# need not have it.
emulate() { # ARCHITECTURE
  local name register=/proc/sys/fs/binfmt_misc
  case $1 in
    arm64) name=qemu-aarch64 ;;
    amd64) name=qemu-x86_64 ;;
    *) die "$1: no emulator of mine; arm64 and amd64 have one" ;;
  esac
  [ -e "$register/register" ] || mount -t binfmt_misc binfmt_misc $register ||
    die "this kernel takes no emulator (binfmt_misc): the programs of $1 do not run here"
  [ ! -e "$register/$name" ] || return 0
  [ -e "/usr/lib/binfmt.d/$name.conf" ] || apt-get install -y -qq --no-install-recommends qemu-user-static >/dev/null
  [ -e "$register/$name" ] || tr -d '\n' <"/usr/lib/binfmt.d/$name.conf" >$register/register
  say "programs of $1 run under qemu-user"
}

copy_tree() {
  rm -rf "${trees:?}/$2"
  cp -a --reflink=auto "$trees/$1" "$trees/$2"
}

run() {
  local tree=$trees/$1
  shift
  if [ "${1-}" = -r ]; then
    shift
    rust_words
    set -- "${rust[@]}" "$@"
  fi
  [ -x "$tree/usr/bin/env" ] || die "$tree is no Debian tree: make it first"
  # The tree's architectures; there is no such file where it has its own alone.
  local architecture
  while read -r architecture; do
    if [ "$architecture" != "$(dpkg --print-architecture)" ]; then emulate "$architecture"; fi
  done < <(cat "$tree/var/lib/dpkg/arch" 2>/dev/null)
  cp /etc/resolv.conf /etc/hosts "$tree/etc/"
  mkdir -p "$trees/archives/partial"
  unshare --mount --propagation private --pid --fork --kill-child \
    bash -euo pipefail -c "$inside" chroot "$tree" "$trees/archives" "$@"
}

# This machine's compiler, crates, and the certificates and proxy that it fetches crates with.
rust_words() {
  local cargo_home=${CARGO_HOME:-$HOME/.cargo} certificates=/etc/ssl/certs/ca-certificates.crt variable
  mkdir -p "$cargo_home"
  rust=(-b "$(rustc --print sysroot):/rust/toolchain" -b "$cargo_home:/rust/cargo"
    -e CARGO_HOME=/rust/cargo -e PATH=/rust/toolchain/bin:/usr/sbin:/usr/bin:/sbin:/bin)
  if [ -e $certificates ]; then
    rust+=(-b "$certificates:/rust/certificates.crt"
      -e SSL_CERT_FILE=/rust/certificates.crt -e CARGO_HTTP_CAINFO=/rust/certificates.crt
      -e PIP_CERT=/rust/certificates.crt)
  fi
  for variable in http_proxy https_proxy no_proxy; do
    [ -z "${!variable-}" ] || rust+=(-e "$variable=${!variable}")
  done
}

# Runs as process 1 of the namespaces. The downloaded packages are kept for the next tree.
inside='
tree=$1 archives=$2 user= variables=(HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive)
shift 2
mount -t proc proc "$tree/proc"
mount --rbind /dev "$tree/dev"
mount --bind "$archives" "$tree/var/cache/apt/archives"
while :; do
  case ${1-} in
    -b) from=${2%%:*} to=$tree${2#*:}
        if [ -d "$from" ]; then mkdir -p "$to"; else mkdir -p "${to%/*}"; [ -e "$to" ] || : >"$to"; fi
        mount --rbind "$from" "$to" ;;
    -e) variables+=("$2") ;;
    -u) user=$2 ;;
    *) break ;;
  esac
  shift 2
done
as=()
if [ -n "$user" ]; then as=(setpriv "--reuid=$user" "--regid=$user" --clear-groups); fi
chroot "$tree" env -i "${variables[@]}" "${as[@]}" "$@"
'

mkdir -p "$trees"
trees=$(cd "$trees" && pwd -P)
case ${1-} in
  make) [ $# -ge 3 ] || die "make takes a name and a suite"; shift; make_tree "$@" ;;
  copy) [ $# = 3 ] || die "copy takes two names"; copy_tree "$2" "$3" ;;
  run) [ $# -ge 3 ] || die "run takes a name and a command"; shift; run "$@" ;;
  path) [ $# = 2 ] || die "path takes a name"; printf '%s\n' "$trees/$2" ;;
  *) die "make, copy, run or path? the head of this file says more" ;;
esac
