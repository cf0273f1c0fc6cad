# Sourced by build and check.

# Installs what package-lock.json names, unless it is there already.
install_packages() {
  local stamp=node_modules/.lucid-lock
  cmp -s package-lock.json "$stamp" && return
  npm ci --no-fund --no-audit --loglevel=error
  cp package-lock.json "$stamp"
}
