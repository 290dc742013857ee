# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# Sourced by host/quickstart and tests/run: the Debian 12 packages that attn is built and tested with.

attn_packages=(g++ cmake ninja-build ccache git ca-certificates binutils python3 python3-venv python3-dev
  dpkg-dev file libboost1.81-dev libxtensor-dev xtl-dev libxsimd-dev libcli11-dev libfmt-dev zlib1g-dev
  catch2 libopenmpi-dev openmpi-bin)
# What tests/run uses besides.
attn_test_packages=(clang clang-format qemu-user abigail-tools pkgconf
  zsh fish groff-base)

# attn_install_packages PACKAGE...: installs what is missing when run as root, and otherwise prints the
# line to run and fails.
attn_install_packages() {
  local missing=() package
  for package in "$@"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
      missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  if ! command -v apt-get >/dev/null; then
    echo "These packages (by their names in Debian 12) are missing: ${missing[*]}" >&2
    echo "Install what they contain, or use Debian 12." >&2
    return 1
  fi
  if [ "$(id -u)" -ne 0 ]; then
    echo "Packages are missing. Run this line, then the command again:" >&2
    echo "  sudo apt-get update && sudo apt-get install -y --no-install-recommends ${missing[*]}" >&2
    return 1
  fi
  echo "Installing ${missing[*]}"
  DEBIAN_FRONTEND=noninteractive apt-get update -q >/dev/null &&
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" >/dev/null
}

# How many compilers may run at once: the CPUs, but no more than 1.5 GB of memory allows.
attn_jobs() {
  local cpus memory
  cpus=$(nproc)
  memory=$(awk '/^MemAvailable/ { print int($2 / 1500000) }' /proc/meminfo)
  [ "${memory:-1}" -lt 1 ] && memory=1
  echo $((cpus < memory ? cpus : memory))
}
