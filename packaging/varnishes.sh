#!/usr/bin/env bash
# Builds Varnishes from source, each into a prefix of its own, for `make compat VARNISH_SRC=FOLDER`.
#
#   packaging/varnishes.sh FOLDER [NAME...]
#
# Each source in FOLDER is a release's archive (NAME.tar.gz, .tgz, .tar.xz or .tar.bz2) or a folder NAME with a
# release or a git checkout. It is built in a copy, so that FOLDER stays as it is, and installed into
# .deps/compat/NAME. What is there already is not built again: remove it to have it built anew.
# Names select; without any, all of FOLDER is built. Standard error tells what is done; standard output has the
# names.
#
# Limits: the prefixes are for tests and have no HTML manual. A name has no white space. Varnish before 7.0 needs
# libpcre3-dev, which Debian 13 does not have; later versions need libpcre2-dev.
set -euo pipefail
cd "$(dirname "$0")/.."
say() { printf 'varnishes: %s\n' "$*" >&2; }
die() { printf 'varnishes: %s\n' "$*" >&2; exit 1; }

[ $# -ge 1 ] || die "usage: packaging/varnishes.sh FOLDER [NAME...]"
[ -d "$1" ] || die "VARNISH_SRC=$1: not a folder"
sources=$(cd "$1" && pwd -P)
shift
mkdir -p .deps/compat
to=$(cd .deps/compat && pwd -P)

# The name that a source's prefix has.
name_of() { sed -E 's/\.(tar\.(gz|xz|bz2)|tgz)$//' <<<"${1##*/}"; }

is_source() { # PATH
  case $1 in
    *.tar.gz | *.tgz | *.tar.xz | *.tar.bz2) [ -f "$1" ] ;;
    *) [ -e "$1/autogen.sh" ] || [ -e "$1/configure" ] ;;
  esac
}

unpack() { # SOURCE FOLDER
  if [ -d "$1" ]; then
    cp -a "$1/." "$2"
  else
    tar -xf "$1" --strip-components=1 -C "$2"
  fi
}

build() { # SOURCE NAME
  local prefix=$to/$2 log=$to/$2.log work
  if [ -e "$prefix/.complete" ]; then
    say "$2: Varnish $(cat "$prefix/.complete") is built"
    return
  fi
  say "$2: building it (minutes); the output is in .deps/compat/$2.log"
  work=$(mktemp -d "$to/build.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  rm -rf "$prefix"
  # Bash ignores `set -e` in a condition. Sphinx makes only the HTML manual.
  if ! (
    unpack "$1" "$work" && cd "$work" &&
      if [ -e autogen.sh ]; then ./autogen.sh; fi &&
      ./configure --prefix="$prefix" --disable-static --disable-dependency-tracking --with-sphinx-build=/bin/false &&
      make -s -j"$(nproc)" &&
      make -s install
  ) >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    die "$2 was not built; the whole output is in .deps/compat/$2.log"
  fi
  PKG_CONFIG_PATH=$prefix/lib/pkgconfig pkg-config --modversion varnishapi >"$prefix/.complete"
  rm -rf "$work"
  trap - EXIT
  say "$2: Varnish $(cat "$prefix/.complete") is built"
}

found=()
for source in "$sources"/*; do
  if is_source "$source"; then found+=("$(name_of "$source")=$source"); fi
done
[ ${#found[@]} -gt 0 ] || die "VARNISH_SRC=$sources has no source of Varnish: neither an archive nor a folder with autogen.sh or configure"
[ $# -gt 0 ] || set -- "${found[@]%%=*}"
for wanted in "$@"; do
  source=
  for one in "${found[@]}"; do
    if [ "${one%%=*}" = "$wanted" ]; then source=${one#*=}; fi
  done
  [ -n "$source" ] || die "$wanted is not in $sources, which has: ${found[*]%%=*}"
  build "$source" "$wanted"
  echo "$wanted"
done
