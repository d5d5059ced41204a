#!/usr/bin/env bash
# Makes target/deb/vmod-s3log_VERSION+debRELEASE_ARCH.deb: make deb.
#
#   packaging/deb.sh            for the Varnish that this Debian's packages have installed here
#   packaging/deb.sh RELEASE    for the Varnish of bookworm (Debian 12) or trixie (13), in a chroot: root
#   packaging/deb.sh RELEASE arm64      for that Varnish on another machine: cross-built in a chroot
#   packaging/deb.sh RELEASE ARCH COMMAND [WORD...]   another command in a copy of the checkout in that chroot
#
# A module fits only the Varnish that it was compiled against, and the package depends on exactly
# that one. The chroot is in .deps/chroots (packaging/chroot.sh). Needs Rust, which the chroot gets from
# here. For arm64 that is Rust with `rustup target add aarch64-unknown-linux-gnu`, and a kernel that takes an emulator:
# the new command is run for its manual pages.
set -euo pipefail
cd "$(dirname "$0")/.."
die() { printf 'deb: %s\n' "$*" >&2; exit 1; }
release=${1-}
here=$(dpkg --print-architecture)
architecture=${2:-$here}

if [ -z "$release" ]; then
  [ "$architecture" = "$here" ] || die "ARCH=$architecture is built in a chroot: say RELEASE=bookworm or RELEASE=trixie, too"
  dpkg-query -W -f '${Status}' libvarnishapi-dev 2>/dev/null | grep -q '^install ok installed$' ||
    die "no Varnish of this Debian's packages is here (libvarnishapi-dev): say RELEASE=bookworm or RELEASE=trixie, as root, to build in a chroot"
  dpkg-checkbuilddeps || die "install these first, with apt-get build-dep . for example"
  rm -rf target/deb
  debian/rules binary
  debian/rules clean
  ls target/deb/*.deb
  exit
fi

case $release in
  bookworm) number=12 ;;
  trixie) number=13 ;;
  *) die "RELEASE=$release: expected bookworm or trixie" ;;
esac
[ "$(id -u)" = 0 ] || die "a chroot needs root: run this as root or with sudo"
# What debian/control has as Build-Depends, the compiler, and what looks at the result.
packages=(build-essential ca-certificates debhelper libclang-dev libvarnishapi-dev lintian lowdown man-db
  pkgconf python3 varnish)
tree=$release-build
case $architecture in
  "$here") ;;
  arm64)
    tree=$release-build-arm64
    packages+=(crossbuild-essential-arm64 libvarnishapi-dev:arm64)
    [ -d "$(rustc --print sysroot)/lib/rustlib/aarch64-unknown-linux-gnu" ] ||
      die "this Rust makes no programs for arm64: rustup target add aarch64-unknown-linux-gnu" ;;
  *) die "ARCH=$architecture: expected $here or arm64" ;;
esac
packaging/chroot.sh make "$tree" "$release" "${packages[@]}"
if [ $# -gt 2 ]; then
  shift 2
  exec packaging/chroot-cargo.sh "$tree" dpkg-architecture -f -a"$architecture" -c "$@"
fi
packaging/chroot-cargo.sh "$tree" sh -ec '
  rm -rf target/deb
  dpkg-architecture -f -a"$1" -c debian/rules binary
  lintian --version
  lintian --tag-display-limit 0 target/deb/vmod-s3log_*.deb' sh "$architecture"
mkdir -p target/deb
rm -f target/deb/*+deb"$number"_"$architecture".deb
cp "$(packaging/chroot.sh path "$tree")"/src/target/deb/*.deb target/deb/
ls target/deb/*+deb"$number"_"$architecture".deb
