# shellcheck shell=bash
# Sourced by build and check.

# Installs what package-lock.json names, unless it is there already.
install_packages() {
  local stamp=node_modules/.lucid-lock
  cmp -s package-lock.json "$stamp" && return
  npm ci --no-fund --no-audit --loglevel=error >&2
  cp package-lock.json "$stamp"
}

# Makes `forge` the program itself: npm's wrapper in node_modules/.bin exits with 0 even when a test has failed.
use_forge() {
  local programs=(node_modules/@foundry-rs/forge-*/bin/forge)
  if [ "${#programs[@]}" -ne 1 ] || [ ! -x "${programs[0]}" ]; then
    echo "contracts: npm installed no forge for this machine" >&2
    return 1
  fi
  # In PATH, because slither calls it too.
  PATH=$PWD/$(dirname "${programs[0]}"):$PATH
  export PATH
}

# Slither in a folder of its own, outside the clone; prints its path.
install_slither() {
  local version=0.11.6 folder
  folder=${XDG_CACHE_HOME:-$HOME/.cache}/lucid/slither/$version
  if [ ! -x "$folder/bin/slither" ]; then
    rm -rf "$folder"
    python3 -m venv "$folder"
    "$folder/bin/pip" install --quiet --disable-pip-version-check "slither-analyzer==$version" >&2
  fi
  echo "$folder/bin/slither"
}
