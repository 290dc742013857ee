# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# tests/run peers: attn and what its users would pick instead, in turn on this machine; every workload must
# reach its target. ATTN_PEERS: directory of the Python environment, outside the source tree; ATTN_ROUNDS: how
# often each side runs. Sourced by tests/run.
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
"$environment/bin/python" tests/bench/versus.py --attn "$build/bin/attn" --threads "$(nproc)" \
  --rounds "${ATTN_ROUNDS:-3}" --json "$report" --gate
[ -s "$report" ] || cannot "the comparison gave no report"
# shellcheck disable=SC2046
finish $("$environment/bin/python" - "$report" <<'PYTHON'
import json, sys
rows = json.load(open(sys.argv[1]))
good = sum(1 for r in rows if r["ratio"] and r["ratio"] >= r["target"])
print(good, len(rows) - good)
PYTHON
)
