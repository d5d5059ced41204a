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
# Several trees may be made at a time, and several commands run in them. The network is this machine's.
# Not for anything that needs a running systemd.
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

# Installs packages on this machine, whose apt does one thing at a time.
install_here() { flock "$trees/.here.lock" apt-get install -y -qq "$@" >/dev/null; }

# The tree that those of a suite begin as. Whoever wants it while it is made waits for it.
make_base() ( # SUITE
  suite=$1 base=$trees/$1.base script=
  exec 9>"$trees/.$suite.lock"
  flock 9
  [ ! -e "$base/.complete" ] || return 0
  command -v debootstrap >/dev/null || install_here debootstrap
  from=$(mirror)
  [ -n "$from" ] || die "apt knows no Debian mirror: run 'apt-get update' and try again"
  say "debootstrap $suite"
  rm -rf "$base"
  # A suite that this machine's debootstrap does not know yet is made as its elder was.
  [ -e "/usr/share/debootstrap/scripts/$suite" ] || script=/usr/share/debootstrap/scripts/sid
  debootstrap --variant=minbase --include=ca-certificates "$suite" "$base" "$from" $script \
    >"$trees/$suite.log" 2>&1 || { tail -n 20 "$trees/$suite.log" >&2; die "debootstrap failed; the whole output is in $trees/$suite.log"; }
  apt_settings >"$base/etc/apt/apt.conf.d/99host"
  # Nothing is started by its installation.
  printf '#!/bin/sh\nexit 101\n' >"$base/usr/sbin/policy-rc.d"
  chmod 755 "$base/usr/sbin/policy-rc.d"
  run "$suite.base" apt-get update -qq
  touch "$base/.complete"
)

make_tree() {
  local name=$1 suite=$2 tree=$trees/$1
  shift 2
  if [ -e "$tree/.complete" ] && printf '%s\n' "$@" | cmp -s - "$tree/.complete"; then return; fi
  make_base "$suite"
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
  [ -e "/usr/lib/binfmt.d/$name.conf" ] || install_here --no-install-recommends qemu-user-static
  [ -e "$register/$name" ] || tr -d '\n' <"/usr/lib/binfmt.d/$name.conf" >$register/register
  say "programs of $1 run under qemu-user"
}

copy_tree() {
  rm -rf "${trees:?}/$2"
  cp -a --reflink=auto "$trees/$1" "$trees/$2"
}

# Gives a folder the packages of another one: more names of the same files.
share_packages() ( # FROM TO
  to=$2
  shopt -s nullglob
  set -- "$1"/*.deb
  [ $# = 0 ] || cp -lft "$to" "$@"
)

# A subshell, whose end takes away what the run has left outside of its namespaces.
run() (
  tree=$trees/$1
  shift
  if [ "${1-}" = -r ]; then
    shift
    rust_words
    set -- "${rust[@]}" "$@"
  fi
  [ -x "$tree/usr/bin/env" ] || die "$tree is no Debian tree: make it first"
  # The tree's architectures; there is no such file where it has its own alone.
  while read -r architecture; do
    if [ "$architecture" != "$(dpkg --print-architecture)" ]; then emulate "$architecture"; fi
  done < <(cat "$tree/var/lib/dpkg/arch" 2>/dev/null)
  cp /etc/resolv.conf /etc/hosts "$tree/etc/"
  mkdir -p "$trees/archives"
  # Each run has a folder of its own for downloaded packages: apt locks it, does not wait for another apt's lock, and
  # DPkg::Lock::Timeout is about dpkg's.
  archives=$(mktemp -d "$trees/archives/run.XXXXXX")
  trap 'share_packages "$archives" "$trees/archives" || true; rm -rf "$archives"' EXIT
  chmod 755 "$archives"
  share_packages "$trees/archives" "$archives"
  unshare --mount --propagation private --pid --fork --kill-child \
    bash -euo pipefail -c "$inside" chroot "$tree" "$archives" "$@"
)

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

# Runs as process 1 of the namespaces. The downloaded packages are kept for the next run in any tree.
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
