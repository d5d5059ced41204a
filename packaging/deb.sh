#!/usr/bin/env bash
# Makes target/deb/vmod-s3log_VERSION+debRELEASE_ARCH.deb: make deb.
#
#   packaging/deb.sh            for the Varnish that this Debian's packages have installed here
#   packaging/deb.sh RELEASE    for the Varnish of bookworm (Debian 12) or trixie (13), in a chroot: root
#
# A module fits only the Varnish that it was compiled against, and the package depends on exactly
# that one. The chroot is in .deps/chroots (packaging/chroot.sh). Needs Rust, which the chroot gets from
# here.
set -euo pipefail
cd "$(dirname "$0")/.."
die() { printf 'deb: %s\n' "$*" >&2; exit 1; }
release=${1-}

if [ -z "$release" ]; then
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
packaging/chroot.sh make "$release-build" "$release" "${packages[@]}"
packaging/chroot-cargo.sh "$release-build" sh -ec '
  rm -rf target/deb
  debian/rules binary
  lintian --version
  lintian --tag-display-limit 0 target/deb/vmod-s3log_*.deb'
mkdir -p target/deb
rm -f target/deb/*+deb"$number"_*
cp "$(packaging/chroot.sh path "$release-build")"/src/target/deb/*.deb target/deb/
ls target/deb/*+deb"$number"_*
