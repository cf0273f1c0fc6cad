# Sourced by the scripts that need a program from the crate registry.
#
# Such programs are kept outside the clone, each version in its own folder: a second clone, or a CI run on a warm machine,
# does not build them again, and two clones that want different versions do not fight.
LUCID_TOOLS=${LUCID_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/lucid/tools}

# cargo_tool CRATE VERSION [FLAG…]: makes the programs of CRATE the first ones in PATH, installing them if they are not there.
cargo_tool() {
  local crate=$1 version=$2
  local root=$LUCID_TOOLS/$crate-$version
  shift 2
  # cargo writes .crates.toml last: an interrupted installation has none and is done again.
  if [ ! -e "$root/.crates.toml" ]; then
    echo "building $crate $version (once)" >&2
    cargo install "$crate" --version "=$version" --locked --quiet --root "$root" "$@"
  fi
  PATH=$root/bin:$PATH
}
