#!/usr/bin/env bash
# Makes target/rpm/vmod-s3log-VERSION-RELEASE.ARCH.rpm for the Varnish that pkg-config finds: make rpm.
#
#   packaging/rpm.sh        on RHEL, Fedora and their like, with rpm-build, the packages that packaging/vmod-s3log.spec
#                           has as BuildRequires, and Rust from rustup
#   packaging/rpm.sh try    then tries that package, as far as Debian can. Root
#
# On a Debian the first does not look for the BuildRequires, which have other names there, and the second needs a Varnish
# with a prefix of its own: PKG_CONFIG_PATH=PREFIX/lib/pkgconfig. rpmlint finds nothing in the package. In a Debian of
# its own (packaging/chroot.sh) with a copy of that Varnish, dnf refuses the package while the repository offers another
# Varnish, and installs it together with the right one; the suite of tests/vtc runs with what is installed (SUITE= is a
# part of a test's name); dnf removes it. What RHEL's C library, shell and varnish provide, a package without files claims
# to provide there.
set -euo pipefail
cd "$(dirname "$0")/.."
say() { printf 'rpm: %s\n' "$*"; }
die() { printf 'rpm: %s\n' "$*" >&2; exit 1; }
top=$PWD/target/rpm
pkg-config --exists varnishapi ||
  die "pkg-config knows no varnishapi: install Varnish's development files (dnf install varnish-devel)"

build() {
  local version nodeps=()
  command -v rpmbuild >/dev/null || die "rpmbuild was not found: dnf install rpm-build (apt install rpm on Debian)"
  command -v cargo >/dev/null || die "cargo was not found: install Rust, with rustup for example"
  version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
  if [ -e /etc/debian_version ]; then nodeps=(--nodeps); fi
  rm -rf "$top"
  mkdir -p "$top"
  rpmbuild -bb --build-in-place "${nodeps[@]}" --define "cargo_version $version" --define "_topdir $top/build" \
    --define "_rpmdir $top" --define "_rpmfilename %{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}.rpm" packaging/vmod-s3log.spec
  rm -rf "$top/build"
  ls "$top"/*.rpm
}

# A repository with the package and one that claims to provide this.
offer() { # FOLDER CAPABILITY...
  local to=$1
  shift
  mkdir -p "$to"
  cp "$top"/*.rpm "$to"
  {
    printf '%s\n' 'Name: varnish' "Version: $version" 'Release: 1' 'Summary: For a test' 'License: BSD-2-Clause'
    printf 'Provides: %s\n' "$@"
    printf '%s\n' %description 'For a test.' %files
  } >"$work/varnish.spec"
  rpmbuild -bb --quiet --define "_topdir $work/build" --define "_rpmdir $to" "$work/varnish.spec"
  createrepo_c -q "$to"
}

dnf_in() { # REPOSITORY WORD...
  packaging/chroot.sh run "$tree" -b "$work/$1:/repository" dnf -y --nogpgcheck --repofrompath=ours,file:///repository --repo=ours \
    --refresh --setopt=reposdir=/nowhere --releasever=12 "${@:2}" 2>&1
}

try() {
  local package said wanted abi harness
  local spool=/var/lib/vmod-s3log tree=bookworm-rpm prefix at
  prefix=$(pkg-config --variable=prefix varnishapi)
  version=$(pkg-config --modversion varnishapi)
  [ "$prefix" != /usr ] || die "needs a Varnish with a prefix of its own: PKG_CONFIG_PATH=PREFIX/lib/pkgconfig"
  [ "$(id -u)" = 0 ] || die "a chroot needs root: run this as root or with sudo"
  package=$(echo "$top"/*.rpm)
  [ -f "$package" ] || die "one package in target/rpm is wanted: make rpm"
  said=$(rpmlint -c packaging/rpmlint.toml "$package" 2>&1) || die "rpmlint: $said"
  say "rpmlint: $(tail -n 1 <<<"$said")"
  grep -q ' 0 errors, 0 warnings' <<<"$said" || die "rpmlint: $said"

  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  abi=$(sed -n 's/.*"Varnish [^ ]* \(.*\)".*/\1/p' "$prefix/include/varnish/vmod_abi.h")
  rpm -qp --requires "$package" | sort -u | grep -v '^rpmlib(' >"$work/wanted"
  grep -qx "varnishd(abi)(x86-64) = $abi" "$work/wanted" || die "it does not depend on exactly Varnish $abi: $(cat "$work/wanted")"
  mapfile -t wanted < <(grep -v '^varnishd(abi)' "$work/wanted")
  offer "$work/right" "${wanted[@]}" "varnishd(abi)(x86-64) = $abi"
  offer "$work/other" "${wanted[@]}" "varnishd(abi)(x86-64) = ${abi}1"

  packaging/chroot.sh make bookworm-dnf bookworm dnf gcc gnupg libc6-dev libedit2 libncurses6 libpcre2-8-0 libpcre3 \
    minisign python3
  packaging/chroot.sh copy bookworm-dnf "$tree"
  at=$(packaging/chroot.sh path "$tree")
  mkdir -p "$at$prefix"
  cp -a "$prefix/." "$at$prefix"
  packaging/chroot.sh run "$tree" useradd -r -U varnish
  packaging/chroot.sh run "$tree" useradd -u 1000 tester
  if said=$(dnf_in other install vmod-s3log); then die "dnf installs it for another Varnish: $said"; fi
  grep -q "nothing provides varnishd(abi)" <<<"$said" || die "dnf refuses it for another reason than Varnish: $said"
  say "dnf refuses it with another Varnish"
  said=$(dnf_in right install vmod-s3log) || die "dnf install: $said"
  said=$(packaging/chroot.sh run "$tree" stat -c '%U:%G %a' $spool)
  [ "$said" = "varnish:varnish 700" ] || die "the spool is not the cache process's user's: $said"
  say "dnf install: $(packaging/chroot.sh run "$tree" s3log --version | tr '\n' ' ')"

  harness=$(packaging/vtc.sh)
  packaging/chroot.sh run "$tree" -b "$PWD:$PWD" -b "$harness:$harness" -u 1000 -e HOME=/tmp \
    -e "PATH=$prefix/sbin:$prefix/bin:/usr/sbin:/usr/bin" -e "LD_LIBRARY_PATH=$prefix/lib" \
    -e "S3LOG_VARNISHTEST=$prefix/bin/varnishtest" -e "S3LOG_VARNISH_VERSION=$version" \
    -e "S3LOG_MODULE=$(pkg-config --variable=vmoddir varnishapi)/libvmod_s3log.so" -e S3LOG_COMMAND=/usr/bin/s3log \
    env -C /tmp "$harness" --test-threads 2 ${SUITE-} >"$top/suite.log" 2>&1 || { tail -n 40 "$top/suite.log"; die "the suite failed"; }
  say "the suite: $(grep '^test result: ' "$top/suite.log")"

  touch "$at$spool/kept"
  said=$(dnf_in right remove vmod-s3log) || die "dnf remove: $said"
  grep -q "$spool is left" <<<"$said" || die "dnf remove does not say what it leaves: $said"
  rm "$at$spool/kept"
  dnf_in right install vmod-s3log >/dev/null
  dnf_in right remove vmod-s3log >/dev/null
  said=$(cd "$at" && find . -xdev -iname '*s3log*' ! -path './tmp/*' ! -path './var/cache/*' ! -path './var/log/*')
  [ -z "$said" ] || die "dnf remove leaves: $said"
  say "dnf remove: a spool with something in it is left, and the package says so; an empty one goes"
  say ok
}

case ${1-} in
  '') build ;;
  try) try ;;
  *) die "expected nothing or try; the head of this file says more" ;;
esac
