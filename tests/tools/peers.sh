# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# tests/run peers: attn and what its users would pick instead, in turn on this machine, in both tables of workloads;
# tests/bench/judge.py says what every workload must reach. ATTN_PEERS: directory of the Python environment, outside the
# source tree; ATTN_ROUNDS: how often each side runs; ATTN_PEERS_ISA=avx2: both sides without AVX-512. What was measured
# stays in the build directory: peers.json, peers.md (versus.py's table), judged.md, peers.svg, and the same of the second
# table as peers-decoders.json and so on. Sourced by tests/run.
environment=${ATTN_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/attn-peers}
attn_install_packages "${attn_packages[@]}" || cannot "packages are missing"
if ! [ -x "$environment/bin/python" ]; then
  python3 -m venv "$environment" || cannot "cannot make a Python environment in $environment"
fi
echo "== peers: Python packages in $environment"
"$environment/bin/pip" install -q torch onnx onnxruntime openvino keras tensorflow-cpu "transformers~=5.24" ||
  cannot "the Python packages cannot be installed"
cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release >/dev/null &&
  cmake --build "$build" --target attn_quickstart -j "$jobs" || cannot "the build failed"

python=$environment/bin/python
isa=(${ATTN_PEERS_ISA:+--isa "$ATTN_PEERS_ISA"})
# compare REFEREE WORKLOADS SUFFIX
compare() {
  local report=$build/peers$3.json table=$build/peers$3.md judged=$build/judged$3.md
  "$python" "tests/bench/$1" --attn "$build/bin/attn" --threads "$(nproc)" "${isa[@]}" \
    --rounds "${ATTN_ROUNDS:-3}" --json "$report" | tee "$table"
  [ -s "$report" ] || cannot "the comparison by $1 gave no report"
  "$python" tests/bench/chart.py "$report" --workloads "tests/bench/$2" --output "$build/peers$3.svg"
  "$python" tests/bench/judge.py "$report" --workloads "tests/bench/$2" --shares "$table" "${isa[@]}" | tee "$judged"
  [ -s "$judged" ] || cannot "the report of $1 could not be judged"
}
compare versus.py workloads.json ""
compare versus_decoders.py workloads-decoders.json -decoders
# shellcheck disable=SC2046
finish $(tail -q -n 1 "$build"/judged{,-decoders}.md | awk '{ passed += $1; failed += $3 } END { print passed, failed }')
