#!/usr/bin/env bash
# Whether the same source gives the same packages, byte for byte: make reproduce RELEASE=trixie. Root.
#
#   packaging/reproduce.sh [RELEASE]    bookworm (Debian 12) or trixie (13); trixie if nothing is said
#
# Builds the packages as `make deb RELEASE=` does, and once more in the same Debian tree: in another folder, from an
# empty target folder, in another time zone and with another umask. Then compares the two with cmp, names the files in
# them that differ, and exits with 1 if any does. The compiler, the crates and Debian's packages are the same in both.
set -euo pipefail
cd "$(dirname "$0")/.."
release=${1:-trixie}
folder=/home/somebody/elsewhere/checkout
say() { printf 'reproduce: %s\n' "$*"; }

packaging/deb.sh "$release"
tree=$(packaging/chroot.sh path "$release-build")
# The source of the first, whatever has happened to the checkout meanwhile.
rm -rf "${tree:?}$folder"
mkdir -p "$tree$folder"
tar -C "$tree/src" -c --exclude=./target --exclude=./.deps . | tar -C "$tree$folder" -x
packaging/chroot.sh run "$release-build" -r env -C "$folder" TZ=KIR-14 sh -ec '
  umask 077
  debian/rules clean
  debian/rules binary'
first=$tree/src/target/deb second=$tree$folder/target/deb
diff <(ls "$first") <(ls "$second") || { say "FAILED: the second build made other packages"; exit 1; }
differ=0
for name in $(ls "$first"); do
  if cmp "$first/$name" "$second/$name"; then
    say "the same $(stat -c %s "$first/$name") bytes twice: $(sha256sum "$first/$name" | cut -c 1-64)  $name"
    continue
  fi
  differ=1
  work=$(mktemp -d)
  dpkg-deb -R "$first/$name" "$work/first"
  dpkg-deb -R "$second/$name" "$work/second"
  diff -rq "$work/first" "$work/second" || true
  rm -rf "$work"
done
[ $differ = 0 ] || { say "FAILED: what differs is in $first and $second"; exit 1; }
rm -rf "${tree:?}$folder"
say ok
