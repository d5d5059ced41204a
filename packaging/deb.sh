#!/usr/bin/env bash
# Makes target/deb/vmod-s3log_VERSION_ARCH.deb: make deb.
#
# A module fits only the Varnish that it was compiled against, and the package depends on exactly
# that one. On Debian 13 and newer it is this machine's; elsewhere, or with --chroot, it is that of
# a Debian 13 in .deps/chroots, which needs root. Needs Rust, which the chroot gets from here.
set -euo pipefail
cd "$(dirname "$0")/.."
die() { printf 'deb: %s\n' "$*" >&2; exit 1; }

# What the chroot has besides debian/control's Build-Depends: the compiler, and what looks at the result.
packages=(build-essential ca-certificates debhelper libclang-dev libvarnishapi-dev lintian lowdown man-db pkgconf python3 varnish)

if [ "${1-}" != --chroot ] && command -v dh_varnishabi >/dev/null; then
  dpkg-checkbuilddeps || die "install these first, with apt-get build-dep . for example"
  rm -rf target/deb
  debian/rules binary
  debian/rules clean
  ls target/deb/*.deb
  exit
fi

[ "$(id -u)" = 0 ] ||
  die "this machine has no debhelper for Varnish modules (libvarnishapi-dev of Debian 13): run this as root, to build in a chroot, or on Debian 13"
packaging/chroot.sh make trixie-build trixie "${packages[@]}"
packaging/chroot-cargo.sh trixie-build sh -ec '
  rm -rf target/deb
  debian/rules binary
  lintian --version
  lintian --tag-display-limit 0 target/deb/vmod-s3log_*.deb'
mkdir -p target/deb
rm -f target/deb/*
cp "$(packaging/chroot.sh path trixie-build)"/src/target/deb/*.deb target/deb/
ls target/deb/*.deb
