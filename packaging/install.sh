#!/usr/bin/env bash
# Installs what `make build` or packaging/build.sh has made: make install DESTDIR= PREFIX=.
#
#   DESTDIR  is put before every path, for packages                     (nothing)
#   PREFIX   command, manual pages, completions, documents, systemd     /usr/local
#   VMODDIR  the module; where Varnish looks, whatever PREFIX is        pkg-config varnishapi
#   ZSHDIR   zsh's completion                                           PREFIX/share/zsh/site-functions
#   TARGET   where the build is                                         target/release
#
# Makes no directory for the spool, but the file by which systemd-tmpfiles makes it (docs/install.md). Without DESTDIR the
# owner in that file is the user that this machine's varnishd takes for the cache process, with its group: vcache if there
# is one, else varnish.
set -euo pipefail
cd "$(dirname "$0")/.."
die() { printf 'install: %s\n' "$*" >&2; exit 1; }
for setting in "$@"; do
  case $setting in
    # What a command that failed has given: another folder must not take its place.
    VMODDIR=) die "VMODDIR= is empty: say where the module goes, or leave it out" ;;
    DESTDIR=* | PREFIX=* | VMODDIR=* | ZSHDIR=* | TARGET=*) declare "$setting" ;;
    *) die "$setting is no setting of mine; the head of this file lists them" ;;
  esac
done

DESTDIR=${DESTDIR-}
PREFIX=${PREFIX:-/usr/local}
TARGET=${TARGET:-${CARGO_TARGET_DIR:-target}/release}
if [ -z "${VMODDIR-}" ]; then
  VMODDIR=$(pkg-config --variable=vmoddir varnishapi) ||
    die "pkg-config knows no varnishapi: install Varnish's development files, or say VMODDIR="
fi
ZSHDIR=${ZSHDIR:-$PREFIX/share/zsh/site-functions}
share=$DESTDIR$PREFIX/share
documents=$share/doc/vmod-s3log
for built in libvmod_s3log.so s3log; do
  [ -e "$TARGET/$built" ] ||
    die "$TARGET/$built is not there: run 'make build' first, or packaging/build.sh for the Varnish that pkg-config finds"
done

put() { # MODE DIRECTORY FILE...
  local mode=$1 to=$2
  shift 2
  install -d "$to"
  install -m "$mode" -t "$to" "$@"
}
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT

put 644 "$DESTDIR$VMODDIR" "$TARGET/libvmod_s3log.so"
put 755 "$DESTDIR$PREFIX/bin" "$TARGET/s3log"

"$TARGET/s3log" man "$made/man1" >/dev/null
put 644 "$share/man/man1" "$made"/man1/*
# The VCL reference as a manual page, where there is a program that makes one of Markdown.
if command -v lowdown >/dev/null; then
  version=$("$TARGET/s3log" -V)
  lowdown -s -Tman -M title=vmod_s3log -M section=3 -M "source=${version/s3log/vmod-s3log}" \
    -o "$made/vmod_s3log.3" <(
      printf '# NAME\n\nvmod_s3log - Varnish module that streams log lines to an S3 bucket\n\n'
      sed '1,/^-->$/d' API.md
    )
  put 644 "$share/man/man3" "$made/vmod_s3log.3"
else
  printf 'install: no lowdown here, so no manual page vmod_s3log(3); API.md says the same\n' >&2
fi

for shell in bash zsh fish; do "$TARGET/s3log" completions $shell >"$made/$shell"; done
install -D -m 644 "$made/bash" "$share/bash-completion/completions/s3log"
install -D -m 644 "$made/zsh" "$DESTDIR$ZSHDIR/_s3log"
install -D -m 644 "$made/fish" "$share/fish/vendor_completions.d/s3log.fish"

put 644 "$documents" README.md API.md CHANGELOG.md LICENSE SECURITY.md
put 644 "$documents/docs" docs/*.md
# The pictures that these pages have.
for folder in figures performance; do put 644 "$documents/docs/$folder" docs/$folder/*.svg; done
put 644 "$documents/docs/figures" docs/figures/*.png
put 644 "$documents/examples" vcl/* examples/{varnish-mask.conf,varnish-hardening.conf,prometheus-rules.yml,grafana-dashboard.json} \
  examples/{chain.py,iceberg.py} examples/s3log-compact.{service,timer,yaml}
# The compose file beside these two builds from a checkout.
put 644 "$documents/examples/containers" examples/containers/{kubernetes.yaml,edge.vcl}
put 644 "$documents/examples/selinux" packaging/selinux/*
put 644 "$documents/examples/apparmor" packaging/apparmor/*
packaging/pages.py "$documents" vcl=examples packaging/selinux=examples/selinux packaging/apparmor=examples/apparmor

owner=vcache group=varnish
if [ -z "$DESTDIR" ]; then
  id vcache >/dev/null 2>&1 || owner=varnish
  group=$(id -gn $owner 2>/dev/null) || {
    group=varnish
    printf 'install: no user vcache or varnish here: write that of the cache process into %s\n' \
      "$PREFIX/lib/tmpfiles.d/vmod-s3log.conf" >&2
  }
fi
sed "s/:vcache :varnish/:$owner :$group/" packaging/tmpfiles.conf >"$made/vmod-s3log.conf"
put 644 "$DESTDIR$PREFIX/lib/tmpfiles.d" "$made/vmod-s3log.conf"
install -D -m 644 packaging/varnish.service.conf \
  "$DESTDIR$PREFIX/lib/systemd/system/varnish.service.d/vmod-s3log.conf"
# Another user's process that uploads; not enabled, and its user is not made (docs/operations.md).
sed "s|/usr/bin/|$PREFIX/bin/|" packaging/s3log-ship.service >"$made/s3log-ship.service"
put 644 "$DESTDIR$PREFIX/lib/systemd/system" "$made/s3log-ship.service"
install -D -m 644 packaging/sysusers.conf "$DESTDIR$PREFIX/lib/sysusers.d/s3log-ship.conf"
