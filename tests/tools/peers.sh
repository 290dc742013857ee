# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# tests/run peers: attn and what its users would pick instead, in turn on this machine; tests/bench/judge.py says what
# every workload must reach. ATTN_PEERS: directory of the Python environment, outside the source tree; ATTN_ROUNDS: how
# often each side runs; ATTN_PEERS_ISA=avx2: both sides without AVX-512. What was measured stays in the build directory:
# peers.json, peers.md (versus.py's table), judged.md, peers.svg. Sourced by tests/run.
environment=${ATTN_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/attn-peers}
attn_install_packages "${attn_packages[@]}" || cannot "packages are missing"
if ! [ -x "$environment/bin/python" ]; then
  python3 -m venv "$environment" || cannot "cannot make a Python environment in $environment"
fi
echo "== peers: Python packages in $environment"
"$environment/bin/pip" install -q torch onnx onnxruntime openvino keras tensorflow-cpu ||
  cannot "the Python packages cannot be installed"
cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release >/dev/null &&
  cmake --build "$build" --target attn_quickstart -j "$jobs" || cannot "the build failed"

report=$build/peers.json
python=$environment/bin/python
isa=(${ATTN_PEERS_ISA:+--isa "$ATTN_PEERS_ISA"})
"$python" tests/bench/versus.py --attn "$build/bin/attn" --threads "$(nproc)" "${isa[@]}" \
  --rounds "${ATTN_ROUNDS:-3}" --json "$report" | tee "$build/peers.md"
[ -s "$report" ] || cannot "the comparison gave no report"
"$python" tests/bench/chart.py "$report" --output "$build/peers.svg"
"$python" tests/bench/judge.py "$report" --shares "$build/peers.md" "${isa[@]}" | tee "$build/judged.md"
[ -s "$build/judged.md" ] || cannot "the report could not be judged"
# shellcheck disable=SC2046
finish $(sed -n '$s/\([0-9]*\) passed, \([0-9]*\) failed/\1 \2/p' "$build/judged.md")
