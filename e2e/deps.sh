# What the scripts share that install what a proof needs, NAME_deps.sh. They source it, and are in the
# checkout's root then.
cd "$(dirname "${BASH_SOURCE[0]}")/.."
proof=$(basename "$0" _deps.sh)

say() { printf '%s: %s\n' "$proof" "$*"; }
die() { printf '%s: %s\n' "$proof" "$*" >&2; exit 1; }

# quietly NAME COMMAND...: the output goes into .deps/NAME.log, and its end is shown where the command fails.
quietly() {
  local name=$1 log=.deps/$1.log
  shift
  "$@" >"$log" 2>&1 || { tail -n 20 "$log" >&2; die "$name failed; the whole output is in $log"; }
}

# debian PACKAGE...: installs them.
debian() {
  local root=()
  [ "$(id -u)" = 0 ] || root=(sudo -n)
  say "installing from Debian: $*"
  quietly apt "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
}

# venv FOLDER LIST WHAT [OPTION...]: a virtual environment with what LIST pins by hash, with pip's OPTIONs.
venv() {
  local folder=$1 list=$2 what=$3
  shift 3
  if cmp -s "$list" "$folder/.requirements"; then return; fi
  say "$what into $folder"
  rm -rf "${folder:?}"
  /usr/bin/python3 -m venv "$folder"
  quietly pip "$folder/bin/pip" install --quiet --require-hashes "$@" -r "$list"
  cp "$list" "$folder/.requirements"
}

# packages FOLDER FROM WHAT: npm's packages, as package-lock.json in the folder FROM pins them.
packages() {
  local folder=$1 from=$2 what=$3
  if cmp -s "$from/package-lock.json" "$folder/package-lock.json" && [ -e "$folder/.complete" ]; then return; fi
  say "$what into $folder"
  rm -rf "${folder:?}"
  mkdir -p "$folder"
  cp "$from/package.json" "$from/package-lock.json" "$folder/"
  quietly npm env -C "$folder" npm ci --silent --ignore-scripts
  touch "$folder/.complete"
}
