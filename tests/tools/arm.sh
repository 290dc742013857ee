# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# tests/run arm: built for aarch64 with Debian's cross compiler, run by qemu-aarch64: golden cases with their gradients
# at both levels, kernels, operators, the loader, the SDK's vectors and some random layers. Everything lies below the
# directory of the build; of the system it needs the cross compiler alone. Sourced by tests/run.
attn_install_packages "${attn_packages[@]}" crossbuild-essential-arm64 || cannot "packages are missing"
build=$build-arm
triple=aarch64-linux-gnu
system=$build/system
mkdir -p "$build"

# Headers are those of this machine; the libraries that have code of their own are fetched, and no architecture is
# added to the system.
if ! [ -e "$system/lib/$triple/libz.so.1" ]; then
  echo "== arm: libraries for aarch64 in $system"
  mkdir -p "$build/apt/lists/partial" "$build/apt/cache/archives/partial" "$system"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $(debian_mirror) bookworm main" \
    >"$build/apt/sources.list"
  : >"$build/apt/status"
  apt_arm() {
    (cd "$build/apt" && apt-get -q -o APT::Architecture=arm64 -o APT::Architectures=arm64 \
      -o Dir::State="$build/apt" -o Dir::State::status="$build/apt/status" -o Dir::Cache="$build/apt/cache" \
      -o Dir::Etc::sourcelist="$build/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null \
      -o APT::Sandbox::User= "$@")
  }
  { apt_arm update && apt_arm download libfmt-dev libfmt9 zlib1g; } >"$build/apt/log" 2>&1 ||
    { cat "$build/apt/log"; cannot "the libraries for aarch64 cannot be fetched"; }
  for package in "$build"/apt/*.deb; do dpkg-deb -x "$package" "$system" || cannot "cannot unpack $package"; done
fi


# -R: without it qemu spends its time on the address space that contexts reserve.
emulator="qemu-aarch64;-R;8G;-L;/usr/$triple"
echo "== arm: build in $build"
# Compiling takes longer than the tests: -O1 for what is not kernels.
cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_FLAGS_RELEASE="-O1 -DNDEBUG" \
  -DCMAKE_C_FLAGS_RELEASE="-O1 -DNDEBUG" -DCMAKE_CXX_FLAGS=-Wno-psabi -DCMAKE_SYSTEM_NAME=Linux \
  -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_C_COMPILER=$triple-gcc -DCMAKE_CXX_COMPILER=$triple-g++ \
  -DCMAKE_CROSSCOMPILING_EMULATOR="$emulator" -Dfmt_DIR="$system/usr/lib/$triple/cmake/fmt" \
  -DZLIB_LIBRARY="$system/lib/$triple/libz.so.1" \
  -DCMAKE_DISABLE_FIND_PACKAGE_MPI=ON >"$build/configure.log" 2>&1 ||
  { cat "$build/configure.log"; cannot "configuring failed"; }
cmake --build "$build" -j "$jobs" --target attn_program attn_generated tests/plugins_bad/all \
  core_test kernels_test ops_test host_test simd_test properties_test || cannot "the build failed"
echo "== arm: built after $(($(date +%s) - started)) s; tests"
# The loader starts this helper, which the system cannot start without its emulator.
probe=$build/libexec/attn/attn-plugin-probe
if ! head -c 2 "$probe" | grep -q '#!'; then
  mv "$probe" "$probe.aarch64"
  printf '#!/bin/sh\nexec qemu-aarch64 -R 8G -L /usr/%s "%s" "$@"\n' $triple "$probe.aarch64" >"$probe"
  chmod +x "$probe"
  touch -r "$probe.aarch64" "$probe"  # or the build would make again what depends on it
fi
export ATTN_PROPERTY_COUNT=${ATTN_PROPERTY_COUNT:-40}
ctest --test-dir "$build" --output-on-failure -j "$jobs" -R '^(core|kernels|ops|host|simd|properties)$'
read -r passed failed <<<"$(tests/tools/count "$build/Testing/Temporary/LastTest.log")"

# Golden cases, a process for each folder: qemu does not find again all of the address space that a long one gave back.
# shellcheck disable=SC2016
for level in reference neon; do
  for cases in tests/goldens/*/ tests/goldens/*.json; do echo "$level $cases"; done
done | xargs -P "$jobs" -L 1 sh -c '
  output=$(ATTN_ISA=$1 qemu-aarch64 -R 8G -L "/usr/aarch64-linux-gnu" "$0/bin/attn" verify "$2" --grad --require-all 2>&1)
  sums=$(echo "$output" | sed -n "s/.* cases: \([0-9]*\) passed, \([0-9]*\) failed.*/\1 \2/p")
  case ${sums:-0 1} in *" 0") ;; *) echo "FAILED: $2 at $1"; echo "$output" | tail -n 20 ;; esac
  echo "sums ${sums:-0 1}"' "$build" | tee "$build/goldens.log" | grep -v '^sums'
read -r good bad <<<"$(awk '/^sums/ { good += $2; bad += $3 } END { print good + 0, bad + !NR }' "$build/goldens.log")"
finish $((passed + good)) $((failed + bad))
