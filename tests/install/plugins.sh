# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# Sourced by run: plugins built with the unpacked packages ($prefix) alone, each tried from a directory of its own.

# host/docs/start.md and sdk/README.md: the lines for authors, as they stand there, in a directory with the packages. What only
# root may do is done to the unpacked tree; `attn` is found as in an installed system.
cat >"$work/bin/sudo" <<'SCRIPT'
#!/bin/sh
[ "$1 $2" = "apt install" ] || exit 1
shift 2
for file in "$@"; do dpkg -x "$file" "$ROOT" || exit 1; done
SCRIPT
chmod +x "$work/bin/sudo"
for readme in host/docs/start.md sdk/README.md; do
  "$source/tests/install/readme_lines" "$source/$readme" >"$work/lines"
  check "$readme has its lines" test "$(wc -l <"$work/lines")" -ge 7
  mkdir "$work/author"
  cp "$attn_package" "$sdk_package" "$work/author"
  # Each line with the time that it took: what a new author waits for.
  check "the lines of $readme" env -C "$work/author" ROOT="$root" PATH="$work/bin:$prefix/bin:$PATH" \
    bash -e -c 'while IFS= read -r line; do
      begin=$(date +%s%N); eval "$line" >"$ROOT/../output" 2>&1 || { cat "$ROOT/../output"; echo "in: $line"; exit 1; }
      printf "%6d ms  %s\n" $((($(date +%s%N) - begin) / 1000000)) "$line"; done <'"$work/lines"' >'"$work/times"
  echo "$readme, each line:"
  cat "$work/times"
  check "and their type gives an output" test -s "$work/author/my_type/y.npy"
  mv "$work/author/my_type" "$work/my_type-${readme//\//-}"
  rm -r "$work/author" "$HOME/.local"
done

# try_plugin LABEL FOLDER: a plugin that lies in FOLDER/build, by its layer.json.
try_plugin() {
  local label=$1 folder=$2 type
  local with=(--plugin-path "$folder/build")
  type=$(sed -n 's/.*"type": *"\([^"]*\)".*/\1/p' "$folder/layer.json")
  check "$label: attn list" sh -c "'$attn' --plugin-path '$folder/build' list | grep -w '$type'"
  check "$label: attn info" "$attn" "${with[@]}" info "$type"
  check "$label: gradients" "$attn" "${with[@]}" check-gradients "$folder/layer.json"
}

# Every template of `attn new`, as its own CI runs it, under a name that is a word of C++.
for template in basic gate decode kernel c; do
  folder=$work/new_$template
  check "attn new --template $template" "$attn" new org.example.double --template "$template" --directory "$folder"
  ci() { ATTN=$attn "$folder/ci.sh" >"$folder.log" 2>&1 || { grep -v ' passed ' "$folder.log"; return 1; }; }
  check "$template: ci.sh" ci
  # With nothing left out: goldens, workloads and layer.json are among its tests.
  check_output "$template: attn check finds nothing" "0 failed, 0 warnings" \
    sed -n 's/^[0-9]* tests: .* passed, \(.* warnings\), .*/\1/p' "$folder.log"
  try_plugin "$template" "$folder"
  check "$template: its script writes its golden case" python3 "$folder/golden/make.py" "$folder/build"
  check "$template: and that is the same case" "$attn" --plugin-path "$folder/build" verify --grad --require-all \
    "$folder/build/double.safetensors"
done
check "kernel: at the scalar level" env ATTN_ISA=reference "$attn" --plugin-path "$work/new_kernel/build" \
  verify --grad --require-all "$work/new_kernel/golden"

# By clang, and without CMake.
check "basic builds by clang" cmake -S "$work/new_basic" -B "$work/clang/build" -DCMAKE_CXX_COMPILER=clang++
check "basic builds by clang" cmake --build "$work/clang/build"
mkdir -p "$work/pkgconfig/build" "$work/line/build" "$work/line_c/build"
# shellcheck disable=SC2046
check "basic builds with pkg-config" g++ -std=c++20 -O3 "$work/new_basic/double.cpp" $(pkg-config --cflags attn-sdk) \
  $(pkg-config --variable=plugin attn-sdk) -o "$work/pkgconfig/build/double.so"
check "basic builds by one line" g++ -std=c++20 -O3 -shared -fPIC -fvisibility=hidden -Wl,--build-id \
  -I "$work/sdk/include" "$work/new_basic/double.cpp" -o "$work/line/build/double.so"
check "c builds by one line" gcc -std=c11 -O3 -shared -fPIC -fvisibility=hidden -Wl,--build-id \
  -I "$work/sdk/include" "$work/new_c/double.c" "$work/new_c/double_op.c" -o "$work/line_c/build/double.so"
for label in clang pkgconfig line line_c; do
  from=$work/new_basic
  [ $label = line_c ] && from=$work/new_c
  cp "$from/layer.json" "$work/$label"
  try_plugin "$label" "$work/$label"
  check "$label: its golden case" "$attn" --plugin-path "$work/$label/build" verify --grad --require-all "$from/golden"
done

# The optional header for xtensor, against the SDK that was installed alone.
for compiler in g++ clang++; do
  check "arrays builds by $compiler" project "$source/tests/install/arrays" "arrays_$compiler" \
    -DCMAKE_PREFIX_PATH="$work/sdk" -DCMAKE_CXX_COMPILER="$compiler"
  try_plugin "arrays by $compiler" "$work/arrays_$compiler"
done
